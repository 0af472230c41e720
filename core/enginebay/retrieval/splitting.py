"""Cutting documents into passages, by semantic-text-splitter."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enginebay.errors import EnginebayError, InvalidParameterError, UnsupportedFeatureError
from enginebay.retrieval.documents import Document, Kind
from enginebay.retrieval.libraries import load

if TYPE_CHECKING:
    from enginebay.embedding.handle import EmbedderHandle

DEFAULT_TOKENS = 200
"""Of a passage, special tokens included."""

CHARACTERS_PER_TOKEN = 3
"""Where nobody counts tokens: fewer than English text has in any common vocabulary."""


_HEADINGS = re.compile(r"\s*(?:#{1,6}\s[^\n]*\s*)+")
_LINE_END = re.compile(r"\n|\Z")


@dataclass(frozen=True, slots=True)
class Span:
    """A passage's place in its document's text, in characters."""

    start: int
    end: int


class Splitter:
    """Cuts documents into passages of at most so many tokens, at the best boundaries there are.

    Markdown is cut by its headings and blocks; code by its syntax where the grammar of its language is installed
    (`tree-sitter-python` and the like), else at empty lines; text by paragraphs, lines, sentences, words.

    Attributes:
        tokens: most tokens of a passage, special ones included.
        overlap: tokens that a passage may share with the one before.
        counts_by: "tokenizer" (the model's tokenizer.json), "engine" (the engine's own count, slower) or "characters"
            (where neither is there: three characters stand for one token).
    """

    def __init__(
        self,
        tokens: int,
        overlap: int = 0,
        *,
        tokenizer: Any = None,
        count: Callable[[str], int] | None = None,
        special: int = 0,
    ) -> None:
        """
        Args:
            tokenizer: a `tokenizers.Tokenizer` that does not cut.
            count: gives the tokens of a text, where there is no tokenizer.
            special: special tokens that the model puts around each text, which a tokenizer does not count.

        Raises:
            InvalidParameterError: the overlap is not less than half of the tokens.
        """
        if not 0 <= overlap <= tokens // 2:
            raise InvalidParameterError(
                f"an overlap of {overlap} tokens is more than half of a passage of {tokens}", value=overlap
            )
        self.tokens = tokens
        self.overlap = overlap
        self.counts_by = "tokenizer" if tokenizer is not None else "characters" if count is None else "engine"
        self._tokenizer = tokenizer
        self._count = count or _count_characters
        self._capacity = max(1, tokens - special) if tokenizer is not None else tokens
        self._made: dict[tuple[Kind, str], Any] = {}

    @classmethod
    def for_embedder(cls, embedder: EmbedderHandle, tokens: int | None = None, overlap: int = 0) -> Splitter:
        """A splitter whose passages an embedder reads whole.

        Args:
            tokens: of a passage; None means 200, or what the embedder reads if that is less.

        Raises:
            InvalidParameterError: more tokens than the embedder reads.
        """
        most = embedder.context_length or DEFAULT_TOKENS
        if tokens is not None and tokens > most:
            raise InvalidParameterError(
                f"passages of {tokens} tokens are longer than the embedder reads, which is {most}", value=tokens
            )
        tokens = tokens or min(DEFAULT_TOKENS, most)
        tokenizer = _tokenizer_of(embedder)
        if tokenizer is not None:
            special = max(0, embedder.count_tokens(["a"])[0] - len(tokenizer.encode("a", add_special_tokens=False).ids))
            return cls(tokens, overlap, tokenizer=tokenizer, special=special)
        try:
            embedder.count_tokens(["a"])
        except UnsupportedFeatureError:
            return cls(tokens, overlap)
        return cls(tokens, overlap, count=lambda text: embedder.count_tokens([text])[0])

    @property
    def recipe(self) -> str:
        """What passages depend on beside their document; a change of it has documents cut anew."""
        return f"2 {self.counts_by} {self.tokens} {self.overlap}"

    def split(self, document: Document) -> list[Span]:
        """The passages in their order; parts of white space alone are left out.

        Raises:
            BackendUnavailableError: semantic-text-splitter is not installed.
        """
        if not document.text.strip():
            return []
        cut = self._splitter(document.kind, document.language)
        spans = [Span(start, start + len(text)) for start, text in cut.chunk_indices(document.text)]
        spans = [span for span in spans if document.text[span.start : span.end].strip()]
        return self._with_headings(document.text, spans) if document.kind is Kind.MARKDOWN else spans

    def _with_headings(self, text: str, spans: list[Span]) -> list[Span]:
        """Headings that stand alone, for what follows is too long, put to as many lines of it as fit."""
        done: list[Span] = []
        for span in spans:
            last = done[-1] if done else None
            if last is None or last.end > span.start or not _HEADINGS.fullmatch(text, last.start, last.end):
                done.append(span)
                continue
            end = self._most_lines(text, last.start, span)
            if end > span.start:
                done[-1] = trimmed(text, last.start, end)
            rest = trimmed(text, max(end, span.start), span.end)
            done += [rest] if rest.start < rest.end else []
        return done

    def _most_lines(self, text: str, start: int, span: Span) -> int:
        """Where a passage from `start` on ends that holds as many of a span's first lines as fit."""
        ends = [span.start + line.end() for line in _LINE_END.finditer(text[span.start : span.end])]
        fitting = [end for end in ends if self.measure(text[start:end]) <= self._capacity]
        return max(fitting, default=start)

    def measure(self, text: str) -> int:
        """Tokens of a text as passages are measured: special ones are in it unless a tokenizer counts."""
        if self._tokenizer is not None:
            return len(self._tokenizer.encode(text, add_special_tokens=False).ids)
        return self._count(text)

    def _splitter(self, kind: Kind, language: str) -> Any:
        key = (kind, language)
        if key not in self._made:
            library = load("semantic_text_splitter")
            grammar = _grammar(language) if kind is Kind.CODE else None
            if grammar is not None:
                self._made[key] = self._of(library.CodeSplitter, grammar)
            else:
                self._made[key] = self._of(library.MarkdownSplitter if kind is Kind.MARKDOWN else library.TextSplitter)
        return self._made[key]

    def _of(self, kind: Any, *grammar: Any) -> Any:
        if self._tokenizer is not None:
            return kind.from_huggingface_tokenizer(*grammar, self._tokenizer, self._capacity, overlap=self.overlap)
        return kind.from_callback(*grammar, self._count, self._capacity, overlap=self.overlap)


def trimmed(text: str, start: int, end: int) -> Span:
    """The part without the white space around it."""
    piece = text[start:end]
    return Span(start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip()))


def _count_characters(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _tokenizer_of(embedder: EmbedderHandle) -> Any:
    from enginebay.models.tokenizer import Tokenizer

    # A model that was converted has left its tokenizer.json where it came from.
    for model in (embedder.model, embedder.decision.requirement.model):
        if model is None or model.path is None:
            continue
        folder = Path(model.path) if Path(model.path).is_dir() else Path(model.path).parent
        if (folder / "tokenizer.json").is_file():
            try:
                return Tokenizer(folder).raw
            except EnginebayError:
                return None  # the engine counts by itself
    return None


def _grammar(language: str) -> Any:
    """The grammar of a programming language, if its distribution (tree-sitter-LANGUAGE) is installed."""
    if not language:
        return None
    try:
        module = import_module(f"tree_sitter_{language}")
    except ImportError:
        return None
    give = getattr(module, "language", None) or getattr(module, f"language_{language}", None)
    return give() if give is not None else None
