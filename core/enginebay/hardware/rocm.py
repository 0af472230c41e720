"""AMD GPUs that ROCm can use, from Linux's sysfs."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def rocm_devices(sys: str = "/sys") -> list[dict[str, Any]]:
    """GPUs that the kernel's compute driver (KFD) lists; none where it is not loaded."""
    root = Path(sys)
    found = []
    for node in sorted(root.glob("class/kfd/kfd/topology/nodes/*"), key=lambda path: int(path.name)):
        facts = _properties(node / "properties")
        if facts.get("simd_count", 0) and facts.get("gfx_target_version", 0):
            found.append(_device(root, node, facts))
    for index, device in enumerate(found):
        device["id"] = f"rocm:{index}"
    return found


def _device(root: Path, node: Path, facts: dict[str, int]) -> dict[str, Any]:
    card = root / f"class/drm/renderD{facts.get('drm_render_minor', 0)}/device"
    total = _number(card / "mem_info_vram_total")
    used = _number(card / "mem_info_vram_used")
    # An APU's own memory is a small carve-out; what its GPU computes in is main memory.
    unified = facts.get("cpu_cores_count", 0) > 0 or total < 4 << 30
    if unified:
        total, used = _number(card / "mem_info_gtt_total"), _number(card / "mem_info_gtt_used")
    bandwidth = _bandwidth(node)
    return {
        "kind": "rocm",
        "name": _text(card / "product_name") or _text(node / "name") or "AMD GPU",
        "vendor": "AMD",
        "memory_total": total,
        "memory_available": max(0, total - used),
        "unified": unified,
        "driver": _text(root / "module/amdgpu/version") or None,
        "architecture": gfx_name(facts["gfx_target_version"]),
        "physical_id": _slot(card),
        **({"memory_bandwidth": bandwidth, "bandwidth_source": "kfd"} if bandwidth else {}),
    }


def gfx_name(version: int) -> str:
    """The name of a target version: 110003 -> "gfx1103", 90010 -> "gfx90a"."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _bandwidth(node: Path) -> float:
    """Width (bits) x clock (MHz) x 2 of the memory bank that KFD lists first."""
    facts = _properties(node / "mem_banks" / "0" / "properties")
    return facts.get("width", 0) / 8 * facts.get("mem_clk_max", 0) * 1e6 * 2


def _properties(file: Path) -> dict[str, int]:
    facts: dict[str, int] = {}
    for line in _text(file).splitlines():
        name, _, value = line.partition(" ")
        if value.strip().isdigit():
            facts[name] = int(value)
    return facts


def _slot(card: Path) -> str | None:
    for line in _text(card / "uevent").splitlines():
        if line.startswith("PCI_SLOT_NAME="):
            return line.partition("=")[2].lower()
    return None


def _number(file: Path) -> int:
    text = _text(file)
    return int(text) if text.isdigit() else 0


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
