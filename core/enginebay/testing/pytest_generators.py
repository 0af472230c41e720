"""The conformance kit of generators for pytest: subclass, give a handle, run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from enginebay.generation.handle import GeneratorHandle
from enginebay.testing.checks import Check
from enginebay.testing.generator_checks import GENERATOR_CHECKS
from enginebay.testing.generator_subject import GeneratorSubject


class GeneratorConformance:
    """Base class of a backend's conformance tests.

    A subclass gives the fixture `handle`, a classmethod with scope "class": an open generator on a real,
    instruction-tuned model, with a context of at least 256 tokens. The tests must run in their order: the last one
    closes the engine.

    Attributes:
        schemas: JSON schemas to check constraints with.
        draws: samples for statistical checks.
    """

    schemas: int = 200
    draws: int = 300

    @pytest.fixture(scope="class")
    @classmethod
    def handle(cls) -> Iterator[GeneratorHandle]:
        """The open generator."""
        raise NotImplementedError("a conformance test class gives the fixture `handle`")

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, handle: GeneratorHandle) -> GeneratorSubject:
        """What the checks work on; override it for other prompts."""
        return GeneratorSubject(handle, schemas=cls.schemas, draws=cls.draws)

    @pytest.mark.parametrize("check", list(GENERATOR_CHECKS), ids=lambda check: check.name.replace(" ", "_"))
    def test_rule(self, check: Check[GeneratorSubject], subject: GeneratorSubject) -> None:
        """One rule of the interface."""
        check.run(subject)
