"""Speeds measured on this machine, kept for the matcher."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from enginebay import paths
from enginebay.matching.decision import Measurement

_LIST = TypeAdapter(tuple[Measurement, ...])


def load_measurements() -> tuple[Measurement, ...]:
    """All measurements; none when the file is missing or damaged (measuring again mends it)."""
    try:
        return _LIST.validate_json((paths.data_dir() / "measurements.json").read_bytes())
    except (OSError, ValidationError):
        return ()


def save_measurement(measurement: Measurement) -> None:
    """Keep a measurement; one of the same backend, device, version, model and streams is replaced."""
    from filelock import FileLock

    file = paths.data_dir() / "measurements.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        kept = [known for known in load_measurements() if _key(known) != _key(measurement)]
        paths.write_whole(file, _LIST.dump_json((*kept, measurement), indent=1))


def _key(measurement: Measurement) -> tuple[object, ...]:
    return (
        measurement.backend,
        measurement.device,
        measurement.version,
        measurement.model_digest,
        measurement.streams,
    )
