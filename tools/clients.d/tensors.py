"""Tensors at the edges of their datatypes."""

import ml_dtypes
import numpy as np

from served import SHORT

#: Three elements of each datatype that stand at its edges.
EDGES = {
    "BOOL": np.array([True, False, True]),
    "FP16": np.array([1.5, -65504, 6e-8], np.float16),
    "BF16": np.array([1.5, -3e38, 1e-40], ml_dtypes.bfloat16),
    "FP32": np.array([1.5, -3.4e38, 1e-45], np.float32),
    "FP64": np.array([0.1, -1e300, 5e-324]),
    "BYTES": np.array([b"", b"\xff\x00", "é".encode()], np.object_),
}
for _name in SHORT:
    if "INT" in _name:
        _bounds = np.iinfo(getattr(np, _name.lower()))
        EDGES[_name] = np.array([_bounds.min, 0, _bounds.max], getattr(np, _name.lower()))
