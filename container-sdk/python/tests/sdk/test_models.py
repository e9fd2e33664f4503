"""Real models on real data: what comes over HTTP is what the library says."""

import asyncio
import http.client
import importlib.util
import json
import sys

import numpy as np
import pytest
from sklearn import datasets

import joblib
import skysail
from conftest import MODELS


@pytest.fixture(scope="module")
def trained():
    """The functions of the model files, which train what the containers serve."""

    def load(name):
        sys.path.insert(0, str(MODELS))
        try:
            import skysail._run as run

            run._found = []
            spec = importlib.util.spec_from_file_location(name, MODELS / f"{name}.py")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
        finally:
            run._found = None
            sys.path.pop(0)

    return load


def test_digits_softmax_in_batches_over_v2_and_one_by_one_over_clipper(front, trained):
    images, _ = datasets.load_digits(return_X_y=True)
    images = images.astype(np.float32)
    front.serve("digits.py:Digits", "digits", "floats")
    expected = trained("digits").train().predict_proba(images / np.float32(16))
    for start in range(0, len(images), 300):
        part = slice(start, start + 300)
        found = front.client.infer("digits", x=images[part])
        assert found["p"].dtype == np.float64 and found["digit"].dtype == np.int32
        np.testing.assert_allclose(found["p"], expected[part], rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(found["digit"], expected[part].argmax(axis=1))
    for image, p in zip(images[:5], expected):
        output = front.client.predict("digits", image).output
        np.testing.assert_allclose(output["p"], p, rtol=1e-6, atol=1e-9)
        assert output["digit"] == p.argmax()
    shown = {replica["transport"] for replica in front.replicas("digits")}
    assert shown == {"shm"}
    # Without this package's client.
    connection = http.client.HTTPConnection(front.ready["query"], timeout=60)
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 64]}]}
    body["inputs"][0]["data"] = images[:2].reshape(-1).tolist()
    connection.request("POST", "/v2/models/digits/infer", json.dumps(body))
    outputs = json.loads(connection.getresponse().read())["outputs"]
    np.testing.assert_allclose(outputs[0]["data"], expected[:2].reshape(-1), rtol=1e-6)
    connection.close()


def test_iris_by_four_named_inputs_row_by_row(front, trained):
    flowers = datasets.load_iris()
    front.serve("flowers.py", "flowers")
    forest, names = trained("flowers").train()
    columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    found = front.client.infer("flowers", **dict(zip(columns, flowers.data.T)))
    expected = forest.predict_proba(flowers.data)
    np.testing.assert_array_equal(found["p"], expected)
    assert [name.decode() for name in found["name"]] == list(names[expected.argmax(axis=1)])


def test_breast_cancer_by_a_pipeline_from_a_file(front, trained, tmp_path):
    rows, _ = datasets.load_breast_cancer(return_X_y=True)
    pipeline = trained("tumours").train()
    joblib.dump(pipeline, tmp_path / "pipeline.joblib")
    front.serve("tumours.py", "tumours", "doubles", "--path", str(tmp_path))
    found = front.client.infer("tumours", x=rows)["output"]
    np.testing.assert_allclose(found, pipeline.predict_proba(rows), rtol=1e-9, atol=1e-15)


def test_diabetes_in_place_from_threads_and_from_asyncio(front, trained):
    rows, _ = datasets.load_diabetes(return_X_y=True)
    front.serve("diabetes.py", "diabetes", "doubles")
    expected = trained("diabetes").train().predict(rows)
    answers = front.client.predict_batch("diabetes", list(rows))
    assert not any(answer.default for answer in answers)
    np.testing.assert_allclose([answer.output for answer in answers], expected, rtol=1e-9)

    async def ask():
        ready = front.ready
        async with skysail.AsyncClient(ready["query"], ready["management"], timeout=60) as client:
            assert await client.is_ready("diabetes")
            one_by_one = [client.predict("diabetes", row) for row in rows[:50]]
            return (
                [answer.output for answer in await asyncio.gather(*one_by_one)],
                await client.infer("diabetes", x=rows),
                await client.admin.application("diabetes"),
            )

    one_by_one, inferred, application = asyncio.run(ask())
    np.testing.assert_allclose(one_by_one, expected[:50], rtol=1e-9)
    np.testing.assert_allclose(inferred["y"], expected, rtol=1e-12)
    assert application["linked_models"] == ["diabetes"]


def test_a_perceptron_over_the_socket(front, trained, tmp_path):
    rng = np.random.default_rng(1)
    shapes = {"w1": (64, 32), "b1": 32, "w2": (32, 10), "b2": 10}
    w = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    np.savez(tmp_path / "mlp.npz", **w)
    more = ("--path", str(tmp_path), "--shared-memory", "false")
    front.serve("mlp.py", "mlp", "floats", *more)
    images = datasets.load_digits().data[:1000].astype(np.float32)
    found = front.client.infer("mlp", x=images)["y"]
    np.testing.assert_allclose(found, trained("mlp").forward(images, w), rtol=1e-4, atol=1e-3)
    assert {replica["transport"] for replica in front.replicas("mlp")} == {"ipc"}


@pytest.mark.parametrize("shared", ["true", "false"])
def test_every_element_type_and_kind_of_row_comes_back(front, shared):
    name = f"every-{shared}"
    front.serve("every.py", name, "tensors", "--shared-memory", shared)
    rng = np.random.default_rng(2)
    edges = {
        "t_bool": np.array([[True, False], [False, True], [True, True]]),
        "t_f16": np.array([[1.5, -65504], [6e-8, np.inf], [0, -0.0]], np.float16),
        "t_bf16": rng.integers(0, 0x7F80, (3, 2), np.uint16),
        "t_f32": np.array([[1.5, -3.4e38], [1e-45, np.inf], [0, -0.0]], np.float32),
        "t_f64": np.array([[0.1, -1e300], [5e-324, np.inf], [0, -0.0]]),
        "scalar": np.array([1, 2, 3], np.float32),
        "matrix": rng.integers(-9, 9, (3, 2, 3), np.int32),
        "text": np.array(["", "é", "long " * 100], object),
        "blob": np.array([b"", b"\xff\x00", b"x" * 1000], object),
        "pair": np.array([["a", ""], ["é", "b"], ["c", "d"]], object),
        # Rows of one request are alike; batches of several requests are not.
        "ragged": rng.normal(size=(3, 5)).astype(np.float32),
        "wide": rng.integers(-9, 9, (3, 4, 2)),
        "image": rng.integers(0, 255, (3, 2, 7, 3), np.uint8),
        "tags": np.array([[b"a", b"bc"], [b"", b"d"], [b"e", b"f"]], object),
    }
    for kind in ("int", "uint"):
        for bits in (8, 16, 32, 64):
            info = np.iinfo(f"{kind}{bits}")
            rows = [[info.min, info.max], [0, 1], [2, 3]]
            edges[f"t_{kind[0]}{bits}"] = np.array(rows, f"{kind}{bits}")
    found = front.client.infer(name, **edges)
    assert found.keys() == edges.keys()
    for key, expected in edges.items():
        assert found[key].shape == expected.shape, key
        if expected.dtype == object:
            texts = [t.encode() if isinstance(t, str) else t for t in expected.reshape(-1)]
            assert found[key].reshape(-1).tolist() == texts, key
        else:
            assert found[key].dtype == expected.dtype, key
            np.testing.assert_array_equal(found[key], expected, key)
