"""Log-probabilities out of raw logits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from enginebay.interfaces.generator import TokenLogprob
from enginebay.interfaces.logits import log_softmax


def token_logprob(token: int, logits: NDArray[np.floating], wanted: int, text_of: Callable[[int], str]) -> TokenLogprob:
    """The log-probability of a token, and of the `wanted` likeliest ones, as `SamplingParams.logprobs` asks for.

    Args:
        text_of: text of a token id.
    """
    logprobs = log_softmax(logits)
    best = np.argpartition(-logprobs, wanted)[:wanted] if wanted else np.empty(0, dtype=np.int64)
    best = best[np.argsort(-logprobs[best], kind="stable")]
    top = tuple((int(one), text_of(int(one)), float(logprobs[one])) for one in best)
    return TokenLogprob(token, text_of(token), float(logprobs[token]), top)
