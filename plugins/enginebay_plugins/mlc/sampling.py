"""enginebay's sampling parameters as those of MLC's completions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from enginebay import Constraint, SamplingParams
from enginebay.errors import InvalidParameterError
from enginebay.sampling.masks import guidance_grammar

_LIMITS = {"presence_penalty": 2.0, "frequency_penalty": 2.0}
_MOST_BIAS = 100.0
_DROPPED = frozenset(
    {
        "allOf",
        "contains",
        "maxContains",
        "minContains",
        "multipleOf",
        "patternProperties",
        "propertyNames",
        "uniqueItems",
    }
)
"""What xgrammar, which obeys schemas for MLC, drops in silence, all or in part (vLLM, backend_xgrammar.py)."""


def completion_arguments(params: SamplingParams, room: int) -> dict[str, Any]:
    """Arguments of `completions.create`, all of them set: MLC's defaults are those of the model's folder.

    Args:
        room: tokens left in the context.

    Raises:
        InvalidParameterError: a value that MLC refuses, or would give another meaning.
    """
    for name, most in _LIMITS.items():
        if abs(value := getattr(params, name)) > most:
            raise InvalidParameterError(f"{name} {value}: MLC takes -{most:g} to {most:g}", value=value)
    for token, bias in params.logit_bias.items():
        if abs(bias) > _MOST_BIAS:
            raise InvalidParameterError(
                f"logit_bias {bias} of token {token}: MLC takes -100 to 100", value=bias, hint="-100 bans a token"
            )
    return {
        "temperature": params.temperature,
        "top_p": params.top_p,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "logit_bias": dict(params.logit_bias) or None,
        "seed": params.seed,
        "max_tokens": room if params.max_tokens is None else min(room, params.max_tokens),
        "response_format": _response_format(params.constraint),
    }


def _response_format(constraint: Constraint | None) -> dict[str, Any] | None:
    if constraint is None:
        return None
    guidance_grammar(constraint)  # raises what nobody can express, with the reason
    _check(constraint.json_schema)
    return {"type": "json_object", "schema": json.dumps(constraint.json_schema)}


def _check(schema: object, *, names: bool = False) -> None:
    """Look for keywords that would be dropped; with `names`, the keys are names of properties, not keywords."""
    if isinstance(schema, list | tuple):
        for inner in schema:
            _check(inner)
    if not isinstance(schema, Mapping):
        return
    for key, value in schema.items():
        if not names and key in _DROPPED:
            raise InvalidParameterError(
                f"MLC would not obey {key!r} of the JSON schema",
                value=key,
                hint="leave it out and check it after generation, or take another backend",
            )
        if names or key not in ("enum", "const", "default", "examples"):
            _check(value, names=not names and key in ("properties", "$defs", "definitions"))
