"""Reranking by a cross-encoder, which reads a question and a text together."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentence_transformers import CrossEncoder

from enginebay.errors import EngineError, EngineOpenError, TruncationWarning
from enginebay.models.quietly import quietly


class CrossEncoderReranker:
    """Scores texts against a question, as `rerank=` of a search takes it. Many threads may call it, one at a time.

    It loads from this machine alone, weights as safetensors alone, and runs no code of the model's folder.

    Args:
        folder: of a cross-encoder as sentence-transformers or transformers saves it, which gives one score.
        device: as PyTorch names it, such as "cuda:0"; None takes the best that PyTorch sees.
        batch_size: texts that are scored at once.

    Raises:
        EngineOpenError: there is no such model, or it gives several scores for a text.
    """

    def __init__(self, folder: Path | str, *, device: str | None = None, batch_size: int = 32) -> None:
        if not Path(folder).is_dir():
            raise EngineOpenError(f"there is no model folder at {folder}", value=str(folder))
        with quietly():
            try:
                self._model: Any = CrossEncoder(
                    str(folder), device=device, local_files_only=True, model_kwargs={"use_safetensors": True}
                )
            except (OSError, ValueError, ImportError, RuntimeError, KeyError, AttributeError) as error:
                raise EngineOpenError(
                    f"sentence-transformers did not open {folder}: {str(error).strip() or type(error).__name__}",
                    value=str(folder),
                ) from error
        if self._model.num_labels != 1:
            raise EngineOpenError(
                f"{folder} gives {self._model.num_labels} scores for a text, not one",
                value=self._model.num_labels,
                hint="take a cross-encoder that was trained to rank",
            )
        self._batch_size = batch_size
        # The model's own tokenizer is set to cut.
        self._counter = copy.deepcopy(self._model.tokenizer)
        self._lock = threading.Lock()

    def __call__(self, question: str, texts: Sequence[str]) -> list[float]:
        """The score of each text, higher is better; their scale is the model's own.

        Texts that are too long together with the question are cut, with a `TruncationWarning`.

        Raises:
            EngineError: the model failed.
        """
        if not texts:
            return []
        pairs = [(question, text) for text in texts]
        with self._lock:
            self._warn_of_cuts(pairs)
            try:
                scores = self._model.predict(pairs, batch_size=self._batch_size, show_progress_bar=False)
            except (ValueError, RuntimeError) as error:
                raise EngineError(f"sentence-transformers did not score {len(pairs)} texts: {error}") from error
        return [float(score) for score in scores]

    def _warn_of_cuts(self, pairs: Sequence[tuple[str, str]]) -> None:
        ids = self._counter(list(pairs), return_attention_mask=False, verbose=False)["input_ids"]
        limit = self._model.max_seq_length
        cut = [place for place, row in enumerate(ids) if limit is not None and len(row) > limit]
        if cut:
            warnings.warn(
                f"{len(cut)} of {len(pairs)} texts were cut to {limit} tokens with the question, text {cut[0]} the "
                "first of them",
                TruncationWarning,
                stacklevel=3,
            )
