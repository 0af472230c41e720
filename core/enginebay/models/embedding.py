"""How a model makes one vector of a text: what its files say beside the weights."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from enginebay.spec import FrozenModel


class Pooling(StrEnum):
    """How the vectors of a text's tokens become one."""

    MEAN = "mean"
    """Their mean, special tokens included."""
    CLS = "cls"
    """That of the first token."""
    LAST = "last"
    """That of the last token."""


class EmbeddingFacts(FrozenModel):
    """How a model makes one vector of a text.

    Attributes:
        pooling: None when the files do not say, or say something else than `Pooling` has.
        max_length: tokens of a text that its authors have it read, special ones included; 0 when they do not say.
        normalise: it scales vectors to length 1 itself.
        query_prefix, document_prefix: what its authors put before a query, and before a document.
        plain: pooling and normalisation are all that follows the transformer: an engine that knows no other steps
            will do.
    """

    pooling: Pooling | None = None
    max_length: int = Field(default=0, ge=0)
    normalise: bool = False
    query_prefix: str = ""
    document_prefix: str = ""
    plain: bool = True
