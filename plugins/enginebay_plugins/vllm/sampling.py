"""enginebay's sampling parameters as vLLM's."""

from __future__ import annotations

from typing import Any

from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.sampling_params import SamplingParams as VllmParams

from enginebay import Constraint, SamplingParams
from enginebay.errors import InvalidParameterError
from enginebay.sampling.masks import guidance_grammar

MOST_BIAS = 100.0
"""vLLM cuts biases off there, in silence."""


def sampling_params(params: SamplingParams, vocabulary: int, room: int) -> VllmParams:
    """The parameters, all of them set: vLLM's defaults are not enginebay's.

    Args:
        vocabulary: tokens that may be biased.
        room: tokens left in the context.

    Raises:
        InvalidParameterError: a value or a combination that vLLM would give another meaning.
    """
    if params.min_p and params.top_p < 1 and params.temperature:
        raise InvalidParameterError(
            f"min_p = {params.min_p} with top_p = {params.top_p}: vLLM applies min_p first, which keeps fewer tokens",
            value=params.min_p,
            hint="give one of the two, or take another backend",
        )
    for token, number in params.logit_bias.items():
        if not 0 <= token < vocabulary:
            raise InvalidParameterError(
                f"logit_bias names the token {token}; the vocabulary has {vocabulary}", value=token
            )
        if abs(number) > MOST_BIAS:
            raise InvalidParameterError(
                f"logit_bias {number} of token {token}: vLLM takes -100 to 100", value=number, hint="-100 bans a token"
            )
    return VllmParams(
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        min_p=params.min_p,
        repetition_penalty=params.repetition_penalty,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        logit_bias=dict(params.logit_bias) or None,
        seed=params.seed,
        max_tokens=room if params.max_tokens is None else min(room, params.max_tokens),
        logprobs=params.logprobs,
        structured_outputs=_structure(params.constraint),
        output_kind=RequestOutputKind.DELTA,
    )


def scoring_params(last: int) -> VllmParams:
    """What has a prompt scored, and the token that is to follow it: nothing else is allowed to be generated."""
    return VllmParams(
        temperature=0,
        max_tokens=1,
        prompt_logprobs=1,
        logprobs=1,
        allowed_token_ids=[last],
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _structure(constraint: Constraint | None) -> Any:
    if constraint is None:
        return None
    guidance_grammar(constraint)  # raises what cannot be expressed, with the reason
    if constraint.choices is not None:
        return StructuredOutputsParams(choice=list(constraint.choices))
    if constraint.regex is not None:
        return StructuredOutputsParams(regex=constraint.regex)
    if constraint.json_schema is not None:
        return StructuredOutputsParams(json=constraint.json_schema)
    return StructuredOutputsParams(grammar=constraint.grammar)
