"""Generators and embedders that live as long as a test class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from enginebay import Bay, HardwareProfile
from enginebay.embedding.handle import EmbedderHandle
from enginebay.generation.handle import GeneratorHandle

Open = Callable[..., GeneratorHandle]
OpenEmbedder = Callable[..., EmbedderHandle]


@contextmanager
def folders(root: Path) -> Iterator[None]:
    """Folders of their own, for fixtures that live longer than a test."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("CACHE", "DATA", "CONFIG"):
            patch.setenv(f"ENGINEBAY_{kind}_DIR", str(root / kind.lower()))
        yield


@pytest.fixture(scope="class")
def open_generator(tmp_path_factory: pytest.TempPathFactory, this_machine: HardwareProfile) -> Iterator[Open]:
    """Opens a generator in a bay that is closed after the class."""
    root = tmp_path_factory.mktemp("conformance")
    bays: list[Bay] = []

    def open_one(model: Path | str, backend: str, **changes: Any) -> GeneratorHandle:
        with folders(root):
            bays.append(Bay(hardware=this_machine))
            return bays[-1].generator(str(model), backend=backend, **{"context_length": 512, "streams": 8} | changes)

    yield open_one
    for bay in bays:
        bay.close()


@pytest.fixture(scope="class")
def class_embedder(tmp_path_factory: pytest.TempPathFactory, this_machine: HardwareProfile) -> Iterator[OpenEmbedder]:
    """Opens embedders in one bay, which is closed after the class."""
    root = tmp_path_factory.mktemp("conformance")
    with folders(root):
        bay = Bay(hardware=this_machine)

    def open_one(model: Path | str, backend: str, **changes: Any) -> EmbedderHandle:
        with folders(root):
            handle = bay.embedder(str(model), backend=backend, **changes)
            assert handle.fingerprint, "it is kept, as it is made, in the folders of the class"
            return handle

    yield open_one
    bay.close()
