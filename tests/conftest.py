"""Fixtures for all tests: user folders of their own, and the real model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from enginebay import ConverterSpec, HardwareProfile
from enginebay.models.converting import ConvertedModels
from enginebay_plugins.ctranslate2 import SAFETENSORS_TO_CTRANSLATE2
from enginebay_plugins.gguf import SAFETENSORS_TO_GGUF
from enginebay_plugins.onnx import SAFETENSORS_TO_ONNX
from enginebay_plugins.transformers import GGUF_TO_SAFETENSORS
from real_servers import PostgresServer

# A busy machine is no fault of the code: time is measured in bench/, never in tests.
settings.register_profile("enginebay", deadline=None)
settings.load_profile("enginebay")

# vLLM has a virtual environment of its own: make test-vllm.
collect_ignore = [] if find_spec("vllm") else ["with_vllm"]

SMOLLM2 = "smollm2-135m-instruct"
MINILM = "all-minilm-l6-v2"
MODEL_FOLDER = Path(os.environ.get("ENGINEBAY_TEST_MODELS", Path(__file__).parent.parent / ".venvs" / "models"))


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker cores of its own for tests with models: engines' threads spin, and two on one core crawl."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None or config.getoption("markexpr") != "model" or not hasattr(os, "sched_setaffinity"):
        return
    cores, workers = sorted(os.sched_getaffinity(0)), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) :: workers] or cores)


@pytest.fixture(scope="session")
def probe_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which this machine has been probed, which takes seconds: it imports every engine's library."""
    from enginebay import Bay

    folder = tmp_path_factory.mktemp("probe")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENGINEBAY_CACHE_DIR", str(folder))
        Bay().hardware()
    return folder


@pytest.fixture(autouse=True)
def own_folders(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Each test has its own cache, data and configuration folders, and no ENGINEBAY_* of the caller's.

    Those with models, and those marked `probed`, find this machine probed.
    """
    for name in list(os.environ):
        if name.startswith("ENGINEBAY_"):
            monkeypatch.delenv(name)
    root = tmp_path_factory.mktemp("home")
    for kind in ("CACHE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"ENGINEBAY_{kind}_DIR", str(root / kind.lower()))
    if any(request.node.get_closest_marker(name) for name in ("model", "probed")):
        shutil.copytree(request.getfixturevalue("probe_cache"), root / "cache")
    return root


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """The real SmolLM2-135M-Instruct in GGUF, pulled once and kept between runs."""
    from enginebay.models.store import ModelStore

    return ModelStore(MODEL_FOLDER).pull(SMOLLM2)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL with pgvector; `new_database()` gives a url."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def this_machine(probe_cache: Path) -> HardwareProfile:
    """The real machine, probed once."""
    from enginebay import Bay

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENGINEBAY_CACHE_DIR", str(probe_cache))
        return Bay().hardware()


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    """The real all-MiniLM-L6-v2 as safetensors, pulled once and kept between runs."""
    from enginebay.models.store import ModelStore

    return ModelStore(MODEL_FOLDER).pull(MINILM)


def converted(source: Path, converter: ConverterSpec, **options: Any) -> Path:
    """The real model in another format, converted once and kept between runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENGINEBAY_CACHE_DIR", str(MODEL_FOLDER / "cache"))
        return ConvertedModels(MODEL_FOLDER / "converted").make(source, converter, {**converter.defaults, **options})


def converted_once(source: str, converter: ConverterSpec, **options: Any) -> Any:
    """A fixture that gives the model of the fixture `source` in another format."""

    @pytest.fixture(scope="session")
    def made(request: pytest.FixtureRequest) -> Path:
        return converted(request.getfixturevalue(source), converter, **options)

    return made


smollm2_safetensors = converted_once("smollm2_path", GGUF_TO_SAFETENSORS)  # bfloat16
smollm2_ctranslate2 = converted_once("smollm2_safetensors", SAFETENSORS_TO_CTRANSLATE2)  # int8
smollm2_gguf_f16 = converted_once("smollm2_safetensors", SAFETENSORS_TO_GGUF, type="F16")
minilm_ctranslate2 = converted_once("minilm_path", SAFETENSORS_TO_CTRANSLATE2)  # int8
minilm_ctranslate2_float32 = converted_once("minilm_path", SAFETENSORS_TO_CTRANSLATE2, quantization="float32")
minilm_onnx = converted_once("minilm_path", SAFETENSORS_TO_ONNX)  # float32
minilm_onnx_int8 = converted_once("minilm_path", SAFETENSORS_TO_ONNX, quantization="int8")
minilm_gguf = converted_once("minilm_path", SAFETENSORS_TO_GGUF)  # float32
minilm_gguf_f16 = converted_once("minilm_path", SAFETENSORS_TO_GGUF, type="F16")
