"""A quantizer's side of its child process; it imports little, for each job waits for it."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import asdict
from typing import Any

from enginebay.errors import JobError
from enginebay.interfaces.quantizer import QuantizationJob, Quantizer
from enginebay.models.child import Tell, function

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def quantize_here(question: list[Any], tell: Tell) -> None:
    """What the child process does: call the quantizer's `run`."""
    factory, job = question
    quantizer = function(factory)()
    if not isinstance(quantizer, Quantizer):
        raise JobError(f"the factory {factory} returned {type(quantizer).__name__}, not a Quantizer", value=factory)
    asked = QuantizationJob.model_validate(job)
    try:
        quantizer.run(asked, lambda event: tell(asdict(event)))
    except Exception as error:
        why = _no_room(error)
        if why is None:
            raise
        raise JobError(
            f"cannot write the result to {asked.output.parent}: {why}",
            value=str(asked.output.parent),
            hint="free some room, or name another output",
        ) from error


def _no_room(error: BaseException | None) -> str | None:
    """What the system said when it let no more be written: libraries tell of it in exceptions of all kinds."""
    while error is not None:
        told = re.search(r"(?:os error |\[Errno )(\d+)", str(error))  # as Rust writes it, as Python does
        if told is not None and int(told[1]) in _NO_ROOM:
            return os.strerror(int(told[1]))
        error = error.__cause__ or error.__context__
    return None
