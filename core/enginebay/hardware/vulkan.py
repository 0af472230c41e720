"""Vulkan devices, by the system's loader through ctypes. Runs in a child process: drivers are native code.

Structures and numbers are those of the Vulkan 1.3 specification (vulkan_core.h).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
from typing import Any

from enginebay.hardware.findings import Findings, numbered

_LIBRARIES = {"Linux": "libvulkan.so.1", "Windows": "vulkan-1.dll", "Darwin": "libvulkan.1.dylib"}
_API_1_1 = 1 << 22 | 1 << 12
_INTEGRATED, _CPU = 1, 4
_DEVICE_LOCAL = 1
_VENDORS = {
    0x1002: "AMD",
    0x10DE: "NVIDIA",
    0x8086: "Intel",
    0x13B5: "ARM",
    0x5143: "Qualcomm",
    0x10005: "Mesa",
    0x106B: "Apple",
    0x14E4: "Broadcom",
}


class _ApplicationInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("application_name", ctypes.c_char_p),
        ("application_version", ctypes.c_uint32),
        ("engine_name", ctypes.c_char_p),
        ("engine_version", ctypes.c_uint32),
        ("api_version", ctypes.c_uint32),
    )


class _InstanceCreateInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application_info", ctypes.POINTER(_ApplicationInfo)),
        ("layer_count", ctypes.c_uint32),
        ("layers", ctypes.c_void_p),
        ("extension_count", ctypes.c_uint32),
        ("extensions", ctypes.POINTER(ctypes.c_char_p)),
    )


class _PciBusInfo(ctypes.Structure):
    """VkPhysicalDevicePCIBusInfoPropertiesEXT."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("domain", ctypes.c_uint32),
        ("bus", ctypes.c_uint32),
        ("device", ctypes.c_uint32),
        ("function", ctypes.c_uint32),
    )


class _DriverProperties(ctypes.Structure):
    """VkPhysicalDeviceDriverProperties."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("driver_id", ctypes.c_uint32),
        ("name", ctypes.c_char * 256),
        ("info", ctypes.c_char * 256),
        ("conformance", ctypes.c_uint8 * 4),
    )


class _Properties2(ctypes.Structure):
    """VkPhysicalDeviceProperties2; `rest` covers the cache id, the limits and the sparse properties."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("api_version", ctypes.c_uint32),
        ("driver_version", ctypes.c_uint32),
        ("vendor_id", ctypes.c_uint32),
        ("device_id", ctypes.c_uint32),
        ("device_type", ctypes.c_uint32),
        ("name", ctypes.c_char * 256),
        ("rest", ctypes.c_uint8 * 1024),
    )


class _MemoryType(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint32), ("heap", ctypes.c_uint32))


class _MemoryHeap(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint64), ("flags", ctypes.c_uint32))


class _MemoryBudget(ctypes.Structure):
    """VkPhysicalDeviceMemoryBudgetPropertiesEXT."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("budget", ctypes.c_uint64 * 16),
        ("usage", ctypes.c_uint64 * 16),
    )


class _MemoryProperties2(ctypes.Structure):
    """VkPhysicalDeviceMemoryProperties2."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("type_count", ctypes.c_uint32),
        ("types", _MemoryType * 32),
        ("heap_count", ctypes.c_uint32),
        ("heaps", _MemoryHeap * 16),
    )


def vulkan_devices() -> Findings:
    """All physical devices in the loader's order; none without a loader, or without a driver.

    Raises:
        OSError: the loader is there, but an instance cannot be made, or its devices cannot be listed.
    """
    library = _load()
    instance = _instance(library) if library is not None else None
    if library is None or instance is None:
        return {"devices": [], "warnings": []}
    try:
        devices = [_device(library, handle) for handle in _handles(library, instance)]
    finally:
        library.vkDestroyInstance(instance, None)
    return {"devices": numbered("vulkan", devices), "warnings": []}


