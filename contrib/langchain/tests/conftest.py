"""The real models, pulled once and kept between runs; folders of their own for what enginebay keeps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from enginebay import Bay
from enginebay.models.store import ModelStore

MODEL_FOLDER = Path(os.environ.get("ENGINEBAY_TEST_MODELS", Path(__file__).parents[3] / ".venvs" / "models"))


@pytest.fixture(scope="session")
def bay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bay]:
    """A bay for all tests."""
    root = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("CACHE", "DATA", "CONFIG"):
            patch.setenv(f"ENGINEBAY_{kind}_DIR", str(root / kind.lower()))
        with Bay() as opened:
            yield opened


@pytest.fixture(scope="session")
def chat_model_path() -> Path:
    """SmolLM2-135M-Instruct in GGUF."""
    return ModelStore(MODEL_FOLDER).pull("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def embedding_model_path() -> Path:
    """all-MiniLM-L6-v2."""
    return ModelStore(MODEL_FOLDER).pull("all-minilm-l6-v2")
