"""Quantizers for tests, good and bad. They quantise nothing: they copy, refuse and break."""

from __future__ import annotations

import os
import signal
import time

from enginebay import Quantizer
from enginebay.errors import ModelFormatError
from enginebay.interfaces.jobs import Events, JobEvent
from enginebay.interfaces.quantizer import QuantizationJob
from gguf_writer import FACTS, write_gguf


class Copy(Quantizer):
    def run(self, job: QuantizationJob, events: Events) -> None:
        events(JobEvent("quantize", 1, 2, {"share": 0.5}, job.to))
        print("noise on stdout")
        job.output.write_bytes(job.model.read_bytes())


class Refuse(Quantizer):
    def run(self, job: QuantizationJob, events: Events) -> None:
        raise ModelFormatError("a strange architecture", value=str(job.model), hint="take another")


class BreakDown(Quantizer):
    def run(self, job: QuantizationJob, events: Events) -> None:
        job.output.write_bytes(b"GGUF half")
        raise RuntimeError("the library broke")


class FillTheDisk(Quantizer):
    def run(self, job: QuantizationJob, events: Events) -> None:
        job.output.write_bytes(b"GGUF half")
        raise RuntimeError("cannot save") from OSError(28, "No space left on device")


class Crash(Quantizer):
    def run(self, job: QuantizationJob, events: Events) -> None:
        job.output.write_bytes(b"GGUF half")
        os.kill(os.getpid(), signal.SIGKILL)


class Forget(Quantizer):
    """Writes nothing."""

    def run(self, job: QuantizationJob, events: Events) -> None: ...


class LoseTemplate(Quantizer):
    def run(self, job: QuantizationJob, events: Events) -> None:
        write_gguf(job.output, FACTS | {"tokenizer.chat_template": "another", "tokenizer.ggml.eos_token_id": 2})


class Dawdle(Quantizer):
    """Tells where it is at work, and goes on for ever."""

    def run(self, job: QuantizationJob, events: Events) -> None:
        job.output.write_bytes(b"GGUF half")
        events(JobEvent("quantize", message=str(os.getpid())))
        time.sleep(600)


def no_quantizer() -> object:
    return object()
