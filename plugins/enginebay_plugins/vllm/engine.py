"""The vLLM engine: AsyncLLM on a loop of its own, its workers in child processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from enginebay import (
    Chunk,
    DeviceKind,
    FinishReason,
    GenerationRequest,
    Generator,
    LoopGenerator,
    OpenRequest,
    TokenLogprob,
    Usage,
)
from enginebay.errors import (
    ContextLengthError,
    EngineClosedError,
    EngineOpenError,
    GenerationError,
    InvalidParameterError,
)
from enginebay.interfaces.generator import Scores
from enginebay.models.tokenizer import Tokenizer
from enginebay_plugins.vllm.options import VllmOptions
from enginebay_plugins.vllm.sampling import sampling_params, scoring_params

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


def open_engine(request: OpenRequest) -> Generator:
    """Start the engine and its workers.

    Raises:
        EngineOpenError: vLLM refuses the model or an option, or the calling script has no main guard.
        ModelFormatError: the folder has no tokenizer.json.
    """
    options = request.options if isinstance(request.options, VllmOptions) else VllmOptions()
    folder = request.model.path
    if folder is None or not folder.is_dir():
        raise EngineOpenError(f"there is no model folder at {folder}", value=str(folder), hint="see: enginebay models")
    _check_main_guard()
    tokenizer = Tokenizer(folder)
    engine = VllmGenerator(tokenizer, request.context_length, request.streams)
    with _environment(request, options):
        try:
            engine.start(request, folder, options)
        except Exception as error:
            engine.close()
            raise EngineOpenError(
                f"vLLM did not open {folder}: {_reason(error)}",
                value=str(folder),
                hint="ask for less context or fewer streams, or set the option log_level to INFO and look at its log",
            ) from error
    return engine


def _check_main_guard() -> None:
    """vLLM's workers import the calling script anew; one without a guard would open the engine once more in each."""
    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        raise EngineOpenError(
            "vLLM starts child processes, which import the script that started them",
            hint='put the script\'s work under: if __name__ == "__main__":',
        )


