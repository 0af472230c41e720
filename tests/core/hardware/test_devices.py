"""Devices: a fake NVML, written sysfs trees, Apple's chips by name, and real Vulkan on Mesa's software driver."""

from __future__ import annotations

import ctypes
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from enginebay import Device
from enginebay.hardware.cuda import cuda_devices
from enginebay.hardware.metal import metal_device, working_set
from enginebay.hardware.rocm import gfx_name, rocm_devices
from enginebay.hardware.vulkan import vulkan_devices

GIB = 1 << 30
UUIDS = ("GPU-aaaa1111", "GPU-bbbb2222")


class FakeNvml(types.ModuleType):
    """Stands in for pynvml: two GPUs, or the fault a test asks for. No GPU is asked anything."""

    NVML_CLOCK_MEM, NVML_CLOCK_SM, NVML_DEVICE_MIG_ENABLE = 2, 1, 1

    class NVMLError(Exception): ...

    def __init__(self, fault: str = "", lost: int | None = None) -> None:
        super().__init__("pynvml")
        self.fault, self.lost = fault, lost

    def error(self, name: str) -> Exception:
        made: Exception = type(f"NVMLError_{name}", (self.NVMLError,), {})(name)
        return made

    def nvmlInit(self) -> None:
        if self.fault:
            raise self.error(self.fault)

    def nvmlShutdown(self) -> None: ...

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"550.54.14"

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index == self.lost:
            raise self.error("GpuIsLost")
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA GeForce RTX 4090"

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return UUIDS[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return types.SimpleNamespace(total=24 * GIB, free=(20 + handle) * GIB)

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return 8, 9

    def nvmlDeviceGetMigMode(self, handle: int) -> Any:
        raise self.error("NotSupported")

    def nvmlDeviceGetMemoryBusWidth(self, handle: int) -> int:
        return 384

    def nvmlDeviceGetMaxClockInfo(self, handle: int, clock: int) -> int:
        return 10501 if clock == self.NVML_CLOCK_MEM else 2520

    def nvmlDeviceGetNumGpuCores(self, handle: int) -> int:
        return 16384

    def nvmlDeviceGetPciInfo(self, handle: int) -> Any:
        return types.SimpleNamespace(busId=f"00000000:0{handle + 1}:00.0")


def with_fake_nvml(monkeypatch: pytest.MonkeyPatch, variable: str | None = None, **fields: Any) -> Any:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(**fields))
    return cuda_devices({} if variable is None else {"CUDA_VISIBLE_DEVICES": variable})


def test_cuda_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_fake_nvml(monkeypatch)
    first = Device.model_validate(found["devices"][0])
    assert (first.id, first.compute_capability, first.driver) == ("cuda:0", (8, 9), "550.54.14")
    assert first.memory_bandwidth == pytest.approx(1008e9, rel=0.01), "the data sheet's figure"
    assert first.compute == pytest.approx(165e12, rel=0.01), "the data sheet's figure"
    assert first.physical_id == "0000:01:00.0"
    assert found["warnings"] == []


