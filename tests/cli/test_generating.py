"""`generate`, `chat` and `bench` on the real model, and switching the engine without touching the program."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from terminal import KEPT, command, run

pytestmark = pytest.mark.model

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."


def write_example(folder: Path, model: Path) -> Path:
    """The example's configuration on a model of this machine, beside its script."""
    shutil.copy(EXAMPLES / "ask.py", folder)
    config = folder / "enginebay.toml"
    config.write_text((EXAMPLES / "enginebay.toml").read_text().replace('"smollm2-135m-instruct"', f'"{model}"'))
    return config


def answers_from(folder: Path, *flags: str, **environ: str) -> tuple[str, str]:
    """Which engine answered the example's script, and what."""
    done = subprocess.run(
        [sys.executable, "ask.py", *flags, QUESTION],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **environ},
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *answer, told = done.stdout.strip().splitlines()
    return told.split()[0].removeprefix("("), "\n".join(answer)


def base(model: Path, *more: str) -> tuple[str, ...]:
    return ("-g", str(model), "-s", "You are a helpful assistant.", "--temperature", "0", "-n", "30", *more)


@pytest.mark.parametrize("backend", ["llama_cpp", "xllamacpp"])
def test_a_true_answer_and_nothing_else_on_the_terminal(smollm2_path: Path, backend: str) -> None:
    done = run("generate", *base(smollm2_path, "-b", backend), QUESTION)
    assert (done.returncode, done.stdout) == (0, ANSWER + "\n")
    assert done.stderr == "", "the engine's log must stay off the terminal"


def test_json_verbose_raw_and_stdin(smollm2_path: Path) -> None:
    done = run("generate", *base(smollm2_path, "--json", "--verbose"), text=QUESTION)
    result = json.loads(done.stdout)
    assert result["text"] == ANSWER
    assert result["backend"] in ("llama_cpp", "xllamacpp")
    assert [entry["parameter"] for entry in result["ledger"]] == ["temperature", "max_tokens"]
    assert "tokens/s" in done.stderr
    raw = run("generate", *base(smollm2_path, "--raw", "-n", "4"), "The capital of France is")
    assert "Paris" in raw.stdout


def test_constraints(smollm2_path: Path, tmp_path: Path) -> None:
    schema = tmp_path / "s.json"
    schema.write_text('{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}')
    done = run("generate", *base(smollm2_path, "--schema", str(schema)), QUESTION)
    assert "city" in json.loads(done.stdout)
    assert "cut" not in done.stderr
    done = run("generate", *base(smollm2_path, "--schema", str(schema), "-n", "2"), QUESTION)
    assert "raise --max-tokens" in done.stderr, "half an object must not pass for a whole one"
    done = run("generate", *base(smollm2_path, "--choice", "Berlin", "--choice", "Paris"), QUESTION)
    assert done.stdout.strip() in ("Berlin", "Paris")


def test_a_reader_that_leaves_and_ctrl_c(smollm2_path: Path) -> None:
    arguments = ("generate", "-g", str(smollm2_path), "-n", "2000", "--temperature", "0", "Tell a long story.")
    child = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.read(5)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "Traceback" not in errors
    piped = subprocess.run(
        f"{' '.join(command('generate', '-g', str(smollm2_path), '-n', '200', 'Story.'))} | head -c 1",
        shell=True,
        stdout=subprocess.DEVNULL,  # half a character, perhaps
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in piped.stderr
    assert "Error" not in piped.stderr


def test_a_conversation(smollm2_path: Path, tmp_path: Path) -> None:
    saved = tmp_path / "chat.json"
    lines = [
        QUESTION,
        "/stats",
        "/set temperature 0.5",
        "/set temprature 0.5",
        "/unset temperature",
        "/set temperature 0",
        "/nonsense",
        "x " * 9000,
        f"/save {saved}",
        "/undo",
        "/system Be brief.",
        f"/load {saved}",
        "/retry",
        "/info",
        "/help",
        "/clear",
        "/load /nowhere.json",
        "//not a command",
        "/exit",
        "never reached",
    ]
    done = run("chat", *base(smollm2_path), text="\n".join(lines))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(ANSWER) == 2, "asked, and asked again by /retry"
    for part in (
        "2 messages",
        "temperature=0.5",
        "did you mean 'temperature'",
        "unknown command /nonsense",
        "the context holds 8192",
        "the message was not sent",
        "messages loaded",
        "Be brief.",
        "/retry",
        "the conversation is empty",
        "cannot read /nowhere.json",
        "tokens/s",
    ):
        assert part in done.stderr, part
    assert [message["role"] for message in json.loads(saved.read_text())] == ["system", "user", "assistant"]
    assert "never reached" not in done.stdout


def test_bench_measures_and_explain_uses_it(smollm2_path: Path) -> None:
    done = run("bench", str(smollm2_path), "--tokens", "8", "--runs", "1", "--streams", "2", "--json")
    rows = json.loads(done.stdout)
    assert {(row["backend"], row["streams"]) for row in rows} == {("llama_cpp", 1), ("xllamacpp", 1), ("xllamacpp", 2)}
    assert all(row["tokens_per_second"] > 0 and row["ttft"] > 0 for row in rows)
    told = run("explain", str(smollm2_path), "--json")
    matches = [
        match
        for match in json.loads(told.stdout)["matches"]
        if match["estimate"] and not match["reasons"] and not match["conversion"]
    ]
    assert matches
    assert {match["estimate"]["source"] for match in matches} == {"measured"}


def test_the_same_program_answers_from_every_engine(smollm2_path: Path, tmp_path: Path) -> None:
    """By one changed line of configuration, by an environment variable, by a flag. vLLM: tests/with_vllm."""
    config = write_example(tmp_path, smollm2_path)
    text = config.read_text()
    variable = "ENGINEBAY_GENERATORS__CHAT__BACKEND"
    assert answers_from(tmp_path) == ("xllamacpp", ANSWER)
    assert answers_from(tmp_path, **{variable: "llama_cpp"}) == ("llama_cpp", ANSWER)
    assert answers_from(tmp_path, "--backend", "llama_cpp") == ("llama_cpp", ANSWER)
    assert answers_from(tmp_path, "--backend", "xllamacpp", **{variable: "llama_cpp"}) == ("xllamacpp", ANSWER)
    for backend in ("llama_cpp", "transformers", "ctranslate2"):
        config.write_text(text.replace('backend = "xllamacpp"', f'backend = "{backend}"'))
        assert answers_from(tmp_path, **KEPT) == (backend, ANSWER)
