"""Devices: AMD's from written sysfs trees, Apple's by name, and real Vulkan on Mesa's software driver."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay import Device
from enginebay.hardware import vulkan
from enginebay.hardware.isolate import run_isolated
from enginebay.hardware.metal import metal_device, working_set
from enginebay.hardware.probe import VULKAN, WEBGPU
from enginebay.hardware.rocm import gfx_name, rocm_devices
from enginebay.hardware.vulkan import version

GIB = 1 << 30


def amd(root: Path, version: int, vram: int, gtt: int, **properties: int) -> Path:
    """A folder that stands for / of a machine with one AMD GPU."""
    node, card = root / "sys/class/kfd/kfd/topology/nodes/1", root / "sys/class/drm/renderD128/device"
    for folder in (node, card, root / "dev"):
        folder.mkdir(parents=True)
    (root / "dev/kfd").touch()
    (node / "properties").write_text(f"simd_count 96\ngfx_target_version {version}\ndrm_render_minor 128\n")
    with (node / "properties").open("a") as file:
        file.writelines(f"{name} {value}\n" for name, value in properties.items())
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


def test_a_large_carve_out_is_memory_of_its_own(tmp_path: Path) -> None:
    """A Strix Halo of which the firmware gives 96 GiB to the GPU."""
    (device,) = rocm_devices(amd(tmp_path, 110501, 96 * GIB, 16 * GIB), {})["devices"]
    assert (device["architecture"], device["unified"], device["memory_total"]) == ("gfx1151", False, 96 * GIB)


def test_no_amd_gpu_or_one_hidden(tmp_path: Path) -> None:
    assert rocm_devices(tmp_path, {}) == {"devices": [], "warnings": []}
    assert rocm_devices(amd(tmp_path, 110000, 24 * GIB, 0), {"HIP_VISIBLE_DEVICES": ""})["devices"] == []


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({"ROCR_VISIBLE_DEVICES": "GPU-00000000000000ff"}, 1),
        ({"ROCR_VISIBLE_DEVICES": "GPU-other"}, 0),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0),
        ({"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "0"}, 1),
    ],
)
def test_rocm_visible_devices(tmp_path: Path, environment: dict[str, str], count: int) -> None:
    assert len(rocm_devices(amd(tmp_path, 110000, 24 * GIB, 0, unique_id=255), environment)["devices"]) == count


def test_an_amd_gpu_that_may_not_be_opened_is_told(tmp_path: Path) -> None:
    root = amd(tmp_path, 110000, 24 * GIB, 0)
    (root / "dev/kfd").unlink()
    found = rocm_devices(root, {})
    assert found["devices"] == []
    assert "/dev/kfd" in found["warnings"][0]


def test_speeds_of_a_7900_xtx_agree_with_its_data_sheet(tmp_path: Path) -> None:
    facts = {"simd_count": 192, "simd_per_cu": 2, "max_engine_clk_fcompute": 2498}
    root = amd(tmp_path, 110000, 24 * GIB, 0, **facts)
    bank = root / "sys/class/kfd/kfd/topology/nodes/1/mem_banks/0"
    bank.mkdir(parents=True)
    (bank / "properties").write_text("heap_type 1\nwidth 384\nmem_clk_max 1249\n")
    device = Device.model_validate(rocm_devices(root, {})["devices"][0])
    assert device.memory_bandwidth == pytest.approx(960e9, rel=0.01)
    assert device.compute == pytest.approx(122.8e12, rel=0.01)
    assert (device.bandwidth_source, device.compute_source) == ("table", "table")


def test_the_name_that_people_know(tmp_path: Path) -> None:
    root = amd(tmp_path, 110000, 24 * GIB, 0)
    card, names = root / "sys/class/drm/renderD128/device", root / "usr/share/libdrm/amdgpu.ids"
    (card / "device").write_text("0x744c\n")
    (card / "revision").write_text("0xc8\n")
    names.parent.mkdir(parents=True)
    names.write_text("# List of AMDGPU IDs\n1.0.0\n744C,\tC4,\tOther\n744C,\tC8,\tAMD Radeon RX 7900 XTX\n")
    assert rocm_devices(root, {})["devices"][0]["name"] == "AMD Radeon RX 7900 XTX"


@given(text=st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_any_text_in_sysfs_is_read_without_an_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.getbasetemp() / "any_sysfs"
    node = root / "sys/class/kfd/kfd/topology/nodes/1"
    node.mkdir(parents=True, exist_ok=True)
    (node / "properties").write_text(f"simd_count 4\ngfx_target_version 110000\n{text}\n", encoding="utf-8")
    rocm_devices(root, {})


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


@pytest.mark.parametrize(
    ("memory", "wired", "room"),
    [
        (8 * GIB, "", 8 * GIB * 2 // 3),
        (16 * GIB, "0", 16 * GIB * 2 // 3),
        (36 * GIB, "", 24 * GIB),
        (64 * GIB, "", 48 * GIB),
        (64 * GIB, "57344", 56 * GIB),
        (8 * GIB, "99999", 8 * GIB),
    ],
)
def test_what_metal_may_hold(memory: int, wired: str, room: int) -> None:
    assert working_set(memory, wired) == room


def test_a_vulkan_version() -> None:
    assert version(1 << 22 | 3 << 12 | 230) == "1.3.230"


def test_without_a_vulkan_loader_there_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vulkan, "_LIBRARIES", {})
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    assert vulkan.vulkan_devices() == {"devices": [], "warnings": []}


@pytest.fixture
def loader() -> None:
    """Vulkan's loader: CI installs one, and there it must be found."""
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        if os.environ.get("CI"):
            raise
        pytest.skip("no Vulkan loader here; CI installs one")


@pytest.mark.vulkan
@pytest.mark.usefixtures("loader")
def test_vulkan_on_mesas_software_driver() -> None:
    found = run_isolated(VULKAN, timeout=60)
    devices = [Device.model_validate(facts) for facts in found["devices"]]
    software = [device for device in devices if "llvmpipe" in device.name]
    assert software, f"Mesa's software driver is not among {[device.name for device in devices]}"
    device = software[0]
    assert (device.software, device.unified, device.vendor, device.physical_id) == (True, True, "Mesa", None)
    assert device.api_version is not None
    assert device.api_version.startswith("1.")
    assert device.driver is not None
    assert "Mesa" in device.driver
    assert device.memory_available <= device.memory_total > 0


@pytest.mark.vulkan
@pytest.mark.usefixtures("loader")
def test_a_vulkan_loader_without_a_driver_lists_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, str(tmp_path / "none.json"))
    assert run_isolated(VULKAN, timeout=60) == {"devices": [], "warnings": []}


@pytest.mark.vulkan
@pytest.mark.usefixtures("loader")
def test_webgpu_as_wgpu_tells_it() -> None:
    pytest.importorskip("wgpu", reason="an optional package")
    devices = [Device.model_validate(facts) for facts in run_isolated(WEBGPU, timeout=60)["devices"]]
    assert [device.id for device in devices] == [f"webgpu:{index}" for index in range(len(devices))]
