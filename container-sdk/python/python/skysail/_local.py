"""A loaded model in this process, without a front end: for an author's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Sequence, Union

import numpy as np

from ._ctx import Ctx
from ._errors import ModelError
from ._glue import Loaded
from ._model import Tensor, definition_of

__all__ = ["Local", "local"]


def local(model: Any, path: Union[str, Path] = ".") -> "Local":
    """Loads a model here, as the container would.

    >>> import skysail
    >>> @skysail.model(text="string", returns={"upper": "string"})
    ... def upper(text): return [t.upper() for t in text]
    >>> skysail.local(upper)(text=["a", "b"])
    ['A', 'B']
    """
    return Local(model, path)


class Local:
    """A loaded model. Call it with the inputs of some rows by name; see :func:`local`."""

    #: Rows that failed in the last batch, with why.
    failed: Dict[int, str]

    def __init__(self, model: Any, path: Union[str, Path] = ".") -> None:
        self.checked = definition_of(model).check()
        self._loaded = Loaded(self.checked, Ctx(path))
        self.failed = {}

    def __call__(self, **inputs: Any) -> Any:
        """The outputs of these rows: the array or list itself if there is one output, else a
        dictionary by name. What the model raises is raised here; where only rows failed, their
        outputs are zeros or None, and :attr:`failed` says why."""
        names = [tensor.name for tensor in self.checked.inputs]
        if inputs.keys() != set(names):
            raise ModelError(f"the inputs are {', '.join(names)}, not {', '.join(inputs)}")
        rows = {len(value) for value in inputs.values()}
        if len(rows) != 1:
            raise ModelError(f"the inputs have {sorted(rows)} rows, expected the same")
        count = rows.pop()
        limit = self.checked.definition.max_batch
        if not 1 <= count <= limit:
            raise ModelError(f"{count} rows, 1 to {limit} allowed")
        given = [_given(tensor, inputs[tensor.name]) for tensor in self.checked.inputs]
        targets = [
            np.zeros((count, *tensor.dims), tensor.dtype) if tensor.is_fixed else None
            for tensor in self.checked.outputs
        ]
        answer = self._loaded.answer(count, given, targets, None)
        pushed, failed = answer or ([None] * len(targets), [])
        self.failed = dict(failed)
        outputs = {
            tensor.name: target if target is not None else _taken(tensor, rows or [])
            for tensor, target, rows in zip(self.checked.outputs, targets, pushed)
        }
        return outputs if len(outputs) > 1 else next(iter(outputs.values()))


def _given(tensor: Tensor, value: Any) -> Any:
    """An input as the native half would show it."""
    if tensor.dtype is None:
        if not tensor.dims:
            return list(value)
        rows = [np.asarray(row, object) for row in value]
        return [(row.shape, list(row.flat)) for row in rows]
    if tensor.variable:
        arrays = [np.asarray(row, tensor.dtype) for row in value]
        ends = np.cumsum([0] + [row.size for row in arrays])
        sizes = [[row.shape[at] for at in tensor.variable] for row in arrays]
        return _read_only(np.concatenate([row.reshape(-1) for row in arrays])), ends, sizes
    array = np.array(value, tensor.dtype)
    if array.shape[1:] != tensor.dims:
        raise ModelError(
            f"input '{tensor.name}' has rows of the shape {array.shape[1:]}, "
            f"the signature says {tensor.text}"
        )
    return _read_only(array)


def _read_only(array: np.ndarray) -> np.ndarray:
    """A copy that nothing can make writeable, like a view of received memory."""
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def _taken(tensor: Tensor, rows: Sequence[Any]) -> List[Any]:
    return [None if row is None else _row(tensor, *row) for row in rows]


def _row(tensor: Tensor, sizes: List[int], value: Any) -> Any:
    shape = list(tensor.dims)
    for at, size in zip(tensor.variable, sizes):
        shape[at] = size
    if tensor.dtype is not None:
        return np.frombuffer(value, tensor.dtype).reshape(shape)
    texts = [text.decode() if tensor.datatype == "string" else text for text in value]
    if not tensor.dims:
        return texts[0]
    row = np.empty(len(texts), object)
    row[:] = texts
    return row.reshape(shape)
