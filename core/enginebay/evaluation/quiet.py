"""The harness without its log, its bars and its prints."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod

from tqdm import tqdm

from enginebay.plugins.stdout import Router, Sink

LOGGERS = ("lm_eval", "datasets", "huggingface_hub")


@contextmanager
def quietly() -> Iterator[None]:
    """Only errors are logged meanwhile and no bars shown; what this thread prints to stdout is dropped.

    The harness estimates standard errors in processes that it forks; it is told to do so in this one, since an open
    engine does not outlive a fork. What the application has set comes back.
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    shown = vars(tqdm)["__init__"]
    before = os.environ.get("DISABLE_MULTIPROC")
    router = Router(sys.stdout)
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    tqdm.__init__ = partialmethod(shown, disable=True)
    os.environ["DISABLE_MULTIPROC"] = "1"
    router.divert(Sink())
    router.install()
    try:
        yield
    finally:
        router.release()
        router.leave()
        tqdm.__init__ = shown
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if before is None:
            del os.environ["DISABLE_MULTIPROC"]
        else:
            os.environ["DISABLE_MULTIPROC"] = before
