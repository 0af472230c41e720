"""One vector of the vectors of a text's tokens, by numpy, for engines that run the transformer alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from enginebay.errors import EngineOpenError
from enginebay.models.embedding import Pooling
from enginebay.opening import OpenRequest


def pool(hidden: NDArray[np.float32], mask: NDArray[np.int64], pooling: Pooling) -> NDArray[np.float32]:
    """Pool the last hidden states; what stands at padding counts for nothing.

    Args:
        hidden: shape (texts, tokens, width).
        mask: 1 where a text has a token, shape (texts, tokens); padding comes last, each text has one token at least.

    Returns:
        float32 array of shape (texts, width).
    """
    if pooling is Pooling.CLS:
        return np.ascontiguousarray(hidden[:, 0], dtype=np.float32)
    lengths = mask.sum(axis=1)
    if pooling is Pooling.LAST:
        return np.ascontiguousarray(hidden[np.arange(len(hidden)), lengths - 1], dtype=np.float32)
    weights = (mask / lengths[:, None]).astype(np.float32)
    return np.asarray(np.matmul(weights[:, None, :], hidden)[:, 0], dtype=np.float32)


def pooling_of(request: OpenRequest) -> Pooling:
    """The pooling that the model is to be opened with.

    Raises:
        EngineOpenError: it has another one than `Pooling` knows, or none is stated.
    """
    pooling = request.embedding.pooling if request.embedding is not None else None
    if pooling is None:
        raise EngineOpenError(
            f"the model {request.model.reference!r} does not pool by {', '.join(Pooling)}",
            value=request.model.reference,
            hint="state its pooling, or take a backend that runs the steps of the model itself",
        )
    return pooling
