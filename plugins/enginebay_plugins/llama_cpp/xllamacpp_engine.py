"""llama.cpp's own server in process: continuous batching, one slot for each stream."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import xllamacpp

from enginebay import (
    CallbackGenerator,
    Chunk,
    FinishReason,
    GenerationRequest,
    Generator,
    OpenRequest,
    TokenLogprob,
    Usage,
)
from enginebay.errors import (
    ContextLengthError,
    EngineClosedError,
    GenerationError,
    InvalidParameterError,
)
from enginebay_plugins.llama_cpp.grammars import constraint_grammar
from enginebay_plugins.llama_cpp.guidance import regex_grammar, schema_grammar
from enginebay_plugins.llama_cpp.opening import check_adapters, options_of
from enginebay_plugins.llama_cpp.options import XllamacppOptions
from enginebay_plugins.llama_cpp.server import Loopback, server_params, start_server

SAMPLERS = ("penalties", "top_k", "temperature", "top_p", "min_p")
"""In enginebay's order; logit bias and grammar come before them by themselves. Temperature keeps the order of the
tokens, so top_k may come before it, and leaves it less to do."""

GREEDY_SAMPLERS = ("penalties", "top_k")

_SLOT_STEP = 256
"""llama.cpp rounds a slot's context up to a multiple of this."""
_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
_RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp draws a seed for this one."""


def open_engine(request: OpenRequest) -> Generator:
    """Open the server on a model.

    Raises:
        EngineOpenError: the server refuses the model, an adapter, or the parameters.
    """
    options = options_of(request, XllamacppOptions)
    check_adapters(options.lora)
    params = _params(request, options)
    server = start_server(params)
    loopback = Loopback(server.listening_address, params.api_keys[0])
    return XllamacppGenerator(server, loopback, _slot_context(request), request.streams, adds_bos=request.model.add_bos)


def _slot_context(request: OpenRequest) -> int:
    return -(-request.context_length // _SLOT_STEP) * _SLOT_STEP


def _params(request: OpenRequest, options: XllamacppOptions) -> xllamacpp.CommonParams:
    params = server_params(request, options)
    # The context is shared out: each slot gets n_ctx / n_parallel.
    params.n_parallel = request.streams
    params.n_ctx = _slot_context(request) * request.streams
    params.ctx_shift = False
    params.n_batch = max(options.batch_size, request.streams)
    params.n_ubatch = options.batch_size
    params.cache_type_k = _cache_type(options.cache_type_k)
    params.cache_type_v = _cache_type(options.cache_type_v)
    params.cache_ram_mib = options.prompt_cache_mib
    adapters = []
    for adapter in options.lora:
        info = xllamacpp.CommonAdapterLoraInfo()
        info.path, info.scale = str(adapter.path.expanduser()), adapter.scale
        adapters.append(info)
    params.lora_adapters = adapters
    return params


def _cache_type(name: str) -> Any:
    return getattr(xllamacpp.ggml_type, f"GGML_TYPE_{name.upper()}")


class _Call:
    """One request on its way; setting `cancelled` ends it at its next token."""

    def __init__(self) -> None:
        self.cancelled = False
        self.thread = threading.get_ident()
        self._ended = threading.Event()

    def end(self) -> None:
        """The server has let go of the request."""
        self._ended.set()

    def stop(self) -> None:
        """Cancel the request and wait until its slot is free; its own callback does not wait, it must return first."""
        self.cancelled = True
        if self.thread != threading.get_ident():
            self._ended.wait()


class XllamacppGenerator(CallbackGenerator):
    """A server with its slots.

    Args:
        loopback: its port.
        slot_context: tokens each slot holds.
        slots: streams decoded together; more wait in the server's queue.
        adds_bos: the tokenizer puts a begin token first, so that a prompt may be empty.
    """

    def __init__(self, server: Any, loopback: Loopback, slot_context: int, slots: int, *, adds_bos: bool) -> None:
        self.max_concurrency = slots
        self._server: Any = server
        self._adds_bos = adds_bos
        self._context = slot_context
        self._loopback = loopback
        self._lock = threading.Lock()
        self._calls: set[_Call] = set()

    @property
    def context_length(self) -> int:
        """Tokens of one slot."""
        return self._context

    def push(self, request: GenerationRequest, receive: Callable[[Chunk], bool]) -> None:
        """Generate in this thread; see `Generator.push`. The server calls back, so this is the direct way."""
        if not request.prompt and not self._adds_bos:
            raise InvalidParameterError("the prompt has no tokens", value="", hint="give at least one character")
        body = _body(request, self._context)
        wants_logprobs = request.params.logprobs
        text: list[str] = []
        # The library swallows what a callback raises, so it is kept and raised after the call.
        failure: BaseException | None = None
        finished = False
        with self._lock:
            server, call = self._opened(), _Call()
            self._calls.add(call)

        def take(raw: dict[str, Any]) -> bool:
            nonlocal failure, finished
            try:
                if "error" in raw:
                    failure = _translated(raw["error"], self._context, "".join(text))
                    return True
                chunk = _chunk(raw, wants_logprobs)
                text.append(chunk.text)
                ended = chunk.finish_reason is not None
                finished = receive(chunk) or ended
            except BaseException as error:  # noqa: BLE001 - raised after the call
                failure = error
                return True
            # To stop what has ended by itself would cost the server a cancellation.
            return not ended and (finished or call.cancelled)

        try:
            server.handle_completions(body, take)
        finally:
            # Let go before the end is told: whoever closes the engine must hold the last reference.
            del server
            call.end()
            with self._lock:
                self._calls.discard(call)
        if failure is not None:
            raise failure
        if call.cancelled and not finished:
            raise EngineClosedError("the engine was closed while it generated")
        if not finished:
            raise GenerationError("llama.cpp ended the stream early", partial_text="".join(text))

    def check_open(self) -> None:
        """Raise EngineClosedError after `close`."""
        self._opened()

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        """Token ids, from the server's own tokenizer."""
        self._opened()
        return self._loopback.tokenize(text, special=add_bos)

    def close(self) -> None:
        """Stop running streams and free the model."""
        with self._lock:
            servers = [self._server] if self._server is not None else []
            self._server = None
            calls = list(self._calls)
        for call in calls:
            call.stop()
        if servers:
            self._loopback.free(servers)

    def _opened(self) -> Any:
        server = self._server
        if server is None:
            raise EngineClosedError("the engine was closed", hint="open it again")
        return server


