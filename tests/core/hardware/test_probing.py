"""Children that misbehave, and the probe around them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from enginebay import DeviceKind, HardwareProfile, paths
from enginebay.hardware import probe as probing
from enginebay.hardware.probe import probe

CHILDREN = """
import os, signal, subprocess, sys, time

def add(one, other): return one + other
def hang(file):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open(file, "w").write(str(child.pid))
    time.sleep(600)
def crash(): os.kill(os.getpid(), signal.SIGSEGV)
def leave(): sys.exit(3)
def vanish(): os._exit(0)
def fail(): raise ValueError("no such luck")
def noisy():
    print("garbage on stdout"); os.write(1, b"more of it"); return {"fine": True}
def odd(): return object()
def check(): return {"version": "1.0", "device_kinds": ["cpu"]}
def check_nonsense(): return {"version": 1}
def devices(): return {"devices": [{"nonsense": 1}], "warnings": []}
"""


@pytest.fixture
def children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "misbehaving.py").write_text(CHILDREN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "misbehaving"


def test_this_machine() -> None:
    profile = probe()
    cpu = profile.device("cpu")
    assert cpu is not None
    assert cpu.kind is DeviceKind.CPU
    assert 0 < profile.cpu.usable_cores <= profile.cpu.logical_cores
    assert 0 < profile.memory.available <= profile.memory.total
    assert HardwareProfile.model_validate_json(profile.model_dump_json()) == profile


def kept_files() -> list[Path]:
    return [file for file in (paths.cache_dir() / "probe").iterdir() if file.suffix == ".json"]


def test_the_profile_is_kept_until_it_expires_or_is_refreshed(children: str) -> None:
    checks = {"some": f"{children}:check"}
    first = probe(checks=checks)
    assert probe(checks=checks).created == first.created
    assert probe(checks=checks, refresh=True).created > first.created
    assert probe(checks=checks, expiry=0).created > first.created
    assert probe(checks=checks, key="another version").created > first.created
    assert first.runtimes["some"].device_kinds == {DeviceKind.CPU}


def test_a_damaged_or_unwritable_cache_costs_only_a_probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = probe()
    for file in kept_files():
        file.write_text("{ damaged")
    assert probe().created > first.created
    (tmp_path / "file").touch()
    monkeypatch.setenv("ENGINEBAY_CACHE_DIR", str(tmp_path / "file"))
    assert probe().device("cpu") is not None


def test_free_memory_is_read_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    first = probe()
    less = first.memory.model_copy(update={"available": 12345})
    monkeypatch.setattr(probing, "read_memory", lambda: less)
    again = probe()
    assert again.created == first.created
    assert again.memory.available == 12345
    cpu = again.device("cpu")
    assert cpu is not None
    assert cpu.memory_available == 12345


def test_probes_that_fail_are_warnings(children: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "CUDA", f"{children}:crash")
    monkeypatch.setattr(probing, "VULKAN", f"{children}:devices")
    profile = probe(
        refresh=True,
        checks={"good": f"{children}:check", "bad": f"{children}:check_nonsense", "dead": f"{children}:crash"},
        device_hooks=["no_such_plugin_module"],
    )
    told: dict[str, Any] = {warning.probe: warning.message for warning in profile.warnings}
    assert "SIGSEGV" in told["cuda"]
    assert "vulkan" in told
    assert "SIGSEGV" in told["runtime dead"]
    assert "runtime bad" in told
    assert any("no_such_plugin_module" in name for name in told)
    assert set(profile.runtimes) == {"good"}
    assert profile.device("cpu") is not None
    assert os.environ.get("ENGINEBAY_CACHE_DIR")
