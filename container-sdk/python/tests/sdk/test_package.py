"""``skysail package`` for models in Python: what it takes along, and that it runs elsewhere."""

import json
import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import skysail_testing
from skysail_testing import PATIENCE_SECONDS, SKYSAIL

GUIDE = Path(__file__).resolve().parents[4] / "docs/guides/package.md"
MODEL = """\
import json, numpy as np, skysail
from helper import twice

@skysail.model(x="f32", returns="f32")
def double(x): return twice(x)
"""


@pytest.fixture
def package(tmp_path):
    """Packs the folder ``m``: exit status and what was written."""
    (tmp_path / "m").mkdir()

    def run(*arguments):
        command = [SKYSAIL, "package", "m", "--python", sys.executable, *arguments]
        ran = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
        return ran.returncode, ran.stdout, ran.stderr

    return run


def test_the_guide_works_in_its_order_without_an_index(tmp_path):
    # The libraries of the tests are for the environment that the model is made in, not for the
    # one that the package is installed into.
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    inherited = os.environ.get("PYTHONPATH", "")
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{inherited}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    path = f"{python.parent}:{Path(SKYSAIL).resolve().parent}:{os.environ['PATH']}"
    said = skysail_testing.follow(GUIDE, {"PATH": path, "PYTHONPATH": "", "PIP_NO_INDEX": "1"})
    assert "left out: .env (it may be secret)" in said
    assert said.count(": ok") == 9, said


def test_only_what_the_model_needs_is_taken_along_and_pinned(package, tmp_path):
    (tmp_path / "m/model.py").write_text(MODEL)
    (tmp_path / "m/helper.py").write_text("def twice(x): return 2 * x\n")
    status, out, err = package("--json")
    assert status == 0, err
    told = json.loads(out)
    assert (told["kind"], told["entry"]) == ("python", "model.py")
    requirements = (tmp_path / "m-package/requirements.txt").read_text().splitlines()
    assert requirements == [
        "--find-links wheels",
        f"numpy=={metadata.version('numpy')}",
        f"skysail=={metadata.version('skysail')}",
    ]
    # Installed from a file, so that no index has it.
    (wheel,) = (tmp_path / "m-package/wheels").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        assert "skysail/__init__.py" in archive.namelist()
    ran = subprocess.run([tmp_path / "m-package/run", "--selftest"], env={
        **os.environ, "SKYSAIL_PYTHON": sys.executable}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_one_folder_gives_the_same_bytes(package, tmp_path):
    (tmp_path / "m/model.py").write_text(MODEL)
    (tmp_path / "m/helper.py").write_text("def twice(x): return 2 * x\n")
    for name in ("a", "b"):
        assert package("--image", "--output", name)[0] == 0
    files = [
        {path.relative_to(top): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (tmp_path / "a", tmp_path / "b")
    ]
    assert files[0] == files[1]
    assert f"ARG BASE=python:{sys.version_info[0]}.{sys.version_info[1]}-slim-bookworm" in (
        tmp_path / "a/Dockerfile"
    ).read_text()


def test_an_estimator_needs_what_its_file_holds(package, tmp_path):
    import joblib
    from sklearn import datasets, linear_model

    fitted = linear_model.LogisticRegression(max_iter=5000).fit(*datasets.load_iris(return_X_y=True))
    joblib.dump(fitted, tmp_path / "m/iris.joblib")
    status, _, err = package()
    assert status == 0, err
    pinned = (tmp_path / "m-package/requirements.txt").read_text()
    for name in ("joblib", "numpy", "scikit-learn", "scipy", "threadpoolctl"):
        assert f"\n{name}=={metadata.version(name)}\n" in pinned, pinned
    assert "pytest" not in pinned
    ran = subprocess.run([tmp_path / "m-package/run", "--selftest"], env={
        **os.environ, "SKYSAIL_PYTHON": sys.executable}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_an_onnx_file_has_its_program_with_it(package, tmp_path):
    from onnx import TensorProto, helper, save

    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", tensors[:1], tensors[1:])
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m/neg.onnx")
    status, _, err = package()
    assert status == 0, err
    ran = subprocess.run([tmp_path / "m-package/run", "--selftest"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and "(x: f32[3]) -> (y: f32[3])" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    "source, arguments, told",
    [
        (MODEL, (), "model.py imports 'helper', which this Python lacks"),
        (MODEL.replace("from helper", "from"), (), "model.py is no Python 3."),
        ("import skysail\n# skysail.model(", ("--requirement", "no-such"), "--requirement no-such: this Python has no"),
    ],
)
def test_what_cannot_be_packed_is_one_line_and_leaves_nothing(package, tmp_path, source, arguments, told):
    (tmp_path / "m/model.py").write_text(source)
    status, _, err = package(*arguments)
    assert status == 2 and told in err and err.count("\n") == 1, err
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_package_in_editable_form_is_refused(package, tmp_path):
    (tmp_path / "m/model.py").write_text(MODEL.replace("helper", "mine"))
    site = tmp_path / "site"
    info = site / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "mine.py").write_text("")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "RECORD").write_text("mine.py,,\n")
    (info / "direct_url.json").write_text('{"url": "file:///src/mine", "dir_info": {"editable": true}}')
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{site}:{before}"
    try:
        status, _, err = package()
    finally:
        os.environ["PYTHONPATH"] = before
    assert status == 2 and "mine is installed in editable form from file:///src/mine" in err, err
