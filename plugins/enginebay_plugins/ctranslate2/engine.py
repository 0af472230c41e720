"""The CTranslate2 engine: `generate_batch` with a callback for each token."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from enginebay import (
    CallbackGenerator,
    Chunk,
    GenerationRequest,
    Generator,
    OpenRequest,
    SamplingParams,
)
from enginebay.errors import EngineClosedError, GenerationError
from enginebay.models.token_output import TokenOutput
from enginebay.models.tokenizer import Tokenizer
from enginebay_plugins.ctranslate2.loading import load, model_folder
from enginebay_plugins.ctranslate2.options import CTranslate2Options
from enginebay_plugins.ctranslate2.views import as_array


def open_engine(request: OpenRequest) -> Generator:
    """Load a converted model.

    Raises:
        EngineOpenError: CTranslate2 refuses the model or the compute type.
        ModelFormatError: the folder has no tokenizer.json.
    """
    options = request.options if isinstance(request.options, CTranslate2Options) else CTranslate2Options()
    tokenizer = Tokenizer(model_folder(request))
    generator = load(ctranslate2.Generator, request, options)
    return CTranslate2Generator(generator, tokenizer, request.context_length, request.streams, options)


class CTranslate2Generator(CallbackGenerator):
    """A model in memory. Batches of one call are decoded together, calls one after another.

    Args:
        context: tokens one sequence may hold.
        streams: outputs decoded together; a longer batch is cut.
    """

    def __init__(
        self, generator: Any, tokenizer: Tokenizer, context: int, streams: int, options: CTranslate2Options
    ) -> None:
        self._generator = generator
        self._tokenizer = tokenizer
        self._context = context
        self._streams = streams
        self._options = options
        self._running = threading.RLock()
        self._closed = False

    @property
    def context_length(self) -> int:
        """Tokens of one sequence."""
        return self._context

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        """Token ids; see `Generator.tokenize`."""
        self.check_open()
        return self._tokenizer.encode(text, add_bos=add_bos)

    def push(self, request: GenerationRequest, receive: Callable[[Chunk], bool]) -> None:
        """Generate in this thread; see `Generator.push`."""
        self.push_batch([request], lambda index, chunk: receive(chunk))

    def push_batch(self, requests: Sequence[GenerationRequest], receive: Callable[[int, Chunk], bool]) -> None:
        """Generate a batch together; see `Generator.push_batch`. Requests with equal parameters share a call."""
        self.check_open()
        outputs = [TokenOutput(request, self._tokenizer, self._context) for request in requests]
        for group in _groups(outputs, self._streams):
            chosen = [outputs[index] for index in group]
            self._generate(chosen, lambda place, chunk, g=group: receive(g[place], chunk))  # type: ignore[misc]

    def prompt_logits(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Raw logits that follow each of the tokens, all in one pass; see `Generator.prompt_logits`."""
        with self._running:
            self.check_open()
            try:
                logits = as_array(self._generator.forward_batch([list(tokens)]))
            except RuntimeError as error:
                raise GenerationError(f"CTranslate2 failed: {error}", value=len(tokens)) from error
        return logits.reshape(len(tokens), -1)

    def check_open(self) -> None:
        """Raise EngineClosedError after `close`."""
        if self._closed:
            raise EngineClosedError("the engine was closed", hint="open it again")

    def close(self) -> None:
        """Stop what runs at its next token, and free the model."""
        self._closed = True
        with self._running:
            self._generator = None

    def _generate(self, outputs: Sequence[TokenOutput], receive: Callable[[int, Chunk], bool]) -> None:
        params = outputs[0].params
        # Its repetition penalty looks back on what the decoding loop has seen: the prompt must go through it, too.
        looks_back = params.repetition_penalty != 1
        skipped = [len(output.prompt) - 1 if looks_back else 0 for output in outputs]

        def step(result: Any) -> bool:
            self.check_open()
            place, output = result.batch_id, outputs[result.batch_id]
            if result.step < skipped[place] or output.done:
                return bool(output.done)
            return bool(
                output.take(result.token_id, lambda chunk: receive(place, chunk), logits=lambda: _logits(result))
            )

        with self._running:
            self.check_open()
            self._generator.generate_batch(
                [[self._tokenizer.raw.id_to_token(token) for token in output.prompt] for output in outputs],
                max_length=max(output.most + skip for output, skip in zip(outputs, skipped, strict=True)),
                end_token=sorted(self._tokenizer.end),
                include_prompt_in_result=looks_back,
                callback=step,
                return_logits_vocab=params.logprobs is not None,
                no_repeat_ngram_size=self._options.no_repeat_ngram_size,
                **_sampling(params),
            )


def _sampling(params: SamplingParams) -> dict[str, Any]:
    if params.temperature == 0:
        return {"sampling_topk": 1, "repetition_penalty": params.repetition_penalty}
    return {
        "sampling_topk": params.top_k,
        "sampling_topp": params.top_p,
        "sampling_temperature": params.temperature,
        "repetition_penalty": params.repetition_penalty,
    }


def _groups(outputs: Sequence[TokenOutput], size: int) -> list[list[int]]:
    """Indexes of outputs that may share a call: equal parameters but for the length, at most `size` together."""
    groups: list[list[int]] = []
    for index, output in enumerate(outputs):
        alike = output.params.model_copy(update={"max_tokens": None})
        for group in groups:
            known = outputs[group[0]].params.model_copy(update={"max_tokens": None})
            if len(group) < size and known == alike:
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def _logits(result: Any) -> NDArray[np.floating]:
    return np.asarray(result.logits, dtype=np.float32).ravel()
