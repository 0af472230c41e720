"""The sampling parameters: defaults are off, impossible values are named."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from enginebay.errors import InvalidParameterError
from enginebay.sampling.params import Constraint, SamplingParams
from enginebay.sampling.plan import make_params


class Town(BaseModel):
    name: str


def test_nothing_is_active_by_default() -> None:
    assert SamplingParams().active() == {}


def test_active_names_what_is_not_off() -> None:
    params = SamplingParams(temperature=0, stop="END", seed=0)
    assert params.active() == {"temperature": 0, "seed": 0, "stop": ("END",)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_k", -1),
        ("top_p", 0),
        ("top_p", 1.01),
        ("min_p", 1.5),
        ("repetition_penalty", 0),
        ("seed", -1),
        ("seed", 2**32),
        ("max_tokens", 0),
        ("n", 0),
        ("logprobs", -1),
        ("stop", ("",)),
        ("stop", 7),
    ],
)
def test_impossible_values_are_named(name: str, value: object) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        make_params({}, {name: value})
    assert name in str(caught.value)


def test_unknown_parameter_gets_a_suggestion() -> None:
    with pytest.raises(InvalidParameterError, match="did you mean 'temperature'"):
        make_params({}, {"temprature": 1})


def test_given_values_override_defaults() -> None:
    assert make_params({"temperature": 0.2, "top_k": 3}, {"temperature": 0.5}).active() == {
        "temperature": 0.5,
        "top_k": 3,
    }


def test_a_constraint_is_exactly_one_thing() -> None:
    with pytest.raises(ValidationError, match="exactly one"):
        Constraint()
    with pytest.raises(ValidationError, match="exactly one"):
        Constraint(regex="a", choices=("b",))


def test_a_pydantic_model_is_a_json_schema() -> None:
    params = make_params({}, {"json_schema": Town})
    assert params.constraint is not None
    assert params.constraint.kind == "json_schema"
    assert params.constraint.json_schema == Town.model_json_schema()
