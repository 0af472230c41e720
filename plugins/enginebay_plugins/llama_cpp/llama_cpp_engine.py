"""llama.cpp through llama-cpp-python's bindings of its C API: our own decoding loop, one sequence at a time."""

from __future__ import annotations

import codecs
import ctypes
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from enginebay import (
    Chunk,
    FinishReason,
    GenerationRequest,
    Generator,
    LogitsModel,
    OpenRequest,
    TokenLogprob,
    Usage,
    Vocabulary,
)
from enginebay.errors import (
    ContextLengthError,
    EngineClosedError,
    EngineOpenError,
    GenerationError,
    InvalidParameterError,
)
from enginebay.sampling.logprobs import token_logprob
from enginebay_plugins.llama_cpp.grammars import constraint_grammar
from enginebay_plugins.llama_cpp.logs import LOG
from enginebay_plugins.llama_cpp.native import batch_of, context_params, load_model, token_ids
from enginebay_plugins.llama_cpp.opening import check_adapters, options_of
from enginebay_plugins.llama_cpp.options import LlamaCppOptions
from enginebay_plugins.llama_cpp.samplers import Sampler

_CACHE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_1": 7, "q8_0": 8, "bf16": 30}
_SEQUENCE = 0


def open_engine(request: OpenRequest) -> Generator:
    """Open a model and a context.

    Raises:
        EngineOpenError: llama.cpp refuses the model, an adapter, or the context; the text has its last log lines.
    """
    options = options_of(request, LlamaCppOptions)
    check_adapters(options.lora)
    model = load_model(request, options)
    context = llama_cpp.llama_init_from_model(model, _context_params(request, options))
    if not context:
        llama_cpp.llama_model_free(model)
        raise EngineOpenError(
            f"llama.cpp made no context of {request.context_length} tokens: {LOG.reason()}",
            value=request.context_length,
            hint="ask for less context_length, or other cache types",
        )
    engine = LlamaCppGenerator(model, context, options.batch_size)
    try:
        engine.apply_adapters(options)
    except EngineOpenError:
        engine.close()
        raise
    return engine


def _context_params(request: OpenRequest, options: LlamaCppOptions) -> Any:
    params = context_params(request, options)
    params.n_ctx = request.context_length
    params.n_batch = params.n_ubatch = options.batch_size
    params.n_seq_max = 1
    params.type_k, params.type_v = _CACHE_TYPES[options.cache_type_k], _CACHE_TYPES[options.cache_type_v]
    return params


