"""README's samples on searching and answering, as they stand there, on the real models."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.model


def run_sample(word: str, folder: Path, models: Path) -> list[str]:
    """Lines that README's one sample with a word in it prints, run in a folder."""
    readme = (ROOT / "README.md").read_text()
    (code,) = (part for part in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if word in part)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "ENGINEBAY_MODELS__DIRECTORY": str(models)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_sample_on_embedders_and_stores(tmp_path: Path, minilm_path: Path) -> None:
    first, second = run_sample("bay.store", tmp_path, minilm_path.parent)
    number, score, *_ = first.split()
    assert number == "0"
    assert 0.5 < float(score) < 0.7
    assert first.endswith("The cat sleeps. {'year': 2024}")
    assert "Interest rates rose." in second


def test_the_sample_on_searching_and_answering(tmp_path: Path, minilm_path: Path, smollm2_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "stores.md", tmp_path / "docs")
    found = run_sample("Index.open", tmp_path, minilm_path.parent)
    assert found[0].startswith(str(tmp_path / "docs" / "stores.md") + ":")
