"""A loaded model: arrays in, arrays out.

The native half calls `Loaded.step` once a batch. What is checked here is what an author can get
wrong; that rows and types of the inputs fit the signature has been checked before.
"""

from __future__ import annotations

import os
import traceback
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from . import _skysail
from ._ctx import Ctx
from ._errors import ModelError, RowError, Unfit
from ._model import Checked, Tensor

#: For each output that has them the rows to push, and the rows that failed.
Answer = Tuple[List[Optional[list]], List[Tuple[int, str]]]


#: Exit status of a forked process that returns from `predict`.
FORKED = 1


class Loaded:
    """A model and how its batches are shown and answered."""

    def __init__(self, checked: Checked, ctx: Ctx) -> None:
        self.checked = checked
        self.ctx = ctx
        self.pid = os.getpid()
        target = checked.definition.target
        self.model: Any = None
        self.call: Callable[..., Any] = target
        if checked.is_class:
            self.model = target()
            hook = getattr(self.model, "load", None)
            if hook is not None:
                hook(ctx)
            self.call = getattr(self.model, "predict_row" if checked.per_row else "predict")
        places = {tensor.name: at for at, tensor in enumerate(checked.inputs)}
        self.places = [places.get(name, name) for name in checked.arguments]
        # One array in and nothing else is the common case.
        self.is_plain = self.places == [0] and not checked.per_row
        self.show = [_shower(tensor) for tensor in checked.inputs]
        self.names = [tensor.name for tensor in checked.outputs]

    def warm_up(self) -> bool:
        """Whether the model warms itself up, and has."""
        hook = getattr(self.model, "warm_up", None)
        if hook is None:
            return False
        hook(self.ctx)
        return True

    def unload(self) -> None:
        hook = getattr(self.model, "unload", None)
        if hook is not None:
            hook()

    def step(
        self, rows: int, inputs: tuple, targets: tuple, remaining: Optional[float]
    ) -> Any:
        """Answers a batch: None, why all of it failed, or an `Answer`."""
        try:
            return self.answer(rows, inputs, targets, remaining)
        except (KeyboardInterrupt, SystemExit, Exception) as error:
            return told(error)[1]

    def answer(
        self, rows: int, inputs: Sequence[Any], targets: Sequence[Any], remaining: Optional[float]
    ) -> Optional[Answer]:
        try:
            return self._answer(rows, inputs, targets, remaining)
        finally:
            if os.getpid() != self.pid:
                # A process that predict has forked and that came back from it: two of them
                # would speak on one connection.
                os._exit(FORKED)

    def _answer(
        self, rows: int, inputs: Sequence[Any], targets: Sequence[Any], remaining: Optional[float]
    ) -> Optional[Answer]:
        self.ctx._begin(rows, remaining)
        if self.is_plain:
            results = self._outputs(self.call(self.show[0](rows, inputs[0])))
        else:
            shown = [show(rows, value) for show, value in zip(self.show, inputs)]
            if self.checked.per_row:
                results = self._row_by_row(rows, shown)
            else:
                results = self._outputs(self._batch(rows, shown))
        pushed: List[Optional[list]] = []
        for tensor, value, target in zip(self.checked.outputs, results, targets):
            if target is None:
                pushed.append(_pushed(tensor, rows, value, self.ctx))
            else:
                _write(tensor, rows, value, np.asarray(target), self.ctx)
                pushed.append(None)
        failed = self.ctx._failed
        if not failed and not any(rows is not None for rows in pushed):
            return None
        for at in failed:
            for answers in pushed:
                if answers is not None:
                    answers[at] = None
        return pushed, list(failed.items())

    def _batch(self, rows: int, shown: List[Any]) -> Any:
        out = self._out(rows) if self.checked.takes_out else None
        given = {"ctx": self.ctx, "out": out}
        result = self.call(
            *[given[place] if isinstance(place, str) else shown[place] for place in self.places]
        )
        return out if result is None and out is not None else result

    def _out(self, rows: int) -> Any:
        """Arrays of the model's own to write into: what it keeps of them does no harm."""
        arrays = [np.zeros((rows, *tensor.dims), tensor.dtype) for tensor in self.checked.outputs]
        return arrays[0] if len(arrays) == 1 else dict(zip(self.names, arrays))

    def _row_by_row(self, rows: int, shown: List[Any]) -> List[list]:
        results: List[list] = [[] for _ in self.names]
        is_told = False
        for row in range(rows):
            given = [
                self.ctx if isinstance(place, str) else shown[place][row] for place in self.places
            ]
            try:
                outputs = self._outputs(self.call(*given))
            except RowError as error:
                outputs = [error] * len(self.names)
            except Exception as error:
                # One traceback a batch is in the log.
                why = in_short(error) if is_told else told(error)[1]
                is_told = True
                outputs = [RowError(why)] * len(self.names)
            for result, output in zip(results, outputs):
                result.append(output)
        return results

    def _outputs(self, result: Any) -> Sequence[Any]:
        """The outputs in the order of the signature, in whatever form they were returned."""
        names = self.names
        if type(result) is np.ndarray and len(names) == 1:
            return [result]
        if result is None:
            raise ModelError(f"{self.call.__name__} returned None: return {_listed(names)}")
        if isinstance(result, dict):
            if result.keys() != set(names):
                raise ModelError(
                    f"{self.call.__name__} returned the outputs {_listed(result)}; "
                    f"the signature has {_listed(names)}"
                )
            return [result[name] for name in names]
        if len(names) == 1:
            return [result]
        if isinstance(result, RowError):
            return [result] * len(names)
        if isinstance(result, (tuple, list)) and len(result) == len(names):
            return result
        kind = type(result).__name__
        length = f" of {len(result)}" if isinstance(result, (tuple, list)) else ""
        raise ModelError(
            f"{self.call.__name__} returned a {kind}{length}; "
            f"the signature has {len(names)} outputs: {_listed(names)}"
        )


