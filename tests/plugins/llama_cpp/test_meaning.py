"""Both llama.cpp backends give every sampling parameter the meaning that `SamplingParams` defines."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import pytest

from enginebay import Constraint, FinishReason, GenerationRequest, Generator, SamplingParams
from enginebay.errors import InvalidParameterError
from enginebay_plugins.llama_cpp import LLAMA_CPP, XLLAMACPP

pytestmark = pytest.mark.model

CHAT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
REPEATING = "A B C A B C A B C A B"
OPEN_ENDED = "The best thing about the"


def ids(engine: Generator, prompt: str, **sampling: Any) -> tuple[int, ...]:
    return engine.generate(GenerationRequest(prompt, SamplingParams(**sampling))).token_ids


def text(engine: Generator, prompt: str, **sampling: Any) -> str:
    return engine.generate(GenerationRequest(prompt, SamplingParams(**sampling))).text


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0},
        {"temperature": 1, "top_k": 1},
        {"temperature": 1, "top_p": 1e-6},
        {"temperature": 1, "min_p": 1.0},
        {"temperature": 5, "top_k": 1},
    ],
    ids=str,
)
def test_every_way_to_be_greedy_is_the_same(engine: Generator, sampling: dict[str, Any]) -> None:
    assert text(engine, CHAT, max_tokens=20, **sampling) == "The capital of France is Paris."


@pytest.mark.parametrize(
    "sampling",
    [
        {},
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 0.8},
        {"logit_bias": {7042: -100.0}},
        {"logit_bias": {253: 12.0}},
    ],
    ids=str,
)
def test_greedy_tokens_agree_between_the_backends(engines: dict[str, Generator], sampling: dict[str, Any]) -> None:
    answers = {name: ids(engine, CHAT, temperature=0, max_tokens=6, **sampling) for name, engine in engines.items()}
    assert answers["llama_cpp"] == answers["xllamacpp"]


def test_logit_bias_bans_and_forces(engine: Generator) -> None:
    (paris,) = engine.tokenize(" Paris")
    assert paris in ids(engine, CHAT, temperature=0, max_tokens=8)
    assert paris not in ids(engine, CHAT, temperature=0, max_tokens=8, logit_bias={paris: -100.0})
    assert ids(engine, CHAT, temperature=0, max_tokens=3, logit_bias={paris: 100.0}) == (paris,) * 3


def test_repetition_penalty_counts_the_prompt(engine: Generator) -> None:
    prompt = REPEATING
    first = ids(engine, prompt, temperature=0, max_tokens=1)
    assert set(first) <= set(engine.tokenize(prompt))
    assert first != ids(engine, prompt, temperature=0, max_tokens=1, repetition_penalty=2.0)


@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty"])
def test_presence_and_frequency_penalties_count_the_output_only(engines: dict[str, Generator], penalty: str) -> None:
    prompt = REPEATING
    plain = ids(engines["llama_cpp"], prompt, temperature=0, max_tokens=12)
    tokens = ids(engines["llama_cpp"], prompt, temperature=0, max_tokens=12, **{penalty: 100.0})
    assert plain[0] in engines["llama_cpp"].tokenize(prompt)
    assert tokens[0] == plain[0], "the prompt counted"
    assert len(set(tokens)) == len(tokens), "a token came twice"
    assert len(set(plain)) < len(plain), "the test needs a prompt whose continuation repeats itself"


def test_why_the_server_does_not_declare_these_penalties(engines: dict[str, Generator]) -> None:
    """Its own presence penalty counts the prompt too; if this fails one day, the spec can declare it."""
    assert LLAMA_CPP.sampling - XLLAMACPP.sampling == {"presence_penalty", "frequency_penalty"}
    prompt = REPEATING
    plain = ids(engines["xllamacpp"], prompt, temperature=0, max_tokens=1)
    chunks: list[dict[str, Any]] = []
    body = {
        "prompt": prompt,
        "n_predict": 1,
        "temperature": 0,
        "presence_penalty": 100.0,
        "repeat_last_n": 64,
        "stream": True,
        "verbose": True,
        "return_tokens": True,
    }
    server: Any = vars(engines["xllamacpp"])["_server"]
    server.handle_completions(body, lambda chunk: bool(chunks.append(chunk)))
    assert chunks[0]["__verbose"]["tokens"] != list(plain)


def raw_top(engine: Generator, prompt: str, count: int) -> list[tuple[int, float]]:
    completion = engine.generate(GenerationRequest(prompt, SamplingParams(temperature=0, max_tokens=1, logprobs=count)))
    return [(token, logprob) for token, _, logprob in completion.logprobs[0].top]


def closed_form(top: list[tuple[int, float]], temperature: float, top_p: float, min_p: float) -> dict[int, float]:
    """Probabilities by the definition, over the top_k tokens of `top`: temperature, then top_p, then min_p."""
    weights = [math.exp(logprob / temperature) for _, logprob in top]
    shares = [weight / sum(weights) for weight in weights]
    kept: dict[int, float] = {}
    reached = 0.0
    for (token, _), share in zip(top, shares, strict=True):
        if reached >= top_p:
            break
        kept[token] = share
        reached += share
    best = max(kept.values())
    kept = {token: share for token, share in kept.items() if share >= min_p * best}
    return {token: share / sum(kept.values()) for token, share in kept.items()}


def chi_square_limit(degrees: int, z: float = 3.9) -> float:
    """Wilson and Hilferty's approximation of the critical value; z = 3.9 is p = 5e-5."""
    part = 2 / (9 * degrees)
    return degrees * (1 - part + z * math.sqrt(part)) ** 3


