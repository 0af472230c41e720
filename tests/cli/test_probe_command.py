"""`enginebay probe`: for people, and as JSON for another machine."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from enginebay import Bay, HardwareProfile
from enginebay.cli.probe import app
from machines import NAMES, machine


def run(profile: HardwareProfile, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    asked: list[bool] = []

    def hardware(bay: Bay, *, refresh: bool = False) -> HardwareProfile:
        asked.append(refresh)
        return profile

    monkeypatch.setattr(Bay, "hardware", hardware)
    done = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert asked == ["--refresh" in arguments]
    return done


@pytest.mark.parametrize("name", NAMES)
def test_json_comes_back_with_its_label(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    profile = machine(name)
    file = tmp_path / "profile.json"
    file.write_text(run(profile, monkeypatch, "--json", "--name", "Büro [1]", "--refresh").output, encoding="utf-8")
    assert HardwareProfile.load(file) == profile.model_copy(update={"name": "Büro [1]"})


@pytest.mark.parametrize("name", NAMES)
def test_every_device_is_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = machine(name)
    shown = run(profile, monkeypatch).output
    for device in profile.devices:
        assert device.id in shown
        assert device.name in shown
    assert ("emulated on the CPU" in shown) == any(device.software for device in profile.devices)


def test_limits_and_warnings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = HardwareProfile.model_validate(
        machine("epyc_server").model_dump()
        | {
            "created": datetime.now(UTC),
            "memory": {"total": 8 << 30, "available": 1 << 30, "limit": 2 << 30},
            "warnings": [{"probe": "vulkan", "message": "crashed with SIGSEGV in [libfoo]"}],
        }
    )
    cpu = profile.cpu.model_copy(update={"usable_cores": 1.5, "limited_by": ("cgroup quota 1.5",)})
    shown = run(profile.model_copy(update={"cpu": cpu}), monkeypatch).output
    assert "1.5 of " in shown
    assert "limited by cgroup quota 1.5" in shown
    assert "1.0 GiB free of 8.0 GiB, limited to 2.0 GiB" in shown
    assert "vulkan: crashed with SIGSEGV in [libfoo]" in shown
