"""The command line in a process of its own, as a user has it."""

from __future__ import annotations

import os
import subprocess
import sys

from conftest import MODEL_FOLDER

KEPT = {"ENGINEBAY_DATA_DIR": str(MODEL_FOLDER), "ENGINEBAY_CACHE_DIR": str(MODEL_FOLDER / "cache")}
"""Conversions of other tests are found again."""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "enginebay", *arguments]


def run(*arguments: str, text: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": "200", **environ}
    return subprocess.run(
        command(*arguments), input=text, capture_output=True, text=True, env=env, timeout=280, check=False
    )
