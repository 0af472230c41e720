"""The stand-in for mlc_llm, installed as its wheels would be, on a saved machine with a Vulkan GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from enginebay import ConversionRequest
from enginebay.hardware.profile import HardwareProfile
from machines import machine

STAND_IN = Path(__file__).parent / "stand_in"


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Puts the stand-in on the path, with the metadata of a distribution named as MLC's nightly wheel."""
    root = tmp_path_factory.mktemp("site")
    info = root / "mlc_llm_nightly_cpu-0.20.0+standin.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mlc-llm-nightly-cpu\nVersion: 0.20.0+standin\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        patch.syspath_prepend(str(STAND_IN))
        patch.setenv("PYTHONPATH", str(STAND_IN))
        yield STAND_IN
    ours = ("mlc_llm", "tvm", "enginebay_plugins.mlc.engine")
    for name in [name for name in sys.modules if name.startswith(ours)]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def vulkan_machine() -> HardwareProfile:
    """A mini PC whose integrated GPU has Vulkan."""
    return machine("amd_apu_780m")


@pytest.fixture(scope="module")
def mlc_folder(stand_in: Path, smollm2_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 as an MLC folder, by the stand-in's commands."""
    from enginebay_plugins.mlc.converter import convert

    target = tmp_path_factory.mktemp("mlc") / "SmolLM2"
    convert(ConversionRequest(smollm2_safetensors, target, {"quantization": "q0f16", "device": "vulkan"}))
    return target