@pytest.mark.parametrize(
    ("temperature", "top_p", "min_p"),
    [(1.0, 1.0, 0.0), (0.6, 1.0, 0.0), (1.8, 0.7, 0.0), (1.5, 1.0, 0.3)],
    ids=["plain", "cool", "hot then top_p", "hot then min_p"],
)
def test_frequencies_match_the_closed_form(engine: Generator, temperature: float, top_p: float, min_p: float) -> None:
    """In the hot cases a temperature applied last would keep other tokens: the order is part of the meaning."""
    top = raw_top(engine, OPEN_ENDED, 12)
    expected = closed_form(top, temperature, top_p, min_p)
    if temperature > 1:
        cold = closed_form(top, 1.0, top_p, min_p)
        assert set(cold) != set(expected), "the test needs a case in which the order matters"
    draws = 400
    drawn: Counter[int] = Counter()
    for seed in range(draws):
        sampling = {"temperature": temperature, "top_k": 12, "top_p": top_p, "min_p": min_p}
        drawn.update(ids(engine, OPEN_ENDED, max_tokens=1, seed=seed, **sampling))
    assert set(drawn) <= set(expected)
    statistic = sum((drawn[token] - draws * share) ** 2 / (draws * share) for token, share in expected.items())
    assert statistic < chi_square_limit(len(expected) - 1)


def test_logprobs_are_of_the_raw_distribution(engine: Generator) -> None:
    """They do not change with the parameters, sum to at most one, and the chosen token is among the best."""
    plain = raw_top(engine, OPEN_ENDED, 20)
    hot = SamplingParams(temperature=3, top_k=5, seed=1, max_tokens=1, logprobs=20, logit_bias={plain[0][0]: -5.0})
    other = engine.generate(GenerationRequest(OPEN_ENDED, hot)).logprobs[0]
    assert [token for token, _, _ in other.top] == [token for token, _ in plain]
    for (_, _, one), (_, another) in zip(other.top, plain, strict=True):
        assert one == pytest.approx(another, abs=1e-3)
    assert 0.1 < sum(math.exp(logprob) for _, logprob in plain) <= 1


def test_logprobs_agree_between_the_backends(engines: dict[str, Generator]) -> None:
    """On a prompt of one token: longer ones go through kernels that differ between the two builds."""
    one, other = (raw_top(engine, "Hello", 10) for engine in engines.values())
    assert [token for token, _ in one] == [token for token, _ in other]
    assert [logprob for _, logprob in one] == pytest.approx([logprob for _, logprob in other], abs=0.02)


def test_a_seed_makes_it_repeatable(engine: Generator) -> None:
    sampling = {"temperature": 1.2, "max_tokens": 12}
    assert ids(engine, OPEN_ENDED, seed=7, **sampling) == ids(engine, OPEN_ENDED, seed=7, **sampling)
    several = {ids(engine, OPEN_ENDED, seed=seed, **sampling) for seed in range(5)}
    assert len(several) == 5
    assert len({ids(engine, OPEN_ENDED, **sampling) for _ in range(5)}) > 1, "no seed must not mean the same seed"
    assert ids(engine, OPEN_ENDED, seed=2**32 - 1, **sampling) == ids(engine, OPEN_ENDED, seed=2**32 - 1, **sampling)


