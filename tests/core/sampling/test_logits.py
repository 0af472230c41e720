"""Engines that only hand over logits: they get everything from the core. The model here is a toy table, and says so."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import jsonschema
import numpy as np
import pytest

from enginebay import Constraint, Feature, FinishReason, LogitsModel, SamplingParams, Vocabulary
from enginebay.errors import ContextLengthError, InvalidParameterError, UnsupportedFeatureError
from enginebay.sampling.logits_generator import LogitsGenerator
from enginebay.sampling.plan import Handling
from fake_engine import fake_handle, fake_spec

END = 256


class ToyBytes(LogitsModel):
    """A toy: one token per byte, and logits that like "abc" in turn. It is no language model."""

    def __init__(self, favourites: str = "abc") -> None:
        self.favourites = favourites.encode()
        self.calls = 0
        self.closed = False
        self._vocabulary = Vocabulary(
            (*(bytes([byte]) for byte in range(256)), b"<end>"), frozenset({END}), frozenset({END})
        )

    @property
    def vocabulary(self) -> Vocabulary:
        return self._vocabulary

    @property
    def context_length(self) -> int:
        return 64

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        return list(text.encode())

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        self.calls += 1
        logits = np.random.default_rng(len(tokens)).normal(0, 0.1, 257)
        logits[self.favourites[len(tokens) % len(self.favourites)]] += 8
        return logits

    def close(self) -> None:
        self.closed = True


def toy_handle(model: LogitsModel):
    return fake_handle(
        LogitsGenerator(model), spec=fake_spec(features=frozenset({Feature.LOGITS}), sampling=frozenset())
    )


def test_every_parameter_comes_from_the_core() -> None:
    result = toy_handle(ToyBytes()).complete(
        "xxx", temperature=0.5, top_k=5, top_p=0.9, min_p=0.1, repetition_penalty=1.1, presence_penalty=0.1,
        frequency_penalty=0.1, logit_bias={100: 1.0}, seed=3, max_tokens=9, stop=["zz"], n=2, logprobs=2,
        regex="[a-c]+",
    )  # fmt: skip
    assert len(result.ledger) == 14 and {entry.handling for entry in result.ledger} == {Handling.EMULATED}
    assert len(result.outputs) == 2
    for output in result.outputs:
        assert re.fullmatch("[a-c]{9}", output.text)
        assert [len(entry.top) for entry in output.logprobs] == [2] * 9


def test_logprobs_are_of_the_raw_distribution() -> None:
    model = ToyBytes()
    result = toy_handle(model).complete("xxx", temperature=0, max_tokens=1, logprobs=1, logit_bias={ord("z"): 100.0})
    logits = model.logits([0, 0, 0])
    expected = logits - np.log(np.exp(logits).sum())
    [entry] = result.outputs[0].logprobs
    assert entry.token == "z" and entry.logprob == pytest.approx(expected[ord("z")])
    assert entry.top[0][:2] == (ord("a"), "a")


@pytest.mark.parametrize(
    ("constraint", "pattern"),
    [
        (Constraint(choices=("bca", "cab")), "bca|cab"),
        (Constraint(regex="[0-9]{4}-[a-f]{2}"), "[0-9]{4}-[a-f]{2}"),
        (Constraint(grammar='root ::= "q" [r-t]{3} "u"'), "q[r-t]{3}u"),
        (Constraint(choices=("é", "日本")), "é|日本"),
    ],
)
def test_constraints_hold(constraint: Constraint, pattern: str) -> None:
    handle = toy_handle(ToyBytes())
    for seed in range(5):
        result = handle.complete("x", seed=seed, temperature=3.0, constraint=constraint)
        assert re.fullmatch(pattern, result.text) and result.finish_reason is FinishReason.STOP


def test_a_schema_holds() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"enum": [1, 2]}, "b": {"type": "boolean"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    for seed in range(5):
        text = toy_handle(ToyBytes()).complete("x", seed=seed, json_schema=schema).text
        jsonschema.validate(json.loads(text), schema)


def test_what_cannot_be_expressed_is_told() -> None:
    with pytest.raises(InvalidParameterError, match="cannot express this regex"):
        toy_handle(ToyBytes()).complete("x", regex="(")


def test_characters_cut_by_tokens_come_whole_and_stop_strings_across_tokens_are_found() -> None:
    handle = toy_handle(ToyBytes("aé\U0001f600bc"))
    text = handle.complete("x" * 9, temperature=0, max_tokens=18).text
    assert "é\U0001f600" in text and "\ufffd" not in text
    assert handle.complete("x" * 9, temperature=0, max_tokens=18, stop="\U0001f600b").text == "aé"


def test_limits_and_the_end() -> None:
    with pytest.raises(ContextLengthError):
        toy_handle(ToyBytes()).complete("x" * 64)
    with pytest.raises(InvalidParameterError, match="no tokens"):
        toy_handle(ToyBytes()).complete("")
    full = toy_handle(ToyBytes()).complete("x" * 60, temperature=0)
    assert full.finish_reason is FinishReason.LENGTH and full.usage.completion_tokens == 4
    ended = toy_handle(ToyBytes()).complete("x", logit_bias={END: 100.0})
    assert ended.text == "" and ended.finish_reason is FinishReason.STOP


def test_closing_a_stream_stops_the_model() -> None:
    model = ToyBytes()
    with toy_handle(model).stream("x", temperature=0) as stream:
        next(iter(stream))
    assert model.calls == 1


def test_other_engines_say_that_they_hand_over_no_logits() -> None:
    with pytest.raises(UnsupportedFeatureError, match="logits"):
        fake_handle().engine.logits_model()


def test_seeds_are_repeatable() -> None:
    first, again = (toy_handle(ToyBytes()).complete("x", seed=4, max_tokens=20, temperature=4.0).text for _ in range(2))
    assert first == again
    assert SamplingParams(seed=4).seed == 4
