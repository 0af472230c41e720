"""`enginebay quantize`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from enginebay.models.headers import read_info
from gguf_writer import FACTS, write_gguf
from terminal import run

pytestmark = pytest.mark.probed


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A GGUF file in 16 bits, as its header says; its weights are nothing that any engine loads."""
    return write_gguf(tmp_path / "tiny.gguf", FACTS | {"general.file_type": 1})


def test_types_are_listed_with_what_would_run_them(tiny: Path) -> None:
    done = run("quantize", str(tiny), "--list")
    assert done.returncode == 0, done.stderr
    assert any(line.split()[:3] == ["q4_k_m", "llama_cpp", "xllamacpp"] for line in done.stdout.splitlines())
    told = json.loads(run("quantize", str(tiny), "--list", "--json").stdout)
    assert {one["type"]["name"] for one in told} >= {"q4_k_m", "q8_0"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("q9",), "no quantizer makes the type 'q9'"),
        (("q8_0", "--max-memory", "lots"), "'lots' is no size"),
        (("--max-perplexity-loss", "much"), "'much' is no share"),
        (("q8_0,q4_0", "--output", "small.gguf"), "one output cannot hold several types"),
        (("q8_0", "--calibration", "missing.txt"), "cannot read missing.txt"),
        (("q8_0", "--option", "blorp=1"), "has no option 'blorp'"),
        (("q8_0", "--for", "nowhere.json"), "nowhere.json"),
        (("q8_0", "--engine", "nobody"), "nobody"),
        (("q8_0", "--text", "missing.txt", "--report"), "missing.txt"),
    ],
)
def test_bad_input(tiny: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run("quantize", str(tiny), *arguments)
    assert (done.returncode, message in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.model
def test_a_model_its_report_and_its_picture(smollm2_gguf_f16: Path, tmp_path: Path) -> None:
    picture, output = tmp_path / "sizes.svg", tmp_path / "small.gguf"
    arguments = ("quantize", str(smollm2_gguf_f16), "q8_0", "--output", str(output), "--picture", str(picture))
    done = run(*arguments, "--tokens", "512", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    [made], [row], original = told["made"], told["report"]["quantized"], told["report"]["original"]
    assert made["path"] == str(output)
    assert read_info(output).quantization == "Q8_0"
    assert original["perplexity"] > 1
    assert row["perplexity_loss"] < 0.02
    assert 0 <= row["kl_mean"] < 0.05
    assert row["same_best"] > 0.9
    assert row["tokens_per_second"] > 0
    assert "Q8_0" in picture.read_text()


@pytest.mark.model
def test_the_search_measures_what_it_chooses(smollm2_safetensors: Path) -> None:
    arguments = (
        "quantize",
        str(smollm2_safetensors),
        "--max-perplexity-loss",
        "8%",
        "--tokens",
        "256",
        "--window",
        "128",
    )
    done = run(*arguments, "--backend", "bitsandbytes", "--max-memory", "4GB", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    rows = {row["reference"]: row for row in told["report"]["quantized"]}
    chosen = rows[told["made"][0]["path"]]
    assert chosen["perplexity_loss"] <= 0.08
    good = [row["bytes"] for row in rows.values() if row["perplexity_loss"] <= 0.08]
    assert chosen["bytes"] == min(good)
    assert len(rows) >= 2
