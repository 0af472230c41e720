"""Probes that do what native libraries do on bad days; called in child processes by the tests."""

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

from enginebay import DeviceKind, RuntimeReport


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
