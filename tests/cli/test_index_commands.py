"""`enginebay index`, `search` and `ask`: what they print and refuse. Embedder and generator are fakes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from enginebay import Bay
from enginebay.cli.main import build_app
from enginebay.errors import EnginebayError
from fake_embedder import fake_embedder_handle
from fake_engine import FakeGenerator, fake_handle, fake_model
from fake_index import WordEmbedder

FOX = "The quick brown fox jumps over the lazy dog."


class Scripted(FakeGenerator):
    """A fake with room for prompts."""

    @property
    def context_length(self) -> int:
        return 4000


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that run no model; "narrow" is another one."""

    def embedder(bay: Bay, name: str | None = None) -> Any:
        return fake_embedder_handle(WordEmbedder(64 if name == "narrow" else 256), query_prefix=name or "")

    def generator(bay: Bay, name: str | None = None, **changes: Any) -> Any:
        return fake_handle(Scripted(["The fox jumps over the dog [1]. It is green [1]."]), model=fake_model())

    monkeypatch.setattr(Bay, "embedder", embedder)
    monkeypatch.setattr(Bay, "generator", generator)
    for module in ("_index", "_engine"):
        monkeypatch.setattr(f"enginebay.cli.{module}.ensure_pulled", lambda bay, reference: None)
    monkeypatch.setattr("enginebay.bay.Bay.embedder_config", lambda bay, name: (name, fake_model_config()))
    monkeypatch.setattr("enginebay.bay.Bay.generator_config", lambda bay, name, **changes: (name, fake_model_config()))


def fake_model_config() -> Any:
    from enginebay.config import GeneratorConfig

    return GeneratorConfig(model="fake")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    (made / "fox.txt").write_text(f"About foxes.\n\n{FOX}\n")
    (made / "image.bin").write_bytes(b"\0")
    (made / ".hidden").write_text("x")
    monkeypatch.chdir(tmp_path)
    return made


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(build_app(), arguments, env={"COLUMNS": "80"}, catch_exceptions=True)


def told(*arguments: str) -> Any:
    done = invoke(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*arguments: str) -> EnginebayError:
    error = invoke(*arguments).exception
    assert isinstance(error, EnginebayError), error
    return error


def test_index_and_search(folder: Path) -> None:
    done = invoke("index", "files")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "1 added, 0 changed, 0 removed, 0 unchanged; 1 passages embedded"
    assert "  left out 1: hidden" in lines
    assert "  left out files/image.bin: it is binary: there are zero bytes in it" in lines
    again = told("index", "files")
    assert (again["added"], again["unchanged"], again["passages"]) == ([], 1, 0)
    found = invoke("search", "lazy dog").stdout
    assert found.startswith("files/fox.txt:1-3  0.")
    assert "lazy dog" in found
    (one,) = told("search", "lazy dog", "--mode", "lexical")
    assert (one["where"], one["similarity"]) == (f"{folder}/fox.txt:1-3", None)
    assert told("search", "dog", "--where", '{"year": 2024}') == []


def test_ask(folder: Path) -> None:
    invoke("index", "files")
    done = invoke("ask", "What does the quick brown fox jump over?", "-g", "fake")
    assert done.stdout.startswith("The fox jumps over the dog. [1] It is green.\n\n[1] files/fox.txt:3\n")
    assert f"“{FOX}”" in done.stdout
    assert "not found in the sources: It is green." in done.stderr
    answer = told("ask", "What does the quick brown fox jump over?", "-g", "fake")
    assert answer["quotations"][0]["text"] == FOX
    assert answer["claims"][1]["dropped"] == [1]
    unknown = invoke("ask", "xylophone quux", "-g", "fake")
    assert unknown.stdout.startswith("I do not know")
    assert "no model was asked" in unknown.stderr


ASKED = """
import sys
from enginebay import Bay
from enginebay.cli import _engine, _index
from enginebay.cli.main import main
from fake_embedder import fake_embedder_handle
from fake_engine import FakeGenerator, fake_handle, fake_model
from fake_index import WordEmbedder

class Waiting(FakeGenerator):
    context_length = 4000

    def stream(self, request):
        for chunk in super().stream(request):
            yield chunk
            if chunk.text:
                sys.stdin.readline()

pieces = ["The fox jumps", " over the dog [4]."]
Bay.embedder = lambda bay, name=None: fake_embedder_handle(WordEmbedder(), query_prefix=name or "")
Bay.generator = lambda bay, name=None, **changes: fake_handle(Waiting(pieces), model=fake_model())
_index.ensure_embedder = lambda bay, name, changed: None
_engine.ensure_pulled = lambda bay, reference: None
sys.argv[1:] = ["ask", "What does the quick brown fox jump over?", "-m", "fake"]
main()
"""


def test_ask_in_a_terminal_shows_the_text_as_it_comes(folder: Path) -> None:
    invoke("index", "files")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TERM": "xterm", "COLUMNS": "80"}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", ASKED], stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        assert process.stdin is not None
        screen = ""
        for part in ("The fox jumps", "over the dog [4]."):
            screen += read_until(ours, part)
            process.stdin.write(b"\n")
            process.stdin.flush()
        screen += read_until(ours, None)
        assert process.wait(timeout=60) == 0, screen
    os.close(ours)
    _, _, end = screen.rpartition("over the dog [4].")
    assert "\x1b[2K" in end, "the model's text is taken away"
    assert "The fox jumps over the dog. [1]" in end
    assert "files/fox.txt:3" in end


def read_until(terminal: int, text: str | None) -> str:
    """What a terminal shows until the text is there; for None until its programs have ended."""
    shown = ""
    while text is None or text not in shown:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux says so when the last program has gone
            part = b""
        if not part:
            assert text is None, f"no {text!r} in {shown!r}"
            break
        shown += part.decode()
    return shown


def test_another_embedder_and_reindex(folder: Path) -> None:
    invoke("index", "files")
    error = refused("search", "fox", "--embedder", "narrow")
    assert "enginebay index --reindex" in str(error)
    done = invoke("index", "--reindex", "--embedder", "narrow")
    assert done.exit_code == 0, done.output
    assert told("search", "fox", "--embedder", "narrow")


def test_wrong_input(folder: Path) -> None:
    assert "enginebay index FOLDER --name none" in str(refused("search", "x", "--name", "none"))
    assert "nothing to index" in refused("index").message
    assert "no file or folder" in refused("index", "nowhere").message
    invoke("index", "files")
    assert "did you mean 'hybrid'" in str(refused("search", "x", "--mode", "hybird"))
    assert "no JSON" in refused("search", "x", "--where", "year > 1").message
    assert "unknown comparison" in refused("search", "x", "--where", '{"year": {"$gt2": 1}}').message


WATCHED = """
import sys
from enginebay import Bay
from enginebay.cli import _index
from enginebay.cli.main import main
from fake_embedder import fake_embedder_handle
from fake_index import WordEmbedder

Bay.embedder = lambda bay, name=None: fake_embedder_handle(WordEmbedder())
_index.ensure_embedder = lambda bay, name, changed: None
sys.argv[1:] = ["index", sys.argv[1], "--watch", "--json"]
main()
"""


def test_watch_until_it_is_interrupted(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", WATCHED, str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["added"] == [str(folder / "fox.txt")]
        (folder / "hen.txt").write_text("A hen.")
        assert json.loads(process.stdout.readline())["added"] == [str(folder / "hen.txt")]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == (0, "ended")
