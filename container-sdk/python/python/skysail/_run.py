"""The program around a model: command line, signals, exit status."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, Dict, List, NoReturn, Optional, Sequence

from . import _skysail, _workers
from ._errors import ModelError
from ._model import Definition, definition_of, missing

__all__ = ["run"]

#: Wrong usage, environment or signature.
USAGE = 2

#: What was passed to `run` while a file is only looked at; None where it is to be served.
_found: Optional[List[Any]] = None


def run(
    model: Any, argv: Optional[Sequence[str]] = None, *, workers: Optional[int] = None
) -> None:
    """Serves a model until the front end removes it or a signal comes, then ends the program.

    ``argv`` are the program's name and its arguments, by default those of the process; ``--help``
    tells them. ``workers`` replica processes are started unless ``--workers`` says otherwise, each
    with the model of its own. SIGTERM or SIGINT asks it to leave, what is in hand is answered
    first; a second one ends it at once.

    Does nothing where a file is imported by ``python -m skysail``, which serves the model itself.
    """
    if _found is not None:
        _found.append(model)
        return
    try:
        definition = definition_of(model)
    except ModelError as error:
        fail(str(error))
    serve(definition, list(sys.argv if argv is None else argv), workers)


def serve(definition: Definition, argv: List[str], workers: Optional[int] = None) -> NoReturn:
    """Serves a model with these arguments, and ends the program."""
    if workers is not None:
        os.environ.setdefault("SKYSAIL_WORKERS", str(workers))
    command = _skysail.parse(argv)
    try:
        definition.check()
    except ModelError as error:
        fail(f"the model's signature is not valid: {error}")
    if _workers.NUMBER in os.environ:
        _workers.be_one()
    elif command.workers > 1 and not command.selftest:
        leave(_workers.supervise(command.workers))
    with Default(signal.SIGINT, signal.SIGTERM):
        status = command.run(definition)
    leave(status)


class Default:
    """The default action of some signals, so that the native half has them alone."""

    def __init__(self, *signals: int) -> None:
        self.signals = signals
        self.before: Dict[int, Any] = {}

    def __enter__(self) -> None:
        # Elsewhere Python does not allow it, and its own handlers run besides.
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, signal.SIG_DFL) for number in self.signals}

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def leave(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.exit(status)


def fail(message: str, status: int = USAGE) -> NoReturn:
    """Ends the program with one line."""
    sys.stderr.write(f"error: {message}\n")
    sys.exit(status)


def find(target: str) -> Definition:
    """The model of `package.module`, `file.py`, `package.module:Name` or `file.py:Name`.

    Ends the program with status 2 if there is none.
    """
    global _found
    where, _, name = target.partition(":")
    _found = []
    try:
        module = load_file(where) if is_file(where) else load_module(where)
        ran = list(_found)
    finally:
        _found = None
    if name:
        return named(module, where, name)
    here = [
        value
        for value in vars(module).values()
        if isinstance(getattr(value, "__skysail__", None), Definition)
        and value.__module__ == module.__name__
    ]
    models = list(dict.fromkeys(ran or here))
    if len(models) == 1:
        return checked(models[0])
    if not models:
        fail(f"{where} has no model: decorate a class or a function with @skysail.model(...)")
    names = ", ".join(f"{where}:{model.__name__}" for model in models)
    fail(f"{where} has {len(models)} models; say which one: {names}")


def named(module: Any, where: str, name: str) -> Definition:
    if not hasattr(module, name):
        models = [key for key, value in vars(module).items() if hasattr(value, "__skysail__")]
        known = f"its models are {', '.join(models)}" if models else "it has no models"
        fail(f"{where} has no '{name}'; {known}")
    return checked(getattr(module, name))


def checked(model: Any) -> Definition:
    try:
        return definition_of(model)
    except ModelError as error:
        fail(str(error))


def is_file(where: str) -> bool:
    return where.endswith(".py") or os.sep in where


def load_file(where: str) -> Any:
    path = Path(where)
    if not path.is_file():
        fail(f"no file {where} in {Path.cwd()}: name a Python file or a module")
    # As for a script: its neighbours can be imported.
    sys.path.insert(0, str(path.parent.resolve()))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        fail(f"{where} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    imported(where, lambda: spec.loader.exec_module(module))
    return module


def load_module(where: str) -> Any:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        spec = importlib.util.find_spec(where)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        fail(
            f"no module '{where}' in {Path.cwd()} or in this Python ({sys.executable}): "
            "name a module, such as package.module:Class, or a file, such as model.py"
        )
    return imported(where, lambda: importlib.import_module(where))


def imported(where: str, load: Any) -> Any:
    try:
        return load()
    except ImportError as error:
        fail(f"{where} does not import: {missing(error)}")
    except Exception:
        traceback.print_exc()
        fail(f"{where} does not import: see above", status=1)
