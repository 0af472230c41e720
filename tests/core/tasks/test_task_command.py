"""`enginebay task`: what it lists and refuses without a model, what it prints with one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from enginebay import paths
from enginebay.cli.main import build_app
from enginebay.errors import EnginebayError

FRANCE = "The Eiffel tower stands in Paris.\n\n" + "Bananas are yellow. " * 130 + "\n\nIt was built in 1889.\n"


def invoke(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(build_app(), ["task", *arguments], input=text, env={"COLUMNS": "200"})


def refused(*arguments: str) -> EnginebayError:
    error = invoke(*arguments).exception
    assert isinstance(error, EnginebayError)
    return error


def test_the_tasks_are_listed() -> None:
    done = invoke()
    assert done.exit_code == 0
    for name in ("complete", "summarise", "translate", "classify", "extract", "answer", "prompts"):
        assert name in done.stdout
    wrong = invoke("sumarise")
    assert wrong.exit_code == 2
    assert "sumarise" in wrong.output


@pytest.mark.parametrize("name", ["complete", "summarise", "translate", "classify", "extract", "answer"])
def test_every_task_has_the_engines_options(name: str) -> None:
    done = invoke(name, "--help")
    for option in (
        "--generator",
        "--model",
        "--backend",
        "--context-length",
        "--option",
        "--config",
        "--max-tokens",
        "--json",
    ):
        assert option in done.stdout, option


def test_prompts_are_listed_with_where_they_come_from() -> None:
    folder = paths.config_dir() / "prompts"
    folder.mkdir(parents=True)
    (folder / "classify.jinja").write_text("Mine: {{ question }}")
    listed = {row["name"]: row for row in json.loads(invoke("prompts", "--json").stdout)}
    assert (listed["classify"]["origin"], listed["classify"]["file"]) == ("user", str(folder / "classify.jinja"))
    assert listed["summarise"]["origin"] == "built-in"
    assert "summarise" in invoke("prompts").stdout
    assert invoke("prompts", "classify").stdout == "Mine: {{ question }}\n"
    assert "did you mean 'classify'" in str(refused("prompts", "clasify"))


def test_wrong_input_is_refused_before_an_engine_is_opened(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text("{oops")
    assert "schema.json:1" in refused("extract", "x", "--schema", str(schema)).message
    schema.write_text("[]")
    assert "is an object" in refused("extract", "x", "--schema", str(schema)).message
    assert "cannot read" in refused("answer", "x", "--document", str(tmp_path / "none.txt")).message
    assert "given twice" in refused("classify", "x", "--label", "a", "--label", "a=b").message
    assert invoke("translate", "x").exit_code == 2, "--to is missing"
    assert "no prompt" in str(invoke("summarise", text="").exception)


def run(model: Path, name: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    shared = ("-g", str(model), "-b", "xllamacpp", "--context-length", "512", "--temperature", "0", "-n", "24")
    command = [sys.executable, "-m", "enginebay", "task", name, *arguments, *shared]
    env = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, input=text, capture_output=True, text=True, env=env, timeout=240, check=False)


@pytest.mark.model
def test_with_the_real_model(smollm2_path: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(
        json.dumps(
            {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            }
        )
    )
    done = run(smollm2_path, "extract", "--schema", str(schema), text="Anna lives in Berlin.")
    assert json.loads(done.stdout) == {"city": "Berlin"}, done.stderr
    done = run(smollm2_path, "classify", "I hate it.", "--label", "good", "--label", "bad=not good", "--json")
    told = json.loads(done.stdout)
    assert told["label"] in ("good", "bad")
    assert told["constrained"] is True
    assert told["results"][0]["backend"] == "xllamacpp"
    document = tmp_path / "france.txt"
    document.write_text(FRANCE)
    done = run(smollm2_path, "answer", "Where is the Eiffel tower?", "--document", str(document))
    assert "Paris" in done.stdout
    assert "left out, for the context had no room: " in done.stderr
    assert f"{document}#" in done.stderr
    done = run(smollm2_path, "summarise", "--verbose", text=FRANCE)
    assert done.stdout.strip()
    assert "round 1: " in done.stderr
    assert "tokens/s" in done.stderr
    done = run(smollm2_path, "translate", "x " * 600, "--to", "French")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the context holds 512" in done.stderr
