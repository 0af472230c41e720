"""The plugin template's own tests pass, run as a plugin author runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TEMPLATE = Path(__file__).parents[2] / "contrib" / "plugin-template"


def test_template_passes_its_own_tests() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "tests"]
    environment = os.environ | {"PYTHONPATH": str(TEMPLATE / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=TEMPLATE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