def test_max_tokens(engine: Generator) -> None:
    completion = engine.generate(GenerationRequest(OPEN_ENDED, SamplingParams(temperature=0, max_tokens=5)))
    assert completion.finish_reason is FinishReason.LENGTH
    assert completion.usage.completion_tokens == 5 == len(completion.token_ids)


def test_choices(engine: Generator) -> None:
    options = ("Berlin", 'a "quoted" \\ one\n', "Paris")
    params = SamplingParams(temperature=0, max_tokens=20, constraint=Constraint(choices=options))
    assert engine.generate(GenerationRequest(CHAT, params)).text == "Paris"
    params = SamplingParams(temperature=2, max_tokens=20, constraint=Constraint(choices=options))
    for _ in range(5):
        assert engine.generate(GenerationRequest(OPEN_ENDED, params)).text in options


SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"name": {"type": "string", "maxLength": 10}}, "required": ["name"]},
    {"type": "object", "properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}}, "required": ["n", "ok"]},
    {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
    {"enum": ["red", "green", 3]},
    {"const": {"a": 1}},
    {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    {"type": "object", "properties": {"x": {"$ref": "#/$defs/P"}}, "required": ["x"], "$defs": {"P": {"enum": [1, 2]}}},
    {"type": "string", "pattern": "^[a-c]{2}$"},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_json_schemas(engines: dict[str, Generator], schema: dict[str, Any]) -> None:
    from jsonschema import validate

    engine = engines["xllamacpp"]

    constraint = Constraint(json_schema=schema)
    for seed in range(3):
        params = SamplingParams(temperature=0.7, seed=seed, max_tokens=80, constraint=constraint)
        completion = engine.generate(GenerationRequest("JSON: ", params))
        if completion.finish_reason is FinishReason.STOP:
            validate(json.loads(completion.text), schema)
    assert completion.text


def test_grammar(engine: Generator) -> None:
    constraint = Constraint(grammar='root ::= digit digit "-" digit\ndigit ::= [0-9]')
    answer = text(engine, "Number: ", temperature=1.5, seed=1, max_tokens=20, constraint=constraint)
    assert len(answer) == 4
    assert answer[2] == "-"


def test_regular_expressions(engines: dict[str, Generator]) -> None:
    import re

    for pattern in ("[a-c]{3}-[0-9]{4}", "(yes|no)/é?", "a+b"):
        params = {"temperature": 1.2, "seed": 3, "max_tokens": 30, "constraint": Constraint(regex=pattern)}
        assert re.fullmatch(pattern, text(engines["xllamacpp"], "Answer: ", **params))


@pytest.mark.parametrize("pattern", ["(a", "(?<=x)a"])
def test_a_regular_expression_that_cannot_be_expressed_is_a_clear_error(
    engines: dict[str, Generator], pattern: str
) -> None:
    with pytest.raises(InvalidParameterError, match="regular expression"):
        text(engines["xllamacpp"], "x", max_tokens=2, constraint=Constraint(regex=pattern))


@pytest.mark.parametrize("grammar", ["root ::= (", "start ::= [a]", "%llguidance {}\nstart: foo"])
def test_a_bad_grammar_is_a_clear_error(engine: Generator, grammar: str) -> None:
    with pytest.raises(InvalidParameterError, match="grammar"):
        text(engine, "x", max_tokens=2, constraint=Constraint(grammar=grammar))
    assert text(engine, CHAT, temperature=0, max_tokens=20) == "The capital of France is Paris."


@pytest.mark.parametrize("schema", [{"type": "elephant"}, {"$ref": "#/nope"}, {"type": "string", "pattern": "(a"}])
def test_a_schema_that_cannot_be_expressed_is_a_clear_error(
    engines: dict[str, Generator], schema: dict[str, Any]
) -> None:
    """The server itself drops a schema it cannot express, in silence."""
    with pytest.raises(InvalidParameterError, match="JSON schema"):
        text(engines["xllamacpp"], "x", max_tokens=2, constraint=Constraint(json_schema=schema))
