"""ONNX files, served by `skysail container onnx` and asked as their own library is."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn import datasets
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from conftest import SKYSAIL
from skysail_testing import follow


def command(path, *more):
    return [SKYSAIL, "container", "onnx", str(path), *more]


def served(front, name, path, *more, **inputs):
    """What it answers, and what onnxruntime does."""
    container = front.serve("", name, command=command(path, *more))
    found = front.client.infer(name, **inputs)
    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    expected = dict(zip(names, session.run(names, inputs)))
    assert container.end() == 0, container.log()
    return found, expected


def converted(path, estimator, rows, **options):
    converted = to_onnx(estimator, rows[:1], options={id(estimator): options} if options else None)
    path.write_bytes(converted.SerializeToString())


def built(path, nodes, inputs, outputs, **more):
    """A file of these nodes; tensors are (name, element type, dimensions)."""
    values = [helper.make_tensor_value_info(*value) for value in (*inputs, *outputs)]
    graph = helper.make_graph(nodes, "built", values[: len(inputs)], values[len(inputs) :], **more)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())


def test_a_network_answers_what_onnxruntime_and_scikit_learn_answer(front, tmp_path):
    rows, digits = datasets.load_digits(return_X_y=True)
    rows, digits = (rows[:1024] / 16).astype(np.float32), digits[:1024]
    network = MLPClassifier((32,), max_iter=60, random_state=0, tol=1e-2).fit(rows, digits)
    converted(tmp_path / "digits.onnx", network, rows, zipmap=False)
    found, expected = served(front, "onnx-digits", tmp_path / "digits.onnx", X=rows)
    np.testing.assert_array_equal(found["label"], expected["label"])
    np.testing.assert_array_equal(found["label"], network.predict(rows))
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)


def test_a_forest_answers_what_onnxruntime_answers(front, tmp_path):
    rows, kinds = datasets.load_iris(return_X_y=True)
    rows = rows.astype(np.float32)
    forest = RandomForestClassifier(5, max_depth=4, random_state=0).fit(rows, kinds)
    converted(tmp_path / "iris.onnx", forest, rows, zipmap=False)
    found, expected = served(
        front, "onnx-iris", tmp_path / "iris.onnx", "--output", "probabilities", X=rows
    )
    assert list(found) == ["probabilities"]
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-6)


def test_a_regression_answers_what_onnxruntime_answers(front, tmp_path):
    rows, progress = datasets.load_diabetes(return_X_y=True)
    rows = rows.astype(np.float32)
    regression = MLPRegressor(hidden_layer_sizes=(16,), max_iter=50, random_state=0, tol=1).fit(rows, progress)
    converted(tmp_path / "diabetes.onnx", regression, rows)
    found, expected = served(front, "onnx-diabetes", tmp_path / "diabetes.onnx", X=rows)
    np.testing.assert_allclose(found["variable"], expected["variable"], rtol=1e-4)


def test_a_scaled_linear_classifier_answers_what_onnxruntime_answers(front, tmp_path):
    rows, kinds = datasets.load_breast_cancer(return_X_y=True)
    rows = rows.astype(np.float32)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(rows, kinds)
    converted(tmp_path / "tumours.onnx", pipeline, rows, zipmap=False)
    found, expected = served(front, "onnx-tumours", tmp_path / "tumours.onnx", X=rows)
    np.testing.assert_array_equal(found["label"], expected["label"])
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)


def test_chosen_columns_are_scaled_as_onnxruntime_scales_them(front, tmp_path):
    learning = {"domain": "ai.onnx.ml"}
    nodes = [
        helper.make_node("ArrayFeatureExtractor", ["x", "columns"], ["two"], **learning),
        helper.make_node("Scaler", ["two"], ["y"], offset=[1.0, 2.0], scale=[3.0, -4.0], **learning),
        helper.make_node("ArrayFeatureExtractor", ["table", "n"], ["z"], **learning),
        helper.make_node("Reshape", ["z", "rows"], ["named"]),
    ]
    inputs = [("x", TensorProto.DOUBLE, ["N", 3]), ("n", TensorProto.INT64, ["N"])]
    outputs = [("y", TensorProto.FLOAT, ["N", 2]), ("named", TensorProto.INT64, ["N"])]
    constants = {"columns": [2, 0], "table": [7, 8, 9], "rows": [-1]}
    constants = [helper.make_tensor(name, TensorProto.INT64, [len(of)], of) for name, of in constants.items()]
    path = tmp_path / "columns.onnx"
    built(path, nodes, inputs, outputs, initializer=constants)
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    onnx.save(model, path)
    found, expected = served(front, "onnx-columns", path, x=np.eye(3), n=np.array([2, 0, 1]))
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_several_inputs_of_several_types_are_told_apart(front, tmp_path):
    nodes = [
        helper.make_node("Cast", ["n"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "as_float"], ["y"]),
        helper.make_node("Not", ["flag"], ["other"]),
    ]
    inputs = [("x", TensorProto.FLOAT, ["N", 2]), ("n", TensorProto.INT64, ["N", 1])]
    inputs.append(("flag", TensorProto.BOOL, ["N"]))
    outputs = [("y", TensorProto.FLOAT, ["N", 2]), ("other", TensorProto.BOOL, ["N"])]
    built(tmp_path / "several.onnx", nodes, inputs, outputs)
    found, expected = served(
        front,
        "onnx-several",
        tmp_path / "several.onnx",
        x=np.array([[1, 2], [np.nan, 4], [5, 6]], np.float32),
        n=np.array([[2], [3], [4]]),
        flag=np.array([True, False, True]),
    )
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_batch_of_fixed_rows_is_filled_up(front, tmp_path):
    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    port = (TensorProto.FLOAT, [2, 3])
    built(tmp_path / "two.onnx", nodes, [("x", *port)], [("y", *port)])
    front.serve("", "onnx-two", command=command(tmp_path / "two.onnx"))
    rows = np.arange(15, dtype=np.float32).reshape(5, 3)
    np.testing.assert_array_equal(front.client.infer("onnx-two", x=rows)["y"], 2 * rows)


def test_rows_of_their_own_length_are_run_one_by_one(front, tmp_path):
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    port = (TensorProto.FLOAT, ["N", "length"])
    built(tmp_path / "ragged.onnx", nodes, [("x", *port)], [("y", *port)])
    front.serve("", "onnx-ragged", command=command(tmp_path / "ragged.onnx"))
    for length in (1, 7):
        rows = np.ones((3, length), np.float32)
        np.testing.assert_array_equal(front.client.infer("onnx-ragged", x=rows)["y"], -rows)


def refused(path, *more):
    ran = subprocess.run(
        command(path, "--selftest", *more), stderr=subprocess.PIPE, universal_newlines=True
    )
    assert ran.returncode == 2, ran.stderr
    (line,) = ran.stderr.splitlines()
    return line


def test_what_cannot_be_served_is_told_in_a_line(tmp_path):
    rows, kinds = datasets.load_iris(return_X_y=True)
    forest = RandomForestClassifier(2, max_depth=2, random_state=0).fit(rows, kinds)
    path = tmp_path / "iris.onnx"
    converted(path, forest, rows.astype(np.float32))
    assert refused(path).endswith("operator ZipMap: convert it with the option zipmap=False")
    assert "it has no output 'nope'; it has output_label" in refused(path, "--output", "nope")
    assert "cannot read" in refused(tmp_path / "missing.onnx")
    assert "is no file: name a .onnx file" in refused(tmp_path)
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(b"")
    assert "is empty" in refused(cut)
    cut.write_bytes(path.read_bytes()[:300])
    assert "it is no ONNX model" in refused(cut)
    two = (TensorProto.FLOAT, ["N", 2])
    built(cut, [helper.make_node("Wish", ["x"], ["y"])], [("x", *two)], [("y", *two)])
    assert "tract does not know the operator Wish" in refused(cut)
    nodes = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)]
    built(cut, nodes, [("x", *two)], [("y", TensorProto.FLOAT, [])])
    assert "output 'y'" in refused(cut)
    neg = helper.make_node("Neg", ["x"], ["y"])
    built(cut, [neg], [("x", *two)], [("nowhere", *two)])
    assert "it is not valid: " in refused(cut)
    neg.domain = "com.example"
    built(cut, [neg], [("x", *two)], [("y", *two)])
    assert "tract does not know the operator com.example.Neg" in refused(cut)


def test_a_file_of_a_later_operator_set_is_taken_only_where_that_is_said(tmp_path):
    port = (TensorProto.FLOAT, ["N", 3])
    path = tmp_path / "later.onnx"
    built(path, [helper.make_node("Neg", ["x"], ["y"])], [("x", *port)], [("y", *port)])
    model = onnx.load(path)
    model.opset_import[0].version = 99
    onnx.save(model, path)
    assert "it is of operator set 99, 22 is the latest that is known" in refused(path)
    ran = subprocess.run(command(path, "--any-version", "--selftest"), stdout=subprocess.PIPE)
    assert ran.returncode == 0, ran.stdout


def test_the_self_test_needs_no_front_end(tmp_path):
    port = (TensorProto.FLOAT, ["N", 3])
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    built(tmp_path / "neg.onnx", nodes, [("x", *port)], [("y", *port)])
    ran = subprocess.run(
        command(tmp_path / "neg.onnx", "--selftest"), stdout=subprocess.PIPE, universal_newlines=True
    )
    assert ran.returncode == 0, ran.stdout
    assert "signature: ok ((x: f32[3]) -> (y: f32[3]))" in ran.stdout


def test_the_guide_does_what_it_says():
    places = [str(Path(program).parent) for program in (SKYSAIL, sys.executable)]
    guide = Path(__file__).parents[4] / "docs/guides/onnx.md"
    said = follow(guide, {"PATH": ":".join([*places, os.environ["PATH"]])})
    assert "signature: ok ((X: f32[64]) -> (label: i64, probabilities: f32[10]))" in said
    assert "signature: ok ((X: f32[64]) -> (probabilities: f32[10]))" in said
