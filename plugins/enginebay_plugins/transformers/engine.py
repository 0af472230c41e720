"""The transformers engine: `generate` with a logits processor that draws, reports and stops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, DynamicCache, GenerationConfig, LogitsProcessor, StoppingCriteria

from enginebay import (
    CallbackGenerator,
    Chunk,
    DeviceKind,
    GenerationRequest,
    Generator,
    LogitsModel,
    OpenRequest,
    Vocabulary,
)
from enginebay.errors import EngineClosedError, EngineOpenError
from enginebay.hardware.torch_devices import torch_device
from enginebay.models.quietly import quietly
from enginebay.models.token_output import TokenOutput
from enginebay.models.tokenizer import Tokenizer
from enginebay.sampling.masks import ConstraintMask, guidance_tokenizer
from enginebay_plugins.transformers.drawing import Drawing
from enginebay_plugins.transformers.options import TransformersOptions
from enginebay_plugins.transformers.quantized import check_quantization


def open_engine(request: OpenRequest) -> Generator:
    """Load a model.

    Raises:
        EngineOpenError: transformers refuses the model, an adapter or an option.
        ModelFormatError: the folder has no tokenizer.json.
    """
    options = request.options if isinstance(request.options, TransformersOptions) else TransformersOptions()
    folder = request.model.path
    if folder is None or not folder.is_dir():
        raise EngineOpenError(f"there is no model folder at {folder}", value=str(folder), hint="see: enginebay models")
    tokenizer = Tokenizer(folder)
    check_quantization(request.model, options.quantization)
    if request.device.kind is DeviceKind.CPU:
        torch.set_num_threads(options.threads or max(1, int(request.cpu.usable_cores)))
    with quietly():
        try:
            model = _load(folder, request, options)
        except (OSError, ValueError, ImportError, RuntimeError, KeyError, AttributeError) as error:
            raise EngineOpenError(
                f"transformers did not open {folder}: {str(error).strip() or type(error).__name__}",
                value=str(folder),
                hint="verify the folder (enginebay models verify); a folder with code of its own needs "
                "the option trust_remote_code",
            ) from error
    return TransformersGenerator(model, tokenizer, request.context_length, request.streams)


def _load(folder: Any, request: OpenRequest, options: TransformersOptions) -> Any:
    device = torch_device(request.device)
    more: dict[str, Any] = {}
    quantized = options.quantization is not None or bool(request.model.quantization_method)
    if quantized:  # quantised weights are loaded where they stay: not all can be moved
        more["device_map"] = {"": device}
    if options.quantization is not None:
        more["quantization_config"] = _bitsandbytes(options.quantization)
    if options.attention is not None:
        more["attn_implementation"] = options.attention
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=options.dtype, trust_remote_code=options.trust_remote_code, local_files_only=True, **more
    )
    if options.lora:
        from peft import PeftModel

        for adapter in options.lora:
            model = PeftModel.from_pretrained(model, str(adapter.expanduser())).merge_and_unload()
    if not quantized:
        model = model.to(device)
    # The folder's own sampling defaults would mix with the request's.
    model.generation_config = GenerationConfig()
    return model.eval()


def _bitsandbytes(kind: str) -> Any:
    from transformers import BitsAndBytesConfig

    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_compute_dtype=torch.bfloat16)


class _Row:
    """One output of a batch, and how its tokens are drawn."""

    def __init__(self, output: TokenOutput, drawing: Drawing, end: frozenset[int]) -> None:
        self.output = output
        self._drawing = drawing
        self._end = end

    def step(self, logits: Any, receive: Callable[[Chunk], bool]) -> int:
        """Draw a token and hand it on."""
        token = self._drawing.draw(logits)
        self._drawing.accept(token, ended=token in self._end)
        self.output.take(
            token, receive, logits=lambda: np.asarray(logits.float().cpu().numpy()), complete=self._drawing.complete
        )
        return token


class _Loop(LogitsProcessor):  # type: ignore[misc]
    """What `generate` calls once a token with the logits of all rows."""

    def __init__(
        self, rows: Sequence[_Row], receive: Callable[[int, Chunk], bool], check: Callable[[], None], pad: int
    ) -> None:
        self._rows = rows
        self._receive = receive
        self._check = check
        self._pad = pad

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self._check()
        drawn = [self._step(index, row, scores[index]) for index, row in enumerate(self._rows)]
        # `generate` takes the best: the one that was drawn.
        chosen = torch.full_like(scores, -torch.inf)
        chosen[torch.arange(len(drawn)), torch.tensor(drawn)] = 0.0
        return chosen

    def _step(self, index: int, row: _Row, logits: Any) -> int:
        return self._pad if row.output.done else row.step(logits, lambda chunk: self._receive(index, chunk))


class _Ended(StoppingCriteria):  # type: ignore[misc]
    """Which rows have ended; `generate` returns when all have."""

    def __init__(self, rows: Sequence[_Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        return torch.tensor([row.output.done for row in self._rows], device=input_ids.device)


class TransformersGenerator(CallbackGenerator):
    """A model in memory. Batches of one call are decoded together, calls one after another.

    Args:
        context: tokens one sequence may hold.
        streams: outputs decoded together; a longer batch is cut.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, context: int, streams: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._context = context
        self._streams = streams
        self._size = int(model.get_output_embeddings().weight.shape[0])
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
        """Generate a batch together; see `Generator.push_batch`."""
        for start in range(0, len(requests), self._streams):
            piece = requests[start : start + self._streams]
            self._generate(piece, lambda index, chunk, start=start: receive(start + index, chunk))  # type: ignore[misc]

    def logits_model(self) -> LogitsModel:
        """The same model, handing over logits."""
        return _TransformersLogits(self)

    def check_open(self) -> None:
        """Raise EngineClosedError after `close`."""
        if self._closed:
            raise EngineClosedError("the engine was closed", hint="open it again")

    def close(self) -> None:
        """Stop what runs at its next token, and free the model."""
        self._closed = True
        with self._running:
            if self._model is not None:
                self._model = None
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()

    def _generate(self, requests: Sequence[GenerationRequest], receive: Callable[[int, Chunk], bool]) -> None:
        self.check_open()
        rows = [self._row(request) for request in requests]
        width = max(len(row.output.prompt) for row in rows)
        pad = min(self._tokenizer.end, default=0)
        # Padded on the left, so that all outputs begin at the same place.
        ids = torch.tensor([[pad] * (width - len(row.output.prompt)) + row.output.prompt for row in rows])
        mask = torch.tensor([[0] * (width - len(row.output.prompt)) + [1] * len(row.output.prompt) for row in rows])
        with self._running, torch.inference_mode():
            self.check_open()
            self._model.generate(
                input_ids=ids.to(self._model.device),
                attention_mask=mask.to(self._model.device),
                generation_config=GenerationConfig(
                    do_sample=False, max_new_tokens=self._context, pad_token_id=pad, use_cache=True
                ),
                logits_processor=[_Loop(rows, receive, self.check_open, pad)],
                stopping_criteria=[_Ended(rows)],
            )

    def _row(self, request: GenerationRequest) -> _Row:
        output = TokenOutput(request, self._tokenizer, self._context)
        params = request.params
        mask = None if params.constraint is None else ConstraintMask(params.constraint, self._guidance)
        drawing = Drawing(params, output.prompt, self._size, self._tokenizer.end, mask, self._model.device)
        return _Row(output, drawing, self._tokenizer.end)

    @cached_property
    def _guidance(self) -> Any:
        return guidance_tokenizer(self._tokenizer.vocabulary, self._tokenizer.encode)

    def prompt_logits(self, tokens: Sequence[int]) -> NDArray[np.floating]:
        """Raw logits that follow each of the tokens, in one pass; see `Generator.prompt_logits`."""
        return self.forward(tokens, None, keep=0)

    def forward(self, tokens: Sequence[int], cache: Any, *, keep: int = 1) -> NDArray[np.floating]:
        """Logits that follow the last `keep` tokens, shape (keep, vocabulary); 0 keeps all.

        Args:
            cache: KV cache of what comes before the tokens; None when nothing does.
        """
        with self._running, torch.inference_mode():
            self.check_open()
            ids = torch.tensor([list(tokens)], device=self._model.device)
            answer = self._model(input_ids=ids, past_key_values=cache, use_cache=cache is not None, logits_to_keep=keep)
            return np.asarray(answer.logits[0].float().cpu().numpy())

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._tokenizer


class _TransformersLogits(LogitsModel):
    """An engine seen as one that only hands over logits. The engine is closed by its owner."""

    def __init__(self, engine: TransformersGenerator) -> None:
        self._engine = engine
        self._cache: Any = DynamicCache()
        self._known: list[int] = []

    def logits(self, tokens: Sequence[int]) -> NDArray[np.floating]:
        wanted = list(tokens)
        common = 0
        for known, one in zip(self._known, wanted[:-1], strict=False):
            if known != one:
                break
            common += 1
        if common < len(self._known):
            self._cache.crop(common)
        logits = self._engine.forward(wanted[common:], self._cache)
        self._known = wanted
        return np.asarray(logits[-1])

    def prompt_logits(self, tokens: Sequence[int]) -> NDArray[np.floating]:
        return self._engine.prompt_logits(tokens)

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        return self._engine.tokenize(text, add_bos=add_bos)

    @property
    def vocabulary(self) -> Vocabulary:
        return self._engine.tokenizer.vocabulary

    @property
    def context_length(self) -> int:
        return self._engine.context_length
