"""Running a quantizer: checked before, in a process of its own, whole or not at all, and checked after."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from filelock import FileLock

from enginebay import paths
from enginebay.errors import EnginebayError, JobError
from enginebay.interfaces.jobs import Events, JobEvent
from enginebay.interfaces.quantizer import QuantizationJob, QuantizedModel
from enginebay.matching.quantizers import Candidate
from enginebay.models.child import call_in_child
from enginebay.models.fingerprint import fingerprint, lost_on_the_way
from enginebay.models.headers import read_info
from enginebay.models.identity import RECORD, read_record, record_beside, weights_identity
from enginebay.models.info import ModelInfo
from enginebay.spec import BackendSpec, ModelFormat, QuantizationType

SHIPPED = "shipped"
"""Names the calibration text that enginebay brings."""


@dataclass(frozen=True, slots=True)
class QuantizationWork:
    """Everything a job needs, decided.

    Attributes:
        asked: the model as it was named.
        source: the same in a format that the quantizer reads.
        output: where the result is wanted; None keeps it in enginebay's data folder, where it is found again.
        calibration: text file for activations; None where the type can do without.
        options: the backend's options, checked, as JSON values.
        version: of the quantizer's library.
        available: bytes of memory that are free.
        threads: cores to use.
    """

    asked: ModelInfo
    source: ModelInfo
    spec: BackendSpec
    candidate: Candidate
    output: Path | None
    calibration: Path | None
    requantize: bool = False
    overwrite: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    available: int = 1 << 62
    threads: int = 1


def shipped_text(name: str) -> Path:
    """A text that comes with enginebay: "calibration" for importance matrices, "evaluation" for perplexity."""
    return Path(str(files("enginebay") / "texts" / f"{name}.txt"))


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        JobError: it cannot be read as text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise JobError(f"cannot read {path}: {error.strerror or error}", value=str(path)) from error
    except UnicodeDecodeError as error:
        raise JobError(f"{path} is no UTF-8 text", value=str(path), hint="give a plain text file") from error


def calibration_text(given: Path | str | None, made: QuantizationType) -> Path | None:
    """The calibration text: what is given, or the one that enginebay brings where a type needs one or it is asked for.

    Args:
        given: a file, `SHIPPED`, or None.

    Raises:
        JobError: it cannot be read as text.
    """
    if given is None:
        return shipped_text("calibration") if made.calibration else None
    if str(given) == SHIPPED:
        return shipped_text("calibration")
    path = Path(given).expanduser()
    if not read_text(path).strip():
        raise JobError(f"{path} is empty", value=str(path), hint="give some thousand words of plain text")
    return path


def check_source(model: ModelInfo, requantize: bool) -> None:
    """Refuse a model that is quantised already.

    Raises:
        JobError: it is, and the caller did not say that this is meant.
    """
    if model.quantized and not requantize:
        raise JobError(
            f"{model.reference} is quantised already ({model.quantization}): quantising it again adds to the loss",
            value=model.quantization,
            hint="start from the model in 16 bits, or allow it: requantize=True (--requantize)",
        )


def run_quantization(work: QuantizationWork, events: Events = lambda event: None) -> QuantizedModel:
    """Quantise, or find the same made.

    Args:
        events: told of progress; raising `JobCancelled` in it ends the job.

    Raises:
        JobError: there is no room or no memory, the output exists or cannot be written, or the quantizer failed;
            nothing stands under the output's name.
        JobCancelled: `events` raised it.
    """
    facts = _facts(work)
    target = _target(work, facts)
    started = time.perf_counter()
    with _locked(target):
        found = _made(target, facts)
        if not found:
            if target.exists() and not work.overwrite:
                raise JobError(
                    f"{target} exists already", value=str(target), hint="name another output, or allow it: --force"
                )
            _check_room(work, target)
            result = _make(work, target, facts, events)
        else:
            result = read_info(target)
    return _result(work, target, result, 0.0 if found else time.perf_counter() - started)


def _facts(work: QuantizationWork) -> dict[str, Any]:
    """What decides the result: the same facts give the same model."""
    given: dict[str, Any] = {
        "source": weights_identity(work.source),
        "backend": work.spec.name,
        "version": work.version,
        "type": work.candidate.type.name,
        "options": dict(work.options),
    }
    if work.calibration is not None:
        given["calibration"] = sha256(work.calibration.read_bytes()).hexdigest()
    return given


def _target(work: QuantizationWork, facts: Mapping[str, Any]) -> Path:
    """The result's final name."""
    made = work.candidate.type
    gguf = made.format is ModelFormat.GGUF
    path = work.asked.path
    assert path is not None
    stem = (path.stem if path.is_file() else path.name).split("--")[0]
    if work.output is not None:
        output = work.output.expanduser().absolute()
        return output / f"{stem}-{made.name}.gguf" if gguf and output.is_dir() else output
    digest = sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    folder = paths.data_dir() / "quantized" / f"{stem}--{made.name}--{digest}"
    return folder / f"{stem}-{made.name}.gguf" if gguf else folder