class LlamaCppGenerator(Generator):
    """A model with one context. The KV cache keeps the last sequence: a prompt that begins alike is not read again.

    Calls to it must not overlap (the core sees to that), but `close` may come at any time from any thread.
    """

    def __init__(self, model: Any, context: Any, batch_size: int) -> None:
        self._model = model
        self._context = context
        self._batch_size = batch_size
        self._vocabulary = llama_cpp.llama_model_get_vocab(model)
        self._size = int(llama_cpp.llama_vocab_n_tokens(self._vocabulary))
        self._length = int(llama_cpp.llama_n_ctx(context))
        self._memory = llama_cpp.llama_get_memory(context)
        self._sequence: list[int] = []
        self._pieces: dict[int, bytes] = {}
        self._one = (llama_cpp.llama_token * 1)()
        self._adapters: list[Any] = []
        # Held for each piece of native work, never across a yield: closing need not wait for a consumer.
        self._native = threading.Lock()
        self._closed = False

    @property
    def context_length(self) -> int:
        """Tokens of the context."""
        return self._length

    def apply_adapters(self, options: LlamaCppOptions) -> None:
        """Put LoRA adapters on the model.

        Raises:
            EngineOpenError: an adapter does not suit the model.
        """
        for adapter in options.lora:
            LOG.clear()
            loaded = llama_cpp.llama_adapter_lora_init(self._model, str(adapter.path.expanduser()).encode())
            if not loaded:
                raise EngineOpenError(
                    f"llama.cpp did not take the LoRA adapter {adapter.path}: {LOG.reason()}", value=str(adapter.path)
                )
            self._adapters.append(loaded)
        if self._adapters:
            pointers = (llama_cpp.llama_adapter_lora_p_ctypes * len(self._adapters))(*self._adapters)
            scales = (ctypes.c_float * len(self._adapters))(*(adapter.scale for adapter in options.lora))
            llama_cpp.llama_set_adapters_lora(self._context, pointers, len(self._adapters), scales)

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        """Token ids; see `Generator.tokenize`."""
        with self._native:
            self._check_open()
            return token_ids(self._vocabulary, text, special=add_bos)

    def stream(self, request: GenerationRequest) -> Iterator[Chunk]:
        """Generate; see `Generator.stream`."""
        params = request.params
        grammar = constraint_grammar(params.constraint) if params.constraint is not None else None
        with self._native:
            self._check_open()
            prompt = token_ids(self._vocabulary, request.prompt, special=request.add_bos)
            self._check_prompt(prompt)
            cached = self._keep_common(prompt)
            sampler = Sampler(
                params,
                vocabulary=self._vocabulary,
                size=self._size,
                window=self._length,
                prompt=prompt,
                grammar=grammar,
            )
        with sampler:
            self._read(prompt[cached:])
            yield from self._decode(request, sampler, len(prompt), cached)

    def logits_model(self) -> LogitsModel:
        """The same model and KV cache, handing over logits."""
        return _LlamaCppLogits(self)

    def logits(self, tokens: Sequence[int]) -> NDArray[np.floating]:
        """Logits of the token after `tokens`; see `LogitsModel.logits`."""
        wanted = list(tokens)
        with self._native:
            self._check_open()
            known = self._keep_common(wanted)
        self._read(wanted[known:])
        with self._native:
            self._check_open()
            return np.array(self._logits())

    def all_logits(self, tokens: Sequence[int]) -> NDArray[np.floating]:
        """Logits after each of the tokens; see `LogitsModel.prompt_logits`. The KV cache holds these tokens then."""
        if len(tokens) > self._length:
            raise ContextLengthError(len(tokens), self._length)
        with self._native:
            self._check_open()
            self._forget()
        rows = np.empty((len(tokens), self._size), dtype=np.float32)
        for start in range(0, len(tokens), self._batch_size):
            piece = list(tokens[start : start + self._batch_size])
            with self._native:
                self._check_open()
                self._evaluate(batch_of(piece), piece, "")
                found = llama_cpp.llama_get_logits(self._context)
                rows[start : start + len(piece)] = np.ctypeslib.as_array(found, (len(piece), self._size))
        return rows

    def vocabulary(self) -> Vocabulary:
        """Every token's bytes, and which are special or end an output."""
        with self._native:
            self._check_open()
            marks = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
            special = {
                token for token in range(self._size) if llama_cpp.llama_vocab_get_attr(self._vocabulary, token) & marks
            }
            end = {token for token in range(self._size) if llama_cpp.llama_vocab_is_eog(self._vocabulary, token)}
            pieces = tuple(self._piece(token, special=token in special) for token in range(self._size))
        return Vocabulary(pieces, frozenset(special | end), frozenset(end))

    def close(self) -> None:
        """Free context and model. A running stream ends with an error at its next token."""
        with self._native:
            if self._closed:
                return
            self._closed = True
            for adapter in self._adapters:
                llama_cpp.llama_adapter_lora_free(adapter)
            llama_cpp.llama_free(self._context)
            llama_cpp.llama_model_free(self._model)

    def _decode(self, request: GenerationRequest, sampler: Sampler, prompt_tokens: int, cached: int) -> Iterator[Chunk]:
        params = request.params
        room = self._length - prompt_tokens
        most = room if params.max_tokens is None else min(room, params.max_tokens)
        utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        needs_logits = params.logprobs is not None or params.constraint is not None
        text: list[str] = []
        count = 0
        reason = FinishReason.LENGTH
        while count < most:
            with self._native:
                self._check_open("".join(text))
                if count:
                    self._evaluate_one("".join(text))
                logits: Any = self._logits() if needs_logits else None
                token = sampler.draw(self._context, logits)
                logprobs: tuple[TokenLogprob, ...] = ()
                if params.logprobs is not None:
                    logprobs = (token_logprob(token, logits, params.logprobs, self._shown),)
                ended = llama_cpp.llama_vocab_is_eog(self._vocabulary, token)
                piece = "" if ended else utf8.decode(self._piece(token))
            self._one[0] = token
            count += 1
            text.append(piece)
            yield Chunk(piece, (token,), logprobs)
            if ended:
                reason = FinishReason.STOP
                break
        # Bytes of a character that was cut off in the middle are left out, as llama.cpp's server does.
        yield Chunk("", finish_reason=reason, usage=Usage(prompt_tokens, count, cached))

    def _check_open(self, partial_text: str = "") -> None:
        if self._closed:
            raise EngineClosedError("the engine was closed", value=partial_text or None, hint="open it again")

    def _check_prompt(self, prompt: list[int]) -> None:
        if len(prompt) >= self._length:
            raise ContextLengthError(len(prompt), self._length)
        if not prompt:
            raise InvalidParameterError("the prompt has no tokens", value="", hint="give at least one character")

    def _keep_common(self, prompt: list[int]) -> int:
        """Cut the KV cache down to what it shares with the prompt, less the last token, whose logits are needed.

        Right after this very prompt they are still there.
        """
        if self._sequence == prompt:
            return len(prompt)
        common = 0
        for known, wanted in zip(self._sequence, prompt[:-1], strict=False):
            if known != wanted:
                break
            common += 1
        # Recurrent models cannot forget a part.
        if not llama_cpp.llama_memory_seq_rm(self._memory, _SEQUENCE, common, -1):
            self._forget()
            return 0
        del self._sequence[common:]
        return common

    def _forget(self) -> None:
        llama_cpp.llama_memory_clear(self._memory, True)
        self._sequence.clear()

    def _read(self, tokens: list[int]) -> None:
        """Evaluate the rest of the prompt, in pieces, between which the engine may be closed."""
        for start in range(0, len(tokens), self._batch_size):
            piece = tokens[start : start + self._batch_size]
            with self._native:
                self._check_open()
                native = (llama_cpp.llama_token * len(piece))(*piece)
                self._evaluate(llama_cpp.llama_batch_get_one(native, len(piece)), piece, "")

    def _evaluate_one(self, text: str) -> None:
        self._evaluate(llama_cpp.llama_batch_get_one(self._one, 1), [self._one[0]], text)

    def _evaluate(self, batch: Any, tokens: list[int], text: str) -> None:
        code = llama_cpp.llama_decode(self._context, batch)
        if code:
            self._forget()
            raise GenerationError(
                f"llama_decode failed with code {code}: {LOG.reason()}", partial_text=text, value=code
            )
        self._sequence += tokens

    def _piece(self, token: int, *, special: bool = False) -> bytes:
        """Bytes of a token; those of special ones only when asked for."""
        known = self._pieces.get(token) if not special else None
        if known is not None:
            return known
        buffer = ctypes.create_string_buffer(256)
        size = llama_cpp.llama_token_to_piece(self._vocabulary, token, buffer, len(buffer), 0, special)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = llama_cpp.llama_token_to_piece(self._vocabulary, token, buffer, len(buffer), 0, special)
        piece = buffer.raw[:size]
        if not special:
            self._pieces[token] = piece
        return piece

    def _logits(self) -> Any:
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self._context, -1), (self._size,))

    def _shown(self, token: int) -> str:
        return self._piece(token).decode(errors="replace")


class _LlamaCppLogits(LogitsModel):
    """A llama.cpp engine seen as one that only hands over logits. The engine is closed by its owner."""

    def __init__(self, engine: LlamaCppGenerator) -> None:
        self._engine = engine

    def logits(self, tokens: Sequence[int]) -> NDArray[np.floating]:
        return self._engine.logits(tokens)

    def prompt_logits(self, tokens: Sequence[int]) -> NDArray[np.floating]:
        return self._engine.all_logits(tokens)

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        return self._engine.tokenize(text, add_bos=add_bos)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return self._engine.vocabulary()

    @property
    def context_length(self) -> int:
        return self._engine.context_length
