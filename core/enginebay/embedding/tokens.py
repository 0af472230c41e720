"""Texts as tokens, for engines that run the transformer alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from enginebay.errors import ContextLengthError
from enginebay.interfaces.embedder import Embedded
from enginebay.models.safetensors import read_json
from enginebay.models.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """The tokens of some texts, special ones included.

    Attributes:
        ids: of each text.
        truncated: rows whose text was cut.
    """

    ids: list[list[int]]
    truncated: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return sum(map(len, self.ids))

    def embedded(self, most: int, compute: Callable[[TokenBatch], NDArray[np.float32]]) -> Embedded:
        """The vectors of all texts; those of like length are computed together, since padding costs as tokens do.

        Args:
            most: tokens, padding included, that are computed together; a longer text is computed alone.
            compute: gives the vectors of some of the texts, shape (texts, width).
        """
        vectors: NDArray[np.float32] | None = None
        for rows in self._groups(most):
            found = compute(TokenBatch([self.ids[row] for row in rows]))
            if vectors is None:
                vectors = np.empty((len(self.ids), found.shape[1]), dtype=np.float32)
            vectors[rows] = found
        assert vectors is not None
        return Embedded(vectors, self.tokens, self.truncated)

    def padded(self, pad: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids, and the mask that is 1 where a text has a token, both of shape (texts, longest text)."""
        lengths = np.array([len(row) for row in self.ids])
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(mask.shape, pad, dtype=np.int64)
        ids[mask] = np.concatenate(self.ids)
        return ids, mask.astype(np.int64)

    def _groups(self, most: int) -> Iterator[list[int]]:
        group: list[int] = []
        lengths = list(map(len, self.ids))
        for row in sorted(range(len(lengths)), key=lengths.__getitem__):
            if group and (len(group) + 1) * lengths[row] > most:
                yield group
                group = []
            group.append(row)
        if group:
            yield group


class EncoderTokenizer:
    """A model's tokenizer as an embedder needs it: with special tokens, and cut where that is allowed.

    Args:
        folder: the model's.
        limit: tokens of one text that are read, special ones included.

    Raises:
        ModelFormatError: the folder has no tokenizer.json, or a broken one.
        BackendUnavailableError: the tokenizers library is not installed.

    Attributes:
        pad: id that fills up shorter texts.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._raw = Tokenizer(folder).raw
        self._limit = limit
        self._special = int(self._raw.num_special_tokens_to_add(False))
        self.pad = self._pad(folder)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones included, nothing cut."""
        return [len(encoding.ids) for encoding in self._raw.encode_batch_fast(list(texts))]

    def encode(self, texts: Sequence[str], *, truncate: bool = False) -> TokenBatch:
        """The tokens of texts.

        Raises:
            ContextLengthError: a text is longer than the limit, and may not be cut.
        """
        ids = [encoding.ids for encoding in self._raw.encode_batch_fast(list(texts))]
        long = tuple(row for row, tokens in enumerate(ids) if len(tokens) > self._limit)
        if long and not truncate:
            raise ContextLengthError(len(ids[long[0]]), self._limit, text=long[0])
        for row in long:
            ids[row] = self._cut(texts[row])
        return TokenBatch(ids, long)

    def _cut(self, text: str) -> list[int]:
        """The first tokens of a text, with the special tokens that would stand around the whole."""
        encoding = self._raw.encode(text, add_special_tokens=False)
        encoding.truncate(max(0, self._limit - self._special))
        return [int(token) for token in self._raw.post_process(encoding).ids]

    def _pad(self, folder: Path) -> int:
        told = read_json(folder / "tokenizer_config.json").get("pad_token")
        name = told.get("content") if isinstance(told, dict) else told
        found = self._raw.token_to_id(name) if isinstance(name, str) else None
        return 0 if found is None else int(found)
