"""The kit of stores on Pinecone itself: make test-live, with PINECONE_API_KEY set.

It makes and drops serverless indexes named check-*, in PINECONE_CLOUD and PINECONE_REGION, five at a time at most.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from enginebay import Bay
from enginebay.stores import Store
from enginebay.testing.pytest_stores import StoreConformance


@pytest.mark.skipif(
    "PINECONE_API_KEY" not in os.environ, reason="needs a project at Pinecone: set PINECONE_API_KEY to its key"
)
@pytest.mark.timeout(1800)
class TestPinecone(StoreConformance):
    """A record of a new collection is there after seconds, an index after a minute: fewer records and filters."""

    records = 1000
    filters = 60

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls) -> Iterator[Callable[[], Store]]:
        place = {name: os.environ[f"PINECONE_{name.upper()}"] for name in ("cloud", "region") if _set(name)}
        with ExitStack() as bays:
            yield lambda: bays.enter_context(Bay()).store("pinecone", options=place)


def _set(name: str) -> bool:
    return bool(os.environ.get(f"PINECONE_{name.upper()}"))