def _body(request: GenerationRequest, context: int) -> dict[str, Any]:
    """The server's request, with every sampling parameter set: its own defaults are not enginebay's."""
    params = request.params
    body: dict[str, Any] = {
        "prompt": request.prompt,
        "stream": True,
        "cache_prompt": True,
        "return_tokens": True,
        "verbose": True,  # the only way to get token ids without logprobs
        "samplers": SAMPLERS if params.temperature else GREEDY_SAMPLERS,
        "temperature": params.temperature or 1.0,
        "top_k": params.top_k if params.temperature else 1,
        "top_p": params.top_p,
        "min_p": params.min_p,
        "repeat_penalty": params.repetition_penalty,
        "repeat_last_n": context,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "n_predict": -1 if params.max_tokens is None else params.max_tokens,
        "seed": _RANDOM_SEED if params.seed is None else params.seed % _RANDOM_SEED,
    }
    if params.logit_bias:
        body["logit_bias"] = [[token, bias] for token, bias in params.logit_bias.items()]
    if params.logprobs is not None:
        body["n_probs"] = max(1, params.logprobs)
    if params.constraint is not None:
        body["grammar"] = constraint_grammar(params.constraint, from_schema=schema_grammar, from_regex=regex_grammar)
    return body


def _chunk(raw: dict[str, Any], wants_logprobs: int | None) -> Chunk:
    choice = raw["choices"][0]
    reason = choice["finish_reason"]
    if reason is not None:
        return Chunk(choice["text"], finish_reason=_FINISH[reason], usage=_usage(raw["usage"]))
    tokens = tuple(raw["__verbose"]["tokens"])
    if wants_logprobs is None:
        return Chunk(choice["text"], tokens)
    entries = choice["logprobs"]["content"]
    return Chunk(choice["text"], tokens, tuple(_logprob(entry, wants_logprobs) for entry in entries))


def _logprob(entry: dict[str, Any], wanted: int) -> TokenLogprob:
    top = entry["top_logprobs"][:wanted]
    return TokenLogprob(
        entry["id"], entry["token"], entry["logprob"], tuple((one["id"], one["token"], one["logprob"]) for one in top)
    )


def _usage(raw: dict[str, Any]) -> Usage:
    cached = raw.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return Usage(raw["prompt_tokens"], raw["completion_tokens"], cached)


def _translated(error: dict[str, Any], context: int, partial_text: str) -> Exception:
    kind, message = error.get("type"), str(error.get("message", "no reason given"))
    if kind == "exceed_context_size_error":
        return ContextLengthError(error.get("n_prompt_tokens"), int(error.get("n_ctx", context)))
    if kind == "invalid_request_error":
        return InvalidParameterError(f"llama.cpp refuses the request: {message}", value=message)
    return GenerationError(f"llama.cpp failed: {message}", partial_text=partial_text)
