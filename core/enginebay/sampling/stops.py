"""Stop strings for engines that have none, also when they straddle tokens."""

from __future__ import annotations


class StopBuffer:
    """Holds back just the text that may turn out to be the beginning of a stop string.

    Args:
        stops: the stop strings, none of them empty.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._longest = max(map(len, stops))
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """Take new text.

        Returns:
            The text that is certain now, and whether a stop string was found: then the text ends before
            the one that was complete first, however the text was cut into pieces, and nothing more must be fed.
        """
        self._held += text
        found = [(place + len(stop), place) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            certain, self._held = self._held[: min(found)[1]], ""
            return certain, True
        keep = self._beginning_of_stop()
        certain = self._held[: len(self._held) - keep]
        self._held = self._held[len(self._held) - keep :]
        return certain, False

    def flush(self) -> str:
        """The text still held when the output ended by itself."""
        text, self._held = self._held, ""
        return text

    def _beginning_of_stop(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        for length in range(min(self._longest - 1, len(self._held)), 0, -1):
            tail = self._held[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0
