"""CUDA devices, from a fake NVML: no test here has asked a real NVIDIA GPU."""

from __future__ import annotations

import sys
from typing import Any

import pynvml
import pytest

from enginebay import Device
from enginebay.hardware.cuda import NO_ANSWER, NO_DRIVER, cuda_devices
from enginebay.hardware.findings import Findings
from fake_nvml import GIB, FakeGpu, FakeNvml, h100

TWO = (
    FakeGpu("GPU-aaaa1111"),
    FakeGpu("GPU-bbbb2222", free=21 * GIB, bus="00000000:02:00.0"),
)


def asked(monkeypatch: pytest.MonkeyPatch, *gpus: FakeGpu, fault: str = "", **environment: str) -> Findings:
    nvml = FakeNvml(*gpus, fault=fault)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    found = cuda_devices(environment)
    assert not nvml.running, "NVML was left running"
    return found


def devices(found: Findings) -> list[Device]:
    return [Device.model_validate(facts) for facts in found["devices"]]


def test_the_fake_and_the_probe_use_names_that_nvml_has() -> None:
    for name in (*NO_DRIVER, *NO_ANSWER, "NVMLError_GpuIsLost", "NVMLError_LibRmVersionMismatch", "NVMLError_Unknown"):
        assert issubclass(getattr(pynvml, name), pynvml.NVMLError)
    for name in dir(FakeNvml):
        if name.lower().startswith("nvml"):
            assert hasattr(pynvml, name)
    assert (pynvml.NVML_CLOCK_MEM, pynvml.NVML_CLOCK_SM) == (FakeNvml.NVML_CLOCK_MEM, FakeNvml.NVML_CLOCK_SM)


def test_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, *TWO)
    first = devices(found)[0]
    assert (first.id, first.compute_capability, first.driver) == ("cuda:0", (8, 9), "550.54.14")
    assert (first.memory_total, first.memory_available, first.unified) == (24 * GIB, 20 * GIB, False)
    assert first.memory_bandwidth == pytest.approx(1008e9, rel=0.01), "the data sheet's figure"
    assert first.compute == pytest.approx(165e12, rel=0.01), "the data sheet's figure"
    assert first.physical_id == "0000:01:00.0"
    assert found["warnings"] == []


def test_speeds_agree_with_the_data_sheet_of_an_h100(monkeypatch: pytest.MonkeyPatch) -> None:
    (device,) = devices(asked(monkeypatch, h100()))
    assert device.memory_bandwidth == pytest.approx(3.35e12, rel=0.01)
    assert device.compute == pytest.approx(989e12, rel=0.01)


def test_an_unknown_compute_capability_has_no_invented_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = devices(asked(monkeypatch, h100(capability=(99, 0)), FakeGpu("GPU-o", "GTX 1080", capability=(6, 1))))
    assert new.compute is None
    assert old.compute == 2 * 16384 * 2520e6


@pytest.mark.parametrize(
    ("variable", "free"),
    [
        (None, [20, 21]),
        ("1", [21]),
        ("1,0", [21, 20]),
        (" 1 , 0 ", [21, 20]),
        ("", []),
        ("-1", []),
        ("0,-1,1", [20]),
        ("0,7,1", [20]),
        ("0,0", [20]),
        ("GPU-bbbb", [21]),
        ("GPU-bbbb,GPU-aaaa", [21, 20]),
        ("GPU-", []),
        ("GPU-none", []),
        ("NoDevFiles", []),
        ("²", []),
    ],
)
def test_visible_devices(monkeypatch: pytest.MonkeyPatch, variable: str | None, free: list[int]) -> None:
    environment = {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}
    found = devices(asked(monkeypatch, *TWO, **environment))
    assert [device.memory_available // GIB for device in found] == free
    assert [device.id for device in found] == [f"cuda:{index}" for index in range(len(free))]


@pytest.mark.parametrize("fault", ["LibraryNotFound", "DriverNotLoaded"])
def test_without_a_driver_there_is_no_device_and_no_fuss(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    assert asked(monkeypatch, fault=fault) == {"devices": [], "warnings": []}


@pytest.mark.parametrize("fault", ["LibRmVersionMismatch", "NoPermission", "Unknown"])
def test_a_broken_driver_is_told(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    with pytest.raises(FakeNvml.NVMLError, match=fault):
        asked(monkeypatch, fault=fault)


@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetName"])
def test_a_lost_gpu_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    found = asked(monkeypatch, FakeGpu("GPU-l", faults={function: "GpuIsLost"}), TWO[1])
    assert [device.memory_available // GIB for device in devices(found)] == [21]
    assert found["warnings"] == ["GPU 0: GpuIsLost"]


def test_a_gpu_that_tells_no_bus_width_has_no_bandwidth(monkeypatch: pytest.MonkeyPatch) -> None:
    (device,) = devices(asked(monkeypatch, FakeGpu("GPU-v", faults={"nvmlDeviceGetMemoryBusWidth": "NotSupported"})))
    assert device.memory_bandwidth is None


def test_a_gpu_without_memory_of_its_own_shares_main_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    spark = FakeGpu("GPU-s", "NVIDIA GB10", capability=(12, 1), faults={"nvmlDeviceGetMemoryInfo": "NotSupported"})
    (facts,) = asked(monkeypatch, spark)["devices"]
    assert facts["unified"]
    assert "memory_total" not in facts, "the probe puts main memory there"


def test_unlike_gpus_may_be_numbered_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    unlike = (TWO[0], h100())
    (warning,) = asked(monkeypatch, *unlike)["warnings"]
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in warning
    assert asked(monkeypatch, *unlike, CUDA_DEVICE_ORDER="PCI_BUS_ID")["warnings"] == []


def part(number: int, gigabytes: int, **changes: Any) -> FakeGpu:
    name = f"NVIDIA H100 80GB HBM3 MIG {number}g.{gigabytes}gb"
    return h100(f"MIG-{number}", name=name, total=gigabytes * GIB, free=gigabytes * GIB, **changes)


def test_a_split_gpu_gives_one_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    split = h100(mig=[part(1, 10), None, part(3, 40)])
    found = asked(monkeypatch, split)
    (device,) = devices(found)
    assert (device.id, device.memory_total, device.physical_id) == ("cuda:0", 10 * GIB, "MIG-1")
    assert device.compute_capability == (9, 0)
    assert device.memory_bandwidth == pytest.approx(3.35e12 / 8, rel=0.01)
    assert device.compute == pytest.approx(989e12 / 8, rel=0.01)
    assert found["warnings"] == [
        "CUDA gives a process one MIG device; name another in CUDA_VISIBLE_DEVICES: MIG-3",
    ]


def test_another_part_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, h100(mig=[part(1, 10), part(3, 40)]), CUDA_VISIBLE_DEVICES="MIG-3")
    assert [device.memory_total // GIB for device in devices(found)] == [40]
    assert found["warnings"] == []


def test_a_split_gpu_without_parts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, h100(mig=[None, None]))
    assert found == {"devices": [], "warnings": ["GPU 0 is in MIG mode, but has no MIG device"]}


def test_a_part_that_tells_no_memory_does_not_end_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = part(1, 10, faults={"nvmlDeviceGetMemoryInfo": "NotSupported"})
    (facts,) = asked(monkeypatch, h100(mig=[odd]))["devices"]
    assert "memory_bandwidth" not in facts
