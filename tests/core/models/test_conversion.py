"""Paths between formats, and running converters in child processes: their faults leave nothing behind."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay import ConverterSpec, ModelFormat
from enginebay.errors import ConversionError, ModelFormatError
from enginebay.models.conversion import shortest_path
from enginebay.models.converting import RECORD, ConvertedModels
from fake_engine import fake_model
from gguf_writer import FACTS, write_gguf

FORMATS = [one for one in ModelFormat if one is not ModelFormat.REMOTE]


def step(source: str, target: str, factory: str = "made:convert", **fields) -> ConverterSpec:
    given_ = {"name": f"{source}_to_{target}", "source": source, "target": target, "factory": factory}
    return ConverterSpec.model_validate(given_ | fields)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    return path


def make(store: ConvertedModels, source: Path, function: str, **options) -> Path:
    return store.make(source, step("safetensors", "gguf", f"made_converters:{function}"), options)


def left_over(store: ConvertedModels) -> list[str]:
    return [path.name for path in store.directory.iterdir() if not path.name.endswith(".lock")]


def test_a_conversion_is_kept_and_found_again(source: Path) -> None:
    store, told = ConvertedModels(), []
    spec = step("safetensors", "gguf", "made_converters:copy")
    made = store.make(source, spec, {"a": 1}, lambda what, share: told.append((what, share)))
    assert made.read_bytes() == source.read_bytes()
    assert told == [("copying", 0.5)]
    record = json.loads((made.parent / RECORD).read_text())
    assert (record["converter"], record["options"]) == ("safetensors_to_gguf", {"a": 1})
    stamp = made.stat().st_mtime_ns
    assert store.make(source, spec, {"a": 1}) == made
    assert made.stat().st_mtime_ns == stamp
    assert store.make(source, spec, {"a": 2}) != made
    assert store.make(source, spec.model_copy(update={"version": 2}), {"a": 1}) != made
    assert len(store.installed()) == 3


def test_another_content_is_another_conversion(source: Path) -> None:
    store = ConvertedModels()
    first = make(store, source, "copy")
    write_gguf(source, FACTS | {"general.name": "another"})
    assert make(store, source, "copy") != first


@pytest.mark.parametrize(
    ("function", "kind", "told"),
    [
        ("refuse", ModelFormatError, "strange architecture"),
        ("break_down", ConversionError, "RuntimeError: the library broke"),
        ("crash", ConversionError, "SIGKILL"),
        ("leave", ConversionError, "SystemExit"),
        ("nonsense", ModelFormatError, "neither a GGUF"),
        ("missing", ConversionError, "AttributeError"),
    ],
)
def test_faults_leave_nothing_behind(source: Path, function: str, kind: type[Exception], told: str) -> None:
    store = ConvertedModels()
    with pytest.raises(kind, match=told):
        make(store, source, function)
    assert left_over(store) == []
    assert source.exists()


def test_no_room(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ConvertedModels()
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 0})())
    with pytest.raises(ConversionError, match=r"0\.0 GB free"):
        make(store, source, "copy")
    assert left_over(store) == []


def test_an_interrupted_conversion_ends_its_child(source: Path) -> None:
    store = ConvertedModels()
    timer = threading.Timer(1.5, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        make(store, source, "dawdle")
    assert time.monotonic() - started < 30
    assert left_over(store) == []


def test_two_at_once_convert_once(source: Path) -> None:
    store, paths = ConvertedModels(), []
    threads = [threading.Thread(target=lambda: paths.append(make(store, source, "copy"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1


def test_the_quickest_path_is_taken() -> None:
    steps = [
        step("gguf", "onnx", seconds_per_gb=100),
        step("gguf", "safetensors", seconds_per_gb=10, size_ratio=4),
        step("safetensors", "onnx", seconds_per_gb=10, size_ratio=0.5),
    ]
    path = shortest_path(fake_model(weight_bytes=10**9), {ModelFormat.ONNX}, steps)
    assert path is not None
    assert path.converters == ("gguf_to_safetensors", "safetensors_to_onnx")
    assert path.seconds == pytest.approx(10 + 40)
    assert path.weight_bytes == 2 * 10**9


def test_what_a_converter_does_not_take_is_no_path() -> None:
    steps = [step("gguf", "onnx", architectures=frozenset({"bert"}))]
    assert shortest_path(fake_model(), {ModelFormat.ONNX}, steps) is None
    steps = [step("gguf", "onnx", quantizations=frozenset({"F16"}))]
    assert shortest_path(fake_model(quantization="Q4_1"), {ModelFormat.ONNX}, steps) is None
    assert shortest_path(fake_model(quantization="F16"), {ModelFormat.ONNX}, steps) is not None


edges = st.lists(
    st.tuples(st.sampled_from(FORMATS), st.sampled_from(FORMATS), st.floats(0.1, 100), st.floats(0.1, 10)), max_size=14
)


@given(edges, st.sampled_from(FORMATS))
def test_paths_are_the_best_of_all(drawn: list, target: ModelFormat) -> None:
    steps = [
        step(one, two, name=f"step{place}", seconds_per_gb=cost, size_ratio=ratio)
        for place, (one, two, cost, ratio) in enumerate(drawn)
        if one is not two
    ]

    def all_costs(at: ModelFormat, size: float, seen: frozenset) -> list[float]:
        found = [0.0] if at is target and len(seen) > 1 else []
        for one in steps:
            if one.source is at and one.target not in seen:
                rest = all_costs(one.target, size * one.size_ratio, seen | {one.target})
                found += [one.seconds_per_gb * size + more for more in rest]
        return found

    model = fake_model(weight_bytes=10**9)
    path = shortest_path(model, {target}, steps)
    costs = all_costs(model.format, 1.0, frozenset({model.format}))
    assert (path is None) == (not costs)
    if path is not None:
        assert path.seconds == pytest.approx(min(costs), rel=1e-6)
        assert path.formats[0] is model.format
        assert path.target is target