def _made(target: Path, facts: Mapping[str, Any]) -> bool:
    """The same has been made before."""
    return target.exists() and read_record(target).get("made_of") == facts


def _check_room(work: QuantizationWork, target: Path) -> None:
    """Look for disk and memory before anything is loaded.

    Raises:
        JobError: there is too little.
    """
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise JobError(f"cannot write to {folder}: {error.strerror or error}", value=str(folder)) from error
    if not os.access(folder, os.W_OK):
        raise JobError(f"cannot write to {folder}: permission denied", value=str(folder), hint="name another output")
    needed = work.candidate.weight_bytes
    if free < needed:
        raise JobError(
            f"the result takes about {needed / 1e9:.2f} GB; {folder} has {free / 1e9:.2f} GB free",
            value=free,
            hint="free some room, name another output, or set ENGINEBAY_DATA_DIR to a larger disk",
        )
    memory = int(work.source.weight_bytes * work.spec.memory_ratio) + work.spec.devices[0].overhead_bytes
    if memory > work.available:
        raise JobError(
            f"{work.spec.name} takes about {memory / 1e9:.2f} GB of memory for this model; "
            f"{work.available / 1e9:.2f} GB are free",
            value=work.available,
            hint="close other programs, or quantise on a larger machine and copy the result",
        )


def _make(work: QuantizationWork, target: Path, facts: Mapping[str, Any], events: Events) -> ModelInfo:
    """Write beside, look whether it is sound, then rename; gives what was read of it."""
    beside = target.with_name(f".{target.name}.partial")
    paths.remove(beside)
    cache = paths.cache_dir() / "quantizing" / weights_identity(work.source)[:16]
    source = work.source.path
    assert source is not None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        job = QuantizationJob(
            model=source.absolute(),
            to=work.candidate.type.name,
            output=beside,
            calibration=work.calibration.absolute() if work.calibration is not None else None,
            requantize=work.requantize,
            threads=work.threads,
            options=dict(work.options),
            cache=cache,
        )
        call_in_child(
            "enginebay.models.quantizer_child:quantize_here",
            [work.spec.factory, job.model_dump(mode="json")],
            lambda told: events(JobEvent(**told)),
            name=f"the quantizer {work.spec.name!r}",
            value=str(source),
            error=JobError,
        )
        return _finish(work, beside, target, facts)
    except OSError as error:
        raise JobError(f"{target} could not be written: {error.strerror or error}", value=str(target)) from error
    except EnginebayError as error:
        if isinstance(error, JobError):
            raise
        raise JobError(
            f"{work.asked.reference} was not quantised: {error.message}", value=error.value, hint=error.hint
        ) from error
    finally:
        paths.remove(beside)


def _finish(work: QuantizationWork, beside: Path, target: Path, facts: Mapping[str, Any]) -> ModelInfo:
    """Read back what was written, keep its record, and give it its name."""
    if not beside.exists():
        raise JobError(f"the quantizer {work.spec.name!r} wrote nothing", value=str(target))
    result = read_info(beside)
    lost = lost_on_the_way(work.source, result)
    if lost:
        raise JobError(
            f"the quantizer {work.spec.name!r} did not keep what travels with the weights: {'; '.join(lost)}",
            value=lost,
        )
    maker = f"{work.spec.name} {work.version}".strip()
    asked_embedding = work.asked.embedding
    record = {
        "quantized": {
            "type": work.candidate.type.name,
            "parameters": work.asked.parameters or result.parameters,
            "source_bytes": work.asked.weight_bytes,
        },
        "made_of": facts,
        "origin": weights_identity(work.asked),
        "embedding": asked_embedding.model_dump(mode="json") if asked_embedding is not None else None,
        "fingerprint": asdict(fingerprint(work.asked, result, maker, facts)),
        "source": work.asked.reference,
        "created": datetime.now(UTC).isoformat(),
    }
    text = json.dumps(record, indent=1).encode()
    if beside.is_dir():
        paths.write_whole(beside / RECORD, text)
        old = target.with_name(f".{target.name}.old")
        if target.exists():
            target.rename(old)
        beside.rename(target)
        paths.remove(old)
    else:
        paths.write_whole(record_beside(target), text)
        beside.replace(target)
    return result


def _result(work: QuantizationWork, target: Path, info: ModelInfo, seconds: float) -> QuantizedModel:
    record = read_record(target)
    # Packed weights cannot be counted: the record has their number from the source.
    counted = info.model_copy(update={"parameters": record["quantized"]["parameters"]})
    return QuantizedModel(
        path=target,
        format=info.format,
        type=work.candidate.type.name,
        backend=work.spec.name,
        engines=work.candidate.type.engines,
        source_bytes=record["quantized"]["source_bytes"],
        bytes=info.weight_bytes,
        bits_per_weight=counted.bits_per_weight,
        seconds=seconds,
        fingerprint=record["fingerprint"],
    )


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """One process at a time makes one model."""
    folder = paths.cache_dir() / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"cannot write to {folder}: {error.strerror}", value=str(folder)) from error
    with FileLock(folder / f"{sha256(str(target).encode()).hexdigest()[:16]}.lock"):
        yield
