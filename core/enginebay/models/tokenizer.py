"""The tokenizer that travels with a model in `tokenizer.json`, for engines that bring none of their own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from enginebay.errors import BackendUnavailableError, ModelFormatError
from enginebay.interfaces.logits import Vocabulary
from enginebay.models.safetensors import read_json

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)
"""What must travel with the weights, where it is there."""


def travelling(folder: Path) -> list[str]:
    """Those of `FILES` that a model's folder has."""
    return [name for name in FILES if (folder / name).exists()]


class Tokenizer:
    """A model's tokenizer, by Hugging Face's tokenizers library.

    Args:
        folder: the model's folder.

    Raises:
        ModelFormatError: it has no tokenizer.json, or a broken one.
        BackendUnavailableError: the tokenizers library is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._library = _library()
        file = folder / "tokenizer.json"
        if not file.exists():
            raise ModelFormatError(
                f"{folder} has no tokenizer.json", value=str(folder), hint="convert its tokenizer with transformers"
            )
        try:
            self.raw: Any = self._library.Tokenizer.from_file(str(file))
        except Exception as error:
            raise ModelFormatError(f"{file} is broken: {error}", value=str(file)) from error
        self.raw.no_padding()
        self.raw.no_truncation()
        self._config = read_json(folder / "tokenizer_config.json")
        self._generation = {**read_json(folder / "config.json"), **read_json(folder / "generation_config.json")}

    def __len__(self) -> int:
        return int(self.raw.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        """Token ids; special tokens written in the text are parsed as such.

        Args:
            add_bos: put the begin token first, if the model wants one.
        """
        ids = [int(token) for token in self.raw.encode(text, add_special_tokens=False).ids]
        return [*self._begin, *ids] if add_bos else ids

    def decoder(self) -> StreamDecoder:
        """A decoder for the tokens of one output."""
        return StreamDecoder(self._library.decoders.DecodeStream(skip_special_tokens=True), self.raw)

    def text(self, token: int) -> str:
        """Text of one token; incomplete UTF-8 is shown by the replacement character."""
        return self.vocabulary.text(token) if token < len(self.vocabulary) else ""

    @cached_property
    def end(self) -> frozenset[int]:
        """Ids of the tokens that end an output: the tokenizer's end token and those of the generation settings."""
        told = self._generation.get("eos_token_id")
        ids = {int(token) for token in (told if isinstance(told, list) else [told]) if token is not None}
        named = _content(self._config.get("eos_token"))
        token = self.raw.token_to_id(named) if named else None
        return frozenset(ids if token is None else ids | {int(token)})

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Every token's bytes, and which are special or end an output."""
        special = {token for token, added in self.raw.get_added_tokens_decoder().items() if added.special}
        byte_level = "ByteLevel" in self.raw.to_str().split('"model"')[0]
        names = [self.raw.id_to_token(token) or "" for token in range(len(self))]
        added = set(self.raw.get_added_tokens_decoder())
        pieces = tuple(
            name.encode() if token in added else _piece(name, byte_level) for token, name in enumerate(names)
        )
        return Vocabulary(pieces, frozenset(special) | self.end, self.end)

    @cached_property
    def _begin(self) -> list[int]:
        """The begin token, if the tokenizer's own template puts one first."""
        with_special = self.raw.encode("a").ids
        bare = self.raw.encode("a", add_special_tokens=False).ids
        place = next((start for start in range(len(with_special)) if with_special[start:] == bare), None)
        if place is None:  # also an end token, as encoders have
            place = next(
                (start for start in range(len(with_special)) if with_special[start : start + len(bare)] == bare), 0
            )
        return [int(token) for token in with_special[:place]]


class StreamDecoder:
    """Text of one output, token by token, complete characters only."""

    def __init__(self, stream: Any, tokenizer: Any) -> None:
        self._stream = stream
        self._tokenizer = tokenizer

    def feed(self, token: int) -> str:
        """The text that is certain after this token; "" while a character is incomplete."""
        return self._stream.step(self._tokenizer, token) or ""


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
    except ImportError as error:
        raise BackendUnavailableError(
            f"the tokenizers library does not load: {error}", value="tokenizers", hint="pip install tokenizers"
        ) from error
    return tokenizers


def _content(value: object) -> str:
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _bytes_of_letters() -> dict[str, int]:
    """GPT-2's table: each byte as a printable letter (openai/gpt-2, encoder.py: bytes_to_unicode)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return table | {chr(256 + place): byte for place, byte in enumerate(others)}


_LETTERS = _bytes_of_letters()


def _piece(name: str, byte_level: bool) -> bytes:
    if byte_level:
        return (
            bytes(_LETTERS[letter] for letter in name) if all(letter in _LETTERS for letter in name) else name.encode()
        )
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        return bytes([int(name[3:5], 16)])
    return name.replace("▁", " ").encode()
