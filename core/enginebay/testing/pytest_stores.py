"""The conformance kit of vector stores for pytest: subclass, say how to open the store, run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from enginebay.stores import Store
from enginebay.testing.checks import Check
from enginebay.testing.store_checks import STORE_CHECKS
from enginebay.testing.store_subject import StoreSubject


class StoreConformance:
    """Base class of a vector store's conformance tests.

    A subclass gives the fixture `open_store`, a classmethod with scope "class": a function that opens the same store
    each time. The tests must run in their order: the last one closes the store.

    Attributes:
        records: that filters are compared on.
        filters: random filters to compare with the oracle.
    """

    records: int = 5000
    filters: int = 200

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls) -> Iterator[Callable[[], Store]]:
        """A function that opens the store."""
        raise NotImplementedError("a conformance test class gives the fixture `open_store`")

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, open_store: Callable[[], Store]) -> StoreSubject:
        """What the checks work on."""
        return StoreSubject(open_store(), open_store, records=cls.records, filters=cls.filters)

    @pytest.mark.parametrize("check", list(STORE_CHECKS), ids=lambda check: check.name.replace(" ", "_"))
    def test_rule(self, check: Check[StoreSubject], subject: StoreSubject) -> None:
        """One rule of the interface."""
        try:
            check.run(subject)
        finally:
            subject.tidy()
