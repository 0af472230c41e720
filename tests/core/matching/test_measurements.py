"""Measured speeds: kept, replaced, and read back whatever happened to the file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from enginebay import paths
from enginebay.matching.decision import Measurement
from enginebay.matching.measurements import load_measurements, save_measurement


def measured(streams: int = 1, speed: float = 10.0, version: str = "1") -> Measurement:
    return Measurement(
        backend="fake",
        device="cpu",
        version=version,
        model_digest="d",
        streams=streams,
        tokens_per_second=speed,
        ttft=0.1,
        measured=datetime(2026, 11, 1, tzinfo=UTC),
    )


def test_there_are_none_at_first() -> None:
    assert load_measurements() == ()


def test_a_later_one_replaces_its_like_and_only_that() -> None:
    for one in (measured(), measured(streams=4), measured(version="2"), measured(speed=20)):
        save_measurement(one)
    assert set(load_measurements()) == {measured(streams=4), measured(version="2"), measured(speed=20)}


@pytest.mark.parametrize("damage", [b"", b"{", b"[{}]", b"\xff\xfe", b'{"a": 1}'])
def test_a_damaged_file_counts_as_empty_and_is_mended(damage: bytes) -> None:
    save_measurement(measured())
    (paths.data_dir() / "measurements.json").write_bytes(damage)
    assert load_measurements() == ()
    save_measurement(measured())
    assert load_measurements() == (measured(),)


def test_none_is_lost_when_several_save_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda streams: save_measurement(measured(streams)), range(1, 13)))
    assert sorted(one.streams for one in load_measurements()) == list(range(1, 13))
