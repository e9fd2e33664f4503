"""The protocol, case by case, over every transport."""

import subprocess
import sys
from pathlib import Path

from conftest import SKYSAIL


def test_the_package_passes_the_conformance_suite():
    suite = Path(__file__).parent / "suite.py"
    command = [SKYSAIL, "conformance", "--patience", "60", "--", sys.executable, str(suite)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert " 0 failed, " in ran.stdout.splitlines()[-1]
