"""What tuning and quantising jobs share: events, and the fingerprint that travels with a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Progress of a job.

    Attributes:
        stage: what is being done ("load", "train", "write").
        step, steps: place in the stage; `steps` is None when not known.
        measures: named numbers (loss, tokens_per_second, memory_bytes, seconds_left).
        message: one line for people.
    """

    stage: str
    step: int = 0
    steps: int | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    message: str = ""


Events = Callable[[JobEvent], None]
"""Receives the events of a job; raising `JobCancelled` in it ends the job after the current step."""


def reporter(events: Events, stage: str) -> Callable[[str, float], None]:
    """What converters report (what is going on, and the share of the work that is done), told as events of a stage."""
    return lambda what, share: events(JobEvent(stage, round(100 * share), 100, message=what))


class JobCancelled(Exception):
    """Raised by an event receiver to end a job; the job cleans up and lets it pass."""


@dataclass(frozen=True, slots=True)
class ModelFingerprint:
    """What must travel with the weights from tuner to quantizer to engine, as SHA-256 hex digests.

    Attributes:
        source: digest of the weights that this model was made from.
        maker: backend and version that made it.
        options: digest of the options it was made with.
        tokenizer: digest of the tokenizer.
        chat_template: digest of the chat template, "" when there is none.
        eos_token_ids: ids that end a sequence.
    """

    source: str
    maker: str
    options: str
    tokenizer: str
    chat_template: str = ""
    eos_token_ids: tuple[int, ...] = ()
