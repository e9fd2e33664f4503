"""Serve a Python model with Skysail, and ask one.

A linear scorer of 784 numbers a row to 10, in batches of up to 64 rows::

    import numpy as np, skysail

    @skysail.model(x="f32[784]", returns={"y": "f32[10]"}, max_batch=64)
    class Linear:
        def load(self, ctx): self.w = np.load(ctx.path("w.npy"))
        def predict(self, x): return x @ self.w

    skysail.run(Linear)

Run it with ``--selftest`` to check it without a front end, ``--help`` for everything else.

=====================================  =========================================================
:func:`model`                          declares a class or a function a model
:class:`Ctx`                           what surrounds a call: files, time left, failed rows
:class:`RowError`, :class:`Unfit`      one row failed; the environment is to blame
:func:`run`                            the program around a model
:func:`local`                          a loaded model in this process, for tests
:class:`Client`, :class:`AsyncClient`  predictions, feedback and administration
=====================================  =========================================================
"""

import sys as _sys

if _sys.version_info < (3, 9):
    _sys.stderr.write(
        "error: skysail needs Python 3.9 or later; this is %s (%s)\n"
        % (_sys.version.split()[0], _sys.executable)
    )
    raise SystemExit(2)

try:
    import numpy as _numpy  # noqa: F401
except ImportError:
    _sys.stderr.write(
        "error: skysail needs numpy: %s -m pip install numpy\n" % (_sys.executable,)
    )
    raise SystemExit(2)

from ._skysail import VERSION as __version__
from ._ctx import Ctx
from ._errors import ModelError, RowError, Unfit
from ._local import Local, local
from ._model import model
from ._run import run
from .client import (
    Admin,
    ApiError,
    AsyncClient,
    Client,
    Prediction,
    Unreachable,
)

__all__ = [
    "Admin",
    "ApiError",
    "AsyncClient",
    "Client",
    "Ctx",
    "Local",
    "ModelError",
    "Prediction",
    "RowError",
    "Unfit",
    "Unreachable",
    "__version__",
    "local",
    "model",
    "run",
]
