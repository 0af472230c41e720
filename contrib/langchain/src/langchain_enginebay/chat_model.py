"""An enginebay generator as LangChain's chat model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import ConfigDict

from enginebay import Bay, Chunk
from enginebay.generation.handle import GeneratorHandle
from enginebay.generation.results import Result
from enginebay.prompts.json_schema import tidy_schema
from enginebay.prompts.tool_calls import parse_tool_calls
from enginebay.prompts.tools import Tool

_ROLES = {"system": "system", "human": "user", "ai": "assistant", "tool": "tool"}
Tools = Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool]


class ChatEnginebay(BaseChatModel):
    """Chats by a configured generator or a model; it is opened on first use.

    Sampling parameters of enginebay (`top_p`, `min_p`, `seed`, `json_schema`, …) go into `sampling`, or into a call or
    `bind`.

    Attributes:
        model: a configured name (`[generators.NAME]`) or a model reference; None takes the default.
        bay: the bay to open it in, which is its owner's to close; a bay of its own when None.
        changes: fields of the generator's configuration over the configured ones: backend, context_length, …
        sampling: enginebay's sampling parameters for every call.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, ignored_types=(cached_property,))

    model: str | None = None
    bay: Any = None
    changes: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None

    @property
    def _llm_type(self) -> str:
        return "enginebay"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model": self.model, "changes": self.changes, **self._params(None, {})}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "enginebay"
        params["ls_model_name"] = str(kwargs.get("model") or self.model or "default")
        return params

    @cached_property
    def _bay(self) -> Bay:
        return self.bay or Bay()

    def generator(self, model: str | None = None) -> GeneratorHandle:
        """The open generator. Raises as `Bay.generator` does."""
        return self._bay.generator(model or self.model, **self.changes)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        handle, said, params = self._request(messages, stop, kwargs)
        return _chat_result(handle.chat(said, **params), bool(params.get("tools")), handle)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        handle, said, params = self._request(messages, stop, kwargs)
        return _chat_result(await handle.achat(said, **params), bool(params.get("tools")), handle)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        handle, said, params = self._request(messages, stop, kwargs)
        if params.get("tools"):  # a call can be read out of the whole text only
            yield _whole(_chat_result(handle.chat(said, **params), True, handle))
            return
        with handle.stream_chat(said, **params) as stream:
            for chunk in stream:
                if chunk.text:
                    made = _text_chunk(chunk)
                    if run_manager:
                        run_manager.on_llm_new_token(chunk.text, chunk=made)
                    yield made
            yield _last_chunk(stream.result, handle)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        handle, said, params = self._request(messages, stop, kwargs)
        if params.get("tools"):
            yield _whole(_chat_result(await handle.achat(said, **params), True, handle))
            return
        async with handle.astream_chat(said, **params) as stream:
            async for chunk in stream:
                if chunk.text:
                    made = _text_chunk(chunk)
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=made)
                    yield made
            yield _last_chunk(stream.result, handle)

    def bind_tools(self, tools: Tools, *, tool_choice: str | None = None, **kwargs: Any) -> Runnable[Any, AIMessage]:
        """A model that may ask for tools; its chat template must know them.

        Args:
            tool_choice: None, "auto" or "none"; forcing a call is not supported here, and "any" is an error when
                the model is called.
        """
        bound = [] if tool_choice == "none" else [convert_to_openai_tool(tool) for tool in tools]
        return super().bind(tools=bound, tool_choice=tool_choice, **kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """A model whose answers are held to a schema by a constraint on its tokens.

        Args:
            schema: a pydantic model, a TypedDict, or a JSON schema.
            include_raw: give {"raw", "parsed", "parsing_error"}.
            kwargs: `method` and `strict`, which other providers need, change nothing here.
        """
        as_json = convert_to_json_schema(schema)
        held = tidy_schema({key: value for key, value in as_json.items() if key not in ("title", "description")})
        model = self.bind(
            json_schema=held,
            ls_structured_output_format={"kwargs": {"method": "json_schema"}, "schema": as_json},
        )
        parser: Runnable[Any, Any]
        if isinstance(schema, type) and is_basemodel_subclass(schema):
            parser = PydanticOutputParser(pydantic_object=schema)
        else:
            parser = JsonOutputParser()
        if not include_raw:
            return model | parser
        parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
        failed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=model) | parsed.with_fallbacks([failed], exception_key="parsing_error")

    def _request(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[GeneratorHandle, list[dict[str, Any]], dict[str, Any]]:
        given = dict(kwargs)
        if given.pop("tool_choice", None) not in (None, "auto", "none"):
            raise NotImplementedError("enginebay does not force a tool call; leave tool_choice out")
        tools = [_tool(one) for one in given.pop("tools", ())]
        handle = self.generator(given.pop("model", None))
        params = self._params(stop, given)
        return handle, [_said(one) for one in messages], {**params, "tools": tools} if tools else params

    def _params(self, stop: list[str] | None, given: Mapping[str, Any]) -> dict[str, Any]:
        own = {"temperature": self.temperature, "max_tokens": self.max_tokens, "stop": stop or self.stop}
        return {**self.sampling, **{name: value for name, value in own.items() if value is not None}, **given}


def _said(message: BaseMessage) -> dict[str, Any]:
    """A message as enginebay takes it.

    Raises:
        NotImplementedError: it has content other than text.
    """
    role = _ROLES.get(message.type)
    if role is None:
        raise NotImplementedError(f"messages of type {message.type!r} are not supported")
    if not isinstance(message.content, str) and any(
        not isinstance(part, str) and part.get("type") not in ("text", "tool_use") for part in message.content
    ):
        raise NotImplementedError("only text content is supported")
    said: dict[str, Any] = {"role": role, "content": str(message.text)}
    if isinstance(message, AIMessage) and message.tool_calls:
        said["tool_calls"] = [
            {"id": call["id"], "name": call["name"], "arguments": call["args"]} for call in message.tool_calls
        ]
    if isinstance(message, ToolMessage):
        said["tool_call_id"] = message.tool_call_id
    return said


def _tool(definition: Mapping[str, Any]) -> Tool:
    function = definition["function"]

    def run(**_: Any) -> None:
        raise NotImplementedError("LangChain runs the tools")

    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    return Tool(function["name"], function.get("description", ""), parameters, run)


def _chat_result(result: Result, tools: bool, handle: GeneratorHandle) -> ChatResult:
    text, calls, broken = result.text, [], []
    if tools:
        parsed = parse_tool_calls(result.text)
        calls = [
            {"name": call.name, "args": dict(call.arguments), "id": call.id, "type": "tool_call"}
            for call in parsed.calls
        ]
        broken = [
            {"name": None, "args": piece, "id": None, "error": "no valid JSON", "type": "invalid_tool_call"}
            for piece in parsed.broken
        ]
        text = parsed.content if calls or broken else text
    message = AIMessage(
        content=text,
        tool_calls=calls,
        invalid_tool_calls=broken,
        usage_metadata=_usage(result),
        response_metadata=_metadata(result, handle),
    )
    return ChatResult(generations=[ChatGeneration(message=message)])


def _whole(result: ChatResult) -> ChatGenerationChunk:
    message = result.generations[0].message
    assert isinstance(message, AIMessage)
    pieces = [
        {"name": call["name"], "args": json.dumps(call["args"]), "id": call["id"], "index": place}
        for place, call in enumerate(message.tool_calls)
    ]
    made = AIMessageChunk(
        content=message.content,
        tool_call_chunks=pieces,
        usage_metadata=message.usage_metadata,
        response_metadata=message.response_metadata,
        chunk_position="last",
    )
    return ChatGenerationChunk(message=made)


def _text_chunk(chunk: Chunk) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=chunk.text))


def _last_chunk(result: Result, handle: GeneratorHandle) -> ChatGenerationChunk:
    made = AIMessageChunk(
        content="",
        usage_metadata=_usage(result),
        response_metadata=_metadata(result, handle),
        chunk_position="last",
    )
    return ChatGenerationChunk(message=made)


def _usage(result: Result) -> UsageMetadata:
    read, written = result.usage.prompt_tokens, result.usage.completion_tokens
    return UsageMetadata(
        input_tokens=read,
        output_tokens=written,
        total_tokens=read + written,
        input_token_details={"cache_read": result.usage.cached_tokens},
    )


def _metadata(result: Result, handle: GeneratorHandle) -> dict[str, Any]:
    return {
        "model_name": handle.model.reference,
        "model_provider": "enginebay",
        "finish_reason": result.finish_reason.value,
        "backend": result.backend,
        "device": result.device,
    }
