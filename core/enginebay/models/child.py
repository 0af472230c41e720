"""Running a converter or a quantizer in a child process.

They load engines' libraries and whole models: the application keeps neither, what they print stays out of its
terminal, and one that crashes or is killed for memory costs an error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from enginebay import errors
from enginebay.errors import ConversionError, EnginebayError
from enginebay.hardware.isolate import NOISE_LIMIT, end_child, how_it_ended
from enginebay.models.conversion import ConversionRequest, ConverterSpec

_CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from enginebay.models.child import main; main()"

Tell = Callable[[Any], None]
"""Takes a JSON value."""


def convert_in_child(converter: ConverterSpec, request: ConversionRequest) -> None:
    """Call the converter's function in a child process, and pass its progress on.

    Raises:
        ConversionError: it could not be started, crashed, or raised what is no error of enginebay.
        EnginebayError: what it raised.
    """
    call_in_child(
        "enginebay.models.child:convert_here",
        [converter.factory, str(request.source), str(request.target), dict(request.options)],
        lambda told: request.report(*told),
        name=f"the converter {converter.name!r}",
        value=str(request.source),
        error=ConversionError,
    )


def convert_here(question: list[Any], tell: Tell) -> None:
    """What the child does for `convert_in_child`."""
    target, source, goal, options = question
    request = ConversionRequest(Path(source), Path(goal), options, lambda what, share: tell([what, share]))
    function(target)(request)


def call_in_child(
    runner: str, question: object, receive: Tell, *, name: str, value: str, error: type[EnginebayError]
) -> None:
    """Call a function in a child process, which ends with this one, however that ends.

    Args:
        runner: import string of a function that takes the question and a `Tell`.
        question: a JSON value.
        receive: takes what the function tells; what it raises ends the child and passes.
        name: who is at work, for messages.
        value: what is worked on.
        error: raised when the child could not be started, crashed, or raised what is no error of enginebay.

    Raises:
        EnginebayError: what the function raised, or `error`.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        function(runner)(question, receive)
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
        except OSError as caught:
            raise error(f"no child process could be started: {caught.strerror}") from caught
        try:
            told = _follow(child, [runner, question], receive)
        finally:
            end_child(child)
        if told is None:
            noise.seek(max(0, noise.seek(0, os.SEEK_END) - NOISE_LIMIT))
            how = how_it_ended(child.returncode, noise.read().decode(errors="replace"))
            raise error(f"{name} {how}", value=value, hint="a process killed by SIGKILL has mostly run out of memory")
        if "error" in told:
            raise _rebuilt(name, told["error"], error)


def function(target: str) -> Any:
    """What an import string names."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _follow(child: subprocess.Popen[bytes], question: list[object], receive: Tell) -> dict[str, Any] | None:
    """Ask, pass on what the child tells, and give its last word; None when it ended without one."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        # The pipe stays open: its end tells the child that this process has gone.
        child.stdin.write(json.dumps(question).encode() + b"\n")
        child.stdin.flush()
    except OSError:
        pass  # it has died already: told by the caller
    for line in child.stdout:
        told: dict[str, Any] = json.loads(line)
        if "told" not in told:
            return told
        receive(told["told"])
    child.wait()
    return None


def _rebuilt(name: str, told: dict[str, Any], error: type[EnginebayError]) -> EnginebayError:
    kind = getattr(errors, told["kind"], None)
    if not (isinstance(kind, type) and issubclass(kind, EnginebayError)):
        return error(f"{name} failed: {told['kind']}: {told['message']}", value=told["value"])
    if kind.__init__ is not EnginebayError.__init__:
        kind = error  # it wants more than can be told: a decision, the partial text
    return kind(told["message"], value=told["value"], hint=told["hint"])


def main() -> None:
    """The child's side."""
    # What libraries print to stdout must not mix with the answer.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    runner, question = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        function(runner)(question, lambda word: _tell(answer, {"told": word}))
    except BaseException as error:  # noqa: BLE001 - told to the parent, which raises it
        hint = getattr(error, "hint", None)
        message = getattr(error, "message", None) or str(error)
        value = getattr(error, "value", None)
        plain = value if isinstance(value, str | int | float | bool | list) else str(value) if value else None
        told = {"kind": type(error).__name__, "message": message, "value": plain, "hint": hint}
        _tell(answer, {"error": told})
    else:
        _tell(answer, {"done": True})


def _end_with_parent() -> None:
    """Wait for the end of the pipe from the parent: nothing may go on writing when it has been killed."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _tell(answer: IO[str], word: dict[str, Any]) -> None:
    answer.write(json.dumps(word) + "\n")
    answer.flush()
