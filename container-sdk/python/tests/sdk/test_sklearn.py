"""Estimators of scikit-learn, served from their files."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
import skops.io
import sklearn.base
from sklearn import datasets
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from conftest import SKYSAIL

COMMAND = [sys.executable, "-m", "skysail", "sklearn"]


def classifier(data):
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(*data)


def test_a_pipeline_answers_what_the_library_answers(front, tmp_path):
    rows, answers = datasets.load_breast_cancer(return_X_y=True)
    pipeline = classifier((rows, answers))
    joblib.dump(pipeline, tmp_path / "tumours.joblib")
    command = [*COMMAND, str(tmp_path / "tumours.joblib")]
    command += ["--method", "predict", "--method", "predict_proba"]
    front.serve("", "sk-tumours", "doubles", command=command)
    found = front.client.infer("sk-tumours", x=rows)
    np.testing.assert_array_equal(found["y"], pipeline.predict(rows))
    np.testing.assert_allclose(found["p"], pipeline.predict_proba(rows), rtol=1e-12)
    output = front.client.predict("sk-tumours", rows[0]).output
    assert output["y"] == pipeline.predict(rows[:1])[0]


def test_classes_may_be_texts_and_the_file_one_of_skops(front, tmp_path):
    flowers = datasets.load_iris()
    names = flowers.target_names[flowers.target]
    pipeline = classifier((flowers.data, names))
    skops.io.dump(pipeline, tmp_path / "flowers.skops")
    front.serve("", "sk-flowers", command=[*COMMAND, str(tmp_path / "flowers.skops")])
    found = front.client.infer("sk-flowers", x=flowers.data)["y"]
    assert [name.decode() for name in found] == list(pipeline.predict(flowers.data))


def test_a_regressor_of_several_answers_takes_single_precision(front, tmp_path):
    rows, answer = datasets.load_diabetes(return_X_y=True)
    both = np.stack([answer, answer**2], axis=1)
    neighbours = KNeighborsRegressor(3).fit(rows, both)
    joblib.dump(neighbours, tmp_path / "diabetes.pkl")
    command = [*COMMAND, str(tmp_path / "diabetes.pkl"), "--dtype", "f32"]
    front.serve("", "sk-diabetes", "floats", command=command)
    single = rows.astype(np.float32)
    found = front.client.infer("sk-diabetes", x=single)["y"]
    np.testing.assert_allclose(found, neighbours.predict(single), rtol=1e-6)


def test_the_self_test_needs_no_front_end(python, tmp_path):
    joblib.dump(Ridge().fit(*datasets.load_diabetes(return_X_y=True)), tmp_path / "ridge.joblib")
    status, out, err = python("-m", "skysail", "sklearn", "ridge.joblib", "--selftest")
    assert status == 0, out + err
    assert "signature: ok ((x: f64[10]) -> (y: f64))" in out


def test_the_skysail_program_has_it_as_a_verb(tmp_path):
    joblib.dump(Ridge().fit(*datasets.load_diabetes(return_X_y=True)), tmp_path / "ridge.joblib")
    command = [SKYSAIL, "container", "sklearn", "--python", sys.executable]
    command += [str(tmp_path / "ridge.joblib"), "--selftest"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and "signature: ok" in ran.stdout, ran


def double(x):
    return 2 * x


@pytest.mark.parametrize(
    "written, arguments, told",
    [
        (None, [], "error: no file model.joblib in "),
        (
            {"no": "estimator"},
            [],
            "model.joblib holds a dict, which is no estimator: it has no predict or transform",
        ),
        (
            Ridge().fit([[0.0], [1.0]], [0.0, 1.0]),
            ["--method", "predict_proba"],
            "Ridge has no predict_proba; it has predict",
        ),
        (
            Ridge().fit([[0.0], [1.0]], [0.0, 1.0]),
            ["--features", "3"],
            "Ridge does not answer rows of 3 numbers: ValueError: X has 3 features, but Ridge",
        ),
        (Ridge(), [], "model.joblib does not say how many features it takes: say --features N"),
        (
            Ridge(),
            ["--features", "3"],
            "Ridge does not answer rows of 3 numbers: NotFittedError: This Ridge instance is not",
        ),
    ],
)
def test_what_cannot_be_served_is_one_line_and_status_2(
    python, tmp_path, written, arguments, told
):
    if written is not None:
        joblib.dump(written, tmp_path / "model.joblib")
    status, out, err = python("-m", "skysail", "sklearn", "model.joblib", *arguments)
    assert (status, out) == (2, ""), err
    assert told in err and len(err.splitlines()) == 1


def test_a_file_that_is_no_pickle_is_one_line(python, tmp_path):
    (tmp_path / "model.joblib").write_bytes(b"PK no pickle\n")
    status, _, err = python("-m", "skysail", "sklearn", "model.joblib")
    assert status == 2 and len(err.splitlines()) == 1
    assert err.startswith("error: model.joblib holds no estimator that can be read: ")


def test_a_file_of_another_version_is_taken_only_where_that_is_said(
    python, tmp_path, monkeypatch
):
    monkeypatch.setattr(sklearn.base, "__version__", "1.0.2")
    joblib.dump(Ridge().fit([[0.0], [1.0]], [0.0, 1.0]), tmp_path / "old.joblib")
    status, _, err = python("-m", "skysail", "sklearn", "old.joblib", "--selftest")
    assert status == 2 and len(err.splitlines()) == 1
    assert "old.joblib was written by scikit-learn 1.0.2, this is " in err
    assert "install scikit-learn==1.0.2" in err
    arguments = ("-m", "skysail", "sklearn", "old.joblib", "--any-version", "--selftest")
    assert python(*arguments)[0] == 0


def test_types_that_skops_does_not_know_are_named(python, tmp_path):
    scaler = make_pipeline(FunctionTransformer(double)).fit([[1.0]])
    skops.io.dump(scaler, tmp_path / "double.skops")
    arguments = ("-m", "skysail", "sklearn", "double.skops", "--features", "1")
    status, _, err = python(*arguments)
    assert status == 2 and len(err.splitlines()) == 1
    assert "double.skops holds types that are not known to be safe: " in err
    assert "test_sklearn.double" in err and "--trust all" in err
