"""Planning: every parameter that is not off is native, emulated or refused; nothing is dropped."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay import BackendSpec, DeviceKind, DeviceSupport, Feature, Interface
from enginebay.errors import UnsupportedParameterError
from enginebay.sampling.params import SamplingParams
from enginebay.sampling.plan import EMULATED, Handling, make_params, plan

NAMES = sorted(set(SamplingParams.model_fields) - {"constraint"})
VALUES: dict[str, Any] = {
    "temperature": 0.5,
    "top_k": 4,
    "top_p": 0.9,
    "min_p": 0.1,
    "repetition_penalty": 1.2,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logit_bias": {5: 1.0},
    "seed": 3,
    "max_tokens": 9,
    "stop": ("x",),
    "n": 2,
    "logprobs": 1,
}


def make_spec(name: str = "some", sampling: frozenset[str] = frozenset(), **fields: Any) -> BackendSpec:
    return BackendSpec(
        name=name,
        interface=Interface.GENERATOR,
        devices=(DeviceSupport(kind=DeviceKind.CPU),),
        sampling=sampling,
        **fields,
    )


@given(asked=st.sets(st.sampled_from(NAMES)), native=st.sets(st.sampled_from(NAMES)))
def test_nothing_is_dropped(asked: set[str], native: set[str]) -> None:
    params = SamplingParams(**{name: VALUES[name] for name in asked})
    spec = make_spec(sampling=frozenset(native))
    impossible = asked - native - EMULATED
    if impossible:
        with pytest.raises(UnsupportedParameterError) as caught:
            plan(params, spec)
        assert caught.value.parameter in impossible
        return
    planned = plan(params, spec)
    assert {entry.parameter for entry in planned.ledger} == asked
    assert set(planned.native.active()) == asked & native
    for entry in planned.ledger:
        assert entry.value == VALUES[entry.parameter]
        assert (entry.handling is Handling.NATIVE) == (entry.parameter in native)
    assert planned.stop == (VALUES["stop"] if "stop" in asked - native else ())
    assert planned.n == (VALUES["n"] if "n" in asked - native else 1)


def test_the_error_names_backends_that_have_it() -> None:
    lacking, having = make_spec("lacking"), make_spec("having", frozenset({"min_p"}))
    with pytest.raises(UnsupportedParameterError) as caught:
        plan(SamplingParams(min_p=0.1), lacking, lambda: [lacking, having])
    assert caught.value.alternatives == ("having",)
    assert "min_p" in str(caught.value)
    assert "having" in str(caught.value)


def test_a_constraint_goes_by_its_kind() -> None:
    able = make_spec("able", features=frozenset({Feature.REGEX}))
    params = make_params({}, {"regex": "a+"})
    assert plan(params, able).native.constraint == params.constraint
    with pytest.raises(UnsupportedParameterError, match=r"constraint \(regex\)"):
        plan(params, make_spec(features=frozenset({Feature.GRAMMAR})), lambda: [able])
