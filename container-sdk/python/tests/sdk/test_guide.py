"""The guide's files and commands work as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
GUIDE = ROOT / "docs/guides/python.md"
#: Free ports; the commands find them by the data directory.
SETTINGS = {
    "SKYSAIL_SERVE_QUERY": "127.0.0.1:0",
    "SKYSAIL_SERVE_MANAGEMENT": "127.0.0.1:0",
    "SKYSAIL_SERVE_RPC": '["127.0.0.1:0"]',
    "SKYSAIL_SERVE_DRAIN_NOTICE_SECONDS": "0",
}


def test_everything_in_the_guide_works_in_its_order(tmp_path):
    blocks = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)
    assert [name for _, name, _ in blocks if name] == [
        "linear.py",
        "test_linear.py",
        "train.py",
        "ask.py",
        "prices.py",
    ]
    script = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT"]
    for language, name, text in blocks:
        if name:
            (tmp_path / name).write_text(text)
        elif language == "sh":
            script.append(text)
    programs = f"{Path(sys.executable).parent}:{Path(os.environ['SKYSAIL']).parent}"
    environment = {**os.environ, **SETTINGS, "PATH": f"{programs}:{os.environ['PATH']}"}
    # Files: what the front end leaves behind must not keep a pipe open.
    with open(tmp_path / "told", "wb") as told:
        status = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=tmp_path,
            env=environment,
            stdout=told,
            stderr=told,
            timeout=300,
            check=False,
        ).returncode
    text = (tmp_path / "told").read_text()
    assert status == 0, text
    assert "{1: 'the area is not positive'}" in text
    assert text.count(": ok") == 5 * 9, text


def test_the_guides_scorer_is_the_readmes():
    readme = (ROOT / "README.md").read_text()
    scorer = re.search(r"^```python linear.py\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)
    assert scorer and len(scorer.group(1).splitlines()) == 8
    if "skysail.run(Linear)" not in readme:
        pytest.fail("README.md does not show the scorer")
    assert scorer.group(1).strip() in readme