def _load() -> ctypes.CDLL | None:
    name = _LIBRARIES.get(platform.system())
    for candidate in (name, ctypes.util.find_library("vulkan")):
        if candidate:
            try:
                return ctypes.CDLL(candidate)
            except OSError:
                continue
    return None


def _instance(library: ctypes.CDLL) -> ctypes.c_void_p | None:
    application = _ApplicationInfo(type=0, application_name=b"enginebay", api_version=_API_1_1)
    info = _InstanceCreateInfo(type=1, application_info=ctypes.pointer(application))
    if platform.system() == "Darwin":
        # MoltenVK is a "portability" driver, listed only when asked for.
        info.flags = 1
        info.extension_count = 1
        info.extensions = (ctypes.c_char_p * 1)(b"VK_KHR_portability_enumeration")
    instance = ctypes.c_void_p()
    result = library.vkCreateInstance(ctypes.byref(info), None, ctypes.byref(instance))
    if result == -9:  # VK_ERROR_INCOMPATIBLE_DRIVER: a loader without any driver
        return None
    if result:
        raise OSError(f"vkCreateInstance failed with VkResult {result}")
    return instance


def _handles(library: ctypes.CDLL, instance: ctypes.c_void_p) -> list[ctypes.c_void_p]:
    count = ctypes.c_uint32()
    result = library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    handles = (ctypes.c_void_p * count.value)()
    result = result or library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
    if result < 0:  # a positive one means that there are more by now
        raise OSError(f"vkEnumeratePhysicalDevices failed with VkResult {result}")
    return [ctypes.c_void_p(handle) for handle in handles[: count.value]]


def _device(library: ctypes.CDLL, handle: ctypes.c_void_p) -> dict[str, Any]:
    # A driver skips the structures of a chain that it does not know, and leaves them as they are.
    pci = _PciBusInfo(type=1000212000)
    driver = _DriverProperties(type=1000196000, next=ctypes.addressof(pci))
    facts = _Properties2(type=1000059001, next=ctypes.addressof(driver))
    library.vkGetPhysicalDeviceProperties2(handle, ctypes.byref(facts))
    total, free = _memory(library, handle, facts.device_type)
    return {
        "name": facts.name.decode(errors="replace"),
        "vendor": _VENDORS.get(facts.vendor_id, f"0x{facts.vendor_id:04x}"),
        "memory_total": total,
        "memory_available": free,
        "unified": facts.device_type in (_INTEGRATED, _CPU),
        "software": facts.device_type == _CPU,
        "driver": _driver(driver),
        "api_version": version(facts.api_version),
        "physical_id": _slot(pci),
    }


def _memory(library: ctypes.CDLL, handle: ctypes.c_void_p, device_type: int) -> tuple[int, int]:
    """Bytes in all and free: of the device's own heaps, or of every heap where it shares main memory."""
    budget = _MemoryBudget(type=1000237000)
    facts = _MemoryProperties2(type=1000059006, next=ctypes.addressof(budget))
    library.vkGetPhysicalDeviceMemoryProperties2(handle, ctypes.byref(facts))
    total = free = 0
    for place in range(min(facts.heap_count, 16)):
        heap = facts.heaps[place]
        if heap.flags & _DEVICE_LOCAL or device_type == _INTEGRATED:
            total += heap.size
            # Drivers without VK_EXT_memory_budget leave zeros.
            left = max(0, budget.budget[place] - budget.usage[place]) if budget.budget[place] else heap.size
            free += min(left, heap.size)
    return total, free


def _driver(driver: _DriverProperties) -> str | None:
    told = " ".join(part.decode(errors="replace") for part in (driver.name, driver.info) if part)
    return told or None


def _slot(pci: _PciBusInfo) -> str | None:
    if not (pci.domain or pci.bus or pci.device):
        return None
    return f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.{pci.function:x}"


def version(packed: int) -> str:
    """A packed Vulkan version: 7 bits variant, 7 major, 10 minor, 12 patch."""
    return f"{packed >> 22 & 0x7F}.{packed >> 12 & 0x3FF}.{packed & 0xFFF}"
