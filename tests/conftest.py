"""Fixtures for all tests: user folders of their own, and the real model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no fault of the code: time is measured in bench/, never in tests.
settings.register_profile("enginebay", deadline=None)
settings.load_profile("enginebay")

SMOLLM2 = "smollm2-135m-instruct"
MODEL_FOLDER = Path(os.environ.get("ENGINEBAY_TEST_MODELS", Path(__file__).parent.parent / ".venvs" / "models"))


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has its own cache, data and configuration folders, and no ENGINEBAY_* of the caller's."""
    for name in list(os.environ):
        if name.startswith("ENGINEBAY_"):
            monkeypatch.delenv(name)
    root = tmp_path_factory.mktemp("home")
    for kind in ("CACHE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"ENGINEBAY_{kind}_DIR", str(root / kind.lower()))
    return root


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """The real SmolLM2-135M-Instruct in GGUF, pulled once and kept between runs."""
    from enginebay.models.store import ModelStore

    return ModelStore(MODEL_FOLDER).pull(SMOLLM2)
