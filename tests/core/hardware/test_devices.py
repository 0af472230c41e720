"""Devices: AMD's from written sysfs trees, Apple's by name, and real Vulkan on Mesa's software driver."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from enginebay import Device
from enginebay.hardware.metal import metal_device, working_set
from enginebay.hardware.rocm import gfx_name, rocm_devices
from enginebay.hardware.vulkan import vulkan_devices

GIB = 1 << 30


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
