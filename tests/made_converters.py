"""Converters for tests, good and bad. They convert nothing: they copy, refuse and break."""

from __future__ import annotations

import os
import signal
import time

from enginebay import ConversionRequest
from enginebay.errors import ModelFormatError
from gguf_writer import FACTS, write_gguf


def copy(request: ConversionRequest) -> None:
    request.report("copying", 0.5)
    print("noise on stdout")
    request.target.write_bytes(request.source.read_bytes())


def nonsense(request: ConversionRequest) -> None:
    request.target.write_text("no model")


def refuse(request: ConversionRequest) -> None:
    raise ModelFormatError("a strange architecture", value=str(request.source), hint="take another")


def break_down(request: ConversionRequest) -> None:
    request.target.write_bytes(b"GGUF half")
    raise RuntimeError("the library broke")


def crash(request: ConversionRequest) -> None:
    request.target.write_bytes(b"GGUF half")
    os.kill(os.getpid(), signal.SIGKILL)


def leave(request: ConversionRequest) -> None:
    raise SystemExit(3)


def dawdle(request: ConversionRequest) -> None:
    time.sleep(600)


def pretend_gguf(request: ConversionRequest) -> None:
    """Writes a GGUF file that has nothing of its source but says that it pools."""
    write_gguf(request.target, FACTS | {"llama.pooling_type": 1, "general.name": str(request.options)})
