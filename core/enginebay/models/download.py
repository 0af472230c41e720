"""Downloading one file: with progress, resume and checksum, written beside and renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from filelock import FileLock

from enginebay.errors import ChecksumError, FetchError

if TYPE_CHECKING:
    import httpx

Progress = Callable[[int, int | None], None]
"""Called with bytes done and bytes in all; None when not known."""

_ATTEMPTS = 4
_MARGIN = 64 << 20


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    headers: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fetch `url` to `target`. What an earlier attempt left beside it is gone on with.

    Args:
        size: expected bytes, or None.
        sha256: expected digest in hex, or None.

    Raises:
        ChecksumError: the bytes are not the expected ones; they are thrown away.
        FetchError: the server cannot be reached, refuses, or breaks off again and again; no room on the disk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with FileLock(target.with_name(f".{target.name}.lock")):
        if target.exists() and (sha256 is None or file_digest(target) == sha256):
            return target
        if urlparse(url).scheme == "file":
            _copy(Path(unquote(urlparse(url).path)), part, progress)
        else:
            _download_part(url, part, size, dict(headers or {}), progress)
        check_file(part, size, sha256, url)
        part.replace(target)
        _etag_file(part).unlink(missing_ok=True)
    return target


def check_file(part: Path, size: int | None, sha256: str | None, source: str) -> None:
    """Raise ChecksumError, and throw the file away, unless its size and digest are the expected ones."""
    found = part.stat().st_size
    if size is not None and found != size:
        part.unlink()
        raise ChecksumError(f"{source} gave {found} bytes, expected {size}", value=found)
    if sha256 is not None and (digest := file_digest(part)) != sha256:
        part.unlink()
        raise ChecksumError(f"{source} gave other bytes: SHA-256 {digest}, expected {sha256}", value=digest)


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def client(timeout: float = 30.0) -> httpx.Client:
    """An HTTP client that heeds the user's certificates and proxies; connecting may take 5 s, silence `timeout` s."""
    import httpx

    bundle = next((os.environ[name] for name in ("SSL_CERT_FILE", "PIP_CERT") if os.environ.get(name)), None)
    verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=bundle) if bundle else True
    return httpx.Client(follow_redirects=True, verify=verify, timeout=httpx.Timeout(timeout, connect=5.0))


def _copy(source: Path, part: Path, progress: Progress | None) -> None:
    try:
        _check_room(part, source.stat().st_size)
        shutil.copyfile(source, part)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise FetchError(f"cannot copy {source.name}: {error.strerror}", value=str(source)) from error
    if progress:
        progress(part.stat().st_size, part.stat().st_size)


def _download_part(url: str, part: Path, size: int | None, headers: dict[str, str], progress: Progress | None) -> None:
    """Fill `part`, going on after breaks; a break that brought nothing new counts against the attempts."""
    import httpx

    failures = 0
    with client() as http:
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                _stream_part(http, url, part, size, headers, progress)
                return
            except httpx.HTTPStatusError as error:
                status = error.response.status_code
                if status < 500 and status != 429:
                    raise FetchError(f"{url} answered {status} {error.response.reason_phrase}", value=status) from error
                reason = f"answered {status}"
            except (httpx.TransportError, httpx.InvalidURL) as error:
                reason = str(error) or type(error).__name__
                if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
                    raise FetchError(f"cannot reach {url}: {reason}", value=url) from error
            except OSError as error:
                raise FetchError(
                    f"cannot write {part}: {error.strerror}", value=str(part), hint="free some room; it will be resumed"
                ) from error
            after = part.stat().st_size if part.exists() else 0
            failures = 1 if after > before else failures + 1
            if failures >= _ATTEMPTS:
                raise FetchError(
                    f"{url} broke off {failures} times: {reason}", value=url, hint="run it again to resume"
                )
            time.sleep(0.5 * 2 ** (failures - 1))


def _stream_part(
    http: httpx.Client, url: str, part: Path, size: int | None, headers: dict[str, str], progress: Progress | None
) -> None:
    have = part.stat().st_size if part.exists() else 0
    etag_file = _etag_file(part)
    etag = etag_file.read_text() if etag_file.exists() else ""
    if have and etag:
        headers = {**headers, "Range": f"bytes={have}-", "If-Range": etag}
    with http.stream("GET", url, headers={**headers, "Accept-Encoding": "identity"}) as response:
        if response.status_code == 416:
            part.unlink(missing_ok=True)
            etag_file.unlink(missing_ok=True)
        response.raise_for_status()
        resumed = response.status_code == 206
        have = have if resumed else 0
        length = int(response.headers.get("Content-Length") or 0)
        total = have + length if length else size
        _check_room(part, length)
        # A strong validator only: a weak one does not promise the same bytes.
        new_etag = response.headers.get("ETag", "")
        etag_file.write_text("" if new_etag.startswith("W/") else new_etag)
        with part.open("ab" if resumed else "wb") as file:
            for piece in response.iter_raw():
                file.write(piece)
                have += len(piece)
                if progress:
                    progress(have, total)


def _check_room(part: Path, more: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if more + _MARGIN > free:
        raise FetchError(
            f"{more} more bytes do not fit on the disk of {part.parent}: {free} are free",
            value=free,
            hint="free some room, or choose another folder with ENGINEBAY_DATA_DIR",
        )


def _etag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")
