"""`convert`, `parity`, `verify` and `plugins --parameters` on the real model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from enginebay.models.headers import read_info
from terminal import KEPT, run

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

LIMITS = {"llama_cpp": 0.03, "transformers": 0.05, "ctranslate2": 0.2}
"""Divergence in nats from xllamacpp on the Q4_1 file: same file, bfloat16 of it, int8 of it."""


def test_one_model_says_the_same_on_every_local_engine(smollm2_path: Path) -> None:
    backends = ",".join(("xllamacpp", *LIMITS))
    done = run("parity", str(smollm2_path), "--backends", backends, "--json", **KEPT)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {column["backend"]: column["problem"] for column in told["columns"]} == dict.fromkeys(
        backends.split(","), ""
    )
    for backend, limit in LIMITS.items():
        found = told["agreement"][backend]
        assert found["same_prompts"] == found["same_ids"] == 4, (backend, found)
        assert found["same_best"] >= 3, (backend, found)
        assert 0 <= found["kl_mean"] < limit, (backend, found)


def test_parity_tells_who_cannot(smollm2_path: Path) -> None:
    done = run("parity", str(smollm2_path), "--backends", "xllamacpp,mlc", "--max-tokens", "2")
    assert done.returncode == 1
    assert "mlc" in done.stdout
    alone = run("parity", str(smollm2_path), "--backends", "xllamacpp")
    assert alone.returncode != 0
    assert "two backends" in alone.stderr


def test_convert_to_a_place(smollm2_safetensors: Path, tmp_path: Path) -> None:
    goal = tmp_path / "smollm2.gguf"
    done = run("convert", str(smollm2_safetensors), "gguf", "-o", "type=Q8_0", "--output", str(goal))
    assert (done.returncode, done.stdout.strip()) == (0, str(goal)), done.stderr
    assert read_info(goal).quantization == "Q8_0"
    again = run("convert", str(smollm2_safetensors), "gguf", "--output", str(goal))
    assert again.returncode != 0
    assert "exists already" in again.stderr
    assert [file.name for file in tmp_path.iterdir()] == [goal.name]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("ctranslat2",), "no model format"),
        (("gguf", "-o", "typo=Q8_0"), "type"),
        (("gguf", "-o", "type=Q9"), "Q9"),
        ((), "name a model and a format"),
    ],
)
def test_convert_refuses(arguments: tuple[str, ...], told: str, smollm2_safetensors: Path) -> None:
    done = run("convert", str(smollm2_safetensors), *arguments)
    assert done.returncode not in (0, 1) or done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_converters_are_listed() -> None:
    told = {entry["name"]: entry for entry in json.loads(run("convert", "--list", "--json").stdout)}
    assert told["safetensors_to_gguf"]["missing"] is None
    assert "mlc-llm" in told["safetensors_to_mlc"]["missing"]


def test_verify_passes_and_is_remembered(smollm2_path: Path) -> None:
    done = run("verify", "xllamacpp", "-m", str(smollm2_path), "--schemas", "5", "--draws", "60")
    assert done.returncode == 0, done.stdout + done.stderr
    listed = json.loads(run("plugins", "--json").stdout)["backends"]
    states = {(entry["name"], entry["interface"]): entry["state"] for entry in listed}
    assert states["xllamacpp", "generator"] == "verified"
    assert states.get(("xllamacpp", "embedder")) != "verified", "the model is no embedder"


def test_verify_takes_embedders_and_stores(minilm_ctranslate2_float32: Path) -> None:
    probed = {"ENGINEBAY_CACHE_DIR": KEPT["ENGINEBAY_CACHE_DIR"]}
    done = run("verify", "ctranslate2", "-m", str(minilm_ctranslate2_float32), "--json", **probed)
    told = json.loads(done.stdout)
    assert (done.returncode, told["interface"], told["broken"]) == (0, "embedder", 0), done.stdout + done.stderr
    done = run("verify", "sqlite")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sqlite as vector_store on a folder of its own" in done.stdout
    assert "did you mean 'sqlite'" in run("verify", "sqlit").stderr


def test_parameters_are_those_of_the_documentation() -> None:
    table = json.loads(run("plugins", "--parameters", "--json").stdout)
    documented = (Path(__file__).parents[2] / "docs" / "parameters.md").read_text()
    header = next(line for line in documented.splitlines() if line.startswith("| parameter"))
    names = [cell.strip(" `") for cell in header.split("|")[2:-1]]
    row = next(line for line in documented.splitlines() if line.startswith("| `top_k`"))
    assert [table["top_k"][name] for name in names] == [cell.strip() for cell in row.split("|")[2:-1]]


def test_the_parameters_table_fits_a_narrow_terminal() -> None:
    lines = run("plugins", "--parameters").stdout.splitlines()
    assert lines[0].split() == ["parameter", "native", "emulated", "refused"]
    assert any(line.split()[:2] == ["temperature", "all"] for line in lines)
    assert not any("…" in line for line in lines)
