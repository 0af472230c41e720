"""Parity: does one model say the same on several backends, and if not, where do they part?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from enginebay.errors import EnginebayError, UnsupportedFeatureError
from enginebay.interfaces.logits import log_softmax
from enginebay.spec import Feature

if TYPE_CHECKING:
    from enginebay.bay import Bay
    from enginebay.generation.handle import GeneratorHandle

TOP = 100
"""Likeliest tokens that a distribution is known by, where the engine does not hand over all."""

MESSAGES = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "What is 12 + 345?",
    "Which is larger, an ant or an elephant?",
)
SYSTEM = "You are a helpful assistant."

Distribution = Mapping[int, float]
"""Token id -> probability, of the likeliest tokens or of all."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one backend makes of one message.

    Attributes:
        prompt: the rendered prompt; "" for a server, which renders it itself.
        prompt_ids: its token ids; empty when the engine does not tokenize.
        text: the greedy answer.
        token_ids: its token ids.
        following: distribution of the first token of the answer.
    """

    prompt: str
    prompt_ids: tuple[int, ...]
    text: str
    token_ids: tuple[int, ...]
    following: Distribution


@dataclass(frozen=True, slots=True)
class Column:
    """One backend's samples, or why there are none."""

    backend: str
    device: str = ""
    weights: str = ""
    samples: tuple[Sample, ...] = ()
    tokens_per_second: float = 0.0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one backend agrees with the reference, over all messages.

    Attributes:
        same_prompts, same_ids, same_texts: messages whose rendered prompt, token ids, greedy answer are equal.
        common: mean share of the reference's greedy tokens before the first that differs, 0 to 1.
        same_best: messages whose likeliest first token is the same.
        kl_mean, kl_max: Kullback-Leibler divergence of the first token's distribution from the reference's, in nats.
            Tokens that either side does not tell are taken together, so that it is a lower bound (Cover and Thomas,
            Elements of Information Theory, theorem 2.7.1); NaN without distributions.
    """

    same_prompts: int
    same_ids: int
    same_texts: int
    common: float
    same_best: int
    kl_mean: float
    kl_max: float


def columns(
    bay: Bay,
    model: str,
    backends: Sequence[str],
    *,
    messages: Sequence[str] = MESSAGES,
    max_tokens: int = 32,
    **changes: Any,
) -> Iterator[Column]:
    """Ask each backend in turn; one that fails gives a column with its problem.

    Args:
        changes: fields of `GeneratorConfig`, such as context_length.
    """
    for backend in backends:
        try:
            handle = bay.generator(model, backend=backend, **changes)
        except EnginebayError as error:
            yield Column(backend, problem=str(error))
            continue
        try:
            yield _column(handle, backend, messages, max_tokens)
        except EnginebayError as error:
            yield Column(backend, handle.device, problem=str(error))
        finally:
            bay.release(handle)


def agreement(reference: Column, other: Column) -> Agreement:
    """Compare two columns of the same messages."""
    pairs = list(zip(reference.samples, other.samples, strict=True))
    divergences = [divergence(one.following, two.following) for one, two in pairs if one.following and two.following]
    return Agreement(
        same_prompts=sum(one.prompt == two.prompt for one, two in pairs),
        same_ids=sum(one.prompt_ids == two.prompt_ids for one, two in pairs),
        same_texts=sum(one.text == two.text for one, two in pairs),
        common=float(np.mean([_common(one.token_ids, two.token_ids) for one, two in pairs])),
        same_best=sum(_best(one.following) == _best(two.following) for one, two in pairs),
        kl_mean=float(np.mean(divergences)) if divergences else float("nan"),
        kl_max=max(divergences, default=float("nan")),
    )


def divergence(p: Distribution, q: Distribution) -> float:
    """KL(p || q) in nats over the tokens that both tell; the rest of each is one more outcome."""
    shared = p.keys() & q.keys()
    outcomes = [(p[token], q[token]) for token in shared]
    outcomes.append((1 - sum(one for one, _ in outcomes), 1 - sum(two for _, two in outcomes)))
    return max(0.0, sum(one * float(np.log(one / max(two, 1e-12))) for one, two in outcomes if one > 1e-12))


def _column(handle: GeneratorHandle, backend: str, messages: Sequence[str], max_tokens: int) -> Column:
    samples, speeds = [], []
    for message in messages:
        sample, speed = _sample(handle, message, max_tokens)
        samples.append(sample)
        speeds.append(speed)
    weights = f"{handle.opened.model.format} {handle.opened.model.quantization}".strip()
    return Column(backend, handle.device, weights, tuple(samples), float(np.median(speeds)))


def _sample(handle: GeneratorHandle, message: str, max_tokens: int) -> tuple[Sample, float]:
    conversation = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": message}]
    result = handle.chat(conversation, temperature=0, max_tokens=max_tokens)
    prompt = result.prompt
    try:
        ids = tuple(handle.tokenize(prompt.text, add_bos=prompt.add_bos)) if prompt.text else ()
    except UnsupportedFeatureError:
        ids = ()
    output = result.outputs[0]
    following = _following(handle, conversation, ids)
    return Sample(prompt.text, ids, output.text, output.token_ids, following), result.timing.tokens_per_second


def _following(handle: GeneratorHandle, conversation: list[dict[str, str]], ids: Sequence[int]) -> Distribution:
    """The distribution of the answer's first token: from all logits where they are handed over."""
    features = handle.spec.features
    if Feature.LOGITS in features and ids:
        probabilities = np.exp(log_softmax(handle.engine.logits_model().logits(list(ids))))
        return {int(token): float(value) for token, value in enumerate(probabilities)}
    if Feature.LOGPROBS in features:
        result = handle.chat(conversation, temperature=0, max_tokens=1, logprobs=TOP)
        [entry] = result.outputs[0].logprobs
        return {one[0]: float(np.exp(one[2])) for one in entry.top}
    return {}


def _best(distribution: Distribution) -> int | None:
    return max(distribution, key=lambda token: distribution[token], default=None)


def _common(one: Sequence[int], two: Sequence[int]) -> float:
    """Share of `one` before the first token that differs."""
    length = next((place for place, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]), None)
    if length is None:
        length = min(len(one), len(two))
    return length / len(one) if one else 1.0
