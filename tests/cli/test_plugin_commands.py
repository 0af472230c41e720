"""`enginebay plugins`, `doctor`, help and the commands of plugins, with everything broken installed at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from broken_plugins import BROKEN, ENDLESS, WARNED, install_all
from dummy_plugins import install
from enginebay.plugins import BackendState

TEMPLATE = Path(__file__).parents[2] / "contrib" / "plugin-template" / "src" / "enginebay_toy_echo"
CLI = ("-m", "enginebay.cli.main")
Run = Callable[..., subprocess.CompletedProcess[str]]


def install_template(folder: Path) -> None:
    install(folder, "toy_echo", "", module=TEMPLATE.name)
    shutil.copytree(TEMPLATE, folder / TEMPLATE.name, ignore=shutil.ignore_patterns("__pycache__"))


def runner(folder: Path) -> Run:
    """Runs the real command line in a process of its own, with `folder / "site"` on its path."""
    home = {f"ENGINEBAY_{kind}_DIR": str(folder / kind.lower()) for kind in ("CACHE", "DATA", "CONFIG")}
    base = {name: value for name, value in os.environ.items() if not name.startswith("ENGINEBAY_")}
    base |= home | {"PYTHONPATH": str(folder / "site"), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "100"}

    def run(*arguments: str, program: tuple[str, ...] = CLI, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *program, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env=base | variables,
            cwd=folder,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All broken plugins, those that load with a warning, a healthy one and the template, together."""
    folder = tmp_path_factory.mktemp("crowded")
    install_all(folder / "site", BROKEN, WARNED)
    install_template(folder / "site")
    return runner(folder)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The template alone."""
    install_template(tmp_path / "site")
    return runner(tmp_path)


def test_listing_names_every_plugin_with_its_reason(crowded: Run) -> None:
    done = crowded("plugins", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    listing = json.loads(done.stdout)
    plugins = {record["name"]: record for record in listing["plugins"]}
    for broken in BROKEN:
        assert plugins[broken.listed]["state"] == "quarantined"
        assert all(words in plugins[broken.listed]["reason"] for words in broken.reason)
    assert plugins["healthy"]["state"] == plugins["toy_echo"]["state"] == "ok"
    backends = {row["name"]: row for row in listing["backends"]}
    assert backends["toy_echo"]["state"] == "installed"
    assert backends["toy_echo"]["plugin"] == "toy_echo"


def test_listing_for_people(crowded: Run) -> None:
    done = crowded("plugins")
    assert done.returncode == 0
    assert "quarantined raises: raises at import: RuntimeError: boom" in done.stdout
    assert "enginebay-toy-echo 1.0" in done.stdout
    assert "writes to stdout in the hook backends: '[bold]what[/] am I'" in done.stdout
    assert "hello\n" not in done.stdout


def test_endless_plugins_do_not_stop_the_command_line(tmp_path: Path) -> None:
    endless = ENDLESS[:2]
    install_all(tmp_path / "site", endless)
    run = runner(tmp_path)
    first = run("plugins", "--json")
    again = run("plugins", "--json")
    for done in (first, again):
        states = {record["name"]: record for record in json.loads(done.stdout)["plugins"]}
        assert states["healthy"]["state"] == "ok"
        assert {states[broken.name]["state"] for broken in endless} == {"quarantined"}
    assert again.stdout.count("not again") == len(endless)


def test_version_and_help_work_whatever_is_installed(crowded: Run) -> None:
    for option in ("--version", "-V"):
        done = crowded(option)
        assert done.stdout.startswith("enginebay ")
        assert done.returncode == 0
    done = crowded("--help")
    assert done.returncode == 0, done.stderr
    assert "doctor" in done.stdout


def test_help_lists_the_commands_of_plugins_and_they_run(run: Run) -> None:
    assert "toy-echo" in run("--help").stdout
    assert run("toy-echo", "good day").stdout == "good day\n"
    assert run("toy-echo", "--help").returncode == 0


def test_unknown_command_is_answered_with_a_suggestion(run: Run) -> None:
    done = run("plugin")
    assert done.returncode == 2
    assert "did you mean 'plugins'?" in done.stderr
    assert "did you mean 'toy-echo'?" in run("toy-eco").stderr


def test_switched_off_plugins_are_not_imported(tmp_path: Path) -> None:
    touch = "import pathlib; pathlib.Path(__file__).with_name('imported').touch()\napi_version = 1"
    install(tmp_path / "site", "toucher", touch)
    run = runner(tmp_path)
    for value in ("none", "llama_cpp", "toucherr"):
        listing = json.loads(run("plugins", "--json", ENGINEBAY_PLUGINS=value).stdout)
        record = next(record for record in listing["plugins"] if record["name"] == "toucher")
        assert record["state"] == "disabled"
        assert record["reason"] == "not named by ENGINEBAY_PLUGINS"
    assert listing["unknown_names"] == ["toucherr"]
    (tmp_path / "enginebay.toml").write_text('[plugins]\ndeny = ["toucher"]\n')
    listing = json.loads(run("plugins", "--json").stdout)
    assert next(record for record in listing["plugins"] if record["name"] == "toucher")["state"] == "disabled"
    assert not (tmp_path / "site" / "imported").exists()
    (tmp_path / "enginebay.toml").unlink()
    run("plugins")
    assert (tmp_path / "site" / "imported").exists()


def test_two_distributions_with_one_plugin_name(tmp_path: Path) -> None:
    install(tmp_path / "site", "twin", distribution="a-first")
    install(tmp_path / "site", "twin", "api_version = 1", distribution="b-second", module="other_twin")
    records = json.loads(runner(tmp_path)("plugins", "--json").stdout)["plugins"]
    first, second = (record for record in records if record["name"] == "twin")
    assert (first["distribution"], first["state"]) == ("a-first", "ok")
    assert second["state"] == "quarantined"
    assert "a-first 1.0" in second["reason"]
    assert "b-second 1.0" in second["reason"]


def test_one_distribution_twice_on_the_path_is_one(tmp_path: Path) -> None:
    install(tmp_path / "site", "twice", version="2.0")
    install(tmp_path / "older", "twice", version="1.0")
    path = os.pathsep.join([str(tmp_path / "site"), str(tmp_path / "older")])
    records = json.loads(runner(tmp_path)("plugins", "--json", PYTHONPATH=path).stdout)["plugins"]
    assert [(record["state"], record["version"]) for record in records if record["name"] == "twice"] == [("ok", "2.0")]


def findings(run: Run, *arguments: str, **variables: str) -> tuple[int, list[dict[str, str]]]:
    done = run("doctor", "--json", *arguments, **variables)
    report = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    return done.returncode, report["findings"]


def about(found: list[dict[str, str]], name: str) -> list[dict[str, str]]:
    return [finding for finding in found if finding["text"].startswith(name)]


def test_doctor_finds_nothing_wrong_with_a_sound_plugin_and_proves_it(run: Run) -> None:
    code, found = findings(run, ENGINEBAY_PLUGINS="toy_echo")
    assert code == 0, [finding for finding in found if finding["level"] == "problem"]
    (backend,) = about(found, "toy_echo: ")
    assert backend["level"] == "ok"
    assert backend["text"] == "toy_echo: loadable, 0.1.0 on cpu"
    listing = json.loads(run("plugins", "--json").stdout)
    assert next(row for row in listing["backends"] if row["name"] == "toy_echo")["state"] == BackendState.LOADABLE
    done = run("doctor", ENGINEBAY_PLUGINS="toy_echo")
    assert done.returncode == 0
    assert "nothing to act on" in done.stdout


def test_doctor_lists_every_broken_plugin_with_a_way_out(crowded: Run) -> None:
    code, found = findings(crowded)
    assert code == 1
    for broken in BROKEN:
        (finding,) = (finding for finding in found if finding["text"].startswith(f"{broken.listed} ("))
        assert finding["level"] == "problem"
        assert finding["hint"]
        assert all(words in finding["text"] for words in broken.reason)


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("def something_else(): ...", "has no attribute 'open_engine'"),
        ("raise OSError('libcuda.so.1: cannot open')", "OSError: libcuda.so.1: cannot open"),
        ("import os; os._exit(7)", "exit code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed with SIGSEGV"),
    ],
)
def test_doctor_tells_why_a_backend_is_not_loadable(tmp_path: Path, engine: str, words: str) -> None:
    site = tmp_path / "site"
    source = (Path(TEMPLATE) / "__init__.py").read_text().replace("enginebay_toy_echo.engine", "broken_engine_of_toy")
    install(site, "toy_echo", source)
    (site / "broken_engine_of_toy.py").write_text(engine)
    code, found = findings(runner(tmp_path), ENGINEBAY_PLUGINS="toy_echo")
    assert code == 1
    problems = [finding["text"] for finding in about(found, "toy_echo: ") if finding["level"] == "problem"]
    assert problems
    assert all(problem.startswith("toy_echo: installed, but not loadable: ") for problem in problems)
    assert any(words in problem for problem in problems)


def test_refresh_tries_an_endless_plugin_again(tmp_path: Path) -> None:
    source = "import os, time\nif not os.environ.get('WELL_NOW'): time.sleep(1e9)\napi_version = 1"
    install(tmp_path / "site", "moody", source)
    run = runner(tmp_path)

    def state(*arguments: str) -> str:
        _, found = findings(run, *arguments, ENGINEBAY_PLUGINS="moody", WELL_NOW="yes" * bool(arguments or cured))
        return about(found, "moody (")[0]["level"]

    cured = False
    assert state() == "problem"
    cured = True
    assert state() == "problem"
    assert state("--refresh") == "ok"


def test_doctor_reports_a_broken_configuration_and_goes_on(run: Run, tmp_path: Path) -> None:
    (tmp_path / "enginebay.toml").write_text("no_such_key = 1\n")
    code, found = findings(run)
    assert code == 1
    (finding,) = (finding for finding in found if finding["topic"] == "configuration")
    assert finding["level"] == "problem"
    assert "no_such_key" in finding["text"]
    assert about(found, "toy_echo: ")
    assert run("plugins").returncode == 0


def test_doctor_reports_a_folder_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a_file").write_text("")
    code, found = findings(run, ENGINEBAY_DATA_DIR=str(tmp_path / "a_file" / "data"))
    assert code == 1
    assert any("cannot be written" in finding["text"] for finding in found)


def test_doctor_reports_a_factory_that_raised(run: Run) -> None:
    fail = (
        "from enginebay.plugins import load_plugins\n"
        "plugins = load_plugins(allow=['toy_echo'])\n"
        "plugins.record_failure(plugins.backends[0], 'RuntimeError: out of memory')\n"
    )
    done = run(program=("-c", fail))
    assert done.returncode == 0, done.stderr
    code, found = findings(run, ENGINEBAY_PLUGINS="toy_echo")
    assert code == 1
    assert any("RuntimeError: out of memory" in finding["text"] for finding in found)
    assert "toy_echo did not open last time: RuntimeError: out of memory" in run("plugins").stdout
    code, _ = findings(run, "--refresh", ENGINEBAY_PLUGINS="toy_echo")
    assert code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(run: Run, shell: str) -> None:
    done = run("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0, done.stderr
    assert "_ENGINEBAY_COMPLETE" in done.stdout


def test_completion_of_commands(run: Run) -> None:
    variables = {"_ENGINEBAY_COMPLETE": "complete_bash", "COMP_WORDS": "enginebay pl", "COMP_CWORD": "1"}
    assert "plugins" in run(**variables).stdout.split()
    variables["COMP_WORDS"] = "enginebay toy"
    assert "toy-echo" in run(**variables).stdout.split()
