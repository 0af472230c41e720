"""From an engine's tokens to the chunks of one output."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from enginebay.errors import ContextLengthError, InvalidParameterError
from enginebay.interfaces.generator import Chunk, FinishReason, GenerationRequest, TokenLogprob, Usage
from enginebay.models.tokenizer import Tokenizer
from enginebay.sampling.logprobs import token_logprob


class TokenOutput:
    """One output on its way, for engines that think in tokens and leave text to the core.

    Args:
        request: what was asked for.
        tokenizer: the model's.
        context_length: tokens one sequence may hold.

    Raises:
        InvalidParameterError: the prompt has no tokens.
        ContextLengthError: the prompt does not fit.

    Attributes:
        prompt: token ids of the prompt.
        most: tokens that may come; the smaller of `max_tokens` and the room in the context.
        done: the output has ended, or its receiver wants no more.
    """

    def __init__(self, request: GenerationRequest, tokenizer: Tokenizer, context_length: int) -> None:
        self.prompt = tokenizer.encode(request.prompt, add_bos=request.add_bos)
        if not self.prompt:
            raise InvalidParameterError("the prompt has no tokens", value="", hint="give at least one character")
        room = context_length - len(self.prompt)
        if room <= 0:
            raise ContextLengthError(len(self.prompt), context_length)
        self.params = request.params
        self.most = room if self.params.max_tokens is None else min(room, self.params.max_tokens)
        self.done = False
        self._count = 0
        self._tokenizer = tokenizer
        self._decoder = tokenizer.decoder()

    def take(
        self,
        token: int,
        receive: Callable[[Chunk], bool],
        *,
        logits: Callable[[], NDArray[np.floating]] | None = None,
        complete: bool = False,
    ) -> bool:
        """Hand a token on.

        Args:
            logits: gives the raw logits it was drawn from, shape (vocabulary,); needed when logprobs were asked for.
            complete: a constraint lets nothing follow.

        Returns:
            Whether the output is done.
        """
        ended = token in self._tokenizer.end
        self._count += 1
        logprobs: tuple[TokenLogprob, ...] = ()
        if self.params.logprobs is not None and logits is not None:
            logprobs = (token_logprob(token, logits(), self.params.logprobs, self._tokenizer.text),)
        self.done = receive(Chunk("" if ended else self._decoder.feed(token), (token,), logprobs))
        reason = FinishReason.STOP if ended or complete else None
        if reason is None and self._count >= self.most:
            reason = FinishReason.LENGTH
        if reason is not None and not self.done:
            self.done = True
            receive(Chunk("", finish_reason=reason, usage=Usage(len(self.prompt), self._count)))
        return self.done
