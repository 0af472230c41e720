"""The reference sampler: its properties, its closed form, and its agreement with transformers' logits processors."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from enginebay import SamplingParams
from enginebay.errors import GenerationError, InvalidParameterError
from enginebay.sampling.reference import (
    ReferenceSampler,
    apply_repetition,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    softmax,
)

SIZE = 24
logit_arrays = arrays(np.float64, st.integers(2, 60), elements=st.floats(-30, 30, width=32))
sizeable = st.lists(st.integers(0, SIZE - 1), max_size=12)
params_strategy = st.builds(
    SamplingParams,
    temperature=st.floats(0.05, 5),
    top_k=st.integers(0, SIZE + 3),
    top_p=st.floats(0.05, 1),
    min_p=st.floats(0, 1),
    repetition_penalty=st.floats(0.5, 2),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    logit_bias=st.dictionaries(st.integers(0, SIZE - 1), st.floats(-5, 5), max_size=3),
)


def spread(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, SIZE)


@given(params_strategy, sizeable, sizeable, st.integers(0, 1000))
def test_the_distribution_is_one(params: SamplingParams, prompt: list[int], output: list[int], seed: int) -> None:
    sampler = ReferenceSampler(params, prompt)
    for token in output:
        sampler.accept(token)
    probabilities = sampler.probabilities(spread(seed))
    assert probabilities.min() >= 0
    assert probabilities.sum() == pytest.approx(1)


@given(logit_arrays, st.integers(1, 70))
def test_top_k_keeps_k_likeliest(logits: np.ndarray, k: int) -> None:
    kept = np.isfinite(keep_top_k(logits, k))
    assert kept.sum() == min(k, len(logits))
    if not kept.all():
        assert logits[kept].min() >= logits[~kept].max()


@given(logit_arrays, st.floats(0.01, 1))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits: np.ndarray, p: float) -> None:
    probabilities = softmax(logits)
    kept = np.isfinite(keep_top_p(logits, p))
    assert kept[logits.argmax()]
    assert probabilities[kept].sum() >= p - 1e-9
    least = probabilities[kept].min()
    assert kept.sum() == 1 or probabilities[kept].sum() - least < p + 1e-9
    assert kept.all() or probabilities[~kept].max() <= least + 1e-12


@given(logit_arrays, st.floats(0, 1))
def test_min_p_keeps_what_is_near_the_best(logits: np.ndarray, p: float) -> None:
    probabilities = softmax(logits)
    kept = np.isfinite(keep_min_p(logits, p))
    assert kept[logits.argmax()]
    assert (probabilities[kept] >= p * probabilities.max() * (1 - 1e-9)).all()
    assert kept.all() or (probabilities[~kept] <= p * probabilities.max() * (1 + 1e-9)).all()


@given(params_strategy, st.integers(0, 1000))
def test_a_constraint_is_never_left(params: SamplingParams, seed: int) -> None:
    allowed = np.zeros(SIZE, dtype=bool)
    allowed[[3, 7, 19]] = True
    assert ReferenceSampler(params).probabilities(spread(seed), allowed)[~allowed].max() == 0


@given(st.integers(0, 1000), sizeable)
def test_greedy_takes_the_best_whatever_the_truncation(seed: int, prompt: list[int]) -> None:
    params = SamplingParams(temperature=0, top_k=3, top_p=0.1, min_p=0.9)
    assert ReferenceSampler(params, prompt).draw(spread(seed)) == int(spread(seed).argmax())


def test_same_seed_same_tokens() -> None:
    def drawn(seed: int | None) -> list[int]:
        sampler = ReferenceSampler(SamplingParams(seed=seed))
        return [sampler.draw(spread(place)) for place in range(40)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(None) != drawn(None)


def test_presence_counts_once_and_frequency_each_time_and_neither_the_prompt() -> None:
    logits = np.zeros(4)
    sampler = ReferenceSampler(SamplingParams(presence_penalty=1.0, frequency_penalty=0.5), prompt=[3, 3])
    for token in (0, 0, 1):
        sampler.accept(token)
    expected = softmax(np.array([-2.0, -1.5, 0.0, 0.0]))
    assert sampler.probabilities(logits) == pytest.approx(expected)


def test_repetition_divides_the_positive_and_multiplies_the_negative() -> None:
    penalised = apply_repetition(np.array([2.0, -2.0, 2.0]), [0, 1, 0], 2.0)
    assert penalised.tolist() == [1.0, -4.0, 2.0]


@pytest.mark.parametrize("token", [-1, SIZE])
def test_a_biased_token_must_exist(token: int) -> None:
    with pytest.raises(InvalidParameterError, match=str(token)):
        ReferenceSampler(SamplingParams(logit_bias={token: 1.0})).draw(spread())


@pytest.mark.parametrize("logits", [np.full(4, -np.inf), np.array([0.0, np.nan, 1.0])])
def test_nothing_to_draw_is_an_error(logits: np.ndarray) -> None:
    with pytest.raises(GenerationError, match="no token can be drawn"):
        ReferenceSampler(SamplingParams()).draw(logits)


# The 99.99 % point of chi-square (Wilson-Hilferty: Abramowitz and Stegun 26.4.17).
def critical(degrees: int) -> float:
    spread_ = 2 / (9 * degrees)
    return degrees * (1 - spread_ + 3.719 * spread_**0.5) ** 3


def chi_square(counts: Counter[int], probabilities: np.ndarray, draws: int) -> tuple[float, int]:
    expected = probabilities * draws
    big = expected >= 5
    observed = np.array([counts[token] for token in range(len(probabilities))])
    terms = (observed[big] - expected[big]) ** 2 / expected[big]
    rest_expected, rest_observed = expected[~big].sum(), observed[~big].sum()
    assert rest_expected > 0 or rest_observed == 0, "a token of probability 0 was drawn"
    rest = (rest_observed - rest_expected) ** 2 / rest_expected if rest_expected >= 5 else 0.0
    return float(terms.sum() + rest), int(big.sum()) - 1 + (rest_expected >= 5)


CASES = {
    "plain": {},
    "cold": {"temperature": 0.5},
    "hot": {"temperature": 2.0},
    "top_k": {"top_k": 6},
    "top_p": {"top_p": 0.8},
    "min_p": {"min_p": 0.1},
    "bias": {"logit_bias": {2: 3.0, 5: -100.0}},
    "all": {"temperature": 1.3, "top_k": 12, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.2},
}


def closed_form(logits: np.ndarray, case: dict) -> np.ndarray:
    """The distribution written out once more, by sorting and brute force, without the sampler's code."""
    scores = logits.copy()
    for token, number in case.get("logit_bias", {}).items():
        scores[token] += number
    if penalty := case.get("repetition_penalty"):
        for token in (0, 1, 2):
            scores[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
    weights = np.exp(scores / case.get("temperature", 1.0))
    ranked = sorted(range(len(weights)), key=lambda token: -weights[token])
    ranked = ranked[: case.get("top_k") or len(ranked)]
    total, mass, kept = sum(weights[token] for token in ranked), 0.0, []
    for token in ranked:
        if mass >= case.get("top_p", 1.0) * total:
            break
        kept.append(token)
        mass += weights[token]
    kept = [token for token in kept if weights[token] >= case.get("min_p", 0.0) * weights[kept[0]]]
    result = np.zeros(len(weights))
    result[kept] = weights[kept] / sum(weights[token] for token in kept)
    return result


@pytest.mark.parametrize("name", CASES)
def test_draws_follow_the_closed_form(name: str) -> None:
    logits, draws = spread(5), 20_000
    expected = closed_form(logits, CASES[name])
    params = SamplingParams(**CASES[name])
    assert ReferenceSampler(params, prompt=[0, 1, 2]).probabilities(logits) == pytest.approx(expected, abs=1e-12)
    random = ReferenceSampler(params.model_copy(update={"seed": 7}), prompt=[0, 1, 2])
    # Each draw is counted in, so only what does not look back is drawn many times.
    if "repetition_penalty" not in CASES[name]:
        statistic, degrees = chi_square(Counter(random.draw(logits) for _ in range(draws)), expected, draws)
        assert statistic < critical(degrees)


def test_the_chi_square_test_can_fail() -> None:
    logits, draws = spread(5), 20_000
    sampler = ReferenceSampler(SamplingParams(seed=7, temperature=1.1))
    statistic, degrees = chi_square(Counter(sampler.draw(logits) for _ in range(draws)), closed_form(logits, {}), draws)
    assert statistic > critical(degrees)


@given(params_strategy, sizeable.filter(len), sizeable, st.integers(0, 1000))
def test_transformers_logits_processors_agree(
    params: SamplingParams, prompt: list[int], output: list[int], seed: int
) -> None:
    torch = pytest.importorskip("torch")
    processors = pytest.importorskip("transformers.generation.logits_process")
    ids = torch.tensor([prompt + output])
    scores = torch.tensor(spread(seed), dtype=torch.float64)[None]
    for token, number in params.logit_bias.items():
        scores[0, token] += number
    scores = processors.RepetitionPenaltyLogitsProcessor(params.repetition_penalty)(ids, scores)
    for token, count in Counter(output).items():  # transformers has no presence or frequency penalty
        scores[0, token] -= params.presence_penalty + params.frequency_penalty * count
    scores = processors.TemperatureLogitsWarper(params.temperature)(ids, scores)
    if params.top_k:
        scores = processors.TopKLogitsWarper(params.top_k)(ids, scores)
    if params.top_p < 1:
        scores = processors.TopPLogitsWarper(params.top_p)(ids, scores)
    if params.min_p:
        scores = processors.MinPLogitsWarper(params.min_p)(ids, scores)
    expected = torch.softmax(scores, dim=-1)[0].numpy()
    sampler = ReferenceSampler(params, prompt)
    for token in output:
        sampler.accept(token)
    probabilities = sampler.probabilities(spread(seed))
    assert np.abs(probabilities - expected).max() < 1e-6
