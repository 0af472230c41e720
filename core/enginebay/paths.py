"""Where enginebay keeps files of its own."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path


def cache_dir() -> Path:
    """What can be made again: probe results, converted models. `ENGINEBAY_CACHE_DIR` overrides it."""
    return _folder("ENGINEBAY_CACHE_DIR", "user_cache_path")


def data_dir() -> Path:
    """What cannot: fetched models, measurements. `ENGINEBAY_DATA_DIR` overrides it."""
    return _folder("ENGINEBAY_DATA_DIR", "user_data_path")


def config_dir() -> Path:
    """The user's own configuration. `ENGINEBAY_CONFIG_DIR` overrides it."""
    return _folder("ENGINEBAY_CONFIG_DIR", "user_config_path")


def _folder(variable: str, default: str) -> Path:
    chosen = os.environ.get(variable)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    path: Path = getattr(platformdirs, default)("enginebay", appauthor=False)
    return path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; what is not there, or cannot be removed whole, is no error."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
