"""``python -m skysail sklearn PATH``: serves a fitted estimator of scikit-learn from its file."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ._model import Definition, definition_of, missing, model
from ._run import fail, serve

#: What an estimator may be asked, and what its answer is called.
METHODS: Dict[str, str] = {
    "predict": "y",
    "predict_proba": "p",
    "predict_log_proba": "log_p",
    "decision_function": "score",
    "score_samples": "score",
    "transform": "z",
}

#: Element types of answers, by numpy's kind and bytes.
DATATYPES: Dict[str, str] = {
    "b1": "bool",
    "i1": "i8",
    "i2": "i16",
    "i4": "i32",
    "i8": "i64",
    "u1": "u8",
    "u2": "u16",
    "u4": "u32",
    "u8": "u64",
    "f2": "f16",
    "f4": "f32",
    "f8": "f64",
}

EXAMPLES = """\
The number of features is the file's own, or --features; what the outputs are is found by asking
for two rows of zeros. A joblib or pickle file runs code when it is read: serve only your own. All
other options are the container's; python -m skysail serve TARGET --help tells them.

Examples:
  python -m skysail sklearn digits.joblib --selftest
  python -m skysail sklearn digits.skops --method predict --method predict_proba \\
      --rpc ipc:///var/lib/skysail/rpc.sock --model digits --version 1
"""


def sklearn(arguments: List[str]) -> None:
    """Serves the file, and ends the program."""
    parser = argparse.ArgumentParser(
        prog="python -m skysail sklearn",
        description="Serves a fitted estimator or pipeline of scikit-learn.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("path", type=Path, help="a .joblib, .pkl or .skops file")
    parser.add_argument(
        "--method",
        action="append",
        choices=sorted(METHODS),
        help="what is asked; again for more outputs (default: predict, or else transform)",
    )
    parser.add_argument("--features", type=int, metavar="N", help="where the file does not say")
    parser.add_argument("--dtype", choices=("f32", "f64"), default="f64", help="of the features")
    parser.add_argument("--max-batch", type=int, default=1024, metavar="ROWS")
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="TYPE",
        help="a type that a skops file may hold besides those of scikit-learn, or 'all'",
    )
    parser.add_argument(
        "--any-version", action="store_true", help="take a file of another scikit-learn"
    )
    options, rest = parser.parse_known_args(arguments)
    estimator = read(options.path, options.trust, options.any_version)
    name = f"python -m skysail sklearn {options.path}"
    serve(definition(estimator, options), [name, *rest])


def read(path: Path, trust: Sequence[str], any_version: bool) -> Any:
    """What a file holds; ends the program if that cannot be read."""
    if not path.is_file():
        fail(f"no file {path} in {Path.cwd()}: name a .joblib, .pkl or .skops file")
    try:
        from sklearn.exceptions import InconsistentVersionWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if any_version else "error", InconsistentVersionWarning)
            return read_skops(path, trust) if path.suffix == ".skops" else read_joblib(path)
    except ImportError as error:
        fail(f"{path} cannot be read: {missing(error)}")
    except InconsistentVersionWarning as old:
        fail(
            f"{path} was written by scikit-learn {old.original_sklearn_version}, this is "
            f"{old.current_sklearn_version}: install scikit-learn=={old.original_sklearn_version}, "
            "write the file again, or say --any-version"
        )
    except Exception as error:
        text = " ".join(str(error).split())
        fail(f"{path} holds no estimator that can be read: {type(error).__name__}: {text}")


def read_joblib(path: Path) -> Any:
    import joblib

    return joblib.load(path)


def read_skops(path: Path, trust: Sequence[str]) -> Any:
    import skops.io

    unknown = skops.io.get_untrusted_types(file=path)
    trusted = unknown if "all" in trust else list(trust)
    unknown = [name for name in unknown if name not in trusted]
    if unknown:
        fail(
            f"{path} holds types that are not known to be safe: {', '.join(unknown)}; "
            "if they are, say --trust TYPE for each, or --trust all"
        )
    return skops.io.load(path, trusted=trusted)


def definition(estimator: Any, options: Any) -> Definition:
    """The estimator as a model, its signature found by asking it."""
    methods = options.method or [default_method(estimator, options.path)]
    for method in methods:
        if not callable(getattr(estimator, method, None)):
            known = [other for other in METHODS if callable(getattr(estimator, other, None))]
            fail(f"{kind(estimator)} has no {method}; it has {', '.join(known)}")
    features = options.features or getattr(estimator, "n_features_in_", None)
    if features is None:
        fail(f"{options.path} does not say how many features it takes: say --features N")
    answers = probe(estimator, methods, features, options.dtype)
    returns = {name: signature(name, rows) for name, rows in answers}

    @model(x=f"{options.dtype}[{features}]", returns=returns, max_batch=options.max_batch)
    class Estimator:
        def predict(self, x: Any) -> Dict[str, Any]:
            return {name: plain(rows) for name, rows in ask(estimator, methods, x)}

    return definition_of(Estimator)


def default_method(estimator: Any, path: Path) -> str:
    for method in ("predict", "transform"):
        if callable(getattr(estimator, method, None)):
            return method
    fail(f"{path} holds a {kind(estimator)}, which is no estimator: it has no predict or transform")


def probe(
    estimator: Any, methods: Sequence[str], features: int, dtype: str
) -> List[Tuple[str, Any]]:
    rows = np.zeros((2, features), {"f32": "f4", "f64": "f8"}[dtype])
    try:
        return ask(estimator, methods, rows)
    except Exception as error:
        text = " ".join(str(error).split())
        fail(
            f"{kind(estimator)} does not answer rows of {features} numbers: "
            f"{type(error).__name__}: {text}"
        )


def ask(estimator: Any, methods: Sequence[str], x: Any) -> List[Tuple[str, Any]]:
    """The outputs by name; an estimator of several outputs gives a list for some methods."""
    answers = []
    with warnings.catch_warnings():
        # It was fitted with names of columns, and gets none: their order is the file's.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        for method in methods:
            found = getattr(estimator, method)(x)
            if isinstance(found, (list, tuple)):
                answers += [(f"{METHODS[method]}{at}", one) for at, one in enumerate(found)]
            else:
                answers.append((METHODS[method], found))
    return answers


def signature(name: str, rows: Any) -> str:
    rows = dense(rows)
    dims = list(rows.shape[1:])
    if rows.shape[:1] != (2,):
        fail(f"output '{name}' has shape {rows.shape} for two rows: its rows are not answers")
    if rows.dtype.kind in "OUS":
        datatype = "string"
    else:
        code = f"{rows.dtype.kind}{rows.dtype.itemsize}"
        datatype = DATATYPES.get(code, "")
    if not datatype:
        fail(f"output '{name}' has elements of {rows.dtype}, which are no tensor's")
    return f"{datatype}[{','.join(map(str, dims))}]" if dims else datatype


def plain(rows: Any) -> Any:
    rows = dense(rows)
    return rows.astype(str).tolist() if rows.dtype.kind in "OUS" else rows


def dense(rows: Any) -> Any:
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows)


def kind(estimator: Any) -> str:
    return type(estimator).__name__
