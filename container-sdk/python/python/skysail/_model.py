"""The declaration of a model."""

from __future__ import annotations

import inspect
import sys
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, TypeVar, Union

from . import _skysail
from ._ctx import Ctx
from ._errors import ModelError, Unfit

__all__ = ["model"]

T = TypeVar("T", bound=Callable[..., Any])

#: How numpy names the element types that it has; bfloat16 is shown as its bits.
DTYPES: Dict[str, str] = {
    "bool": "?",
    "u8": "u1",
    "u16": "u2",
    "u32": "u4",
    "u64": "u8",
    "i8": "i1",
    "i16": "i2",
    "i32": "i4",
    "i64": "i8",
    "f16": "f2",
    "bf16": "u2",
    "f32": "f4",
    "f64": "f8",
}


def model(
    *,
    returns: Union[str, Mapping[str, str]],
    max_batch: int = 64,
    per_row: bool = False,
    inputs: Optional[Mapping[str, str]] = None,
    **tensors: str,
) -> Callable[[T], T]:
    """Declares a class or a function a model.

    Each keyword names an input tensor by the shape of **one row**: an element type and dimensions,
    such as ``f32[784]``, ``i64`` (a number a row), ``f32[-1,8]`` (-1: rows may differ), ``string``,
    ``bytes[3]``. Element types are ``bool``, ``u8`` to ``u64``, ``i8`` to ``i64``, ``f16``,
    ``bf16``, ``f32``, ``f64``, ``bytes`` and ``string``. ``returns`` names the outputs in the same
    way; a text alone is one output called ``output``. ``inputs`` has inputs whose names are no
    Python keywords or mean something else here. ``max_batch`` is the most rows of a batch.

    A **class** has exactly one of

    - ``predict(self, x)``: all rows at once. ``x`` is an array of shape ``[rows, 784]``, read-only,
      C-contiguous, a view of the memory that the batch came in. A model may keep it: it stays as
      it is. Texts come as a list, rows of variable dimensions as a list of arrays.
    - ``predict_row(self, x)``: one row, of shape ``[784]``; called for each row.

    and where it needs them ``load(self, ctx)``, ``warm_up(self, ctx)`` and ``unload(self)``.
    Parameters are named as the inputs; one called ``ctx`` is given the :class:`skysail.Ctx`, and
    one called ``out`` zeroed arrays to write the outputs into (the array itself if there is one
    output, else a dictionary) instead of returning them.

    It returns the outputs of all rows: an array of shape ``[rows, 10]`` (for one output), a
    dictionary by name, or a tuple in the order of ``returns``. Floats are rounded to the declared
    type and integers must fit it; any other conversion is an error. A **function** is called as
    ``predict``, or with ``per_row=True`` as ``predict_row``.

    >>> import numpy as np, skysail
    >>> @skysail.model(x="f32[3]", returns={"sum": "f32", "top": "i64"})
    ... def stats(x):
    ...     return x.sum(axis=1), x.argmax(axis=1)
    >>> skysail.local(stats)(x=[[1, 2, 3], [9, 5, 1]])
    {'sum': array([ 6., 15.], dtype=float32), 'top': array([2, 0])}
    """

    def declare(target: T) -> T:
        takes = {**tensors, **(inputs or {})}
        gives = {"output": returns} if isinstance(returns, str) else dict(returns)
        target.__skysail__ = Definition(target, takes, gives, max_batch, per_row)  # type: ignore
        return target

    return declare


class Tensor:
    """A tensor of a signature."""

    __slots__ = ("name", "text", "datatype", "dims", "variable", "dtype")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        try:
            datatype, dims = _skysail.tensor(name, text)
        except TypeError:
            raise ModelError(
                f"{name}={text!r} is no tensor: say its type and the shape of a row, "
                "such as 'f32[784]'"
            ) from None
        except ValueError as error:
            raise ModelError(str(error)) from None
        self.datatype: str = datatype
        self.dims: Tuple[int, ...] = tuple(dims)
        #: Which dimensions vary.
        self.variable = [at for at, dim in enumerate(self.dims) if dim < 0]
        #: numpy's name of the elements; None for texts.
        self.dtype: Optional[str] = DTYPES.get(datatype)

    @property
    def is_fixed(self) -> bool:
        """Whether rows are all alike."""
        return self.dtype is not None and not self.variable


