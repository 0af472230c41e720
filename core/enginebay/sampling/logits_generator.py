"""A whole generator out of an engine that only hands over logits."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from enginebay.errors import ContextLengthError, InvalidParameterError
from enginebay.interfaces.generator import Chunk, FinishReason, GenerationRequest, Generator, TokenLogprob, Usage
from enginebay.interfaces.logits import LogitsModel
from enginebay.sampling.logprobs import token_logprob
from enginebay.sampling.masks import ConstraintMask, guidance_tokenizer
from enginebay.sampling.reference import ReferenceSampler


class LogitsGenerator(Generator):
    """Generates with the reference sampler and llguidance's masks over a model's logits; one call at a time."""

    def __init__(self, model: LogitsModel) -> None:
        self._model = model

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        """Token ids; see `Generator.tokenize`."""
        return self._model.tokenize(text, add_bos=add_bos)

    @property
    def context_length(self) -> int:
        """Tokens of the context."""
        return self._model.context_length

    def logits_model(self) -> LogitsModel:
        """The model itself."""
        return self._model

    def stream(self, request: GenerationRequest) -> Iterator[Chunk]:
        """Generate; see `Generator.stream`.

        Raises:
            InvalidParameterError: the constraint cannot be expressed, the prompt is empty, or a biased token unknown.
        """
        params, model = request.params, self._model
        prompt = model.tokenize(request.prompt, add_bos=request.add_bos)
        if not prompt:
            raise InvalidParameterError("the prompt has no tokens", value="", hint="give at least one character")
        if len(prompt) >= model.context_length:
            raise ContextLengthError(len(prompt), model.context_length)
        vocabulary = model.vocabulary
        mask = None
        if params.constraint is not None:
            mask = ConstraintMask(params.constraint, self._guidance)
        sampler = ReferenceSampler(params, prompt)
        room = model.context_length - len(prompt)
        most = room if params.max_tokens is None else min(room, params.max_tokens)
        utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        tokens = list(prompt)
        reason = FinishReason.LENGTH
        while len(tokens) - len(prompt) < most:
            logits = model.logits(tokens)
            token = sampler.draw(logits, mask.allowed(len(logits)) if mask is not None else None)
            tokens.append(token)
            ended = token in vocabulary.end
            if mask is not None and not ended:
                mask.accept(token)
            logprobs: tuple[TokenLogprob, ...] = ()
            if params.logprobs is not None:
                logprobs = (token_logprob(token, logits, params.logprobs, vocabulary.text),)
            yield Chunk("" if ended else utf8.decode(vocabulary.visible[token]), (token,), logprobs)
            if ended or (mask is not None and mask.complete):
                reason = FinishReason.STOP
                break
        yield Chunk("", finish_reason=reason, usage=Usage(len(prompt), len(tokens) - len(prompt)))

    @cached_property
    def _guidance(self) -> Any:
        return guidance_tokenizer(self._model.vocabulary, self._model.tokenize)

    def close(self) -> None:
        """Close the model."""
        self._model.close()
