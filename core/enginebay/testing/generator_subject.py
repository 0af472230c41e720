"""What the checks of a generator work on."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enginebay.errors import UnsupportedFeatureError, UnsupportedParameterError
from enginebay.generation.handle import GeneratorHandle
from enginebay.generation.results import Output, Result
from enginebay.sampling.params import SamplingParams
from enginebay.sampling.plan import gives, make_params
from enginebay.testing.checks import RuleBrokenError, require

TOP = 100
"""Likeliest tokens that a distribution is told by."""

VALUES: dict[str, Any] = {
    "temperature": 0.5,
    "top_k": 3,
    "top_p": 0.5,
    "min_p": 0.2,
    "repetition_penalty": 1.5,
    "presence_penalty": 1.0,
    "frequency_penalty": 1.0,
    "logit_bias": {5: -1.0},
    "seed": 7,
    "max_tokens": 2,
    "logprobs": 1,
    "choices": ["yes", "no"],
    "regex": "[a-c]{2}",
    "json_schema": {"type": "boolean"},
    "grammar": 'root ::= "yes" | "no"',
}
"""A value that is not "off" for every parameter, and for every kind of constraint."""


@dataclass
class GeneratorSubject:
    """An open generator, and the prompts to check it with.

    Attributes:
        handle: on an instruction-tuned model, with a context of at least 256 tokens and several streams.
        question: the model answers it shortly and surely, and then ends.
        uncertain: a text after which many tokens are likely.
        repetitive: a text whose likeliest next token occurs in it.
        draws: samples for statistical checks.
        schemas: JSON schemas to check constraints with.
    """

    handle: GeneratorHandle
    question: str = "What is the capital of France?"
    uncertain: str = "My favourite things in the world are"
    repetitive: str = "one two three one two three one two three one two"
    draws: int = 300
    schemas: int = 200

    def has(self, name: str) -> bool:
        """Whether the backend declares the parameter, or the kind of constraint, so that it must honour it."""
        return gives(self.handle.spec, *self._named(name))

    def refuses(self, name: str) -> None:
        """Check that an undeclared parameter is refused, by name."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                self.handle.complete("A", **({"max_tokens": 1} | {name: VALUES[name]}))
            except UnsupportedParameterError as error:
                require(name in str(error), f"the refusal of {name} does not name it: {error}")
                return
        raise RuleBrokenError(f"{name} is not declared, and was not refused")

    def greedy(self, prompt: str, tokens: int, **more: Any) -> Result:
        """Continue a text with the likeliest tokens."""
        return self.handle.complete(prompt, temperature=0, max_tokens=tokens, **more)

    def tokens(self, result: Result) -> tuple[int, ...]:
        """Token ids of the first output; where the engine does not tell them, those of its text."""
        return self._tokens(result.outputs[0])

    def _tokens(self, output: Output) -> tuple[int, ...]:
        if output.token_ids:
            return output.token_ids
        try:
            return tuple(self.handle.tokenize(output.text))
        except UnsupportedFeatureError:
            return tuple(map(ord, output.text))

    def ask(self, **more: Any) -> Result:
        """The answer to the question, greedy."""
        messages = [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": self.question},
        ]
        return self.handle.chat(messages, **({"temperature": 0, "max_tokens": 64} | more))

    def first_tokens(self, **sampling: Any) -> Counter[int]:
        """The first tokens of many samples after the uncertain text."""
        if self.has("seed"):
            sampling = {"seed": 1000} | sampling
        result = self.handle.complete(self.uncertain, n=self.draws, max_tokens=1, **sampling)
        return Counter(self._tokens(output)[0] for output in result.outputs)

    @cached_property
    def distribution(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Tokens and log-probabilities of the likeliest next tokens after the uncertain text, best first."""
        [entry] = self.handle.complete(self.uncertain, temperature=0, max_tokens=1, logprobs=TOP).outputs[0].logprobs
        return np.array([one[0] for one in entry.top]), np.array([one[2] for one in entry.top])

    def edge(self, first: int, last: int) -> int:
        """The rank, from `first` to `last`, after which the distribution falls most.

        Weights of 16 bits move log-probabilities by some hundredths with the width of a batch: a truncation is checked
        where that does not reorder tokens.
        """
        _, logprobs = self.distribution
        falls = -np.diff(logprobs)[first : last + 1]
        return first + int(falls.argmax())

    def check_draws(self, drawn: Counter[int], logits: NDArray[np.float64], what: str) -> None:
        """Compare draws with the distribution that `logits`, over the tokens of `distribution`, mean.

        A token that has -inf must not be drawn. The rest is compared by Pearson's chi-square among the tokens that are
        told, at a level of 1e-5.
        """
        tokens, _ = self.distribution
        forbidden = [int(token) for token, logit in zip(tokens, logits, strict=True) if logit == -np.inf]
        wrong = [token for token in forbidden if drawn[token]]
        require(not wrong, f"{what}: tokens were drawn that it cuts off: {wrong}")
        counts = np.array([drawn[int(token)] for token in tokens])
        kept = logits > -np.inf
        weights = np.exp(logits[kept] - logits[kept].max())
        expected = weights / weights.sum() * counts.sum()
        statistic, degrees = _chi_square(counts[kept], expected)
        limit = _critical(degrees)
        require(statistic < limit, f"{what}: chi-square {statistic:.0f} of {degrees} degrees, at most {limit:.0f}")

    @staticmethod
    def _named(name: str) -> tuple[str, SamplingParams]:
        params = make_params({}, {name: VALUES[name]})
        return next(iter(params.active())), params


def _chi_square(counts: NDArray[np.int64], expected: NDArray[np.float64]) -> tuple[float, int]:
    """Pearson's statistic and its degrees of freedom; rare tokens are taken together."""
    common = expected >= 5
    observed = [*counts[common], counts[~common].sum()]
    wanted = [*expected[common], expected[~common].sum()]
    pairs: Sequence[tuple[float, float]] = [
        (float(seen), float(want)) for seen, want in zip(observed, wanted, strict=True) if want >= 1
    ]
    return sum((seen - want) ** 2 / want for seen, want in pairs), max(1, len(pairs) - 1)


def _critical(degrees: int) -> float:
    """The 1 - 1e-5 quantile of chi-square (Wilson and Hilferty 1931)."""
    spread = 2 / (9 * degrees)
    return float(degrees * (1 - spread + 4.265 * spread**0.5) ** 3)
