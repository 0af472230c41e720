"""Reading training examples from JSONL files, a line at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Never

from pydantic import ValidationError

from enginebay.errors import DatasetError
from enginebay.interfaces.tuner import TuningMethod
from enginebay.spec import FrozenModel
from enginebay.tuning.examples import (
    METHOD_SHAPES,
    MODELS,
    Example,
    Shape,
    described,
    keys_of,
    shape_of,
    shown,
    wrong_keys,
    wrong_values,
)

PROBLEMS = 10
"""Problems that are told at a time."""

MAX_LINE = 16 << 20
"""Bytes of the longest line that is read: a file without line ends must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Line:
    """An example and where it stands, counted from 1."""

    number: int
    example: Example


class DatasetReport(FrozenModel):
    """What a file of examples holds.

    Attributes:
        examples: how many.
        messages: they hold messages, not texts.
        characters: of all texts, keys not counted.
        sha256: digest of the file, in hex.
        labels: how many examples each label has; empty for shapes without.
        warnings: what is no error but seldom meant.
    """

    path: Path
    shape: Shape
    messages: bool
    examples: int
    characters: int
    sha256: str
    labels: dict[str, int] = {}
    warnings: tuple[str, ...] = ()


def check_dataset(path: Path, method: TuningMethod) -> DatasetReport:
    """Read a file through, and keep nothing of it but 16 bytes for each example, to find duplicates.

    Raises:
        DatasetError: it cannot be read, or is not what the method learns from; up to ten problems are told at a time.
    """
    scan = _Scan(path, method)
    first_seen: dict[bytes, int] = {}
    repeated: list[int] = []
    labels: Counter[str] = Counter()
    characters = 0
    problems: list[str] = []
    for found in scan:
        if isinstance(found, str):
            problems.append(found)
            if len(problems) == PROBLEMS:
                break
            continue
        example = found.example
        if first_seen.setdefault(example.digest, found.number) != found.number:
            repeated.append(found.number)
        characters += _characters(example.model_dump())
        label = getattr(example, "label", None)
        if label is not None:
            labels[json.dumps(label) if isinstance(label, bool) else label] += 1
    if not problems and len(labels) == 1:
        problems.append(f"{path}: every label is {shown(next(iter(labels)))}; add examples of another label")
    if problems:
        _refuse(path, problems)
    assert scan.model is not None
    return DatasetReport(
        path=path,
        shape=scan.shape,
        messages=scan.model is not MODELS[scan.shape][0] or scan.shape is Shape.MESSAGES,
        examples=scan.count,
        characters=characters,
        sha256=scan.digest.hexdigest(),
        labels=dict(labels.most_common()),
        warnings=tuple(_warnings(repeated, labels)),
    )


def read_examples(path: Path, method: TuningMethod, lines: Container[int] | None = None) -> Iterator[Example]:
    """The examples of a file in its order, one at a time.

    Args:
        lines: numbers of the lines to take, such as a side of a `HeldOut`; None takes all.

    Raises:
        DatasetError: at the first problem; `check_dataset` tells more of them.
    """
    for line in read_lines(path, method):
        if lines is None or line.number in lines:
            yield line.example


def read_lines(path: Path, method: TuningMethod) -> Iterator[Line]:
    """As `read_examples`, with the places of the examples."""
    for found in _Scan(path, method):
        if isinstance(found, str):
            _refuse(path, [found])
        yield found


def _refuse(path: Path, problems: list[str]) -> Never:
    if len(problems) == 1:
        what, _, way_out = problems[0].rpartition("; ")
        raise DatasetError(what or way_out, value=problems, hint=way_out if what else None)
    count = f"the first {PROBLEMS}" if len(problems) == PROBLEMS else str(len(problems))
    told = "".join(f"\n  {problem}" for problem in problems)
    raise DatasetError(f"{path}: {count} problems{told}", value=problems, hint="mend these and check the file again")


def _warnings(repeated: list[int], labels: Counter[str]) -> Iterator[str]:
    if repeated:
        more = ", …" if len(repeated) > 5 else ""
        lines = ", ".join(str(number) for number in repeated[:5])
        yield f"{len(repeated)} examples stand in the file before (lines {lines}{more}); they count the more"
    for label, count in labels.items():
        if count == 1:
            yield f"the label {shown(label)} has one example; none can be held out"


