"""The command line: what is checked, what is refused, what is told."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import skysail
from conftest import SKYSAIL, until

LINEAR = """\
import numpy as np, skysail

@skysail.model(x="f32[784]", returns={"y": "f32[10]"}, max_batch=64)
class Linear:
    def load(self, ctx): self.w = np.load(ctx.path("w.npy"))
    def predict(self, x): return x @ self.w

skysail.run(Linear)
"""


def test_a_linear_scorer_is_eight_lines_and_passes_the_self_test(python, tmp_path):
    assert len(LINEAR.splitlines()) == 8
    (tmp_path / "linear.py").write_text(LINEAR)
    # Doubles, as numpy saves them.
    np.save(tmp_path / "w.npy", np.random.default_rng(1).normal(size=(784, 10)))
    status, out, err = python("linear.py", "--selftest")
    assert status == 0, out + err
    assert out.count(": ok") == 9 and "FAILED" not in out
    assert "signature: ok ((x: f32[784]) -> (y: f32[10]))" in out
    # The same by the module's command, which does not run the file's own `run`.
    assert python("-m", "skysail", "serve", "linear:Linear", "--selftest")[0] == 0
    assert python("-m", "skysail", "serve", "linear.py", "--selftest")[0] == 0


def test_the_example_passes_the_self_test(python):
    status, out, err = python(Path(__file__).parents[2] / "examples/noop.py", "--selftest")
    assert status == 0, out + err


def test_the_self_test_finds_a_model_that_depends_on_its_neighbours(python, tmp_path):
    (tmp_path / "model.py").write_text(
        "import numpy as np, skysail\n"
        "@skysail.model(x='f32[2]', returns='f32[2]')\n"
        "def placed(x): return x + np.arange(len(x))[:, None]\n"
        "skysail.run(placed)\n"
    )
    status, out, _ = python("model.py", "--selftest")
    assert (status, "permuted rows: FAILED: row 1 gets another 'output'" in out) == (1, True), out


@pytest.mark.parametrize(
    "target, told",
    [
        ("nowhere.py", "error: no file nowhere.py in "),
        ("nowhere", "error: no module 'nowhere' in "),
        ("nowhere.inside:Model", "error: no module 'nowhere.inside' in "),
        ("good.py:Wrong", "error: good.py has no 'Wrong'; its models are one, two"),
        ("good.py", "error: good.py has 2 models; say which one: good.py:one, good.py:two"),
        ("good.py:plain", "error: plain is not a model: decorate it with @skysail.model(...)"),
        ("lacking.py", "error: lacking.py does not import: No module named 'no_such'; install it: "),
        ("empty.py", "error: empty.py has no model: decorate a class or a function"),
        ("unfit.py", "error: the model's signature is not valid: model bad: 'f33' is not a tensor"),
    ],
)
def test_what_cannot_be_found_is_one_line_and_status_2(python, tmp_path, target, told):
    good = "import skysail\ndef plain(x): return x\n"
    for name in ("one", "two"):
        good += f"@skysail.model(x='f32', returns='f32')\ndef {name}(x): return x\n"
    (tmp_path / "good.py").write_text(good)
    (tmp_path / "lacking.py").write_text("import no_such.module\n")
    (tmp_path / "empty.py").write_text("import skysail\n")
    (tmp_path / "unfit.py").write_text(
        "import skysail\n@skysail.model(x='f33', returns='f32')\ndef bad(x): return x\n"
    )
    status, out, err = python("-m", "skysail", "serve", target, "--selftest")
    assert status == 2, out + err
    assert err.startswith(told) and len(err.splitlines()) == 1, err


def test_usage_is_told_and_errors_of_it_are_status_2(python, tmp_path):
    (tmp_path / "model.py").write_text(LINEAR)
    status, out, _ = python("model.py", "--help")
    assert status == 0
    for needle in ("--workers", "SKYSAIL_RPC", "--selftest", "Examples:", "Exit status"):
        assert needle in out, needle
    assert python("-m", "skysail", "serve", "model.py", "--help")[0] == 0
    assert python("-m", "skysail", "--help")[0] == 0
    for wrong in (["--slots", "0"], ["--workers", "0"], ["--no-such"]):
        status, _, err = python("model.py", *wrong)
        assert status == 2 and "error:" in err
    status, _, err = python("model.py")
    assert (status, "--rpc (or SKYSAIL_RPC) is not given" in err) == (2, True), err
    for wrong in ([], ["serve"], ["no-such", "x"]):
        assert python("-m", "skysail", *wrong)[0] == 2
    (tmp_path / "broken.py").write_text("import skysail\nraise KeyError('oops')\n")
    status, _, err = python("-m", "skysail", "serve", "broken.py")
    assert status == 1 and err.splitlines()[-1] == "error: broken.py does not import: see above"


def test_a_python_that_is_too_old_or_lacks_numpy_is_told_so(python):
    # No old interpreter is needed to see what one would say.
    code = "import sys; sys.version_info = (3, 8, 1); import skysail"
    status, _, err = python("-c", code)
    assert (status, err.startswith("error: skysail needs Python 3.9 or later")) == (2, True), err
    code = "import sys; sys.modules['numpy'] = None; import skysail"
    status, _, err = python("-c", code)
    assert (status, err.startswith("error: skysail needs numpy: ")) == (2, True), err


def test_the_installed_package_has_its_types_and_version(python):
    folder = Path(skysail.__file__).parent
    assert (folder / "py.typed").exists() and (folder / "_skysail.pyi").exists()
    status, out, _ = python("-c", "import skysail; print(skysail.__version__)")
    assert (status, out.strip()) == (0, skysail.__version__)


def test_dev_serves_a_file_again_when_it_changes(tmp_path):
    text = (
        "import skysail\n"
        "@skysail.model(x='f32[2]', returns='f32')\n"
        "def scaled(x): return x.sum(axis=1) * {}\n"
    )
    (tmp_path / "model.py").write_text(text.format(2))
    # Which is `python -m skysail dev`, with this program as its front end.
    command = [SKYSAIL, "dev", "--python", sys.executable, "model.py", "--data-dir", "data"]
    command += ["--query", "127.0.0.1:0", "--management", "127.0.0.1:0"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stderr=log, stdout=log)
    try:
        told = lambda: (tmp_path / "log").read_text()  # noqa: E731

        def serves(version):
            assert process.poll() is None, told()
            return f"model version {version} serves" in told()

        until("the first version", lambda: serves(1))
        client = skysail.Client(data_dir=tmp_path / "data")
        assert client.predict("model", [1, 2]).output == 6
        # A fault in between is told, and the old version goes on.
        (tmp_path / "model.py").write_text("def scaled(:\n")
        until("the fault", lambda: "change a file to go on" in told())
        assert client.predict("model", [1, 3]).output == 8
        (tmp_path / "model.py").write_text(text.format(10))
        until("the second version", lambda: serves(2))
        assert client.predict("model", [1, 2]).output == 30
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, told()
        assert not client.is_ready()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_dev_says_what_it_lacks(python, tmp_path):
    status, _, err = python("-m", "skysail", "dev", "nowhere.py")
    assert status == 2 and err.startswith("error: no file nowhere.py in ")
    (tmp_path / "model.py").write_text(LINEAR)
    status, _, err = python("-m", "skysail", "dev", "model.py", SKYSAIL="", PATH="")
    assert status == 2 and "install skysail, or set SKYSAIL" in err
