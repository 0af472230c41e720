"""Text out of PDF, page by page."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from enginebay.errors import DocumentError
from enginebay.retrieval.libraries import load

_BETWEEN_PAGES = "\n\n"


def read_pdf(data: bytes) -> tuple[str, tuple[int, ...]]:
    """The text, and for each page the offset at which it begins.

    Raises:
        DocumentError: it is broken, or locked by a password.
        BackendUnavailableError: pypdf is not installed.
    """
    library = load("pypdf")
    try:
        reader = library.PdfReader(BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentError("it is locked by a password", hint="save it without one")
        pages = [_clean(page) for page in reader.pages]
    except DocumentError:
        raise
    except Exception as error:  # pypdf raises anything on what is broken
        raise DocumentError(f"it is a broken PDF: {type(error).__name__}: {error}") from error
    starts, end = [], 0
    for text in pages:
        starts.append(end)
        end += len(text) + len(_BETWEEN_PAGES)
    return _BETWEEN_PAGES.join(pages), tuple(starts)


def _clean(page: Any) -> str:
    """What stands on a page, without the zeros and halves of characters that odd fonts give."""
    text = str(page.extract_text())
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", " ")