@pytest.mark.parametrize(
    ("variable", "free"),
    [
        (None, [20, 21]),
        ("1", [21]),
        ("1,0", [21, 20]),
        ("", []),
        ("-1", []),
        ("0,7,1", [20]),
        ("GPU-bbbb", [21]),
        ("GPU-none", []),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices(monkeypatch: pytest.MonkeyPatch, variable: str | None, free: list[int]) -> None:
    devices = with_fake_nvml(monkeypatch, variable)["devices"]
    assert [device["memory_available"] // GIB for device in devices] == free
    assert [device["id"] for device in devices] == [f"cuda:{index}" for index in range(len(free))]


@pytest.mark.parametrize("fault", ["LibraryNotFound", "DriverNotLoaded"])
def test_without_a_driver_there_is_no_device_and_no_fuss(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    assert with_fake_nvml(monkeypatch, fault=fault) == {"devices": [], "warnings": []}


def test_a_broken_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FakeNvml.NVMLError, match="LibRmVersionMismatch"):
        with_fake_nvml(monkeypatch, fault="LibRmVersionMismatch")


def test_a_lost_gpu_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_fake_nvml(monkeypatch, lost=0)
    assert [device["memory_available"] // GIB for device in found["devices"]] == [21]
    assert "GpuIsLost" in found["warnings"][0]


def amd(root: Path, version: int, vram: int, gtt: int) -> Path:
    node, card = root / "sys/class/kfd/kfd/topology/nodes/1", root / "sys/class/drm/renderD128/device"
    for folder in (node, card, root / "dev"):
        folder.mkdir(parents=True)
    (root / "dev/kfd").touch()
    (node / "properties").write_text(f"simd_count 96\ngfx_target_version {version}\ndrm_render_minor 128\n")
    cpu = root / "sys/class/kfd/kfd/topology/nodes/0"
    cpu.mkdir()
    (cpu / "properties").write_text("cpu_cores_count 8\nsimd_count 0\n")
    for name, value in {"vram_total": vram, "vram_used": GIB, "gtt_total": gtt, "gtt_used": 0}.items():
        (card / f"mem_info_{name}").write_text(str(value))
    (card / "uevent").write_text("DRIVER=amdgpu\nPCI_SLOT_NAME=0000:03:00.0\n")
    return root


def test_a_discrete_amd_gpu(tmp_path: Path) -> None:
    (device,) = rocm_devices(amd(tmp_path, 110000, 24 * GIB, 16 * GIB), {})["devices"]
    checked = Device.model_validate(device)
    assert (checked.id, checked.architecture, checked.unified) == ("rocm:0", "gfx1100", False)
    assert (checked.memory_total, checked.memory_available) == (24 * GIB, 23 * GIB)
    assert checked.physical_id == "0000:03:00.0"


def test_an_apu_shares_main_memory(tmp_path: Path) -> None:
    (device,) = rocm_devices(amd(tmp_path, 110003, GIB // 2, 16 * GIB), {})["devices"]
    assert (device["architecture"], device["unified"], device["memory_total"]) == ("gfx1103", True, 16 * GIB)


def test_no_amd_gpu_or_one_hidden(tmp_path: Path) -> None:
    assert rocm_devices(tmp_path, {}) == {"devices": [], "warnings": []}
    assert rocm_devices(amd(tmp_path, 110000, 24 * GIB, 0), {"HIP_VISIBLE_DEVICES": ""})["devices"] == []


def test_gfx_names() -> None:
    assert [gfx_name(version) for version in (90010, 90402, 110003)] == ["gfx90a", "gfx942", "gfx1103"]


def test_apples_chips() -> None:
    (device,) = metal_device({"machdep.cpu.brand_string": "Apple M3 Max"}, "15.1", 64 * GIB)["devices"]
    checked = Device.model_validate(device)
    assert (checked.id, checked.unified, checked.architecture) == ("metal:0", True, "apple-m3")
    assert checked.memory_bandwidth is not None
    assert checked.memory_bandwidth >= 300e9
    assert checked.memory_total == working_set(64 * GIB) == 48 * GIB
    (unknown,) = metal_device({"machdep.cpu.brand_string": "Apple M99"}, "20", 8 * GIB)["devices"]
    assert Device.model_validate(unknown).memory_bandwidth is None


@pytest.mark.vulkan
def test_vulkan_on_mesas_software_driver() -> None:
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        if os.environ.get("CI"):
            raise
        pytest.skip("no Vulkan loader here; CI installs one")
    devices = [Device.model_validate(device) for device in vulkan_devices()["devices"]]
    software = [device for device in devices if "llvmpipe" in device.name]
    assert software, f"Mesa's software driver is not among {[device.name for device in devices]}"
    assert software[0].software
    assert software[0].api_version is not None
    assert software[0].api_version.startswith("1.")
    assert software[0].driver is not None
    assert "Mesa" in software[0].driver
