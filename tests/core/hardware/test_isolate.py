"""Whatever a native probe does, the application goes on and learns why there is no answer."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from enginebay.errors import HardwareError
from enginebay.hardware.isolate import run_isolated

PROBES = "misbehaving_probes"


def test_arguments_and_answer_travel_as_json() -> None:
    assert run_isolated(f"{PROBES}:add", 2, 3, timeout=20) == 5


def test_a_model_comes_as_its_json_form() -> None:
    assert run_isolated(f"{PROBES}:report", timeout=20) == {"version": "1.0", "device_kinds": ["cpu"], "details": ""}
    assert run_isolated(f"{PROBES}:reports", timeout=20)[0]["version"] == "1.0"


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("hang", "gave no answer within 1 s"),
        ("hang_deaf_to_signals", "gave no answer within 1 s"),
        ("print_without_end", "gave no answer within 1 s"),
    ],
)
def test_a_hang_ends_at_the_limit(function: str, reason: str) -> None:
    with pytest.raises(HardwareError, match=reason) as caught:
        run_isolated(f"{PROBES}:{function}", timeout=1)
    assert caught.value.value == f"{PROBES}:{function}"


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize(("function", "signal"), [("crash", "SIGSEGV"), ("abort", "SIGABRT")])
def test_a_crash_names_its_signal(function: str, signal: str) -> None:
    with pytest.raises(HardwareError, match=f"crashed with {signal}"):
        run_isolated(f"{PROBES}:{function}", timeout=20)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("leave_silently", "ended without an answer"),
        ("leave_with_three", "ended with exit code 3: the driver gives up"),
        ("call_exit", r"called sys.exit\(4\)"),
        ("fail", "failed: ValueError: no such GPU$"),
        ("return_no_json", "failed: TypeError: Object of type object is not JSON serializable"),
        ("is_not_there", "failed: AttributeError"),
    ],
)
def test_an_end_without_an_answer_says_why(function: str, reason: str) -> None:
    with pytest.raises(HardwareError, match=reason):
        run_isolated(f"{PROBES}:{function}", timeout=20)


def test_a_missing_module_is_named() -> None:
    with pytest.raises(HardwareError, match="ModuleNotFoundError: No module named 'no_such_driver'"):
        run_isolated("no_such_driver:probe", timeout=20)


def test_what_is_printed_does_not_mix_with_the_answer() -> None:
    assert run_isolated(f"{PROBES}:print_garbage", timeout=20) == {"answer": "true"}


@pytest.mark.skipif(os.name != "posix", reason="closes descriptors by number")
def test_closing_every_descriptor_is_no_hang() -> None:
    started = time.monotonic()
    with pytest.raises(HardwareError):
        run_isolated(f"{PROBES}:close_everything", timeout=50)
    assert time.monotonic() - started < 40  # far from the limit of 50: not timed, only told apart


def test_an_answer_counts_though_the_child_hangs_at_its_end() -> None:
    started = time.monotonic()
    assert run_isolated(f"{PROBES}:answer_and_hang_at_the_end", timeout=50) == "answered"
    assert time.monotonic() - started < 40


@pytest.mark.parametrize("function", ["hang_with_a_child", "answer_and_leave_a_child"])
def test_children_of_the_child_end_with_it(function: str, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    if function == "hang_with_a_child":
        with pytest.raises(HardwareError):
            run_isolated(f"{PROBES}:{function}", str(note), timeout=3)
    else:
        assert run_isolated(f"{PROBES}:{function}", str(note), timeout=50) == "answered"
    assert _ends(int(note.read_text()))


def _ends(process: int) -> bool:
    """Whether it is gone, or a zombie that waits to be reaped by init, within ten seconds."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_an_interpreter_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(HardwareError, match="no child process could be started: No such file"):
        run_isolated(f"{PROBES}:add", 1, 2, timeout=5)


def test_a_frozen_application_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(HardwareError, match="frozen application"):
        run_isolated(f"{PROBES}:add", 1, 2, timeout=5)


def test_files_in_the_working_folder_do_not_shadow_the_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    assert run_isolated(f"{PROBES}:add", 2, 3, timeout=20) == 5


def test_no_descriptor_or_process_is_left(tmp_path: Path) -> None:
    this = psutil.Process()
    if not hasattr(this, "num_fds"):
        pytest.skip("counts descriptors, as POSIX has them")
    run_isolated(f"{PROBES}:add", 2, 3, timeout=20)
    before = this.num_fds()
    for _ in range(3):
        run_isolated(f"{PROBES}:add", 2, 3, timeout=20)
        with pytest.raises(HardwareError):
            run_isolated(f"{PROBES}:hang", timeout=0.3)
    assert this.num_fds() <= before
    assert not this.children()
