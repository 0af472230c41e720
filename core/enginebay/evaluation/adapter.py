"""Any generator as a language model of EleutherAI's lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import LM

from enginebay.errors import InvalidParameterError, UnsupportedFeatureError
from enginebay.interfaces.jobs import Events, JobEvent

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from enginebay.generation.handle import GeneratorHandle

MAX_TOKENS = 256
"""Most tokens of an answer when the task does not say, as the harness has it for its own models."""

AT_ONCE = 32
"""Prompts that are handed to the engine together, so that progress can be told in between."""

_MAX_TOKENS_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_SAMPLING_NAMES = ("top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed")


class GeneratorLM(LM):  # type: ignore[misc]
    """A generator as the harness asks it.

    The configured sampling parameters and system prompt of the handle do not count: only the task's do.

    Args:
        events: told of each request that is done.
    """

    def __init__(self, handle: GeneratorHandle, events: Events = lambda event: None) -> None:
        super().__init__()
        self.handle = replace(handle, defaults={}, system=None)
        self.events = events

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation after its context, and whether greedy decoding would write it."""
        found = []
        for step, request in enumerate(requests, 1):
            context, continuation = request.args
            scored = self.handle.log_likelihood(continuation, after=context)
            found.append((scored.total, scored.greedy))
            self.events(JobEvent("log-likelihoods", step, len(requests)))
        return found

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        """Log-likelihood of each text as a whole, its first token after the begin token.

        A text that is longer than the context is read in windows of the context's length that overlap by one token.
        """
        window = self.handle.context_length
        begin = self.handle.tokenize(self.handle.model.bos or self.handle.model.eos)
        found = []
        for step, request in enumerate(requests, 1):
            tokens = self.handle.tokenize(request.args[0])
            parts = self.handle.score_windows([*begin, *tokens], window, window - 1)
            found.append(sum(float(part.sum()) for part in parts))
            self.events(JobEvent("perplexity", step, len(requests)))
        return found

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """The answer to each prompt, without the text that ended it."""
        sampling = [sampling_of(request.args[1]) for request in requests]
        answers = []
        for chosen, alike in groupby(zip(sampling, requests, strict=True), key=lambda pair: pair[0]):
            prompts = [request.args[0] for _, request in alike]
            for start in range(0, len(prompts), AT_ONCE):
                results = self.handle.complete_batch(prompts[start : start + AT_ONCE], **chosen)
                answers += [result.text for result in results]
                self.events(JobEvent("answers", len(answers), len(requests)))
        return answers

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The prompt that the model's chat template makes of a conversation.

        Without `add_generation_prompt` the last message is the beginning of the assistant's answer.
        """
        asked, begun = (chat_history, "") if add_generation_prompt else (chat_history[:-1], chat_history[-1]["content"])
        rendered = self.handle.render(asked)
        if rendered.messages is not None:
            raise UnsupportedFeatureError(
                f"the backend {self.handle.spec.name!r} does not show the prompts that its chat template makes",
                value=self.handle.spec.name,
                hint="evaluate without the chat template, or on an engine that opens the model itself",
            )
        return rendered.text + begun

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Source of the model's chat template."""
        return (self.handle.model.chat_template or "") if chat_template else ""

    @property
    def tokenizer_name(self) -> str:
        """What tells this model's prompts from another's."""
        return self.handle.model.reference


def sampling_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling parameters out of a task's generation arguments; greedy unless they say otherwise.

    Raises:
        InvalidParameterError: one of them is unknown.
    """
    left = dict(arguments)
    until = left.pop("until", None) or []
    limits = [int(left.pop(name)) for name in _MAX_TOKENS_NAMES if name in left]
    sample = left.pop("do_sample", None)
    temperature = float(left.pop("temperature", 1.0 if sample else 0.0))
    sampling = {name: left.pop(name) for name in _SAMPLING_NAMES if name in left}
    if left:
        raise InvalidParameterError(
            f"unknown generation arguments: {', '.join(sorted(left))}",
            value=sorted(left),
            hint=f"known: until, do_sample, temperature, {', '.join((*_MAX_TOKENS_NAMES, *_SAMPLING_NAMES))}",
        )
    return {
        "stop": tuple(text for text in ([until] if isinstance(until, str) else until) if text),
        "max_tokens": limits[0] if limits else MAX_TOKENS,
        "temperature": 0.0 if sample is False else temperature,
        **sampling,
    }
