"""Running native probes in a child process: one that hangs or crashes costs a warning, not the application."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from typing import IO, Any

from enginebay.errors import HardwareError

NOISE_LIMIT = 64 << 10
"""Bytes kept of what a child prints: the last ones."""

# The child keeps its own way out: what a native library prints to stdout must not mix with the answer.
_CHILD = """
import json, os, sys
answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)
path, target, arguments = json.load(sys.stdin)
sys.path[:] = path
def plain(value):
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
try:
    module, _, name = target.partition(":")
    function = getattr(__import__(module, fromlist=[name]), name)
    text = json.dumps({"result": plain(function(*arguments))})
except SystemExit as error:
    text = json.dumps({"error": f"called sys.exit({error.code!r})"})
except BaseException as error:
    told = str(error).strip().splitlines()
    text = json.dumps({"error": f"failed: {type(error).__name__}" + (f": {told[0]}" if told else "")})
answer.write(text + "\\n")
answer.close()
"""


def run_isolated(target: str, *arguments: Any, timeout: float) -> Any:
    """Call a function in a child process.

    The child is killed, with whatever it started, as soon as it has answered: native libraries like to crash
    or hang on their way out.

    Args:
        target: import string "module:function".
        arguments: JSON values.
        timeout: seconds before the child is killed without an answer.

    Returns:
        What the function returned, through JSON; a pydantic model comes as its JSON form.

    Raises:
        HardwareError: the child could not be started, hung, crashed, raised, or gave no JSON.
    """
    child = _start(target)
    answer, noise = _Reader(child.stdout, first_line=True), _Reader(child.stderr)
    try:
        _ask(child, json.dumps([sys.path, target, arguments]))
        timely = answer.ended.wait(timeout)
    finally:
        end_child(child)
    noise.join(1.0)
    if not timely:
        raise HardwareError(f"{target} gave no answer within {timeout:g} s", value=target)
    return _result(target, answer.text, child.returncode, noise.text)


class _Reader(threading.Thread):
    """Drains a pipe, so that the child never waits for it; keeps its first line, or its last bytes."""

    def __init__(self, pipe: IO[bytes] | None, *, first_line: bool = False) -> None:
        super().__init__(daemon=True)
        assert pipe is not None
        self._pipe, self._first_line = pipe, first_line
        self._kept = b""
        self.ended = threading.Event()
        self.start()

    @property
    def text(self) -> str:
        return self._kept.decode(errors="replace")

    def run(self) -> None:
        with self._pipe:
            while piece := os.read(self._pipe.fileno(), 1 << 16):
                self._kept += piece
                if not self._first_line:
                    self._kept = self._kept[-NOISE_LIMIT:]
                elif b"\n" in piece:
                    break
        self.ended.set()


def _start(target: str) -> subprocess.Popen[bytes]:
    if getattr(sys, "frozen", False) or not sys.executable:
        # `sys.executable` is then the application itself: it would start once more.
        raise HardwareError(f"{target}: no child process can be started in a frozen application", value=target)
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=os.name == "posix",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        raise HardwareError(f"{target}: no child process could be started: {error.strerror}", value=target) from error


def _ask(child: subprocess.Popen[bytes], question: str) -> None:
    assert child.stdin is not None
    with contextlib.suppress(OSError):  # it has died already, which is told below
        child.stdin.write(question.encode())
        child.stdin.close()


def end_child(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and whatever it started."""
    if os.name == "posix":
        # Not yet waited for, so the number is still its own; of a child that is dying already it changes nothing.
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.2)
        _end_tree(child.pid)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(1.0)  # one that hangs in a driver cannot even be killed
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.close()


def _end_tree(process: int) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        root = psutil.Process(process)
        for each in (*root.children(recursive=True), root):
            with contextlib.suppress(psutil.Error):
                each.kill()


def _result(target: str, answer: str, code: int | None, noise: str) -> Any:
    try:
        told = json.loads(answer)
    except ValueError as error:
        raise HardwareError(f"{target} {how_it_ended(code, noise)}", value=target) from error
    if "error" in told:
        raise HardwareError(f"{target} {told['error']}", value=target)
    return told["result"]


def how_it_ended(code: int | None, noise: str) -> str:
    """What became of a child that did not answer, with the last line it printed."""
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"crashed with {signal.Signals(-code).name}"
    last = next((line.strip() for line in reversed(noise.splitlines()) if line.strip()), "")
    how = f"ended with exit code {code}" if code else "ended without an answer"
    return f"{how}: {last}" if last else how
