"""Plugins that break the rules: each is named with its reason, and the healthy one beside them never notices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from broken_plugins import BROKEN, ENDLESS, WARNED, Broken, install_all
from dummy_plugins import install

_LOAD = """\
import json, sys
from enginebay.plugins import load_plugins
plugins = load_plugins(import_limit=float(sys.argv[1]))
sys.stdout.write(json.dumps({
    "records": [record.model_dump(mode="json") for record in plugins.records],
    "backends": [spec.name for spec in plugins.backends],
    "stdout_restored": sys.stdout is sys.__stdout__,
}))
"""


def data_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-data")


def run_python(folder: Path, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ENGINEBAY_DATA_DIR": str(data_of(folder)),
    }
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=timeout, env=environment, check=False
    )


def load(folder: Path, limit: float = 5.0) -> dict[str, object]:
    done = run_python(folder, "-W", "error", "-c", _LOAD, str(limit))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def by_name(loaded: dict[str, object]) -> dict[str, dict[str, object]]:
    return {record["name"]: record for record in loaded["records"]}


@pytest.fixture(scope="module")
def all_at_once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("site")
    install_all(folder, BROKEN, WARNED)
    return load(folder)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_broken_plugin_is_quarantined_with_its_reason(all_at_once: dict[str, object], broken: Broken) -> None:
    record = by_name(all_at_once)[broken.listed]
    assert record["state"] == "quarantined"
    for words in broken.reason:
        assert words in record["reason"]
    assert record["reason"].isprintable()
    assert record["hint"]
    assert record["backends"] == []


@pytest.mark.parametrize("warned", WARNED, ids=lambda warned: warned.name)
def test_bad_manners_are_a_warning(all_at_once: dict[str, object], warned: Broken) -> None:
    record = by_name(all_at_once)[warned.name]
    assert record["state"] == "ok"
    assert any(all(words in warning for words in warned.reason) for warning in record["warnings"])


def test_healthy_plugin_beside_them_works(all_at_once: dict[str, object]) -> None:
    record = by_name(all_at_once)["healthy"]
    assert (record["state"], record["reason"], record["warnings"]) == ("ok", None, [])
    assert (record["distribution"], record["version"]) == ("enginebay-healthy", "1.0")
    assert "healthy" in all_at_once["backends"]


def test_stdout_is_given_back(all_at_once: dict[str, object]) -> None:
    assert all_at_once["stdout_restored"]


def test_endless_plugins_are_waited_for_once(tmp_path: Path) -> None:
    install_all(tmp_path, ENDLESS)
    first = by_name(load(tmp_path, limit=0.3))
    again = by_name(load(tmp_path, limit=1e6))
    for broken in ENDLESS:
        for words in broken.reason:
            assert words in first[broken.name]["reason"]
            assert words in again[broken.name]["reason"]
        assert "not again" in again[broken.name]["reason"]
        assert "doctor --refresh" in again[broken.name]["hint"]
    assert first["healthy"]["state"] == again["healthy"]["state"] == "ok"


def test_changed_file_of_an_endless_plugin_is_tried_again(tmp_path: Path) -> None:
    install(tmp_path, "sleeps", "import time; time.sleep(1e9)")
    assert by_name(load(tmp_path, limit=0.2))["sleeps"]["state"] == "quarantined"
    (tmp_path / "enginebay_sleeps.py").write_text("api_version = 1")
    assert by_name(load(tmp_path))["sleeps"]["state"] == "ok"


@pytest.mark.parametrize(
    ("source", "death"),
    [
        ("import os; os._exit(0)", "ended without an answer"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed with SIGSEGV"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_import_that_ends_the_process_does_so_once(tmp_path: Path, source: str, death: str) -> None:
    install(tmp_path, "healthy")
    install(tmp_path, "kills", source)
    assert run_python(tmp_path, "-c", _LOAD, "5").stdout == ""
    for _ in range(2):
        records = by_name(load(tmp_path))
        assert f"ends the process at import ({death})" in records["kills"]["reason"]
        assert records["healthy"]["state"] == "ok"


def test_plugin_that_was_being_imported_when_somebody_killed_the_process_is_innocent(tmp_path: Path) -> None:
    killed_once = "import os, pathlib\nflag = pathlib.Path(__file__).with_name('flag')\n"
    killed_once += "if not flag.exists():\n    flag.touch(); os.kill(os.getpid(), 9)\napi_version = 1"
    install(tmp_path, "innocent", killed_once)
    assert run_python(tmp_path, "-c", _LOAD, "5").returncode != 0
    assert by_name(load(tmp_path))["innocent"]["state"] == "ok"
    assert list(data_of(tmp_path).rglob("*.importing.*")) == []


def test_metadata_of_strangers_costs_nothing(tmp_path: Path) -> None:
    install(tmp_path, "healthy")
    install(tmp_path, "stranger", "", entry_points=b"\xff\xfe", metadata=b"\xff")
    install(tmp_path, "other", "", entry_points=b"[console_scripts]\nno equals sign", metadata=b"")
    names = set(by_name(load(tmp_path)))
    assert "healthy" in names
    assert not any("stranger" in name or "other" in name for name in names)


def test_real_interrupt_passes(tmp_path: Path) -> None:
    install(tmp_path, "sleeps", "import time; time.sleep(1e9)")
    interrupt = (
        "import threading, os, signal, time\n"
        "def strike():\n    time.sleep(0.5); os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=strike, daemon=True).start()\n"
        "from enginebay.plugins import load_plugins\n"
        "try:\n    load_plugins(import_limit=60)\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
    )
    done = run_python(tmp_path, "-c", interrupt)
    assert done.stdout == "interrupted\n", done.stderr


def test_broken_finder_of_a_stranger_costs_nothing(tmp_path: Path) -> None:
    install(tmp_path, "healthy")
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, *_): return None\n"
        "    def find_distributions(self, *_): raise RuntimeError('broken finder')\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    assert by_name(load(tmp_path))["healthy"]["state"] == "ok"
