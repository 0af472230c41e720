"""How each kind of server writes what OpenAI's protocol does not say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from enginebay import Constraint, SamplingParams
from enginebay.errors import InvalidParameterError
from enginebay.sampling.masks import compact_schema, guidance_grammar

Body = dict[str, Any]
Dialect = Callable[[SamplingParams], Body]
"""The fields of a request that stand for sampling parameters; every parameter that is off is told to be off."""

MOST_LOGPROBS = {"openai": 20}
MOST_STOPS = {"openai": 4}


def sampling_body(backend: str, params: SamplingParams) -> Body:
    """The sampling part of a request to a kind of server.

    Raises:
        InvalidParameterError: a value that the server would refuse or change.
    """
    _check(backend, params)
    body: Body = {"temperature": params.temperature, "top_p": params.top_p}
    for name in ("seed", "presence_penalty", "frequency_penalty"):
        if value := getattr(params, name):
            body[name] = value
    if params.seed == 0:
        body["seed"] = 0
    if params.stop:
        body["stop"] = list(params.stop)
    if params.max_tokens is not None:
        body["max_completion_tokens" if backend == "openai" else "max_tokens"] = params.max_tokens
    if params.logit_bias:
        body["logit_bias"] = {str(token): number for token, number in params.logit_bias.items()}
    return body | _DIALECTS.get(backend, _plain)(params)


def _check(backend: str, params: SamplingParams) -> None:
    most = MOST_LOGPROBS.get(backend)
    if most is not None and (params.logprobs or 0) > most:
        raise InvalidParameterError(
            f"logprobs = {params.logprobs}: {backend} gives {most} at most", value=params.logprobs
        )
    stops = MOST_STOPS.get(backend)
    if stops is not None and len(params.stop) > stops:
        raise InvalidParameterError(f"{len(params.stop)} stop strings: {backend} takes {stops}", value=params.stop)
    if backend == "openai" and params.temperature > 2:
        raise InvalidParameterError(
            f"temperature = {params.temperature}: {backend} takes 2 at most", value=params.temperature
        )
    if backend == "openai_vllm" and params.min_p and params.top_p < 1 and params.temperature:
        raise InvalidParameterError(
            f"min_p = {params.min_p} with top_p = {params.top_p}: vLLM applies min_p first, which keeps fewer tokens",
            value=params.min_p,
            hint="give one of the two",
        )


def _schema(constraint: Constraint | None) -> Body:
    if constraint is None or constraint.json_schema is None:
        return {}
    schema = {"name": "answer", "schema": constraint.json_schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _plain(params: SamplingParams) -> Body:
    return _schema(params.constraint) | ({"top_k": params.top_k} if params.top_k else {})


def _vllm(params: SamplingParams) -> Body:
    body: Body = {
        "top_k": params.top_k,
        "min_p": params.min_p,
        "repetition_penalty": params.repetition_penalty,
        "add_special_tokens": False,
        "return_token_ids": True,
        "return_tokens_as_token_ids": params.logprobs is not None,
    }
    constraint = params.constraint
    if constraint is not None:
        guidance_grammar(constraint)
        kinds = {"choices": "choice", "json_schema": "json", "regex": "regex", "grammar": "grammar"}
        value = getattr(constraint, constraint.kind)
        if constraint.json_schema is not None:
            # Small models given white space fill their output with it. The server's own switch is its operator's.
            value = compact_schema(constraint.json_schema)
        body["structured_outputs"] = {kinds[constraint.kind]: list(value) if constraint.choices else value}
    return body


def _llama_cpp(params: SamplingParams) -> Body:
    greedy = params.temperature == 0
    body: Body = {
        "samplers": ["penalties", "top_k"] if greedy else ["penalties", "top_k", "temperature", "top_p", "min_p"],
        "temperature": params.temperature or 1.0,
        "top_k": 1 if greedy else params.top_k,
        "min_p": params.min_p,
        "repeat_penalty": params.repetition_penalty,
        "repeat_last_n": 1 << 20,
        "cache_prompt": True,
        "return_tokens": True,
        "verbose": True,  # the only way to get token ids without logprobs
    }
    constraint = params.constraint
    if constraint is not None:
        # The server drops what it cannot parse in silence.
        guidance_grammar(constraint)
    if constraint is not None and constraint.json_schema is not None:
        body["json_schema"] = compact_schema(constraint.json_schema)
    elif constraint is not None:
        body["grammar"] = constraint.grammar or _choices(constraint.choices or ())
    return body


def _choices(choices: tuple[str, ...]) -> str:
    return "root ::= " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)


_DIALECTS: dict[str, Dialect] = {"openai_vllm": _vllm, "openai_llama_cpp": _llama_cpp}
