"""Reading, embedding and writing side by side."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from enginebay.retrieval.documents import Document
from enginebay.retrieval.ledger import Origin
from enginebay.retrieval.splitting import Span

T = TypeVar("T")
_PATIENCE = 0.2
"""Seconds after which a reader whose results nobody takes looks whether it is still wanted."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A document, cut into passages, to be written."""

    document: Document
    digest: str
    spans: tuple[Span, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Part:
    """Passages of one document, from number `first` up to `end`."""

    cut: Cut
    first: int
    end: int

    @property
    def begins(self) -> bool:
        """They are the document's first."""
        return self.first == 0

    @property
    def ends(self) -> bool:
        """They are its last."""
        return self.end == len(self.cut.spans)

    def texts(self) -> list[str]:
        """The passages' texts."""
        text = self.cut.document.text
        return [text[span.start : span.end] for span in self.cut.spans[self.first : self.end]]


def batches(cuts: Iterable[Cut], size: int) -> Iterator[list[Part]]:
    """Parts of documents, in batches of `size` passages; the last has what is left."""
    batch: list[Part] = []
    room = size
    for cut in cuts:
        first = 0
        while True:
            end = min(len(cut.spans), first + room)
            batch.append(Part(cut, first, end))
            room -= end - first
            first = end
            if room == 0:
                yield batch
                batch, room = [], size
            if end == len(cut.spans):
                break
    if batch:
        yield batch


def read_ahead(items: Iterator[T], depth: int) -> Generator[T, None, None]:
    """The items, made in a thread of their own, at most `depth` ahead; what that raises is raised here."""
    taken: queue.Queue[T | _End] = queue.Queue(depth)
    unwanted = threading.Event()

    def put(item: T | _End) -> None:
        while not unwanted.is_set():
            try:
                taken.put(item, timeout=_PATIENCE)
            except queue.Full:
                continue
            return

    def make() -> None:
        try:
            for item in items:
                put(item)
                if unwanted.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised in the thread that takes the items
            put(_End(error))
        else:
            put(_End(None))

    thread = threading.Thread(target=make, name="enginebay-read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = taken.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        unwanted.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None
