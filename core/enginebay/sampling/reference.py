"""The reference sampler: the definition of the sampling parameters in code, in numpy over logits.

Each step is a function from logits to logits, so that it can be read, tested and compared on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from enginebay.errors import GenerationError, InvalidParameterError
from enginebay.sampling.params import SamplingParams

Logits = NDArray[np.float64]
"""Shape (vocabulary,); a token that cannot be drawn has -inf."""


def apply_bias(logits: Logits, bias: Mapping[int, float]) -> Logits:
    """Add each number to its token's logit.

    Raises:
        InvalidParameterError: a token id is not in the vocabulary.
    """
    result = logits.copy()
    for token, number in bias.items():
        if not 0 <= token < len(logits):
            raise InvalidParameterError(
                f"logit_bias names the token {token}; the vocabulary has {len(logits)}",
                value=token,
                hint="ids come from handle.tokenize(…)",
            )
        result[token] += number
    return result


def apply_repetition(logits: Logits, seen: Iterable[int], penalty: float) -> Logits:
    """Divide the logits of seen tokens by the penalty when positive, multiply when negative (arXiv:1909.05858)."""
    result = logits.copy()
    tokens = np.fromiter(set(seen), dtype=np.int64)
    values = result[tokens]
    result[tokens] = np.where(values > 0, values / penalty, values * penalty)
    return result


def apply_presence_and_frequency(
    logits: Logits, counts: Mapping[int, int], presence: float, frequency: float
) -> Logits:
    """Subtract `presence` once and `frequency` for each occurrence of a token in the output (OpenAI API)."""
    result = logits.copy()
    for token, count in counts.items():
        result[token] -= presence + frequency * count
    return result


def keep_top_k(logits: Logits, k: int) -> Logits:
    """Keep the k likeliest tokens; of equally likely ones, the lower ids."""
    if k >= len(logits):
        return logits
    # A stable sort decides ties at the edge; it is spared where there are none.
    edge = np.partition(logits, -k)[-k]
    kept = logits >= edge
    if kept.sum() > k:
        kept = np.zeros(len(logits), dtype=bool)
        kept[np.argsort(-logits, kind="stable")[:k]] = True
    return np.where(kept, logits, -np.inf)


def keep_top_p(logits: Logits, p: float) -> Logits:
    """Keep the smallest set of likeliest tokens whose probability reaches p (arXiv:1904.09751)."""
    order = np.argsort(-logits, kind="stable")
    probabilities = softmax(logits[order])
    # A token is kept while the mass before it is still short of p.
    before = np.cumsum(probabilities) - probabilities
    result = np.full_like(logits, -np.inf)
    kept = order[before < p]
    result[kept] = logits[kept]
    return result


def keep_min_p(logits: Logits, p: float) -> Logits:
    """Keep the tokens with at least p times the likeliest one's probability (arXiv:2407.01082)."""
    if p == 0:
        return logits
    return np.where(logits >= logits.max() + np.log(p), logits, -np.inf)


def softmax(logits: Logits) -> NDArray[np.float64]:
    """Probabilities of the logits."""
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum(), dtype=np.float64)


class ReferenceSampler:
    """Draws the tokens of one output.

    Args:
        params: what to sample by; `max_tokens`, `stop`, `n`, `logprobs` and `constraint` are not its business.
        prompt: token ids of the prompt, for the repetition penalty.
    """

    def __init__(self, params: SamplingParams, prompt: Sequence[int] = ()) -> None:
        self.params = params
        self._seen = set(prompt)
        self._counts: dict[int, int] = {}
        self._random = np.random.default_rng(params.seed)

    def probabilities(
        self, logits: NDArray[np.floating], allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """The distribution that the next token is drawn from.

        Args:
            logits: shape (vocabulary,).
            allowed: tokens that a constraint allows, shape (vocabulary,); None allows all.

        Raises:
            InvalidParameterError: a biased token is not in the vocabulary.
            GenerationError: the logits are not numbers, or nothing is allowed.
        """
        params = self.params
        scores = self._penalised(np.asarray(logits, dtype=np.float64))
        if allowed is not None:
            scores = np.where(allowed, scores, -np.inf)
        if not scores.max() > -np.inf or np.isnan(scores).any():
            raise GenerationError("no token can be drawn: every one is forbidden, or the logits are not numbers")
        if params.temperature == 0:
            chosen = np.zeros(len(scores))
            chosen[int(scores.argmax())] = 1.0
            return chosen
        scores = scores / params.temperature
        if params.top_k:
            scores = keep_top_k(scores, params.top_k)
        if params.top_p < 1:
            scores = keep_top_p(scores, params.top_p)
        return softmax(keep_min_p(scores, params.min_p))

    def draw(self, logits: NDArray[np.floating], allowed: NDArray[np.bool_] | None = None) -> int:
        """Draw the next token and count it in. Arguments and errors as of `probabilities`."""
        probabilities = self.probabilities(logits, allowed)
        if self.params.temperature == 0:
            token = int(probabilities.argmax())
        else:
            token = _drawn(probabilities, self._random.random())
        self.accept(token)
        return token

    def accept(self, token: int) -> None:
        """Count a token of the output in."""
        self._seen.add(token)
        self._counts[token] = self._counts.get(token, 0) + 1

    def _penalised(self, scores: Logits) -> Logits:
        params = self.params
        if params.logit_bias:
            scores = apply_bias(scores, params.logit_bias)
        if params.repetition_penalty != 1 and self._seen:
            scores = apply_repetition(scores, self._seen, params.repetition_penalty)
        if (params.presence_penalty or params.frequency_penalty) and self._counts:
            scores = apply_presence_and_frequency(
                scores, self._counts, params.presence_penalty, params.frequency_penalty
            )
        return scores


def _drawn(probabilities: NDArray[np.float64], place: float) -> int:
    """The token at `place`, 0 to 1, of the cumulative distribution; never one of probability 0."""
    cumulative = np.cumsum(probabilities)
    token = int(np.searchsorted(cumulative, place * cumulative[-1], side="right"))
    return min(token, int(np.flatnonzero(probabilities)[-1]))
