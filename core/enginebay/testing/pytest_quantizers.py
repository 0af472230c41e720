"""The conformance kit of quantizers for pytest: subclass, give the subject, run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from enginebay.testing.checks import Check
from enginebay.testing.quantizer_checks import QUANTIZER_CHECKS
from enginebay.testing.quantizer_subject import QuantizerSubject


class QuantizerConformance:
    """Base class of a backend's conformance tests.

    A subclass gives the fixture `subject`, a classmethod with scope "class": the quantizer, a bay, a real model in 16
    bits, the types to make, and an empty folder.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls) -> Iterator[QuantizerSubject]:
        """What the checks work on."""
        raise NotImplementedError("a conformance test class gives the fixture `subject`")

    @pytest.mark.parametrize("check", list(QUANTIZER_CHECKS), ids=lambda check: check.name.replace(" ", "_"))
    def test_rule(self, check: Check[QuantizerSubject], subject: QuantizerSubject) -> None:
        """One rule of the interface."""
        check.run(subject)
