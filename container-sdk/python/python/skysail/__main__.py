"""``python -m skysail``: serves a model of a module or a file, or develops one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._model import Definition

HELP = """\
usage: python -m skysail serve TARGET [OPTIONS]   serve a model; serve TARGET --help tells the options
       python -m skysail dev FILE [OPTIONS]       a front end and the model, again whenever FILE changes
       python -m skysail sklearn FILE [OPTIONS]   serve a fitted estimator of scikit-learn

TARGET is a file or a module, and where that has several models the name of one:
model.py, model.py:Linear, package.module, package.module:Linear

Examples:
  python -m skysail serve model.py --selftest
  python -m skysail serve model:Linear --rpc ipc:///var/lib/skysail/rpc.sock --model m --version 1
  python -m skysail dev model.py
  python -m skysail sklearn digits.joblib --selftest

Exit status: 0 done, 1 the model failed, 2 wrong usage, environment or signature, 130 interrupted.
"""


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(HELP)
        sys.exit(0 if arguments else 2)
    from ._run import fail, find, serve

    command, rest = arguments[0], arguments[1:]
    if command not in ("serve", "dev", "describe", "sklearn"):
        fail(f"no command '{command}': serve, dev or sklearn; --help shows examples")
    if command == "sklearn":
        from ._sklearn import sklearn

        sklearn(rest)
    if not rest or rest[0] in ("-h", "--help"):
        sys.stdout.write(HELP)
        sys.exit(0 if rest else 2)
    if command == "dev":
        from ._dev import dev

        sys.exit(dev(rest))
    if command == "describe":
        describe(find(rest[0]))
        return
    name = f"python -m skysail serve {rest[0]}"
    if "--help" in rest or "-h" in rest:
        from . import _skysail

        _skysail.parse([name, *rest[1:]])
    serve(find(rest[0]), [name, *rest[1:]])


def describe(definition: Definition) -> None:
    """What a model declares, as JSON: for `dev`, which asks a process of its own."""
    import json

    from ._errors import ModelError
    from ._run import fail

    try:
        definition.check()
    except ModelError as error:
        fail(f"the model's signature is not valid: {error}")
    json.dump({"inputs": definition.inputs, "outputs": definition.outputs}, sys.stdout)


if __name__ == "__main__":
    main()
