"""README's samples that need no model."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_the_sample_on_vector_stores(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (code,) = (part for part in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "bay.store" in part)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("a 0.707")
    assert line.endswith("first {'year': 2024}")
