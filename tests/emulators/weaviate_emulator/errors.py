"""Refusals of the emulator."""

from __future__ import annotations


class RefusedError(Exception):
    """What the server answers instead; `status` is HTTP's."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status
