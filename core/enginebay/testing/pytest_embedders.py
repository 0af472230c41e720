"""The conformance kit of embedders for pytest: subclass, say how to open the embedder, run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from enginebay.embedding.handle import EmbedderHandle
from enginebay.testing.checks import Check
from enginebay.testing.embedder_checks import EMBEDDER_CHECKS
from enginebay.testing.embedder_subject import EmbedderSubject


class EmbedderConformance:
    """Base class of a backend's conformance tests.

    A subclass gives the fixture `open_embedder`, a classmethod with scope "class": a function that opens the embedder
    on a real model, given changes of its configuration as `Bay.embedder` takes them. The tests must run in their
    order: the last one closes the engine.

    Attributes:
        alike: least cosine similarity of two vectors that ought to be equal.
    """

    alike: float = 0.999

    @pytest.fixture(scope="class")
    @classmethod
    def open_embedder(cls) -> Iterator[Callable[..., EmbedderHandle]]:
        """A function that opens the embedder."""
        raise NotImplementedError("a conformance test class gives the fixture `open_embedder`")

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, open_embedder: Callable[..., EmbedderHandle]) -> EmbedderSubject:
        """What the checks work on."""
        return EmbedderSubject(open_embedder, alike=cls.alike)

    @pytest.mark.parametrize("check", list(EMBEDDER_CHECKS), ids=lambda check: check.name.replace(" ", "_"))
    def test_rule(self, check: Check[EmbedderSubject], subject: EmbedderSubject) -> None:
        """One rule of the interface."""
        check.run(subject)