class Definition:
    """A model that is not loaded."""

    def __init__(
        self,
        target: Callable[..., Any],
        inputs: Dict[str, str],
        outputs: Dict[str, str],
        max_batch: int,
        per_row: bool,
    ) -> None:
        self.target = target
        self.name = target.__name__
        self.inputs = inputs
        self.outputs = outputs
        self.max_batch = max_batch
        self.per_row = per_row

    def check(self) -> "Checked":
        """The declaration, read.

        Raises ModelError with the first thing that is wrong.
        """
        try:
            return Checked(self)
        except ModelError as error:
            raise ModelError(f"model {self.name}: {error}") from None

    def load(self, directory: Any, model: str, version: str) -> Any:
        """Loads the model; called by the native half."""
        from ._glue import Loaded

        checked = self.check()
        ctx = Ctx(directory, model, version)
        try:
            return Loaded(checked, ctx)
        except ImportError as error:
            raise missing(error) from error


def missing(error: ImportError) -> Unfit:
    """What to do about a module that is not there."""
    name = (error.name or "").split(".")[0]
    advice = f"; install it: {sys.executable} -m pip install {name}" if name else ""
    return Unfit(f"{error}{advice}")


class Checked:
    """A declaration that holds together, and how the model is called."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.inputs = [Tensor(name, text) for name, text in definition.inputs.items()]
        self.outputs = [Tensor(name, text) for name, text in definition.outputs.items()]
        if not self.inputs:
            raise ModelError("it has no inputs: name one, such as x='f32[784]'")
        if not self.outputs:
            raise ModelError("it has no outputs: say returns={'y': 'f32[10]'}")
        self.is_class = inspect.isclass(definition.target)
        self.per_row, function = self._function()
        self.arguments = self._arguments(function)
        self.takes_out = "out" in self.arguments

    def _function(self) -> Tuple[bool, Callable[..., Any]]:
        target = self.definition.target
        if not self.is_class:
            return self.definition.per_row, target
        batch = getattr(target, "predict", None)
        row = getattr(target, "predict_row", None)
        if (batch is None) == (row is None):
            found = "both" if batch else "neither"
            raise ModelError(f"it has {found} of predict and predict_row; define exactly one")
        if self.definition.per_row and batch is not None:
            raise ModelError("per_row is for functions; a class defines predict_row")
        return batch is None, batch or row  # type: ignore

    def _arguments(self, function: Callable[..., Any]) -> List[str]:
        """The parameters, in order: names of inputs, `ctx`, `out`."""
        names = [tensor.name for tensor in self.inputs]
        said = f"{function.__name__}({', '.join(inspect.signature(function).parameters)})"
        parameters = list(inspect.signature(function).parameters.values())
        if self.is_class and not isinstance(
            inspect.getattr_static(self.definition.target, function.__name__), staticmethod
        ):
            parameters = parameters[1:]
        positional = (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        )
        arguments: List[str] = []
        for parameter in parameters:
            if parameter.kind not in positional:
                raise ModelError(f"{said}: take the inputs by name, without * or **")
            if parameter.name in names or parameter.name in ("ctx", "out"):
                arguments.append(parameter.name)
            elif parameter.default is inspect.Parameter.empty:
                raise ModelError(
                    f"{said} takes '{parameter.name}', which is no input; "
                    f"the inputs are {', '.join(names)}"
                )
            else:
                break
        forgotten = [name for name in names if name not in arguments]
        if forgotten:
            raise ModelError(f"{said} does not take the input '{forgotten[0]}'")
        if "out" in arguments and (self.per_row or not all(t.is_fixed for t in self.outputs)):
            raise ModelError(f"{said}: 'out' is for batches whose outputs have rows of one shape")
        return arguments


def definition_of(target: Any) -> Definition:
    """The declaration of what `model` decorated.

    Raises ModelError if it is something else.
    """
    definition = getattr(target, "__skysail__", None)
    if not isinstance(definition, Definition):
        name = getattr(target, "__name__", None) or repr(target)
        raise ModelError(f"{name} is not a model: decorate it with @skysail.model(...)")
    return definition