def _characters(value: Any) -> int:
    """Characters of all strings in a dump."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(_characters(each) for key, each in value.items() if key != "role")
    return sum(map(_characters, value)) if isinstance(value, list | tuple) else 0


@dataclass(slots=True)
class _Scan:
    """One pass over a file: gives its examples, and its problems as texts. What it has counted can be read after."""

    path: Path
    method: TuningMethod
    count: int = 0
    problems: int = 0
    digest: Any = field(default_factory=sha256)
    shape: Shape = Shape.MESSAGES
    model: type[Example] | None = None
    first: int = 0

    def __iter__(self) -> Iterator[Line | str]:
        try:
            with self.path.open("rb") as file:
                yield from self._lines(file)
        except OSError as error:
            yield f"{self.path}: cannot be read: {error.strerror or error}; name a JSONL file"

    def _lines(self, file: BinaryIO) -> Iterator[Line | str]:
        lines = iter(lambda: file.readline(MAX_LINE + 1), b"")
        for number, raw in enumerate(lines, 1):
            self.digest.update(raw)
            where = f"{self.path}:{number}: "
            if len(raw) > MAX_LINE:
                yield f"{where}the line has more than {MAX_LINE >> 20} MiB; write one example a line"
                return
            try:
                example = self._example(raw, number)
            except _Problem as problem:
                self.problems += 1
                yield from (where + each for each in problem.args)
                if problem.last:
                    return
            else:
                if example is not None:
                    self.count += 1
                    yield Line(number, example)
        if not self.count and not self.problems:
            yield f"{self.path}: holds no examples; write one a line: {described(METHOD_SHAPES[self.method])}"

    def _example(self, raw: bytes, number: int) -> Example | None:
        """The example of a line; None for one with nothing in it."""
        text = _decoded(raw, number)
        if not text.strip():
            return None
        value = _parsed(text.rstrip())
        shape = shape_of(value)
        takes = METHOD_SHAPES[self.method]
        if shape is None or (shape not in takes and any(value.keys() < set(keys_of(each)) for each in takes)):
            raise _Problem(*wrong_keys(value, [self.shape] if self.model else takes))
        if shape not in takes:
            raise _Problem(
                f"holds {shape}, which {self.method.value} does not learn from; it takes {described(takes)}", last=True
            )
        messages = isinstance(value[keys_of(shape)[0]], list) and len(MODELS[shape]) > 1
        model = MODELS[shape][1 if messages else 0]
        if self.model is None:
            self.shape, self.model, self.first = shape, model, number
        elif model is not self.model:
            raise _Problem(
                f"holds {_told(model, shape)}, line {self.first} {_told(self.model, self.shape)}; "
                "write one shape a file, and texts or messages throughout"
            )
        try:
            return model.model_validate(value)
        except ValidationError as error:
            raise _Problem(*wrong_values(error)) from None


class _Problem(Exception):
    """What is wrong with a line, one text each; `last` says that reading on is no use."""

    def __init__(self, *problems: str, last: bool = False) -> None:
        super().__init__(*problems)
        self.last = last


def _told(model: type[Example], shape: Shape) -> str:
    return (
        shape if len(MODELS[shape]) == 1 else f"{shape} {'with messages' if model is MODELS[shape][1] else 'as texts'}"
    )


def _decoded(raw: bytes, number: int) -> str:
    try:
        # Some editors begin a file with a byte order mark.
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        wrong = raw[error.start : error.end].hex(" ")
        raise _Problem(f"byte {error.start + 1} ({wrong}) is no UTF-8; save the file as UTF-8") from None


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        near = shown(text[max(0, error.pos - 20) : error.pos + 20])
        told = f"no JSON: {error.msg} at character {error.pos + 1} (near {near})"
        raise _Problem(f"{told}; write one JSON object a line") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, nesting without end
        raise _Problem(f"no JSON that can be read: {error}; write one JSON object a line") from None
    if not isinstance(value, dict):
        raise _Problem(f"holds {shown(value)}; write one JSON object a line, without an array around them")
    if "\\ud" in text.lower() and (half := _half_pair(value)):
        raise _Problem(f"{half} is half of a surrogate pair, which is no character; write the whole pair")
    return value


def _half_pair(value: dict[str, Any]) -> str | None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return ascii(error.object[error.start])
    return None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        key = next(key for place, (key, _) in enumerate(pairs) if key in (other for other, _ in pairs[:place]))
        raise _Problem(f"the key {shown(key)} stands twice; keep one")
    return value
