"""What the emulator refuses."""

from __future__ import annotations


class RefusedError(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def require(holds: bool, message: str, status: int = 400) -> None:
    """Refuse with 400 Bad Request, or another status, unless it holds."""
    if not holds:
        raise RefusedError(status, message)
