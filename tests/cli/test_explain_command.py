"""`enginebay explain`: the choice for another machine, told and as JSON, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from enginebay.matching.decision import Decision

PROFILES = Path(__file__).parents[1] / "hardware_profiles"
MODEL = "smollm2-135m-instruct"
Explain = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def explain(tmp_path: Path) -> Explain:
    """Runs the real command in a process of its own."""

    def run(*arguments: str, machine: str | None = None) -> subprocess.CompletedProcess[str]:
        hardware = ["--hardware", str(PROFILES / f"{machine}.json")] if machine else []
        return subprocess.run(
            [sys.executable, "-m", "enginebay.cli.main", "explain", *arguments, *hardware],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            env=os.environ | {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
            cwd=tmp_path,
            check=False,
        )

    return run


def test_another_machine_is_told_without_touching_this_one(explain: Explain, own_folders: Path) -> None:
    done = explain(MODEL, machine="apple_m3_max_64gb")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{MODEL} · gguf Q4_1 · ")
    assert lines[2].startswith("chosen: llama_cpp on metal:0 is the fastest"), "one line, however narrow the terminal"
    assert "refused: vllm on cpu" in done.stdout
    assert not (own_folders / "cache" / "probe").exists(), "this machine need not be probed"


def test_the_decision_as_json(explain: Explain) -> None:
    done = explain(MODEL, "--json", machine="rtx_4090_workstation")
    decision = Decision.model_validate_json(done.stdout)
    assert done.returncode == 0
    assert decision.chosen is not None
    assert decision.chosen.device == "cuda:0"
    assert decision.machine == "Workstation, RTX 4090"


def test_nothing_fits_is_exit_code_3(explain: Explain) -> None:
    done = explain(MODEL, "--context-length", "8192", "--streams", "64", "-b", "xllamacpp", machine="container_2gb")
    assert done.returncode == 3
    assert "nothing chosen: no backend can run" in done.stdout
    assert " weights + " in done.stdout
    as_json = explain(MODEL, "--backend", "vllm", "--json", machine="container_2gb")
    assert as_json.returncode == 3
    assert json.loads(as_json.stdout)["chosen"] is None


def test_wishes_reach_the_matcher(explain: Explain) -> None:
    done = explain(
        MODEL, "--need", "regex", "--workload", "throughput", "--device", "cpu", "--json", machine="epyc_server"
    )
    decision = Decision.model_validate_json(done.stdout)
    assert decision.chosen is not None
    assert decision.chosen.backend == "xllamacpp"
    assert decision.chosen.estimate is not None
    assert decision.chosen.estimate.streams > 1


def test_software_devices_are_accepted_only_when_allowed(explain: Explain) -> None:
    refused = explain(MODEL, "--device", "vulkan", machine="ci_llvmpipe")
    assert refused.returncode == 3
    assert "emulated on the CPU" in refused.stdout
    assert explain(MODEL, "--device", "vulkan", "--allow-software-devices", machine="ci_llvmpipe").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("no-such-model",), "no-such-model"),
        ((MODEL, "--need", "regexp"), "regex"),
        ((MODEL, "--sampling", "temprature"), "temperature"),
        ((MODEL, "--backend", "lama_cpp"), "llama_cpp"),
        ((MODEL, "--hardware", "none.json"), "cannot read none.json"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(explain: Explain, arguments: tuple[str, ...], told: str) -> None:
    done = explain(*arguments, machine=None if "--hardware" in arguments else "epyc_server")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_profile_is_told(explain: Explain, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{}")
    done = explain(MODEL, "--hardware", "broken.json")
    assert done.returncode == 1
    assert "broken.json is no hardware profile" in done.stderr
