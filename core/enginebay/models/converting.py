"""Running conversions, once for each source, converter and options."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock

from enginebay import paths
from enginebay.errors import ConversionError
from enginebay.models.child import convert_in_child
from enginebay.models.conversion import ConversionRequest, ConverterSpec, Report
from enginebay.models.headers import read_info
from enginebay.models.identity import RECORD, files_digest, weights_identity
from enginebay.models.safetensors import read_json
from enginebay.spec import ModelFormat


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted model on this machine: where it lies, its bytes on disk, and its record."""

    path: Path
    size: int
    record: Mapping[str, Any]


class ConvertedModels:
    """Converted models under one folder, each under its fingerprint.

    Args:
        directory: that folder; None means `converted` in enginebay's data folder.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory if directory is not None else paths.data_dir() / "converted"

    def make(
        self,
        source: Path,
        converter: ConverterSpec,
        options: Mapping[str, Any],
        report: Report = lambda what, share: None,
    ) -> Path:
        """Convert a model, or find it converted.

        Args:
            options: the converter's options, complete.

        Returns:
            The file or folder.

        Raises:
            ConversionError: the converter failed, or there is no room; nothing half made is left behind.
        """
        facts = {
            "source_sha256": _source_digest(source),
            "converter": converter.name,
            "version": converter.version,
            "options": dict(options),
        }
        fingerprint = sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        folder = self.directory / f"{_stem(source)}--{converter.target.value}--{fingerprint}"
        self.directory.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not (folder / RECORD).exists():
                self._check_room(source, converter)
                self._convert(source, folder, converter, options, report, facts)
        return _content(folder, converter.target)

    def installed(self) -> list[Converted]:
        """Every converted model, by path."""
        found = []
        for record in sorted(self.directory.glob(f"*/{RECORD}")):
            size = sum(file.stat().st_size for file in record.parent.rglob("*") if file.is_file())
            found.append(Converted(record.parent, size, read_json(record)))
        return found

    def _convert(
        self,
        source: Path,
        folder: Path,
        converter: ConverterSpec,
        options: Mapping[str, Any],
        report: Report,
        facts: Mapping[str, Any],
    ) -> None:
        """Make it beside, look whether it can be read, then rename."""
        beside = folder.with_name(folder.name + ".partial")
        shutil.rmtree(beside, ignore_errors=True)
        target = beside
        if converter.target is ModelFormat.GGUF:
            beside.mkdir()
            target = beside / f"{_stem(source)}.gguf"
        try:
            convert_in_child(converter, ConversionRequest(source, target, dict(options), report))
            read_info(target)
            record = {**facts, **_kept(source), "source": str(source), "created": datetime.now(UTC).isoformat()}
            paths.write_whole(beside / RECORD, json.dumps(record, indent=1).encode())
            shutil.rmtree(folder, ignore_errors=True)
            beside.rename(folder)
        except OSError as error:
            raise ConversionError(
                f"the result of {converter.name!r} could not be kept: {error.strerror or error}", value=str(folder)
            ) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _check_room(self, source: Path, converter: ConverterSpec) -> None:
        needed = int(read_info(source).weight_bytes * converter.size_ratio)
        free = shutil.disk_usage(self.directory).free
        if free < needed:
            raise ConversionError(
                f"{converter.name} makes about {needed / 1e9:.1f} GB; {self.directory} has {free / 1e9:.1f} GB free",
                value=free,
                hint="free some room, or set ENGINEBAY_DATA_DIR to a larger disk",
            )


def _source_digest(source: Path) -> str:
    """SHA-256 of all of a model's files, but for the record of how it was made."""
    if source.is_file():
        return files_digest({"": source})
    files = sorted(file for file in source.rglob("*") if file.is_file() and file.name != RECORD)
    return files_digest({str(file.relative_to(source)): file for file in files})


def _kept(source: Path) -> dict[str, Any]:
    """What is true of a model in every format, whether the format has a place for it or not."""
    info = read_info(source)
    embedding = info.embedding.model_dump(mode="json") if info.embedding is not None else None
    return {"origin": weights_identity(info), "embedding": embedding}


def _stem(source: Path) -> str:
    """The model's name without what earlier conversions added to it."""
    return (source.stem if source.is_file() else source.name).split("--")[0]


def _content(folder: Path, target: ModelFormat) -> Path:
    return next(folder.glob("*.gguf")) if target is ModelFormat.GGUF else folder
