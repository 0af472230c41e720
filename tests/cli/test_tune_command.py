"""`enginebay tune --check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from terminal import KEPT, run

PROFILES = Path(__file__).parents[1] / "hardware_profiles"

JOB = 'model = "smollm2-135m-instruct"\ndata = "train.jsonl"\noutput = "tuned"\nmethod = "full"\n'


HERE = ("--check", "--hardware", str(PROFILES / "container_2gb.json"))


@pytest.fixture
def job(tmp_path: Path) -> Path:
    rows = [{"text": f"text {number}", "label": "ab"[number % 2]} for number in range(6)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    file = tmp_path / "job.toml"
    file.write_text(JOB + "batch_size = 1\nmax_length = 16\n")
    return file


def test_a_job_that_fits_is_looked_over(job: Path) -> None:
    done = run("tune", str(job), "--check", "--hardware", str(PROFILES / "rtx_4090_workstation.json"))
    assert done.returncode == 0, done.stderr
    assert "full of smollm2-135m-instruct" in done.stdout
    assert f"{job.parent / 'train.jsonl'}: 7 examples, labelled text (a 4, b 3)" in done.stdout
    assert "warning: 1 examples stand in the file before (lines 7)" in done.stdout
    assert "weights 0.54 + gradients 0.54 + optimizer 1.08" in done.stdout
    assert "GB on each device; 25.02 GB are free" in done.stdout


def test_this_machine_is_looked_at_as_well(job: Path) -> None:
    done = run("tune", str(job), "--check", "--json", ENGINEBAY_CACHE_DIR=KEPT["ENGINEBAY_CACHE_DIR"])
    told = json.loads(done.stdout)
    parts = ("weights", "gradients", "optimizer", "activations")
    assert told["memory"]["total"] == sum(told["memory"][name] for name in parts) > 2.1e9
    assert (told["job"]["method"], told["data"][0]["examples"]) == ("full", 7)
    assert (done.returncode == 0) is (told["memory"]["total"] <= told["memory"]["available"])


@pytest.mark.parametrize(
    ("machine", "settings", "way_out"),
    [
        ("rtx_4090_workstation", "batch_size = 40\nmax_length = 1024\n", "gradient_checkpointing = true"),
        ("rtx_4090_workstation", "batch_size = 56\ngradient_checkpointing = true\n", "batch_size = 28"),
        ("container_2gb", "batch_size = 1\nmax_length = 16\n", 'method = "lora"'),
    ],
)  # fmt: skip
def test_a_job_that_does_not_fit_is_refused_with_ways_out(job: Path, machine: str, settings: str, way_out: str) -> None:
    job.write_text(JOB + settings)
    done = run("tune", str(job), "--check", "--hardware", str(PROFILES / f"{machine}.json"))
    assert done.returncode == 1
    assert "the job takes about" in done.stderr
    assert done.stdout.partition("would fit: ")[2].startswith(way_out)
    assert f"-> {way_out}" in done.stderr
    assert "offload" not in done.stdout  # too little on the GPU, and senseless without one


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (JOB, (), "enginebay runs no tuning jobs yet: no tuner backend comes with it"),
        (JOB + "[lora]\nrank = 4\n", ("--check",), "method full has no such setting"),
        (JOB.replace("train", "missing"), ("--check",), "missing.jsonl: cannot be read"),
        (JOB.replace("full", "dpo"), ("--check",), "train.jsonl:1: holds labelled text, which dpo does not learn from"),
        (JOB.replace("smollm2-135m-instruct", "smollm2-135m"), ("--check",), "did you mean 'smollm2-135m-instruct'"),
        (JOB.replace("smollm2-135m-instruct", "remote:gpt"), HERE, "nothing is known of the weights"),
    ],
)  # fmt: skip
def test_bad_input(job: Path, text: str, arguments: tuple[str, ...], message: str) -> None:
    job.write_text(text)
    done = run("tune", str(job), *arguments)
    assert (done.returncode, message in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr
