"""Which plugin is being imported right now, on disk: what killed the process is known to the next one.

An import can end the whole process (a crash in native code, `os._exit`), and then no guard in it has the last word.
"""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path

from enginebay.errors import HardwareError


class Journal:
    """Names the plugin that this process imports.

    Attributes:
        suspects: fingerprints of plugins that some process was importing when it died.
    """

    def __init__(self, stem: Path) -> None:
        self._path = stem.with_name(f"{stem.name}.importing.{os.getpid()}")
        self._file: FileIO | None = None
        self.suspects = frozenset(_taken_over(stem))

    def begin(self, fingerprint: str) -> None:
        """This plugin's import begins now."""
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("wb", buffering=0)
            self._file.seek(0)
            self._file.truncate()
            self._file.write(fingerprint.encode("utf-8", "replace"))
        except OSError:
            return

    def close(self) -> None:
        """No import is under way any more."""
        if self._file is not None:
            self._file.close()
            self._file = None
            _remove(self._path)


def _taken_over(stem: Path) -> list[str]:
    """What dead processes left behind; removed as it is read."""
    left: list[str] = []
    for path in stem.parent.glob(f"{stem.name}.importing.*"):
        try:
            if not _runs(int(path.suffix[1:])):
                left.append(path.read_text(encoding="utf-8"))
                _remove(path)
        except (OSError, ValueError):
            continue
    return left


def _runs(process: int) -> bool:
    import psutil

    return psutil.pid_exists(process)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def death_of_import(module: str, limit: float) -> str | None:
    """Import a suspect in a child process and say how the child ended, or None when it survived.

    The suspect may be innocent: somebody may have killed the process that was importing it.
    """
    from enginebay.hardware.isolate import run_isolated
    from enginebay.plugins.inspection import try_import

    target = f"{try_import.__module__}:{try_import.__name__}"
    try:
        run_isolated(target, module, timeout=limit + 1)
    except HardwareError as error:
        unknown = isinstance(error.__cause__, OSError)  # no child process could be started
        return None if unknown else error.message.removeprefix(f"{target} ")
    return None