def told(error: BaseException) -> Tuple[bool, str]:
    """Whether the environment is to blame, and an exception on one line. Its traceback is logged."""
    if isinstance(error, (Unfit, RowError)):
        return isinstance(error, Unfit), str(error)
    if isinstance(error, ModelError):
        _skysail.log("error", str(error))
        return False, str(error)
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    _skysail.log("error", "".join(lines).rstrip())
    return False, in_short(error)


def in_short(error: BaseException) -> str:
    return traceback.format_exception_only(type(error), error)[-1].strip()


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names)


# Inputs.


def _shower(tensor: Tensor) -> Callable[[int, Any], Any]:
    """How the native half's value of an input becomes the model's."""
    if tensor.dtype is None:
        return _texts if tensor.dims else _as_is
    return _variable(tensor) if tensor.variable else _array


def _array(_: int, memory: Any) -> np.ndarray:
    return np.asarray(memory)


def _as_is(_: int, texts: list) -> list:
    return texts


def _texts(_: int, rows: list) -> List[np.ndarray]:
    shown = []
    for shape, texts in rows:
        row = np.empty(len(texts), object)
        row[:] = texts
        shown.append(row.reshape(shape))
    return shown


def _variable(tensor: Tensor) -> Callable[[int, Any], List[np.ndarray]]:
    count = len(tensor.variable)

    def show(rows: int, value: tuple) -> List[np.ndarray]:
        elements, offsets, shapes = value
        flat = np.asarray(elements)
        ends = np.asarray(offsets).tolist()
        sizes = None if shapes is None else np.asarray(shapes).reshape(rows, count).tolist()
        shown = []
        for row in range(rows):
            shape = list(tensor.dims)
            if sizes is not None:
                for at, size in zip(tensor.variable, sizes[row]):
                    shape[at] = size
            shown.append(flat[ends[row] : ends[row + 1]].reshape(shape))
        return shown

    return show


# Outputs.


def _write(tensor: Tensor, rows: int, value: Any, target: np.ndarray, ctx: Ctx) -> None:
    """Writes the rows of an output where the front end finds them."""
    if type(value) is np.ndarray and value.dtype == target.dtype and value.shape == target.shape:
        # The common case: nothing to ask.
        np.copyto(target, value)
        return
    if isinstance(value, list) and any(isinstance(row, RowError) for row in value):
        if len(value) != rows:
            raise ModelError(_row_count(tensor, len(value), rows))
        for at, row in enumerate(value):
            if isinstance(row, RowError):
                ctx.fail_row(at, str(row))
            else:
                _put(tensor, 1, [row], target[at : at + 1])
        return
    _put(tensor, rows, value, target)


def _put(tensor: Tensor, rows: int, value: Any, target: np.ndarray) -> None:
    found = _elements(tensor, value)
    if found.shape != target.shape:
        if found.ndim > 0 and found.shape[0] != rows:
            raise ModelError(_row_count(tensor, found.shape[0], rows))
        raise ModelError(
            f"output '{tensor.name}' has the shape {found.shape}, expected {target.shape}"
        )
    _cast(tensor, found, target)


