"""Running quantizers: whole or not at all, whatever goes wrong. The quantizers here are made for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from enginebay import BackendSpec, Interface
from enginebay.errors import JobError
from enginebay.interfaces.jobs import JobCancelled, JobEvent
from enginebay.matching.quantizers import Candidate
from enginebay.models.headers import read_info
from enginebay.models.identity import read_record
from enginebay.quantizing import (
    QuantizationWork,
    calibration_text,
    check_source,
    run_quantization,
    shipped_text,
)
from enginebay.spec import DeviceKind, DeviceSupport, ModelFormat, QuantizationType
from gguf_writer import FACTS, write_gguf

TYPE = QuantizationType(name="q4_x", format=ModelFormat.GGUF, bits=4.5, engines=("fake",))


def spec(name: str = "Copy", **changes: Any) -> BackendSpec:
    return BackendSpec(
        name="made",
        interface=Interface.QUANTIZER,
        factory=f"made_quantizers:{name}",
        devices=(DeviceSupport(kind=DeviceKind.CPU, overhead_bytes=0),),
        formats=frozenset({ModelFormat.GGUF}),
        types=(TYPE,),
        **changes,
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", FACTS | {"general.file_type": 1})


def work(source: Path, name: str = "Copy", output: Path | None = None, **changes: Any) -> QuantizationWork:
    model = read_info(source)
    chosen = Candidate("made", TYPE, None, "fake", "cpu", 100, None)
    return QuantizationWork(model, model, spec(name), chosen, output, None, **changes)


def left_over(folder: Path, *known: str) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.name not in known)


def test_a_result_is_kept_and_found_again(source: Path) -> None:
    told: list[JobEvent] = []
    made = run_quantization(work(source), told.append)
    assert made.path.read_bytes() == source.read_bytes()
    assert told == [JobEvent("quantize", 1, 2, {"share": 0.5}, "q4_x")]
    again = run_quantization(work(source))
    assert (again.path, again.seconds) == (made.path, 0.0)
    assert run_quantization(work(source, options={"a": 1})).path != made.path
    assert run_quantization(work(source, version="2")).path != made.path


def test_an_output_has_its_record_beside_it(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "there" / "small.gguf"
    made = run_quantization(work(source, output=output))
    assert made.path == output
    record = read_record(output)
    assert record["quantized"]["type"] == "q4_x"
    assert record["fingerprint"]["eos_token_ids"] == [1]
    assert left_over(output.parent) == ["small.gguf", "small.gguf.enginebay.json"]
    assert made.fingerprint["maker"] == "made"


def test_a_folder_as_output_gets_the_file(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    assert run_quantization(work(source, output=folder)).path == folder / "tiny-q4_x.gguf"


def test_an_output_that_exists_is_left_alone(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "precious.gguf"
    output.write_text("precious")
    with pytest.raises(JobError, match=r"precious\.gguf exists already"):
        run_quantization(work(source, output=output))
    assert output.read_text() == "precious"
    run_quantization(work(source, output=output, overwrite=True))
    assert output.read_bytes() == source.read_bytes()


def test_what_fails_while_replacing_leaves_the_old(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "precious.gguf"
    output.write_text("precious")
    with pytest.raises(JobError, match="the library broke"):
        run_quantization(work(source, "BreakDown", output, overwrite=True))
    assert output.read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Refuse", r"was not quantised: a strange architecture[\s\S]*take another"),
        ("BreakDown", "failed: RuntimeError: the library broke"),
        ("FillTheDisk", r"cannot write the result to .*out: No space left on device[\s\S]*free some room"),
        ("Crash", "SIGKILL"),
        ("Forget", "wrote nothing"),
        ("LoseTemplate", "did not keep what travels with the weights: chat_template: .*eos: '</s>' -> 'a'"),
        ("no_quantizer", "returned object, not a Quantizer"),
    ],
)
def test_faults_are_told_and_leave_nothing(source: Path, tmp_path: Path, name: str, message: str) -> None:
    output = tmp_path / "out" / "small.gguf"
    with pytest.raises(JobError, match=message):
        run_quantization(work(source, name, output))
    assert left_over(output.parent) == []


def test_there_must_be_room_and_memory(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JobError, match=r"takes about .* of memory for this model; 0\.00 GB are free"):
        run_quantization(work(source, available=10))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 99})())
    with pytest.raises(JobError, match=r"the result takes about .* has 0\.00 GB free"):
        run_quantization(work(source))


def test_a_place_below_a_file_is_refused(source: Path) -> None:
    with pytest.raises(JobError, match=r"cannot write to .*tiny\.gguf"):
        run_quantization(work(source, output=source / "below.gguf"))


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_cancelling_ends_the_child(source: Path, tmp_path: Path) -> None:
    output, children = tmp_path / "out" / "small.gguf", []

    def cancel(event: JobEvent) -> None:
        children.append(int(event.message))
        raise JobCancelled

    with pytest.raises(JobCancelled):
        run_quantization(work(source, "Dawdle", output), cancel)
    assert not psutil.pid_exists(children[0])
    assert left_over(output.parent) == []


_DAWDLE = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from pathlib import Path
from test_quantizing import work, run_quantization
run_quantization(work(Path(sys.argv[2]), "Dawdle", Path(sys.argv[3])), lambda event: print(event.message, flush=True))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_job_takes_its_child_along(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "small.gguf"
    path = [str(Path(__file__).parent), *sys.path]
    job = subprocess.Popen(
        [sys.executable, "-c", _DAWDLE, json.dumps(path), str(source), str(output)], stdout=subprocess.PIPE
    )
    assert job.stdout is not None
    child = int(job.stdout.readline())
    job.kill()
    job.wait()
    job.stdout.close()
    until = time.monotonic() + 30
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "the child works on"
        time.sleep(0.05)
    assert not output.exists()
    assert run_quantization(work(source, output=output)).path == output
    assert left_over(output.parent) == ["small.gguf", "small.gguf.enginebay.json"]


def test_quantised_sources_need_consent(tmp_path: Path) -> None:
    model = read_info(write_gguf(tmp_path / "tiny.gguf", FACTS | {"general.file_type": 3}))
    with pytest.raises(JobError, match=r"is quantised already \(Q4_1\)[\s\S]*requantize=True"):
        check_source(model, requantize=False)
    check_source(model, requantize=True)


def test_calibration_texts_are_looked_at(tmp_path: Path) -> None:
    needs = TYPE.model_copy(update={"calibration": True})
    assert calibration_text(None, TYPE) is None
    assert calibration_text(None, needs) == calibration_text(Path("shipped"), TYPE) == shipped_text("calibration")
    with pytest.raises(JobError, match=r"cannot read .*missing\.txt"):
        calibration_text(tmp_path / "missing.txt", TYPE)
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(JobError, match=r"empty\.txt is empty"):
        calibration_text(tmp_path / "empty.txt", TYPE)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(JobError, match="no UTF-8 text"):
        calibration_text(tmp_path / "binary", TYPE)


def test_the_shipped_texts_share_no_passage() -> None:
    evaluation, calibration = (shipped_text(name).read_text(encoding="utf-8") for name in ("evaluation", "calibration"))
    words = " ".join(evaluation.split()).split()
    spans = {" ".join(words[start : start + 12]) for start in range(len(words) - 12)}
    other = " ".join(calibration.split()).split()
    assert not spans & {" ".join(other[start : start + 12]) for start in range(len(other) - 12)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"types": ()}, "quantizers declare types, and they alone"),
        ({"types": (TYPE, TYPE)}, "declares a type twice"),
        ({"interface": Interface.TUNER, "types": (TYPE,)}, "quantizers declare types, and they alone"),
    ],
)
def test_specs_declare_types_soundly(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BackendSpec.model_validate(spec().model_dump() | changes)
