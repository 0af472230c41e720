"""Both llama.cpp backends, opened once for a module on the real model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from enginebay import Generator, OpenRequest
from enginebay.hardware.probe import probe
from enginebay.models.headers import read_info
from tiny_gguf import write_tiny

BACKENDS = ("llama_cpp", "xllamacpp")
Opener = Callable[..., Generator]


@pytest.fixture(scope="session")
def open_backend(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Opener:
    """A function that opens a backend on the real model: open_backend("llama_cpp", context_length=512, options=…)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENGINEBAY_CACHE_DIR", str(tmp_path_factory.mktemp("probe")))
        hardware = probe()

    def open_one(
        backend: str, *, context_length: int = 1024, streams: int = 4, options: Any = None, path: Path = smollm2_path
    ) -> Generator:
        cpu = hardware.device("cpu")
        assert cpu is not None
        module = import_module(f"enginebay_plugins.llama_cpp.{backend}_engine")
        request = OpenRequest(
            model=read_info(smollm2_path).model_copy(update={"path": path}),
            device=cpu,
            cpu=hardware.cpu,
            context_length=context_length,
            streams=streams if backend == "xllamacpp" else 1,
            device_layers=30,
            options=options,
        )
        engine: Generator = module.open_engine(request)
        return engine

    return open_one


@pytest.fixture(scope="session")
def engines(open_backend: Opener) -> Iterator[dict[str, Generator]]:
    """Both backends, open."""
    opened = {backend: open_backend(backend) for backend in BACKENDS}
    yield opened
    for engine in opened.values():
        engine.close()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend's name."""
    name: str = request.param
    return name


@pytest.fixture
def engine(engines: dict[str, Generator], backend: str) -> Generator:
    """Each backend, open."""
    return engines[backend]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of one layer."""
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.gguf")
