"""The sampling parameters and their one meaning.

Order of application, on the logits of the next token: `logit_bias`, `repetition_penalty`, `presence_penalty`
and `frequency_penalty`, `constraint` (mask), `temperature`, `top_k`, `top_p`, `min_p`, then the draw. This is the
order of transformers' logits processors; llama.cpp and vLLM can be told or shown to follow it.
"""

from __future__ import annotations

import json
from typing import Any, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from enginebay.spec import FrozenModel

JsonSchema = dict[str, Any]


class Constraint(FrozenModel):
    """What the output must match: exactly one of the fields.

    Attributes:
        choices: the output is one of these texts.
        regex: the output matches this regular expression as a whole.
        json_schema: the output is JSON valid under this schema; a pydantic model class may be given.
        grammar: the output is derived from `root` of this GBNF grammar (llama.cpp's format).
    """

    choices: tuple[str, ...] | None = Field(default=None, min_length=1)
    regex: str | None = None
    json_schema: JsonSchema | None = None
    grammar: str | None = None

    @field_validator("json_schema", mode="before")
    @classmethod
    def _from_model(cls, value: object) -> object:
        if isinstance(value, type) and issubclass(value, BaseModel):
            return value.model_json_schema()
        if isinstance(value, str):
            return json.loads(value)
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(getattr(self, name) is not None for name in type(self).model_fields) != 1:
            raise ValueError("a constraint names exactly one of: choices, regex, json_schema, grammar")
        return self

    @property
    def kind(self) -> str:
        """Name of the one field that is set; equal to the `Feature` an engine needs for it."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)


class SamplingParams(FrozenModel):
    """How the next token is chosen and when generation ends. Every default is "off" or neutral.

    Attributes:
        temperature: logits are divided by it; 0 is greedy. Off: 1. (Ackley, Hinton, Sejnowski 1985.)
        top_k: keep the k likeliest tokens. Off: 0. (Fan et al. 2018, arXiv:1805.04833.)
        top_p: keep the smallest set of likeliest tokens whose probability reaches top_p. Off: 1.
            (Holtzman et al. 2019, arXiv:1904.09751.)
        min_p: keep tokens with at least min_p times the likeliest one's probability. Off: 0.
            (Nguyen et al. 2024, arXiv:2407.01082.)
        repetition_penalty: the logit of each token present in prompt or output is divided by it when
            positive, multiplied when negative. Off: 1. (CTRL, Keskar et al. 2019, arXiv:1909.05858.)
        presence_penalty: subtracted from the logit of each token present in the output so far; the
            prompt does not count. Off: 0. (OpenAI API.)
        frequency_penalty: subtracted once for each time a token occurs in the output so far; the
            prompt does not count. Off: 0. (OpenAI API.)
        logit_bias: token id -> number added to its logit; -100 bans it in effect. Off: empty.
        seed: same seed, request, engine and version give the same text; None draws one.
        max_tokens: most tokens to generate; None ends at the end token or a full context.
        stop: texts that end the output; the output does not contain them.
        n: how many outputs for one prompt.
        logprobs: give the log-probability of each token and of this many likeliest ones, from the
            model's raw logits before anything above. Off: None; 0 gives the chosen token's only.
        constraint: what the output must match. Off: None.
    """

    temperature: float = Field(default=1.0, ge=0, le=100, allow_inf_nan=False)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, le=100, allow_inf_nan=False)
    presence_penalty: float = Field(default=0.0, ge=-100, le=100)
    frequency_penalty: float = Field(default=0.0, ge=-100, le=100)
    logit_bias: dict[int, float] = {}
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: tuple[str, ...] = ()
    n: int = Field(default=1, ge=1, le=1024)
    logprobs: int | None = Field(default=None, ge=0, le=100)
    constraint: Constraint | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("stop")
    @classmethod
    def _no_empty_stop(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "" in value:
            raise ValueError("an empty stop string would end every output at once")
        return value

    def active(self) -> dict[str, Any]:
        """The parameters that are not off, by name."""
        return {
            name: value
            for name, field in type(self).model_fields.items()
            if (value := getattr(self, name)) != field.default
        }
