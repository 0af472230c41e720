"""Documents out of files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from enginebay.errors import DocumentError
from enginebay.interfaces.filters import MetadataValue
from enginebay.retrieval.decoding import decode
from enginebay.retrieval.documents import Document, Kind
from enginebay.retrieval.html import read_html
from enginebay.retrieval.pdf import read_pdf

_MARKDOWN = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mdx", ".qmd"})
_HTML = frozenset({".html", ".htm", ".xhtml"})
_LANGUAGES = {
    ".bash": "bash",
    ".c": "c",
    ".cc": "cpp",
    ".cpp": "cpp",
    ".cs": "c_sharp",
    ".css": "css",
    ".cu": "cuda",
    ".cxx": "cpp",
    ".dart": "dart",
    ".ex": "elixir",
    ".exs": "elixir",
    ".go": "go",
    ".h": "c",
    ".hpp": "cpp",
    ".hs": "haskell",
    ".java": "java",
    ".jl": "julia",
    ".js": "javascript",
    ".jsx": "javascript",
    ".kt": "kotlin",
    ".lua": "lua",
    ".mjs": "javascript",
    ".ml": "ocaml",
    ".php": "php",
    ".pl": "perl",
    ".py": "python",
    ".pyi": "python",
    ".r": "r",
    ".rb": "ruby",
    ".rs": "rust",
    ".scala": "scala",
    ".sh": "bash",
    ".sql": "sql",
    ".swift": "swift",
    ".ts": "typescript",
    ".tsx": "typescript",
    ".zig": "zig",
}
"""Programming languages by a file's suffix, as tree-sitter's grammars call them."""


def read_document(name: str, data: bytes, metadata: Mapping[str, MetadataValue] | None = None) -> Document:
    """A document out of a file's content.

    Args:
        name: the document's id, whose suffix tells what it is; a PDF is also known by its first bytes.

    Raises:
        DocumentError: it is broken, or no text.
        BackendUnavailableError: a library is not installed.
    """
    suffix = PurePath(name).suffix.lower()
    given = dict(metadata or {})
    if suffix == ".pdf" or data.startswith(b"%PDF-"):
        text, pages = read_pdf(data)
        return Document(name, text, given, pages=pages)
    if suffix in _HTML:
        text, lines = read_html(data)
        return Document(name, _checked(text), given, lines=lines)
    if suffix in _MARKDOWN:
        return Document(name, decode(data), given, Kind.MARKDOWN)
    if suffix in _LANGUAGES:
        return Document(name, decode(data), given, Kind.CODE, _LANGUAGES[suffix])
    return Document(name, decode(data), given)


def _checked(text: str) -> str:
    if "\0" in text:
        raise DocumentError("it is binary: there are zero bytes in it")
    return text