@contextmanager
def _environment(request: OpenRequest, options: VllmOptions) -> Iterator[None]:
    """What vLLM reads from the environment when it starts; what was there before comes back."""
    wanted = {"VLLM_LOGGING_LEVEL": options.log_level, "VLLM_NO_USAGE_STATS": "1"}
    if request.device.kind is DeviceKind.CPU:
        needed = request.model.kv_bytes_per_token() * request.context_length * request.streams
        wanted["VLLM_CPU_KVCACHE_SPACE"] = str(options.kv_cache_gib or max(1, -(-needed // (1 << 30))))
    elif (index := request.device.id.partition(":")[2]).isdigit() and options.tensor_parallel_size == 1:
        name = "HIP_VISIBLE_DEVICES" if request.device.kind is DeviceKind.ROCM else "CUDA_VISIBLE_DEVICES"
        wanted[name] = index
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _arguments(request: OpenRequest, folder: Path, options: VllmOptions) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": str(folder),
        "tokenizer": str(folder),
        "dtype": options.dtype,
        "quantization": options.quantization,
        "kv_cache_dtype": options.kv_cache_dtype,
        "max_model_len": request.context_length,
        "max_num_seqs": request.streams,
        "max_logprobs": 100,
        "tensor_parallel_size": options.tensor_parallel_size,
        "pipeline_parallel_size": options.pipeline_parallel_size,
        "enable_prefix_caching": options.enable_prefix_caching,
        "enforce_eager": options.enforce_eager,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "trust_remote_code": options.trust_remote_code,
        "generation_config": "vllm",  # the folder's own sampling defaults would mix with the request's
        "disable_log_stats": True,
        "structured_outputs_config": {"backend": options.structured_outputs, "disable_any_whitespace": True},
    }
    if options.max_num_batched_tokens is not None:
        arguments["max_num_batched_tokens"] = options.max_num_batched_tokens
    if options.lora is not None:
        arguments |= {"enable_lora": True, "max_lora_rank": options.max_lora_rank}
    return arguments


def _refusals() -> tuple[type[Exception], ...]:
    """What vLLM raises for a wrong request; older versions have ValueError alone."""
    try:
        from vllm.exceptions import VLLMClientError
    except ImportError:
        return (ValueError,)
    return (ValueError, VLLMClientError)


def _reason(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


class VllmGenerator(LoopGenerator):
    """A running vLLM engine.

    Args:
        context: tokens one sequence may hold.
        streams: sequences decoded together; more wait in vLLM's own queue.
    """

    def __init__(self, tokenizer: Tokenizer, context: int, streams: int) -> None:
        super().__init__()
        self.max_concurrency = streams
        self._tokenizer = tokenizer
        self._context = context
        self._engine: Any = None
        self._lora: Any = None

    def start(self, request: OpenRequest, folder: Path, options: VllmOptions) -> None:
        """Start vLLM in this engine's loop."""
        logging.getLogger("vllm").setLevel(options.log_level)

        async def make() -> Any:
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM

            return AsyncLLM.from_engine_args(AsyncEngineArgs(**_arguments(request, folder, options)))

        self._engine = self.on_loop(make())
        if options.lora is not None:
            from vllm.lora.request import LoRARequest

            self._lora = LoRARequest("adapter", 1, str(options.lora.expanduser()))

    @property
    def context_length(self) -> int:
        """Tokens of one sequence."""
        return self._context

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        """Token ids; see `Generator.tokenize`."""
        self.check_open()
        return self._tokenizer.encode(text, add_bos=add_bos)

    async def produce(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Generate; see `LoopGenerator.produce`. Leaving the engine's own generator aborts the request."""
        from vllm.v1.engine.exceptions import EngineDeadError

        prompt = self._tokenizer.encode(request.prompt, add_bos=request.add_bos)
        if not prompt:
            raise InvalidParameterError("the prompt has no tokens", value="", hint="give at least one character")
        if len(prompt) >= self._context:
            raise ContextLengthError(len(prompt), self._context)
        params = sampling_params(request.params, len(self._tokenizer), self._context - len(prompt))
        outputs = self._engine.generate({"prompt_token_ids": prompt}, params, uuid4().hex, lora_request=self._lora)
        text, count = "", 0
        try:
            async for answer in outputs:
                [output] = answer.outputs
                count += len(output.token_ids)
                text += output.text
                logprobs = self._logprobs(output, request.params.logprobs)
                yield Chunk(output.text, tuple(output.token_ids), logprobs)
                if output.finish_reason is not None:
                    if output.finish_reason not in _FINISH:
                        raise GenerationError(f"vLLM ended the request: {output.finish_reason}", partial_text=text)
                    usage = Usage(len(prompt), count, answer.num_cached_tokens or 0)
                    yield Chunk("", finish_reason=_FINISH[output.finish_reason], usage=usage)
        except EngineDeadError as error:
            if self._closed:
                raise EngineClosedError("the engine was closed while it generated") from error
            raise GenerationError(
                "vLLM's worker process has died", partial_text=text, hint="open the engine again"
            ) from error
        except _refusals() as error:
            raise InvalidParameterError(f"vLLM refuses the request: {_reason(error)}", value=request.params) from error
        finally:
            await outputs.aclose()

    def score(self, tokens: Sequence[int]) -> Scores:
        """Log-probabilities of given tokens; see `Generator.score`. A token level with the likeliest counts as that."""
        self.check_open()
        entries = self.on_loop(self._scored(list(tokens)))
        found = [entry[token].logprob for token, entry in zip(tokens[1:], entries, strict=True)]
        best = [max(one.logprob for one in entry.values()) for entry in entries]
        return Scores(np.array(found, dtype=np.float64), np.array(found) >= np.array(best))

    async def _scored(self, tokens: list[int]) -> list[dict[int, Any]]:
        """vLLM's entries for each token after the first: its own and the likeliest one's log-probability.

        The last token is generated, the only one allowed: so tokens that fill the context are scored, too.
        """
        from vllm.v1.engine.exceptions import EngineDeadError

        prompt, last = tokens[:-1], tokens[-1]
        entries: list[dict[int, Any]] = []
        try:
            async for answer in self._engine.generate(
                {"prompt_token_ids": prompt}, scoring_params(last), uuid4().hex, lora_request=self._lora
            ):
                [output] = answer.outputs
                entries = [*(answer.prompt_logprobs or [None])[1:], *(output.logprobs or [])]
        except EngineDeadError as error:
            raise GenerationError("vLLM's worker process has died", hint="open the engine again") from error
        except _refusals() as error:
            raise InvalidParameterError(f"vLLM refuses the tokens: {_reason(error)}", value=tokens) from error
        return entries

    async def shut_down(self) -> None:
        """End the workers."""
        if self._engine is not None:
            self._engine.shutdown()
            self._engine = None

    def _logprobs(self, output: Any, wanted: int | None) -> tuple[TokenLogprob, ...]:
        if wanted is None or not output.logprobs:
            return ()
        return tuple(
            self._logprob(token, entry, wanted) for token, entry in zip(output.token_ids, output.logprobs, strict=True)
        )

    def _logprob(self, token: int, entry: dict[int, Any], wanted: int) -> TokenLogprob:
        # vLLM adds the drawn token to the likeliest ones.
        best = sorted(entry.items(), key=lambda item: -item[1].logprob)[:wanted]
        top = tuple((one, self._tokenizer.text(one), float(found.logprob)) for one, found in best)
        return TokenLogprob(token, self._tokenizer.text(token), float(entry[token].logprob), top)
