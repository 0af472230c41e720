"""Worked examples for prompts, and choosing among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from enginebay.errors import PromptError
from enginebay.spec import FrozenModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

Embed = Callable[[list[str]], Any]
"""Texts -> float32 array of shape (len(texts), dimension), such as `EmbedderHandle.embed_documents`."""


class Example(FrozenModel):
    """An input with its right output; for a chain of thought also with the reasoning that leads there."""

    input: str
    output: str
    reasoning: str = ""


def choose(examples: Sequence[Example], question: str, k: int | None, embed: Embed | None = None) -> list[Example]:
    """The examples to show, the most important first: the k most similar to the question, or the first k.

    Args:
        k: how many; None takes all.
        embed: gives vectors of texts; None takes the examples in the order given. Similarity is the cosine.
            (Liu et al. 2022, arXiv:2101.06804.)

    Raises:
        PromptError: `embed` gives something other than one vector for each text.
    """
    wanted = len(examples) if k is None else k
    if embed is None or not examples:
        return list(examples[:wanted])
    scores = _similarities(embed, question, [example.input for example in examples])
    ranked = sorted(range(len(examples)), key=lambda index: (-scores[index], index))
    return [examples[index] for index in ranked[:wanted]]


def _similarities(embed: Embed, question: str, texts: list[str]) -> list[float]:
    import numpy as np

    vectors = np.asarray(embed([question, *texts]), dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts) + 1 or not np.isfinite(vectors).all():
        raise PromptError(
            f"the embedder gives an array of shape {vectors.shape} for {len(texts) + 1} texts",
            value=vectors.shape,
            hint="it must give one vector of finite numbers for each text",
        )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return [float(score) for score in unit[1:] @ unit[0]]
