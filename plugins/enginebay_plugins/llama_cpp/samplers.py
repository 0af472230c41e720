"""Samplers in enginebay's order, out of llama.cpp's own."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import llama_cpp
import numpy as np

from enginebay import SamplingParams
from enginebay.errors import InvalidParameterError

_RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp draws a seed for this one."""

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Sampler:
    """Draws tokens for one output; a context manager, because the native samplers must be freed.

    Order: logit_bias, repetition_penalty over prompt and output, presence and frequency penalty over the output,
    temperature, top_k, top_p, min_p, draw. A grammar is applied as llama.cpp's programs do it: the token drawn
    without it is kept if the grammar allows it, otherwise one is drawn among those it allows. That is the same as
    masking first, unless a truncation cuts off every allowed token.

    Args:
        vocabulary: the native vocabulary.
        size: tokens in it.
        window: tokens the penalties look back on; the whole context.
        prompt: tokens of the prompt.
        grammar: GBNF source, or None.

    Raises:
        InvalidParameterError: the grammar cannot be parsed.
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        vocabulary: Any,
        size: int,
        window: int,
        prompt: Sequence[int],
        grammar: str | None,
    ) -> None:
        self._size = size
        self._grammar = self._parse(vocabulary, grammar) if grammar is not None else None
        self._candidates: Any = None
        self._chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        for sampler in self._members(params, size, window, prompt):
            llama_cpp.llama_sampler_chain_add(self._chain, sampler)

    def draw(self, context: Any, logits: Any) -> int:
        """The next token, counted in.

        Args:
            context: the native context, whose last logits are sampled from.
            logits: the same logits as an array; read only with a grammar.
        """
        if self._grammar is None:
            return int(llama_cpp.llama_sampler_sample(self._chain, context, -1))
        token = self._apply(logits, self._chain)
        if not self._allows(token):
            token = self._apply(logits, self._grammar, self._chain)
        llama_cpp.llama_sampler_accept(self._grammar, token)
        llama_cpp.llama_sampler_accept(self._chain, token)
        return token

    def __enter__(self) -> Sampler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        llama_cpp.llama_sampler_free(self._chain)
        if self._grammar is not None:
            llama_cpp.llama_sampler_free(self._grammar)

    @staticmethod
    def _parse(vocabulary: Any, grammar: str) -> Any:
        sampler = llama_cpp.llama_sampler_init_grammar(vocabulary, grammar.encode(), b"root")
        if not sampler:
            raise InvalidParameterError(
                "llama.cpp cannot parse the grammar", value=grammar, hint="it must be GBNF with a rule named root"
            )
        return sampler

    @staticmethod
    def _members(params: SamplingParams, size: int, window: int, prompt: Sequence[int]) -> list[Any]:
        members = []
        if params.logit_bias:
            biases = (llama_cpp.llama_logit_bias * len(params.logit_bias))(
                *(llama_cpp.llama_logit_bias(token, bias) for token, bias in params.logit_bias.items())
            )
            members.append(llama_cpp.llama_sampler_init_logit_bias(size, len(biases), biases))
        if params.repetition_penalty != 1:
            repetition = llama_cpp.llama_sampler_init_penalties(size, window, params.repetition_penalty, 0.0, 0.0)
            for token in prompt:
                llama_cpp.llama_sampler_accept(repetition, token)
            members.append(repetition)
        if params.presence_penalty or params.frequency_penalty:
            members.append(
                llama_cpp.llama_sampler_init_penalties(
                    size, window, 1.0, params.frequency_penalty, params.presence_penalty
                )
            )
        if params.temperature == 0:
            return [*members, llama_cpp.llama_sampler_init_greedy()]
        # Temperature keeps the order of the tokens, so top_k may come first, and leaves it less to do.
        if params.top_k:
            members.append(llama_cpp.llama_sampler_init_top_k(params.top_k))
        if params.temperature != 1:
            members.append(llama_cpp.llama_sampler_init_temp(params.temperature))
        if params.top_p < 1:
            members.append(llama_cpp.llama_sampler_init_top_p(params.top_p, 1))
        if params.min_p > 0:
            members.append(llama_cpp.llama_sampler_init_min_p(params.min_p, 1))
        seed = _RANDOM_SEED if params.seed is None else params.seed % _RANDOM_SEED
        return [*members, llama_cpp.llama_sampler_init_dist(seed)]

    def _apply(self, logits: Any, *samplers: Any) -> int:
        """Apply samplers to all tokens and give the one selected."""
        if self._candidates is None:
            self._candidates = np.zeros(self._size, dtype=_CANDIDATE)
        self._candidates["id"] = np.arange(self._size, dtype=np.int32)
        self._candidates["logit"] = logits
        candidates = _as_native(self._candidates)
        for sampler in samplers:
            llama_cpp.llama_sampler_apply(sampler, ctypes.byref(candidates))
        return int(candidates.data[candidates.selected].id)

    def _allows(self, token: int) -> bool:
        one = np.zeros(1, dtype=_CANDIDATE)
        one["id"], one["logit"] = token, 1.0
        llama_cpp.llama_sampler_apply(self._grammar, ctypes.byref(_as_native(one)))
        return bool(np.isfinite(one["logit"][0]))


def _as_native(candidates: Any) -> Any:
    data = candidates.ctypes.data_as(llama_cpp.llama_token_data_p)
    return llama_cpp.llama_token_data_array(data=data, size=len(candidates), selected=-1, sorted=False)
