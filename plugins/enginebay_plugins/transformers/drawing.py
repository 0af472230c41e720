"""Drawing tokens with enginebay's meaning, out of transformers' own logits processors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from enginebay import SamplingParams
from enginebay.errors import GenerationError, InvalidParameterError
from enginebay.sampling.masks import ConstraintMask


class Drawing:
    """Draws the tokens of one output.

    transformers' processors do what they do with enginebay's meaning; what they lack or do otherwise is added here.

    Args:
        prompt: token ids of the prompt.
        size: tokens that the logits have.
        end: tokens that end an output.
        mask: what the constraint allows, or None.
    """

    def __init__(
        self,
        params: SamplingParams,
        prompt: Sequence[int],
        size: int,
        end: frozenset[int],
        mask: ConstraintMask | None,
        device: Any,
    ) -> None:
        self._params = params
        self._end = end
        self._mask = mask
        self._device = device
        self._sequence = torch.tensor([prompt], device=device)
        self._counts = torch.zeros(size, device=device)
        self._bias = _bias(params, size, device)
        self._warpers = _warpers(params)
        self._random = torch.Generator(device)
        if params.seed is not None:
            self._random.manual_seed(params.seed)
        else:
            self._random.seed()
        self._looks_back = params.repetition_penalty != 1
        self._counted = bool(params.presence_penalty or params.frequency_penalty)

    @property
    def complete(self) -> bool:
        """The constraint lets nothing follow."""
        return self._mask is not None and self._mask.complete

    def draw(self, logits: Any) -> int:
        """The next token out of raw logits, shape (vocabulary,).

        Raises:
            GenerationError: no token can be drawn.
        """
        scores = self._scores(logits)
        if self._params.temperature == 0:
            best = int(scores.argmax())
            # What is best of all and allowed is best of the allowed: most often no mask is needed.
            if self._allows(best):
                return best
        allowed = self._allowed(scores.shape[-1])
        scores = scores if allowed is None else scores[:, allowed]
        place = int(scores.argmax()) if self._params.temperature == 0 else self._drawn(scores)
        return place if allowed is None else int(allowed[place])

    def _drawn(self, scores: Any) -> int:
        for warper in self._warpers:
            scores = warper(self._sequence, scores)
        try:
            return int(torch.multinomial(torch.softmax(scores[0], dim=-1), 1, generator=self._random))
        except RuntimeError as error:
            raise GenerationError("no token can be drawn: the logits are not numbers") from error

    def accept(self, token: int, *, ended: bool) -> None:
        """Count a token in; the constraint has nothing to do with an end token."""
        if self._looks_back:
            self._sequence = torch.cat([self._sequence, torch.tensor([[token]], device=self._device)], dim=1)
        if self._counted:
            self._counts[token] += 1
        if self._mask is not None and not ended:
            self._mask.accept(token)

    def _scores(self, logits: Any) -> Any:
        scores = logits[None].float()
        params = self._params
        if self._bias is not None:
            scores = scores + self._bias
        if self._looks_back:
            scores = RepetitionPenaltyLogitsProcessor(params.repetition_penalty)(self._sequence, scores)
        if self._counted:
            scores = scores - params.presence_penalty * (self._counts > 0) - params.frequency_penalty * self._counts
        return scores

    def _allows(self, token: int) -> bool:
        return self._mask is None or (token not in self._end and self._mask.allows(token))

    def _allowed(self, size: int) -> Any:
        """Tokens that the constraint allows: what follows is computed for them alone; None for all."""
        if self._mask is None:
            return None
        return torch.from_numpy(np.flatnonzero(self._mask.allowed(size))).to(self._device)


class _TopK:
    """Keeps k tokens. transformers' own keeps all that are level with the last one, of which 16 bits make many."""

    def __init__(self, k: int) -> None:
        self._k = k

    def __call__(self, sequence: Any, scores: Any) -> Any:
        if self._k >= scores.shape[-1]:
            return scores
        least = torch.topk(scores, self._k).values[..., -1:]
        above, level = scores > least, scores == least
        room = self._k - above.sum(dim=-1, keepdim=True)
        return scores.masked_fill(~(above | (level & (level.cumsum(dim=-1) <= room))), -torch.inf)


def _bias(params: SamplingParams, size: int, device: Any) -> Any:
    if not params.logit_bias:
        return None
    bias = torch.zeros(size, device=device)
    for token, number in params.logit_bias.items():
        if not 0 <= token < size:
            raise InvalidParameterError(f"logit_bias names the token {token}; the vocabulary has {size}", value=token)
        bias[token] = number
    return bias


def _warpers(params: SamplingParams) -> list[Any]:
    warpers: list[Any] = []
    if params.temperature not in (0, 1):
        warpers.append(TemperatureLogitsWarper(params.temperature))
    if params.top_k:
        warpers.append(_TopK(params.top_k))
    if params.top_p < 1:
        warpers.append(TopPLogitsWarper(params.top_p))
    if params.min_p > 0:
        warpers.append(MinPLogitsWarper(params.min_p))
    return warpers
