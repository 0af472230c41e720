"""AMD GPUs that ROCm can use, from Linux's sysfs: plain files, so no child process is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from enginebay.hardware.files import read_number, read_text, whole
from enginebay.hardware.findings import Findings, numbered, visible


class Family(NamedTuple):
    """GPUs alike: transfers of a memory pin per cycle of the clock that KFD tells, and 16-bit FLOP of a compute
    unit per cycle."""

    transfers: int
    flop: int


FAMILIES = {
    "gfx900": Family(2, 256),
    "gfx906": Family(2, 256),
    "gfx908": Family(2, 1024),
    "gfx90a": Family(2, 1024),
    "gfx942": Family(4, 2048),
    "gfx103": Family(16, 256),
    "gfx110": Family(16, 512),
    "gfx120": Family(16, 1024),
}
"""By the beginning of the architecture's name. Checked against data sheets: 7900 XTX (gfx1100) 384 bit x 1.25 GHz x 16
= 960 GB/s, 96 units x 2.5 GHz x 512 = 123 TFLOP/s; MI250X (gfx90a) 8192 bit x 1.6 GHz x 2 = 3.3 TB/s."""

APUS = ("gfx902", "gfx90c", "gfx1033", "gfx1035", "gfx1036", "gfx1037", "gfx1103", "gfx115")
"""Beginnings of the names of GPUs that are part of a processor and compute in main memory."""


def rocm_devices(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> Findings:
    """GPUs that the kernel's compute driver (KFD) lists and the environment leaves visible.

    Args:
        root: folder that stands for /.
    """
    found, warnings = [], []
    nodes = (root / "sys/class/kfd/kfd/topology/nodes").glob("[0-9]*")
    for node in sorted(nodes, key=lambda path: (len(path.name), path.name)):
        facts = _properties(node / "properties")
        if facts.get("simd_count") and facts.get("gfx_target_version"):
            found.append(_device(root, node, facts))
    if found and not os.access(root / "dev/kfd", os.R_OK | os.W_OK):
        warnings.append("an AMD GPU is there, but /dev/kfd cannot be opened: join the group render, or pass it in")
        found = []
    return {"devices": numbered("rocm", _visible(found, environment)), "warnings": warnings}


def _visible(devices: list[dict[str, Any]], environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """ROCm's runtime numbers anew what it leaves; HIP chooses among that, by its own variable or else CUDA's."""
    chosen = visible(devices, environment.get("ROCR_VISIBLE_DEVICES"))
    return visible(chosen, environment.get("HIP_VISIBLE_DEVICES", environment.get("CUDA_VISIBLE_DEVICES")))


def _device(root: Path, node: Path, facts: dict[str, int]) -> dict[str, Any]:
    card = root / f"sys/class/drm/renderD{facts.get('drm_render_minor', 0)}/device"
    architecture = gfx_name(facts["gfx_target_version"])
    own, shared = read_number(card / "mem_info_vram_total") or 0, read_number(card / "mem_info_gtt_total") or 0
    # A large carve-out of an APU (own > shared) is taken from main memory for good, and so is as good as its own.
    unified = (architecture.startswith(APUS) or facts.get("cpu_cores_count", 0) > 0) and shared >= own
    kind, total = ("gtt", shared) if unified else ("vram", own)
    return {
        "name": _marketing_name(root, card) or read_text(node / "name") or "AMD GPU",
        "vendor": "AMD",
        "uuid": f"GPU-{facts.get('unique_id', 0):016x}",
        "memory_total": total,
        "memory_available": max(0, total - (read_number(card / f"mem_info_{kind}_used") or 0)),
        "unified": unified,
        "driver": read_text(root / "sys/module/amdgpu/version") or None,
        "architecture": architecture,
        "physical_id": _slot(card),
        **_speed(node, facts, architecture),
    }


def gfx_name(version: int) -> str:
    """The name of a target version: 110003 -> "gfx1103", 90010 -> "gfx90a"."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _speed(node: Path, facts: dict[str, int], architecture: str) -> dict[str, Any]:
    family = next((family for name, family in FAMILIES.items() if architecture.startswith(name)), None)
    if family is None or architecture.startswith(APUS):
        return {}
    bank = _properties(node / "mem_banks/0/properties")
    bandwidth = bank.get("width", 0) / 8 * bank.get("mem_clk_max", 0) * 1e6 * family.transfers
    units = facts["simd_count"] / max(1, facts.get("simd_per_cu", 0))
    compute = units * facts.get("max_engine_clk_fcompute", 0) * 1e6 * family.flop
    return {
        **({"memory_bandwidth": bandwidth, "bandwidth_source": "table"} if bandwidth else {}),
        **({"compute": compute, "compute_source": "table"} if compute else {}),
    }


def _marketing_name(root: Path, card: Path) -> str:
    """The name that libdrm's list has for the chip and its revision; "" without it."""
    told = read_text(card / "product_name")
    device, revision = (read_text(card / name).removeprefix("0x").lower() for name in ("device", "revision"))
    if told or not device:
        return told
    for line in read_text(root / "usr/share/libdrm/amdgpu.ids").splitlines():
        fields = [field.strip() for field in line.split(",", 2)]
        if len(fields) == 3 and (fields[0].lower(), fields[1].lower()) == (device, revision):
            return fields[2]
    return ""


def _properties(file: Path) -> dict[str, int]:
    """Lines such as "simd_count 192"."""
    pairs = (line.split(None, 1) for line in read_text(file).splitlines())
    numbers = {words[0]: whole(words[1].strip()) for words in pairs if len(words) == 2}
    return {name: number for name, number in numbers.items() if number is not None}


def _slot(card: Path) -> str | None:
    """PCI address, such as 0000:03:00.0."""
    for line in read_text(card / "uevent").splitlines():
        if line.startswith("PCI_SLOT_NAME="):
            return line.partition("=")[2].lower()
    return None
