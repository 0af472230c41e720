"""Running native probes in a child process: one that hangs or crashes costs a warning, not the application."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

from enginebay.errors import HardwareError

# The child keeps its own way out: what a native library prints to stdout must not mix with the answer.
_CHILD = """
import sys, os, json
answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)
path, target, arguments = json.loads(sys.stdin.read())
sys.path[:] = path
module, _, name = target.partition(":")
function = getattr(__import__(module, fromlist=[name]), name)
result = function(*arguments)
if hasattr(result, "model_dump"):
    result = result.model_dump(mode="json")
elif isinstance(result, (list, tuple)):
    result = [item.model_dump(mode="json") if hasattr(item, "model_dump") else item for item in result]
json.dump(result, answer)
answer.close()
"""


def run_isolated(target: str, *arguments: Any, timeout: float) -> Any:
    """Call a function in a child process.

    Args:
        target: import string "module:function".
        arguments: JSON values.
        timeout: seconds before the child, with its own children, is killed.

    Returns:
        What the function returned, through JSON; a pydantic model comes as its JSON form.

    Raises:
        HardwareError: the child could not be started, hung, crashed, raised, or gave no JSON.
    """
    asked = json.dumps([sys.path, target, arguments])
    command = [sys.executable or "python3", "-c", _CHILD]
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=os.name == "posix",
        )
    except OSError as error:
        raise HardwareError(f"{target}: no child process could be started: {error.strerror}", value=target) from error
    try:
        answer, noise = child.communicate(asked, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise HardwareError(f"{target} gave no answer within {timeout:g} s", value=target) from error
    finally:
        _end(child)
    if child.returncode:
        raise HardwareError(f"{target} {_ending(child.returncode, noise)}", value=target)
    try:
        return json.loads(answer)
    except ValueError as error:
        raise HardwareError(f"{target} ended without an answer", value=target) from error


def _end(child: subprocess.Popen[str]) -> None:
    """Kill the child and whatever it started, and let go of its pipes."""
    if child.poll() is None:
        with contextlib.suppress(OSError):
            if os.name == "posix":
                os.killpg(child.pid, signal.SIGKILL)
            else:
                child.kill()
        child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _ending(code: int, noise: str) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"crashed with {signal.Signals(-code).name}"
    last = next((line.strip() for line in reversed(noise.splitlines()) if line.strip()), "")
    return f"failed: {last}" if last else f"ended with exit code {code}"
