"""The MLC engine: AsyncMLCEngine, whose requests run together, on a loop of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import uuid4

from mlc_llm import AsyncMLCEngine
from mlc_llm.serve.config import EngineConfig

from enginebay import Chunk, FinishReason, GenerationRequest, Generator, LoopGenerator, OpenRequest, Usage
from enginebay.errors import (
    ContextLengthError,
    EngineClosedError,
    EngineOpenError,
    GenerationError,
    InvalidParameterError,
)
from enginebay.models.tokenizer import Tokenizer
from enginebay_plugins.mlc.converter import library_of
from enginebay_plugins.mlc.options import MlcOptions
from enginebay_plugins.mlc.sampling import completion_arguments

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


def open_engine(request: OpenRequest) -> Generator:
    """Load a converted model; MLC compiles its library where there is none.

    Raises:
        EngineOpenError: MLC refuses the model, the library or an option.
        ModelFormatError: the folder has no tokenizer.json.
    """
    options = request.options if isinstance(request.options, MlcOptions) else MlcOptions()
    folder = request.model.path
    if folder is None or not folder.is_dir():
        raise EngineOpenError(f"there is no model folder at {folder}", value=str(folder), hint="see: enginebay models")
    engine = MlcGenerator(Tokenizer(folder), request.context_length, request.streams)
    try:
        engine.start(request, folder, options)
    except Exception as error:
        engine.close()
        raise EngineOpenError(
            f"MLC did not open {folder}: {_reason(error)}",
            value=str(folder),
            hint="convert the model anew (enginebay convert), ask for less context, or set the option verbose",
        ) from error
    return engine


def _config(request: OpenRequest, options: MlcOptions) -> Any:
    told: dict[str, Any] = {
        "max_num_sequence": request.streams,
        "max_single_sequence_length": request.context_length,
        "max_total_sequence_length": request.context_length * request.streams,
        "prefix_cache_mode": options.prefix_cache_mode,
        "speculative_mode": options.speculative_mode,
        "spec_draft_length": options.spec_draft_length,
        "additional_models": [str(one) for one in options.additional_models],
        "verbose": options.verbose,
    }
    for name in ("tensor_parallel_shards", "gpu_memory_utilization", "prefill_chunk_size"):
        if (value := getattr(options, name)) is not None:
            told[name] = value
    return EngineConfig(**told)


def _reason(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


class MlcGenerator(LoopGenerator):
    """A running MLC engine.

    Args:
        context: tokens one sequence may hold.
        streams: sequences decoded together; more wait in MLC's own queue.
    """

    def __init__(self, tokenizer: Tokenizer, context: int, streams: int) -> None:
        super().__init__()
        self.max_concurrency = streams
        self._tokenizer = tokenizer
        self._context = context
        self._engine: Any = None

    def start(self, request: OpenRequest, folder: Path, options: MlcOptions) -> None:
        """Start MLC; its callbacks come to this engine's loop."""
        library = options.model_lib or library_of(folder, request.device.kind)

        async def make() -> Any:
            return AsyncMLCEngine(
                str(folder),
                device=request.device.id,
                model_lib=None if library is None else str(library),
                mode=options.mode,
                engine_config=_config(request, options),
            )

        self._engine = self.on_loop(make())

    @property
    def context_length(self) -> int:
        """Tokens of one sequence."""
        return self._context

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        """Token ids; see `Generator.tokenize`."""
        self.check_open()
        return self._tokenizer.encode(text, add_bos=add_bos)

    async def produce(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Generate; see `LoopGenerator.produce`. Chunks have no token ids: MLC's API gives texts only."""
        prompt = self._tokenizer.encode(request.prompt, add_bos=request.add_bos)
        if not prompt:
            raise InvalidParameterError("the prompt has no tokens", value="", hint="give at least one character")
        if len(prompt) >= self._context:
            raise ContextLengthError(len(prompt), self._context)
        arguments = completion_arguments(request.params, self._context - len(prompt))
        name, text, reason = uuid4().hex, "", None
        try:
            answers = await self._engine.completions.create(
                prompt=prompt, request_id=name, stream=True, stream_options={"include_usage": True}, **arguments
            )
            async for answer in answers:
                for choice in answer.choices:
                    text += choice.text
                    reason = choice.finish_reason or reason
                    yield Chunk(choice.text)
                if answer.usage is not None:
                    yield Chunk("", finish_reason=self._finished(reason, text), usage=_usage(answer.usage))
                    reason = None
                    return
            raise GenerationError("MLC ended the stream without a last word", partial_text=text)
        except ValueError as error:
            raise InvalidParameterError(f"MLC refuses the request: {_reason(error)}", value=request.params) from error
        except RuntimeError as error:
            if self._closed:
                raise EngineClosedError("the engine was closed while it generated") from error
            raise GenerationError(f"MLC failed: {_reason(error)}", partial_text=text) from error
        finally:
            # Closing the outermost of MLC's generators leaves the inner ones to the garbage collector.
            if self._engine is not None:
                await self._engine.abort(name)

    async def shut_down(self) -> None:
        """End MLC's threads and free its memory."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.terminate()

    @staticmethod
    def _finished(reason: str | None, text: str) -> FinishReason:
        if reason not in _FINISH:
            raise GenerationError(f"MLC ended the request: {reason}", partial_text=text)
        return _FINISH[reason]


def _usage(usage: Any) -> Usage:
    cached = (usage.extra or {}).get("prefix_cache_hit_tokens", 0) if usage.extra else 0
    return Usage(usage.prompt_tokens, usage.completion_tokens, int(cached))
