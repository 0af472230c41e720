"""`enginebay eval`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from terminal import run

pytestmark = pytest.mark.probed


def test_without_tasks_it_names_those_that_come_with_enginebay() -> None:
    done = run("eval")
    assert done.stdout.split() == ["bay_knowledge", "bay_sums", "bay_text"]


def test_bad_input() -> None:
    done = run("eval", "--tasks", "bay_sums")
    assert (done.returncode, "name one: enginebay eval MODEL" in done.stderr) == (1, True)
    done = run("eval", "smollm2-135m-instruct", "--tasks", "nowhere.yaml")
    assert (done.returncode, "no task file 'nowhere.yaml'" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr


@pytest.mark.model
def test_a_table_a_file_and_nothing_else_on_the_terminal(smollm2_path: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    arguments = ("eval", str(smollm2_path), "--tasks", "bay_sums,bay_knowledge", "--limit", "2")
    done = run(*arguments, "--context-length", "1024", "--output", str(report))
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == f"written to {report}"
    for part in ("bay_sums", "exact_match (first_number)", "acc_norm", "2/50", "more is better", "llama_cpp on cpu"):
        assert part in done.stdout
    saved = json.loads(report.read_text())
    assert [task["task"] for task in saved["tasks"]] == ["bay_sums", "bay_knowledge"]
    assert (saved["limit"], saved["backend"]) == (2, "llama_cpp")
