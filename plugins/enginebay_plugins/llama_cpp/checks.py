"""What the installed libraries say of themselves; run in a child process by the core."""

from __future__ import annotations

from enginebay import DeviceKind, RuntimeReport

_NAMES = {
    "CUDA": DeviceKind.CUDA,
    "ROCm": DeviceKind.ROCM,
    "HIP": DeviceKind.ROCM,
    "Vulkan": DeviceKind.VULKAN,
    "Metal": DeviceKind.METAL,
    "MTL": DeviceKind.METAL,
}
"""How ggml names its devices: CUDA0, ROCm0, Vulkan0, Metal."""


def device_kinds(names: list[str]) -> frozenset[DeviceKind]:
    """The kinds of ggml devices; the CPU is always there."""
    found = {kind for name in names for prefix, kind in _NAMES.items() if name.startswith(prefix)}
    return frozenset({DeviceKind.CPU, *found})


def check_xllamacpp() -> RuntimeReport:
    """Version and devices of the installed xllamacpp."""
    from importlib.metadata import version

    import xllamacpp

    names = [str(device["name"]) for device in xllamacpp.get_device_info()]
    return RuntimeReport(
        version=version("xllamacpp"), device_kinds=device_kinds(names), details=xllamacpp.get_system_info().strip()
    )


def check_llama_cpp() -> RuntimeReport:
    """Version and devices of the installed llama-cpp-python."""
    from importlib.metadata import version

    import llama_cpp

    details = llama_cpp.llama_print_system_info().decode(errors="replace").strip()
    return RuntimeReport(
        version=version("llama-cpp-python"), device_kinds=device_kinds(_ggml_devices()), details=details
    )


def _ggml_devices() -> list[str]:
    """Names from ggml's device registry (ggml-backend.h), which llama-cpp-python does not wrap."""
    import ctypes

    import llama_cpp._ggml as ggml

    library = ggml.libggml
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.restype = ctypes.c_void_p
    library.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    library.ggml_backend_dev_name.restype = ctypes.c_char_p
    library.ggml_backend_dev_name.argtypes = [ctypes.c_void_p]
    count = library.ggml_backend_dev_count()
    return [library.ggml_backend_dev_name(library.ggml_backend_dev_get(index)).decode() for index in range(count)]
