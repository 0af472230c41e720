"""The hardware profile as a file that goes from one machine to another."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay import Device, DeviceKind, HardwareProfile
from enginebay.errors import HardwareError
from enginebay.hardware.profile import CpuInfo, MemoryInfo, ProbeWarning, SystemInfo
from enginebay.spec import RuntimeReport
from machines import FOLDER, NAMES, machine

BYTES = st.integers(0, 2**63)
FIGURE = st.none() | st.floats(min_value=1, allow_nan=False, allow_infinity=False)
WORDS = st.text(max_size=8)


@st.composite
def profiles(draw: st.DrawFn) -> HardwareProfile:
    """Any machine."""
    devices = draw(
        st.lists(
            st.builds(
                Device,
                id=WORDS,
                kind=st.sampled_from(DeviceKind),
                name=WORDS,
                memory_total=BYTES,
                memory_available=BYTES,
                compute_capability=st.none() | st.tuples(st.integers(0, 99), st.integers(0, 99)),
                memory_bandwidth=FIGURE,
                compute=FIGURE,
                physical_id=st.none() | WORDS,
            ),
            min_size=1,
            max_size=4,
            unique_by=lambda device: device.id,
        )
    )
    return HardwareProfile(
        name=draw(WORDS),
        created=draw(st.datetimes(timezones=st.just(UTC))),
        system=draw(st.builds(SystemInfo)),
        cpu=draw(st.builds(CpuInfo, usable_cores=st.floats(0.01, 1e4), features=st.frozensets(WORDS, max_size=4))),
        memory=draw(st.builds(MemoryInfo)),
        devices=tuple(devices),
        warnings=tuple(draw(st.lists(st.builds(ProbeWarning), max_size=2))),
        runtimes=draw(st.dictionaries(WORDS, st.builds(RuntimeReport), max_size=2)),
    )


@given(profile=profiles())
def test_json_gives_the_profile_back(profile: HardwareProfile, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any_profile.json"
    file.write_text(profile.model_dump_json(), encoding="utf-8")
    assert HardwareProfile.load(file) == profile


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_file_redirected_by_any_shell_can_be_read(tmp_path: Path, encoding: str) -> None:
    """Windows PowerShell's ">" writes UTF-16 with a byte order mark."""
    profile = machine("windows_laptop_intel").model_copy(update={"name": "Büro"})
    file = tmp_path / "profile.json"
    file.write_bytes(profile.model_dump_json().encode(encoding))
    assert HardwareProfile.load(file) == profile


def facts() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / "epyc_server.json").read_bytes())
    return loaded


def test_another_schema_version_is_told_as_such(tmp_path: Path) -> None:
    """Also where its fields are others: the version is the reason, not the first unknown field."""
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(facts() | {"schema_version": 2, "quantum": []}))
    with pytest.raises(HardwareError, match="schema version 2, this release reads 1") as caught:
        HardwareProfile.load(file)
    assert caught.value.value == 2
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting"),
        (b"[]", "dictionary"),
        (b"{}", "created"),
        (b"\xff\xfe\x00", "truncated"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_what_is_no_profile_is_refused_with_the_place(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "profile.json"
    file.write_bytes(content)
    with pytest.raises(HardwareError, match=told) as caught:
        HardwareProfile.load(file)
    assert "enginebay probe --json" in str(caught.value)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(HardwareError, match="cannot read"):
            HardwareProfile.load(path)


@pytest.mark.parametrize("figure", ["memory_bandwidth", "compute"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_an_impossible_figure_is_refused(tmp_path: Path, figure: str, value: float) -> None:
    wrong = facts()
    wrong["devices"][0][figure] = value
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(wrong))
    with pytest.raises(HardwareError, match=rf"devices\.0\.{figure}"):
        HardwareProfile.load(file)


def test_two_devices_of_one_id_are_refused(tmp_path: Path) -> None:
    wrong = facts()
    wrong["devices"] *= 2
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(wrong))
    with pytest.raises(HardwareError, match="two devices have one id"):
        HardwareProfile.load(file)


@pytest.mark.parametrize("name", NAMES)
def test_the_saved_machines_are_plausible(name: str) -> None:
    profile = machine(name)
    assert profile.created <= datetime.now(UTC)
    assert 0 < profile.cpu.usable_cores <= profile.cpu.logical_cores
    assert profile.cpu.physical_cores <= profile.cpu.logical_cores
    assert profile.memory.available <= (profile.memory.limit or profile.memory.total)
    assert profile.device("cpu") is not None
    for device in profile.devices:
        assert device.id == "cpu" or device.id.startswith(f"{device.kind.value}:")
        assert device.memory_available <= device.memory_total
        assert not device.unified or device.memory_total <= profile.memory.total
        assert device.memory_bandwidth is None or 1e9 < device.memory_bandwidth < 1e13
        assert device.compute is None or 1e10 < device.compute < 5e15
