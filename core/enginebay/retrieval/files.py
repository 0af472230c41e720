"""Which files of a folder are documents."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginebay.errors import DocumentError
from enginebay.retrieval.libraries import load

IGNORE_FILE = ".gitignore"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that is left out.

    Attributes:
        path: where it is.
        reason: why it is left out, for people.
        unread: it could not be read this time, and may be as it was.
    """

    path: Path
    reason: str
    unread: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """Rules of which files to take.

    Attributes:
        include: patterns as in .gitignore; when there are any, only files that match one are taken.
        exclude: patterns as in .gitignore, of files and folders to leave out.
        gitignore: keep to .gitignore files, those above the folder in the same repository included.
        hidden: take files and folders whose name begins with a dot, too; never .git.
        max_bytes: larger files are left out.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gitignore: bool = True
    hidden: bool = False
    max_bytes: int = 20_000_000

    def walk(self, path: Path) -> Iterator[Path | Skipped]:
        """The files below a folder in order of their names, or the file itself; and what is left out, and why.

        A folder that is left out is told once, without what is in it. Links to folders are not followed. A file that is
        named itself is taken whatever the patterns say.

        Raises:
            DocumentError: nothing is there, or a pattern is wrong.
            BackendUnavailableError: pathspec is not installed.
        """
        if path.is_dir():
            folder = path.absolute()
            yield from _Walk(self, folder).folder(folder, _above(folder) if self.gitignore else [])
        elif path.exists():
            yield self.checked(path.absolute())
        else:
            raise DocumentError(f"there is no file or folder {path}", value=str(path))

    def checked(self, path: Path) -> Path | Skipped:
        """A file, or why it cannot be taken whatever the patterns say."""
        if readable_name(path) != str(path):
            return Skipped(path, "its name is not Unicode")
        try:
            size = path.stat().st_size
        except OSError as error:
            return Skipped(path, f"cannot be read: {error.strerror}", unread=True)
        if not path.is_file():
            return Skipped(path, "no regular file")
        if size > self.max_bytes:
            return Skipped(path, f"larger than {self.max_bytes:,} bytes")
        return path


def readable_name(path: Path) -> str:
    """A path as text that can be written anywhere; bytes that are no UTF-8 become replacement characters."""
    return os.fsencode(path).decode(errors="replace")


class _Walk:
    """One walk through a folder."""

    def __init__(self, selection: Selection, root: Path) -> None:
        self._selection = selection
        self._include = _Rules.of(root, selection.include)
        self._exclude = _Rules.of(root, selection.exclude)

    def folder(self, folder: Path, rules: list[_Rules]) -> Iterator[Path | Skipped]:
        """What is below a folder.

        Args:
            rules: of .gitignore files, the uppermost first.
        """
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            if self._selection.gitignore and (folder / IGNORE_FILE).is_file():
                rules = [*rules, _Rules.read(folder)]
        except OSError as error:
            yield Skipped(folder, f"cannot be read: {error.strerror}", unread=True)
            return
        for entry in entries:
            path = folder / entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            reason = self._left_out(path, is_folder, rules)
            if reason is not None:
                yield Skipped(path, reason)
            elif is_folder:
                yield from self.folder(path, rules)
            elif entry.is_dir():
                yield Skipped(path, "a link to a folder")
            else:
                yield self._selection.checked(path)

    def _left_out(self, path: Path, is_folder: bool, rules: list[_Rules]) -> str | None:
        if path.name.startswith(".") and (path.name == ".git" or not self._selection.hidden):
            return "hidden"
        if self._exclude.match(path, is_folder):
            return "excluded"
        decided = (one.match(path, is_folder) for one in reversed(rules))
        if next((verdict for verdict in decided if verdict is not None), False):
            return "ignored by .gitignore"
        if self._selection.include and not is_folder and not self._include.match(path, False):
            return "not included"
        return None


@dataclass(frozen=True, slots=True)
class _Rules:
    """Patterns as in .gitignore, which hold below a folder."""

    folder: Path
    spec: Any

    @classmethod
    def read(cls, folder: Path) -> _Rules:
        return cls.of(folder, (folder / IGNORE_FILE).read_text(encoding="utf-8", errors="replace").splitlines())

    @classmethod
    def of(cls, folder: Path, patterns: Sequence[str]) -> _Rules:
        try:
            return cls(folder, load("pathspec").GitIgnoreSpec.from_lines(patterns))
        except ValueError as error:
            raise DocumentError(f"a pattern for {folder} is wrong: {error}", value=list(patterns)) from error

    def match(self, path: Path, is_folder: bool) -> bool | None:
        """What the last pattern that is about the path says; None when none is."""
        relative = path.relative_to(self.folder).as_posix()
        found: bool | None = self.spec.check_file(relative + "/" * is_folder).include
        return found


def _above(folder: Path) -> list[_Rules]:
    """The rules of the folders above, as far as the repository reaches, the uppermost first."""
    above: list[_Rules] = []
    while not (folder / ".git").exists():
        if folder.parent == folder:
            return []  # in no repository
        folder = folder.parent
        if (folder / IGNORE_FILE).is_file():
            above.insert(0, _Rules.read(folder))
    return above
