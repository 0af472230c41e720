"""What native libraries do on bad days, and probes of fake devices; the tests call these in child processes."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from enginebay import Device, DeviceKind, HardwareProfile, RuntimeReport


def add(first: int, second: int) -> int:
    return first + second


def hang() -> None:
    time.sleep(60)


def hang_with_a_child(note: str) -> None:
    """Starts a child of its own, notes its number, and hangs."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(note).write_text(str(child.pid))
    time.sleep(60)


def hang_deaf_to_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(60)


def crash() -> None:
    ctypes.string_at(0)


def abort() -> None:
    os.abort()


def leave_silently() -> None:
    os._exit(0)


def leave_with_three() -> None:
    print("the driver gives up", file=sys.stderr, flush=True)
    os._exit(3)


def call_exit() -> None:
    sys.exit(4)


def fail() -> None:
    raise ValueError("no such GPU\nsecond line")


def print_garbage() -> dict[str, str]:
    """Prints to what native code calls stdout, JSON too, much of it, and answers all the same."""
    os.write(1, b"\xff\xfe{]}\n" + b'{"result": "forged"}\n')
    print("{}" * 400_000)
    return {"answer": "true"}


def print_without_end() -> None:
    while True:
        os.write(2, b"x" * 65536)


def return_no_json() -> object:
    return object()


def answer_and_leave_a_child(note: str) -> str:
    """Answers while a child that holds its streams lives on."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(note).write_text(str(child.pid))
    return "answered"


def answer_and_hang_at_the_end() -> str:
    threading.Thread(target=time.sleep, args=(60,)).start()
    return "answered"


def close_everything() -> None:
    os.closerange(0, 100)
    time.sleep(60)


def report() -> RuntimeReport:
    return RuntimeReport(version="1.0", device_kinds=frozenset({DeviceKind.CPU}))


def reports() -> list[RuntimeReport]:
    return [report()]


def nonsense_report() -> dict[str, Any]:
    return {"version": 1, "flavour": "vanilla"}


def nonsense_device() -> dict[str, Any]:
    return {"devices": [{"nonsense": 1}], "warnings": ["one GPU is odd"]}


def answer_words() -> list[str]:
    return ["words"]


GPU = {"name": "Fake GPU", "memory_total": 24 << 30, "physical_id": "0000:01:00.0"}


def fake_gpu() -> dict[str, Any]:
    """A GPU that is not there, with as much memory free as a file says."""
    free = int(Path(os.environ["FAKE_GPU_FREE"]).read_text())
    speed = {"memory_bandwidth": 1e12, "bandwidth_source": "nvml", "compute": 1e14, "compute_source": "table"}
    return {"devices": [{**GPU, **speed, "id": "cuda:0", "kind": "cuda", "memory_available": free}], "warnings": []}


def fake_gpu_by_vulkan() -> dict[str, Any]:
    """The same, as Vulkan would list it, and one in the processor."""
    inside = {"id": "vulkan:1", "kind": "vulkan", "name": "Fake APU", "unified": True}
    return {
        "devices": [{**GPU, "id": "vulkan:0", "kind": "vulkan", "memory_available": 24 << 30}, inside],
        "warnings": [],
    }


def probe_devices(profile: HardwareProfile) -> list[Device]:
    """The hook of a plugin."""
    name = f"Fake NPU beside {len(profile.devices)} others"
    npu = Device(id="npu:0", kind=DeviceKind.REMOTE, name=name, memory_total=1, memory_available=1)
    return [npu, npu.model_copy(update={"id": "cpu"})]
