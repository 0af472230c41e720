"""Line numbers of TOML keys, which tomllib does not give."""

from __future__ import annotations

import re

Key = tuple[str, ...]

_BARE = r"[A-Za-z0-9_-]+"
_QUOTED = r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
_PART = re.compile(rf"\s*(?:({_BARE})|({_QUOTED}))\s*")
_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'  # multi-line strings may end in up to two quotes of their own
    r"|'''.*?'{3,5}"
    rf"|{_QUOTED}"
    r"|#[^\n]*"
    r"|[\[\]{}\n]"
    r"|[^\"'#\[\]{}\n]+",
    re.DOTALL,
)


def locate_keys(text: str) -> dict[Key, int]:
    """Line, counted from 1, of every key and table header of a valid TOML document.

    Keys inside inline tables and arrays are not told apart: they stand under the key that holds them. Elements of an
    array of tables are counted from 0.
    """
    lines: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    table: Key = ()
    place, line = 0, 1
    while place < len(text):
        end = text.find("\n", place)
        end = len(text) if end < 0 else end
        head = text[place:end]
        stripped = head.strip()
        if stripped.startswith("["):
            double = stripped.startswith("[[")
            key, _ = _key(head, head.index("[") + (2 if double else 1))
            table = _numbered(key, counts)
            if double:
                counts[table] = counts.get(table, -1) + 1
                table = (*table, str(counts[table]))
            lines.setdefault(table, line)
        elif stripped and not stripped.startswith("#"):
            key, after = _key(head, 0)
            for length in range(1, len(key) + 1):
                lines.setdefault(table + key[:length], line)
            end = _end_of_value(text, place + after)
        line += text.count("\n", place, end) + 1
        place = end + 1
    return lines


def _numbered(key: Key, counts: dict[Key, int]) -> Key:
    """The header's key with the number of the current element after each array of tables on the way."""
    numbered: Key = ()
    for place, part in enumerate(key):
        numbered = (*numbered, part)
        if numbered in counts and place < len(key) - 1:
            numbered = (*numbered, str(counts[numbered]))
    return numbered


def _key(line: str, place: int) -> tuple[Key, int]:
    """The dotted key at `place`, and where it ends."""
    parts: list[str] = []
    while found := _PART.match(line, place):
        bare, quoted = found.groups()
        parts.append(bare if bare is not None else _unquoted(quoted))
        place = found.end()
        if place >= len(line) or line[place] != ".":
            break
        place += 1
    return tuple(parts), place


def _unquoted(text: str) -> str:
    import tomllib

    value: str = tomllib.loads(f"key = {text}")["key"]
    return value


def _end_of_value(text: str, place: int) -> int:
    """Where the line ends on which the value ends: not inside brackets, braces or strings."""
    depth = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            return len(text)
        token = found.group()
        if token in ("[", "{"):
            depth += 1
        elif token in ("]", "}"):
            depth -= 1
        elif token == "\n" and depth <= 0:
            return place
        place = found.end()
    return len(text)