def _elements(tensor: Tensor, value: Any) -> np.ndarray:
    """An output as an array of numbers."""
    try:
        # Of numpy's own class: what copies it must not be the model's code.
        found = np.asarray(value)
    except ValueError:
        raise ModelError(
            f"output '{tensor.name}' has rows of different shapes, "
            f"the signature says {tensor.text}"
        ) from None
    if found.dtype == object:
        held = type(found.flat[0]).__name__ if found.size else "nothing"
        raise ModelError(
            f"output '{tensor.name}' is an array of objects ({held}), "
            f"the signature says {tensor.text}: return numbers, such as np.array(rows, np.float32)"
        )
    if found.dtype.name == "bfloat16" and tensor.datatype == "bf16":
        return found.view(np.uint16)
    return found


def _cast(tensor: Tensor, found: np.ndarray, target: np.ndarray) -> None:
    """Copies, once, what may be converted without a surprise."""
    kinds = found.dtype.kind + target.dtype.kind
    if found.dtype == target.dtype or np.can_cast(found.dtype, target.dtype, "safe"):
        np.copyto(target, found)
    elif tensor.datatype == "bf16":
        raise ModelError(
            f"output '{tensor.name}' is {found.dtype}, and numpy has no bf16: return the upper 16 "
            "bits of the float32 as uint16, or declare f32"
        )
    elif kinds in ("ff", "if", "uf"):
        np.copyto(target, found, casting="same_kind")
    elif kinds in ("ii", "uu", "iu", "ui"):
        limits = np.iinfo(target.dtype)
        if found.size and (found.min() < limits.min or found.max() > limits.max):
            raise ModelError(
                f"output '{tensor.name}' has {found.min()} to {found.max()}, "
                f"which {tensor.datatype} cannot hold"
            )
        np.copyto(target, found, casting="unsafe")
    else:
        raise ModelError(
            f"output '{tensor.name}' is {found.dtype}, the signature says {tensor.text}: "
            f"convert it with .astype(np.{target.dtype.name}), or declare another type"
        )


def _pushed(tensor: Tensor, rows: int, value: Any, ctx: Ctx) -> list:
    """The rows of an output that have a shape of their own, or are texts."""
    # A set has no order; what is iterated by names, as a table, gives no rows.
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, np.ndarray)):
        kind = type(value).__name__
        raise ModelError(f"output '{tensor.name}' is a {kind}, expected a list of {rows} rows")
    if len(value) != rows:
        raise ModelError(_row_count(tensor, len(value), rows))
    push = _text_row if tensor.dtype is None else _variable_row
    answers: list = []
    for at, row in enumerate(value):
        if isinstance(row, RowError):
            ctx.fail_row(at, str(row))
            answers.append(None)
        elif at in ctx._failed:
            answers.append(None)
        else:
            answers.append(push(tensor, at, row))
    return answers


def _variable_row(tensor: Tensor, at: int, row: Any) -> Tuple[list, bytes]:
    found = _elements(tensor, row)
    _check_row_shape(tensor, at, found.shape)
    if found.size == 0:
        # An empty list is one of doubles to numpy.
        found = found.astype(tensor.dtype)
    elements = np.empty(found.shape, tensor.dtype)
    _cast(tensor, found, elements)
    return [found.shape[axis] for axis in tensor.variable], elements.tobytes()


def _text_row(tensor: Tensor, at: int, row: Any) -> Tuple[list, List[bytes]]:
    if not tensor.dims:
        return [], [_text(tensor, at, row)]
    found = np.asarray(row, object)
    _check_row_shape(tensor, at, found.shape)
    sizes = [found.shape[axis] for axis in tensor.variable]
    return sizes, [_text(tensor, at, text) for text in found.flat]


def _text(tensor: Tensor, at: int, text: Any) -> bytes:
    if isinstance(text, str):
        return text.encode()
    if isinstance(text, (bytes, bytearray, memoryview)):
        return bytes(text)
    kind = type(text).__name__
    raise ModelError(f"output '{tensor.name}' has a {kind} in row {at}, expected str or bytes")


def _check_row_shape(tensor: Tensor, at: int, shape: Tuple[int, ...]) -> None:
    fits = len(shape) == len(tensor.dims) and all(
        dim in (-1, size) for dim, size in zip(tensor.dims, shape)
    )
    if not fits:
        raise ModelError(
            f"output '{tensor.name}' has the shape {shape} in row {at}, "
            f"the signature says {tensor.text}"
        )


def _row_count(tensor: Tensor, found: int, rows: int) -> str:
    return f"output '{tensor.name}' has {found} rows, the batch has {rows}"
