"""An engine that is a server elsewhere: httpx for the wire, the official SDK's types for what comes over it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
from openai.types import Completion, CompletionUsage
from openai.types.chat import ChatCompletionChunk
from tenacity import AsyncRetrying

from enginebay import (
    Chunk,
    FinishReason,
    GenerationRequest,
    Generator,
    LoopGenerator,
    OpenRequest,
    TokenLogprob,
    Usage,
)
from enginebay.errors import (
    EngineOpenError,
    GenerationError,
    InvalidParameterError,
    UnsupportedFeatureError,
)
from enginebay_plugins.openai.dialects import sampling_body
from enginebay_plugins.openai.options import ServerOptions
from enginebay_plugins.openai.wire import (
    RefusedError,
    connection,
    json_of,
    listed_context,
    listed_model,
    refused,
    retrying,
    tokenize_request,
    tokenizes,
    translated,
)

_FINISH = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.STOP,
    "eos_token": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
}
_BY_ID = "token_id:"
"""How vLLM writes a token by its id."""


def open_engine(request: OpenRequest) -> Generator:
    """Reach the server and find the model there.

    Raises:
        EngineOpenError: it cannot be reached, refuses the key, or does not have the model.
        ConfigError: the environment lacks the variable with the key.
    """
    options = request.options
    if not isinstance(options, ServerOptions):
        raise EngineOpenError("a server's engine needs options", hint="set base_url")
    engine = ServerGenerator(request.model.name, request.backend, options, request.streams, request.context_length)
    if options.check_model:
        try:
            engine.find_model()
        except BaseException:
            engine.close()
            raise
    return engine


class ServerGenerator(LoopGenerator):
    """A model on a server.

    Args:
        model: the server's name for it.
        backend: kind of server.
        streams: requests sent together; more wait here.
        context: tokens one sequence may hold, where nobody tells better.
    """

    def __init__(self, model: str, backend: str, options: ServerOptions, streams: int, context: int) -> None:
        super().__init__()
        self.max_concurrency = streams
        self._model = model
        self._backend = backend
        self._options = options
        self._context = options.context_length or context
        self._texts: dict[int, str] = {}
        self._client = httpx.AsyncClient(**connection(options, streams))

    @property
    def context_length(self) -> int:
        """Tokens of one sequence: as the server tells, as configured, or as asked for."""
        return self._context

    def find_model(self) -> None:
        """Ask the server for its models.

        Raises:
            EngineOpenError: no answer, a refused key, or the model is not there.
        """
        found = listed_model(lambda: self.on_loop(self._get("models")), self._model, self._options)
        if not self._options.context_length:
            self._context = listed_context(found) or self._context

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        """Token ids, from servers that tokenize; see `Generator.tokenize`.

        Raises:
            UnsupportedFeatureError: this kind of server does not.
        """
        self.check_open()
        if not tokenizes(self._backend):
            raise UnsupportedFeatureError(f"{self._backend} does not tokenize", value=self._backend)
        url, body = tokenize_request(self._backend, self._model, self._options, text, special=add_bos)
        try:
            answer = self.on_loop(self._post(url, body))
        except (httpx.HTTPError, RefusedError) as error:
            raise self._translated(error, "") from error
        return [int(token) for token in answer["tokens"]]

    async def produce(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Generate; see `LoopGenerator.produce`. Leaving it closes the connection, at which servers stop."""
        path, body = self._body(request)
        text = ""
        gathered = _Gathered(request.params.logprobs)
        try:
            async for attempt in self._retrying():
                with attempt:
                    answer = await self._send(path, body)
            try:
                async for event in _events(answer):
                    for chunk in gathered.take(event):
                        text += chunk.text
                        yield await self._with_texts(chunk) if self._backend == "openai_vllm" else chunk
            finally:
                await answer.aclose()
        except (httpx.HTTPError, RefusedError) as error:
            raise self._translated(error, text) from error
        yield gathered.last(text)

    async def _with_texts(self, chunk: Chunk) -> Chunk:
        """vLLM names tokens by their ids when asked to, which are unambiguous; their texts are asked for once."""
        if not chunk.logprobs:
            return chunk
        wanted = {one.token_id for one in chunk.logprobs} | {top[0] for one in chunk.logprobs for top in one.top}
        missing = sorted(token for token in wanted if token not in self._texts)
        url = str(httpx.URL(self._options.base_url).copy_with(path="/detokenize"))
        answers = await asyncio.gather(
            *(self._post(url, {"model": self._model, "tokens": [token]}) for token in missing)
        )
        self._texts |= {token: str(answer["prompt"]) for token, answer in zip(missing, answers, strict=True)}

        def named(one: TokenLogprob) -> TokenLogprob:
            top = tuple((token, self._texts[token], value) for token, _, value in one.top)
            return TokenLogprob(one.token_id, self._texts[one.token_id], one.logprob, top)

        return replace(chunk, logprobs=tuple(map(named, chunk.logprobs)))

    async def shut_down(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _body(self, request: GenerationRequest) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {"model": self._model, "stream": True, "stream_options": {"include_usage": True}}
        body |= sampling_body(self._backend, request.params)
        wanted = request.params.logprobs
        if request.messages is None:
            if not request.prompt:
                raise InvalidParameterError("the prompt is empty", value="", hint="give at least one character")
            body["prompt"] = request.prompt
            body["add_special_tokens"] = request.add_bos
            if wanted is not None:
                body["logprobs"] = max(1, wanted)
            if self._backend != "openai_vllm":
                body.pop("add_special_tokens")
            return "completions", body
        body["messages"] = [dict(message) for message in request.messages]
        if request.tools:
            body["tools"] = [dict(tool) for tool in request.tools]
        if wanted is not None:
            body |= {"logprobs": True, "top_logprobs": max(1, wanted)}
        return "chat/completions", body

    async def _send(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """Send a request whose answer is streamed; errors are raised before the first byte of it."""
        answer = await self._client.send(self._client.build_request("POST", path, json=body), stream=True)
        if answer.is_error:
            try:
                await answer.aread()
            finally:
                await answer.aclose()
            raise refused(answer)
        return answer

    async def _get(self, path: str) -> dict[str, Any]:
        async for attempt in self._retrying():
            with attempt:
                return json_of(await self._client.get(path))
        raise AssertionError("unreachable")

    async def _post(self, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
        async for attempt in self._retrying():
            with attempt:
                return json_of(await self._client.post(url, json=body))
        raise AssertionError("unreachable")

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(**retrying(self._options))

    def _translated(self, error: Exception, text: str) -> Exception:
        def failure(message: str, hint: str | None) -> Exception:
            return GenerationError(message, partial_text=text, hint=hint)

        return translated(error, self._options, self._context, failure)


class _Gathered:
    """What the events of one answer have told so far."""

    def __init__(self, wanted: int | None) -> None:
        self._wanted = wanted
        self._tools: dict[int, dict[str, str]] = {}
        self._reason: FinishReason | None = None
        self._usage: CompletionUsage | None = None
        self._count = 0

    def take(self, event: Mapping[str, Any]) -> list[Chunk]:
        """The chunks of one event.

        Raises:
            GenerationError: the event tells an error.
        """
        if "error" in event:
            raise GenerationError(f"the server failed: {event['error']}")
        if event.get("usage"):
            self._usage = CompletionUsage.construct(**event["usage"])
        if not event.get("choices"):
            return []
        choice = event["choices"][0]
        if choice.get("finish_reason"):
            self._reason = _FINISH.get(choice["finish_reason"], FinishReason.STOP)
        if "delta" in choice:
            parsed = ChatCompletionChunk.construct(**event).choices[0]
            for call in parsed.delta.tool_calls or ():
                self._take_tool_call(call)
            text = parsed.delta.content or ""
            logprobs = self._of_chat(choice.get("logprobs"))
        else:
            text = Completion.construct(**event).choices[0].text or ""
            logprobs = _of_completion(choice.get("logprobs"), self._wanted)
        told = choice.get("token_ids") or (event.get("__verbose") or {}).get("tokens")
        ids = tuple(told or [entry.token_id for entry in logprobs])
        self._count += len(ids) or bool(text)
        return [Chunk(text, ids, logprobs)] if text or ids else []

    def last(self, text: str) -> Chunk:
        """The chunk that ends the output, with tool calls in the form that enginebay's parser reads."""
        if self._reason is None:
            raise GenerationError("the server's stream ended without a finish reason", partial_text=text)
        calls = "".join(_tool_call(call) for _, call in sorted(self._tools.items()))
        usage = self._usage
        if usage is None:
            return Chunk(calls, finish_reason=self._reason, usage=Usage(0, self._count))
        details = getattr(usage, "prompt_tokens_details", None)
        cached = (
            details.get("cached_tokens") if isinstance(details, dict) else getattr(details, "cached_tokens", 0)
        ) or 0
        return Chunk(
            calls, finish_reason=self._reason, usage=Usage(usage.prompt_tokens, usage.completion_tokens, cached or 0)
        )

    def _take_tool_call(self, call: Any) -> None:
        known = self._tools.setdefault(call.index, {"name": "", "arguments": ""})
        if call.function is not None:
            known["name"] += call.function.name or ""
            known["arguments"] += call.function.arguments or ""

    def _of_chat(self, logprobs: Mapping[str, Any] | None) -> tuple[TokenLogprob, ...]:
        if self._wanted is None or not logprobs or not logprobs.get("content"):
            return ()
        return tuple(_entry(entry, self._wanted) for entry in logprobs["content"])


def _id(token: str, told: object = None) -> int:
    """A token's id, where the server tells it: in a field of its own, or in place of the text; else -1."""
    if isinstance(told, int):
        return told
    return int(token.removeprefix(_BY_ID)) if token.startswith(_BY_ID) else -1


def _entry(entry: Mapping[str, Any], wanted: int) -> TokenLogprob:
    top = tuple(
        (_id(str(one["token"]), one.get("id")), str(one["token"]), float(one["logprob"]))
        for one in entry.get("top_logprobs", ())
    )
    best = tuple(sorted(top, key=lambda one: -one[2])[:wanted])
    return TokenLogprob(_id(str(entry["token"]), entry.get("id")), str(entry["token"]), float(entry["logprob"]), best)


def _of_completion(logprobs: Mapping[str, Any] | None, wanted: int | None) -> tuple[TokenLogprob, ...]:
    """Log-probabilities of a completion: llama.cpp writes them as for a chat, others in four lists."""
    if wanted is None or not logprobs:
        return ()
    if logprobs.get("content"):
        return tuple(_entry(entry, wanted) for entry in logprobs["content"])
    entries = []
    tops = logprobs.get("top_logprobs") or [{}] * len(logprobs.get("tokens", ()))
    for token, logprob, top in zip(logprobs.get("tokens", ()), logprobs.get("token_logprobs", ()), tops, strict=False):
        best = sorted((top or {}).items(), key=lambda one: -one[1])[:wanted]
        likeliest = tuple((_id(text), text, float(value)) for text, value in best)
        entries.append(TokenLogprob(_id(token), token, float(logprob), likeliest))
    return tuple(entries)


def _tool_call(call: Mapping[str, str]) -> str:
    try:
        arguments = json.loads(call["arguments"] or "{}")
    except ValueError:
        arguments = call["arguments"]
    return (
        f"<tool_call>\n{json.dumps({'name': call['name'], 'arguments': arguments}, ensure_ascii=False)}\n</tool_call>"
    )


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events (HTML standard, section 9.2), up to "[DONE]"."""
    async for line in answer.aiter_lines():
        if line.startswith("error:"):  # llama.cpp's
            yield {"error": line.removeprefix("error:").strip()}
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        try:
            yield json.loads(data)
        except ValueError as error:
            raise GenerationError(f"the server sent no JSON: {data[:80]}", value=data) from error
