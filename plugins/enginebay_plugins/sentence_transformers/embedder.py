"""The sentence-transformers embedder."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling as PoolingStep

from enginebay import DeviceKind, Embedded, Embedder, OpenRequest, Pooling
from enginebay.errors import ContextLengthError, EngineClosedError, EngineOpenError, UnsupportedFeatureError
from enginebay.hardware.torch_devices import torch_device
from enginebay.models.quietly import quietly
from enginebay_plugins.sentence_transformers.options import SentenceTransformersOptions

_MODES = {Pooling.MEAN: "mean", Pooling.CLS: "cls", Pooling.LAST: "lasttoken"}


def open_embedder(request: OpenRequest) -> Embedder:
    """Load a model with all of its steps.

    Raises:
        EngineOpenError: sentence-transformers refuses the model or an option.
    """
    given = request.options
    options = given if isinstance(given, SentenceTransformersOptions) else SentenceTransformersOptions()
    folder = request.model.path
    if folder is None or not folder.is_dir():
        raise EngineOpenError(f"there is no model folder at {folder}", value=str(folder), hint="see: enginebay models")
    if request.device.kind is DeviceKind.CPU:
        torch.set_num_threads(options.threads or max(1, int(request.cpu.usable_cores)))
    with quietly():
        try:
            model = _load(folder, request, options)
        except (OSError, ValueError, ImportError, RuntimeError, KeyError, AttributeError) as error:
            raise EngineOpenError(
                f"sentence-transformers did not open {folder}: {str(error).strip() or type(error).__name__}",
                value=str(folder),
                hint="verify the folder (enginebay models verify); a folder with code of its own needs "
                "the option trust_remote_code",
            ) from error
    return SentenceTransformersEmbedder(model, request)


def _load(folder: Path, request: OpenRequest, options: SentenceTransformersOptions) -> Any:
    more: dict[str, Any] = {"torch_dtype": options.dtype}
    if options.attention is not None:
        more["attn_implementation"] = options.attention
    model: Any = SentenceTransformer(
        str(folder),
        device=torch_device(request.device),
        trust_remote_code=options.trust_remote_code,
        local_files_only=True,
        model_kwargs=more,
    )
    stated = request.embedding.pooling if request.embedding is not None else None
    for step in model:
        if isinstance(step, PoolingStep):
            if not step.include_prompt:
                raise ValueError("its pooling leaves prompts out, which enginebay puts before texts by itself")
            if stated is not None:
                step.pooling_mode = _MODES[stated]
    return model.eval()


class SentenceTransformersEmbedder(Embedder):
    """A model in memory; it takes one call at a time."""

    def __init__(self, model: Any, request: OpenRequest) -> None:
        self.max_batch = request.streams
        self._model = model
        self._dimension = int(model.get_embedding_dimension())
        # The model's own tokenizer is set to cut and to pad, which is no state to share with one that counts.
        self._counter = copy.deepcopy(model.tokenizer) if callable(getattr(model, "tokenizer", None)) else None
        self._counting = threading.Lock()
        self.context_length = request.context_length if self._counter is not None else None
        if self._counter is not None:
            model.max_seq_length = request.context_length

    @property
    def dimension(self) -> int:
        """Width of a vector."""
        return self._dimension

    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embedded:
        """Embed a batch; see `Embedder.embed`."""
        model, limit = self._open(), self.context_length
        counts = self.count_tokens(texts) if limit is not None else []
        long = tuple(row for row, count in enumerate(counts) if limit is not None and count > limit)
        if long and limit is not None and not truncate:
            raise ContextLengthError(counts[long[0]], limit, text=long[0])
        # An empty prompt keeps it from putting one before the texts.
        vectors = model.encode(list(texts), prompt="", batch_size=len(texts), show_progress_bar=False)
        read = sum(min(count, limit) for count in counts) if limit is not None else None
        return Embedded(np.asarray(vectors, dtype=np.float32), read, long)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text; see `Embedder.count_tokens`."""
        self._open()
        if self._counter is None:
            raise UnsupportedFeatureError("the model has no tokenizer of its own", value=type(self._model).__name__)
        with self._counting:
            ids = self._counter(list(texts), return_attention_mask=False, verbose=False)["input_ids"]
        return [len(row) for row in ids]

    def close(self) -> None:
        """Free the model."""
        self._model = None

    def _open(self) -> Any:
        if self._model is None:
            raise EngineClosedError("the engine was closed", hint="open it again")
        return self._model
