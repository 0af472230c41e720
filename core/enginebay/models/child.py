"""Running a converter in a child process.

Converters load engines' libraries and whole models: the application keeps neither, what they print stays out of its
terminal, and one that crashes or is killed for memory costs an error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from enginebay import errors
from enginebay.errors import ConversionError, EnginebayError
from enginebay.hardware.isolate import NOISE_LIMIT, end_child, how_it_ended
from enginebay.models.conversion import ConversionRequest, ConverterSpec

_CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from enginebay.models.child import main; main()"


def convert_in_child(converter: ConverterSpec, request: ConversionRequest) -> None:
    """Call the converter's function in a child process, and pass its progress on.

    Raises:
        ConversionError: it could not be started, crashed, or raised what is no error of enginebay.
        EnginebayError: what it raised.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        _function(converter.factory)(request)
        return
    with tempfile.TemporaryFile() as noise:
        try:
            child = subprocess.Popen(
                [sys.executable, "-P", "-c", _CHILD, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=noise,
                start_new_session=os.name == "posix",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise ConversionError(f"no child process could be started: {error.strerror}") from error
        try:
            told = _follow(child, converter, request)
        finally:
            end_child(child)
        if told is None:
            noise.seek(max(0, noise.seek(0, os.SEEK_END) - NOISE_LIMIT))
            how = how_it_ended(child.returncode, noise.read().decode(errors="replace"))
            raise ConversionError(
                f"the converter {converter.name!r} {how}",
                value=str(request.source),
                hint="a process killed by SIGKILL has mostly run out of memory",
            )
        if "error" in told:
            raise _rebuilt(converter, told["error"])


def _follow(
    child: subprocess.Popen[bytes], converter: ConverterSpec, request: ConversionRequest
) -> dict[str, Any] | None:
    """Ask, report progress, and give the child's last word; None when it ended without one."""
    assert child.stdin is not None
    assert child.stdout is not None
    question = [converter.factory, str(request.source), str(request.target), dict(request.options)]
    try:
        child.stdin.write(json.dumps(question).encode())
        child.stdin.close()
    except OSError:
        pass  # it has died already: told by the caller
    for line in child.stdout:
        told: dict[str, Any] = json.loads(line)
        if "report" not in told:
            return told
        request.report(*told["report"])
    child.wait()
    return None


def _rebuilt(converter: ConverterSpec, told: dict[str, Any]) -> EnginebayError:
    kind = getattr(errors, told["kind"], None)
    if isinstance(kind, type) and issubclass(kind, EnginebayError):
        return kind(told["message"], value=told["value"], hint=told["hint"])
    return ConversionError(
        f"the converter {converter.name!r} failed: {told['kind']}: {told['message']}", value=told["value"]
    )


def _function(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def main() -> None:
    """The child's side."""
    # What libraries print to stdout must not mix with the answer.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    target, source, goal, options = json.load(sys.stdin)

    def report(what: str, share: float) -> None:
        _tell(answer, {"report": [what, share]})

    try:
        _function(target)(ConversionRequest(Path(source), Path(goal), options, report))
    except BaseException as error:  # noqa: BLE001 - told to the parent, which raises it
        hint = getattr(error, "hint", None)
        message = getattr(error, "message", None) or str(error)
        _tell(answer, {"error": {"kind": type(error).__name__, "message": message, "value": source, "hint": hint}})
    else:
        _tell(answer, {"done": True})


def _tell(answer: IO[str], word: dict[str, Any]) -> None:
    answer.write(json.dumps(word) + "\n")
    answer.flush()
