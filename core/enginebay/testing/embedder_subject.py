"""What the checks of an embedder work on."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from enginebay.embedding.handle import EmbedderHandle
from enginebay.errors import ContextLengthError
from enginebay.testing.checks import RuleBrokenError, require

Vectors = NDArray[np.float32]

SENTENCES = (
    "A man is eating a piece of bread.",
    "The central bank raised interest rates by a quarter of a percent.",
    "How do I install the graphics driver on Linux?",
    "The cat sleeps on the warm windowsill.",
    "Photosynthesis turns light into chemical energy.",
    "The train to Zurich leaves at seven in the morning.",
)

RELATED = (
    "Someone has a meal.",
    "Monetary policy was tightened.",
    "Setting up a GPU under Ubuntu",
    "A kitten naps in the sun.",
    "Plants make sugar from sunlight and carbon dioxide.",
    "The departure of the morning rail connection",
)
"""Each means nearly what the sentence of its place means, in other words."""

WRITINGS = (
    "Zürich, Malmö, Kraków",
    "日本語の文章です。",
    "Привет, мир",
    "مرحبا بالعالم",
    "e\u0301 and é",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308",
    "line\nbreak\tand\u00a0spaces  \u200b",
    "null\0byte",
    "a" * 200,
    "$%&/()=?`*'_:;>< <b>markup</b> [CLS] [SEP] <s> </s>",
)


@dataclass
class EmbedderSubject:
    """An open embedder, and how to open it again.

    Attributes:
        open: opens the same embedder with changes of its configuration, as `Bay.embedder` takes them.
        alike: least cosine similarity of two vectors that ought to be equal: numbers differ a little with the batch
            that a text is in, and more where activations are quantised by the batch.
    """

    open: Callable[..., EmbedderHandle]
    alike: float = 0.999

    @cached_property
    def handle(self) -> EmbedderHandle:
        """The embedder as it is configured, without prefixes."""
        return self.open(query_prefix="", document_prefix="")

    @cached_property
    def alone(self) -> Vectors:
        """The vectors of `SENTENCES`, each embedded by itself."""
        return np.stack([self.handle.embed_documents([text])[0] for text in SENTENCES])

    def same(self, found: Vectors, expected: Vectors, what: str) -> None:
        """Check that vectors are equal, row by row, but for rounding."""
        require(found.shape == expected.shape, f"{what}: shape {found.shape}, not {expected.shape}")
        for row, cosine in enumerate(cosines(found, expected)):
            require(cosine >= self.alike, f"{what}: row {row} has cosine {cosine:.5f} to what it ought to be")

    def text_of(self, tokens: int) -> str:
        """A text of exactly so many tokens.

        Raises:
            UnsupportedFeatureError: the engine does not count them.
            RuleBrokenError: none was found.
        """
        words = tokens
        for _ in range(8):
            (count,) = self.handle.count_tokens([" ".join(["cat"] * words)])
            if count == tokens:
                return " ".join(["cat"] * words)
            words += tokens - count
        raise RuleBrokenError(f"no text of {tokens} tokens was found by counting")


def cosines(left: Vectors, right: Vectors) -> Vectors:
    """Cosine similarity of each row to the row of its place."""
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.asarray((left * right).sum(axis=1) / np.maximum(lengths, 1e-12), dtype=np.float32)


def many_texts(number: int) -> list[str]:
    """Different texts of all lengths up to eighty words."""
    drawn = random.Random(3)
    words = " ".join((*SENTENCES, *RELATED)).split()
    return [f"{place} " + " ".join(drawn.choices(words, k=drawn.randint(1, 80))) for place in range(number)]


def too_long(call: Callable[[], object]) -> ContextLengthError:
    """The refusal of a text that is too long.

    Raises:
        RuleBrokenError: it was not refused.
    """
    try:
        call()
    except ContextLengthError as error:
        return error
    raise RuleBrokenError("a text longer than the model reads was not refused")
