"""The models of `container-sdk/conformance/README.md`: the one that `--model` names."""

import sys
import time

import numpy as np

import skysail

TYPES = "bool u8 u16 u32 u64 i8 i16 i32 i64 f16 bf16 f32 f64 bytes string".split()


@skysail.model(x="f64[-1]", returns={"sum": "f64"})
def add(x):
    return [row.sum() for row in x]


@skysail.model(x="f32[3]", returns={"y": "f32[2]", "top": "i64"})
def fixed(x):
    return np.stack([x[:, 0] + x[:, 1], 2 * x[:, 2]], axis=1), x.argmax(axis=1)


@skysail.model(s="string", tags="bytes[-1]", returns={"upper": "string", "back": "bytes[-1]"})
def texts(s, tags):
    upper = [text.encode().upper().decode() for text in s]  # a to z only, as bytes have it
    return upper, [list(row)[::-1] for row in tags]


SIGNATURE = {f"t_{name}": f"{name}[2]" for name in TYPES}


@skysail.model(m="i32[-1,-1]", returns={"m": "i32[-1,-1]"})
def shapes(m):
    return [row.T for row in m]


@skysail.model(x="i64", returns={"y": "i64"})
def picky(x, ctx):
    if (x == 13).any():
        raise ValueError("13 is unlucky")
    for row in np.flatnonzero(x < 0):
        ctx.fail_row(row, "x is negative")
    return 2 * x.clip(0)


@skysail.model(ms="u32", returns={"y": "u32"})
def slow(ms):
    time.sleep(ms.max() / 1000)
    return ms


@skysail.model(
    a="f32[2]", b="i64", c="string", returns={"total": "f64", "label": "string"}
)
def inputs(a, b, c):
    total = a[:, 0].astype("f8") + a[:, 1].astype("f8") + b
    return total, [f"{text}:{number}" for text, number in zip(c, b)]


@skysail.model(how="i64", returns={"y": "f32[2]", "s": "string"})
def wrong(how):
    asked = next((int(one) for one in how if one), 0)
    rows = len(how)
    if asked == 1:
        raise ValueError("as asked")
    if asked == 2:
        raise ZeroDivisionError("as asked")
    y = np.zeros((rows, 3 if asked == 5 else 2), "f8" if asked == 6 else "f4")
    s = [""] * (rows + {3: 1, 4: -1}.get(asked, 0))
    if asked == 6:
        # Doubles are rounded to a declared single; what does not fit is refused.
        y = y.astype(complex)
    return {"y": y} if asked == 7 else {"y": y, "s": s}


class Same:
    def predict(self, x):
        return x


same = skysail.model(x="f32", returns={"y": "f32"})


@same
class SlowLoad(Same):
    def load(self, ctx):
        time.sleep(1.5)


@same
class CrashLoad(Same):
    def load(self, ctx):
        raise RuntimeError("no weights here")


@same
class Files(Same):
    def load(self, ctx):
        self.factor = np.float32(ctx.path("factor.txt").read_text())

    def predict(self, x):
        return self.factor * x


# A model takes its inputs by name; there are many here.
exec(f"def types({', '.join(SIGNATURE)}):\n    return {{**locals()}}")  # noqa: S102

MODELS = {
    "sum": add,
    "golden-fixed": fixed,
    "golden-texts": texts,
    "golden-types": skysail.model(inputs=SIGNATURE, returns=SIGNATURE)(types),  # noqa: F821
    "golden-shapes": shapes,
    "golden-picky": picky,
    "golden-slow": slow,
    "suite-inputs": inputs,
    "suite-wrong": wrong,
    "suite-slow-load": SlowLoad,
    "suite-crash-load": CrashLoad,
    "suite-files": Files,
}

if __name__ == "__main__":
    name = dict(zip(sys.argv, sys.argv[1:])).get("--model")
    if name not in MODELS:
        sys.stderr.write(f"the suite has no model {name}; it has {', '.join(MODELS)}\n")
        sys.exit(2)
    skysail.run(MODELS[name])
