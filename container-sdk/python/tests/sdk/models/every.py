"""Gives back what it takes: every element type, and every kind of row."""

import skysail

TYPES = "bool u8 u16 u32 u64 i8 i16 i32 i64 f16 bf16 f32 f64".split()
SIGNATURE = {
    **{f"t_{name}": f"{name}[2]" for name in TYPES},
    "scalar": "f32",
    "matrix": "i32[2,3]",
    "ragged": "f32[-1]",
    "wide": "i64[-1,2]",
    "image": "u8[-1,-1,3]",
    "text": "string",
    "blob": "bytes",
    "pair": "string[2]",
    "tags": "bytes[-1]",
}


def echo(**inputs):
    return inputs


# A model takes its inputs by name; there are many here.
exec(f"def every({', '.join(SIGNATURE)}):\n    return {{**locals()}}")  # noqa: S102
every = skysail.model(inputs=SIGNATURE, returns=SIGNATURE)(every)  # noqa: F821

skysail.run(every)
