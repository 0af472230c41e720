"""An index: documents, found by what they mean and by their words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enginebay.config.settings import CollectionConfig, SearchMode
from enginebay.errors import EnginebayError, InvalidParameterError
from enginebay.interfaces.filters import Combine, Compare, Filter, parse_filter
from enginebay.retrieval.documents import Document
from enginebay.retrieval.ledger import Entry, Ledger, Origin
from enginebay.retrieval.loading import read_document
from enginebay.retrieval.searching import Choice, Rerank, Search
from enginebay.retrieval.splitting import Splitter
from enginebay.retrieval.sync import Seen, Syncing, source_of
from enginebay.retrieval.words import Words
from enginebay.retrieval.writer import Writer, write_lock
from enginebay.suggest import did_you_mean

if TYPE_CHECKING:
    from enginebay.bay import Bay
    from enginebay.embedding.handle import EmbedderHandle
    from enginebay.interfaces.filters import MetadataValue
    from enginebay.retrieval.passages import Passage
    from enginebay.retrieval.reports import SyncReport, Tell
    from enginebay.stores import Collection


class Index:
    """Documents in a collection of a store, embedded by one model. Many threads may use it; made by `Index.open`.

    Attributes:
        name: of the index; its collection has the same, or after `reindex` one that begins with it.
        collection: where the passages are.
        embedder: the model that made their vectors.
        settings: as configured.
    """

    def __init__(
        self, name: str, collection: Collection, embedder: EmbedderHandle, settings: CollectionConfig, folder: Path
    ) -> None:
        """
        Args:
            folder: where files of this machine are kept that can be made again.
        """
        self.name = name
        self.collection = collection
        self.embedder = embedder
        self.settings = settings
        self._folder = folder
        self._ledger = Ledger(collection)
        self._seen: Seen = {}

    @classmethod
    def open(cls, bay: Bay, name: str | None = None, *, create: bool = True, **changes: Any) -> Index:
        """Open an index, or make it.

        Args:
            name: a configured name (`[collections.NAME]`), or a new one; None takes the only one configured, or without
                any "documents".
            create: make the collection if it is not there.
            changes: fields of `CollectionConfig` over the configured ones: store, embedder, root, passage_tokens, …

        Raises:
            CollectionMismatchError: another model filled it; `reindex` embeds it anew.
            CollectionNotFoundError: it is not there, and is not to be made.
            ModelNotFoundError: the embedder's model is not on this machine (`bay.pull` fetches it).
            ConfigError: a wrong name or change.
        """
        from enginebay.retrieval.opening import open_index

        return open_index(bay, name, create, changes)

    @classmethod
    def reindex(cls, bay: Bay, name: str | None = None, *, progress: Tell | None = None, **changes: Any) -> Index:
        """Embed all that an index holds anew, by the model that is configured now, and open it.

        The passages are written into a new collection beside the old one, which is dropped when all are there; until
        then searches go to the old one. Nothing is lost. Passages that are longer than the new model reads are cut in
        two or more; the next `sync` of their files cuts these anew.

        Args:
            progress: told after each batch.
            changes: as of `open`.

        Raises:
            CollectionNotFoundError: there is nothing to embed.
            Beside it, what `open` raises, but for the mismatch.
        """
        from enginebay.retrieval.reindexing import reindex

        return reindex(bay, name, changes, progress)

    def sync(
        self,
        *paths: Path | str,
        metadata: Mapping[str, MetadataValue] | None = None,
        progress: Tell | None = None,
    ) -> SyncReport:
        """Make the index hold what files and folders hold now: new and changed files are embedded, those gone removed.

        What is the same by its content is not embedded again. A file that cannot be read is told and ends nothing.
        Killed at any point and run again, it comes to the same end.

        Args:
            paths: folders, and files. A path that was there in an earlier run and has gone is removed.
            metadata: of each document, to filter by.
            progress: told after each document, and as passages are embedded.

        Raises:
            DocumentError: a path leads nowhere and nothing of it is in the index; wrong patterns or metadata.
            BackendUnavailableError: a library of the extra `documents` is not installed.
            EmbeddingError, StoreError: the engine or the store failed; what was written before stays.
        """
        return self._syncing(progress).files([Path(path) for path in paths], metadata or {})

    def watch(
        self,
        *paths: Path | str,
        metadata: Mapping[str, MetadataValue] | None = None,
        stop: threading.Event | None = None,
        progress: Tell | None = None,
    ) -> Iterator[SyncReport]:
        """`sync`, and again whenever something changes below the paths: a report for the first run and each change.

        Args:
            stop: ends it when set.
        """
        from enginebay.retrieval.watching import changes

        # The first run begins when the paths are watched already: what changes meanwhile is not missed.
        for number, _ in enumerate(changes([Path(path) for path in paths], stop)):
            report = self.sync(*paths, metadata=metadata, progress=progress)
            if number == 0 or not report.nothing_changed:
                yield report

    def upsert(self, documents: Document | Iterable[Document], *, progress: Tell | None = None) -> SyncReport:
        """Put documents in, each in place of the one of its id. When it returns, searches find them.

        Raises:
            DocumentError: an id is empty or given twice, or metadata has a name of the index's own.
            RecordError: metadata that no store keeps.
            EmbeddingError, StoreError: the engine or the store failed; what was written before stays.
        """
        given = [documents] if isinstance(documents, Document) else list(documents)
        return self._syncing(progress).documents(given)

    def remove(self, ids: str | Iterable[str]) -> None:
        """Remove documents by their ids, those of files too. What is not there is no error."""
        self._writer.remove([ids] if isinstance(ids, str) else list(ids))

    def documents(self) -> list[Entry]:
        """What the index holds, by id."""
        return sorted(self._ledger.entries().values(), key=lambda entry: entry.source)

    def search(
        self,
        question: str,
        limit: int = 5,
        *,
        where: Filter | Mapping[str, Any] | None = None,
        mode: SearchMode | str | None = None,
        diversity: float | None = None,
        rerank: Rerank | None = None,
    ) -> list[Passage]:
        """The passages that fit a question best, the best first.

        Args:
            where: only passages of documents whose metadata matches, such as `F.team == "search"`; `F.eb_source` is the
                document's id.
            mode: "hybrid" joins the nearest by vectors and the best by words (BM25) by reciprocal rank fusion; "vector"
                and "lexical" take one of them; "store_hybrid" leaves both to the store's own hybrid search. None takes
                the configured one.
            diversity: 0 to 1; above 0 passages are chosen by maximal marginal relevance, which trades nearness to the
                question (1 - diversity) for difference from those chosen before.
            rerank: gives scores to the candidates, which then order them.

        Raises:
            InvalidParameterError: an impossible limit, mode or diversity, or diversity with rerank.
            InvalidFilterError, UnsupportedFeatureError: a filter is wrong, or the store lacks an operator of it, or
                hybrid search of its own.
        """
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise InvalidParameterError(f"limit = {limit!r} is no number from 1 on", value=limit)
        choice = Choice(limit, _parsed(where), _mode(mode or self.settings.search), diversity, rerank)
        return Search(self.collection, self.embedder, lambda: self._words, choice).passages(question)

    async def asearch(self, question: str, limit: int = 5, **choices: Any) -> list[Passage]:
        """Async twin of `search`, in a worker thread."""
        return await asyncio.to_thread(self.search, question, limit, **choices)

    async def aupsert(self, documents: Document | Iterable[Document]) -> SyncReport:
        """Async twin of `upsert`, in a worker thread."""
        return await asyncio.to_thread(self.upsert, documents)

    async def aremove(self, ids: str | Iterable[str]) -> None:
        """Async twin of `remove`, in a worker thread."""
        await asyncio.to_thread(self.remove, ids)

    @cached_property
    def splitter(self) -> Splitter:
        """How documents are cut."""
        return Splitter.for_embedder(self.embedder, self.settings.passage_tokens, self.settings.overlap)

    def source_of(self, path: Path | str) -> str:
        """The id of a file's document: its path below `root`, or the whole of it."""
        return source_of(Path(path), self.settings.root)

    def current_document(self, source: str) -> Document | None:
        """The document as its file has it now; None when it is no file, or none that can be read on this machine."""
        entry = self._ledger.find([source]).get(source)
        if entry is None or entry.origin is not Origin.FILE:
            return None
        try:
            return read_document(source, self.file_of(source).read_bytes())
        except (OSError, EnginebayError):
            return None

    def file_of(self, source: str) -> Path:
        """Where the file of a document would be on this machine."""
        return (self.settings.root or Path()) / source

    @cached_property
    def _words(self) -> Words:
        return Words(self.collection, self._ledger, self._folder / "words.sqlite")

    @property
    def _writer(self) -> Writer:
        words = self._words if self.settings.search in (SearchMode.HYBRID, SearchMode.LEXICAL) else None
        return Writer(self.collection, self._ledger, words, write_lock(self._folder))

    def _syncing(self, progress: Tell | None) -> Syncing:
        return Syncing(self, self._ledger, self._writer, self._seen, progress)

    def __repr__(self) -> str:
        return f"Index({self.name!r}, {self.embedder.name}, {self.collection!r})"


def _mode(name: str) -> SearchMode:
    try:
        return SearchMode(name)
    except ValueError as error:
        raise InvalidParameterError(
            f"unknown search mode {name!r}", value=name, hint=did_you_mean(str(name), [one.value for one in SearchMode])
        ) from error


def _parsed(where: Filter | Mapping[str, Any] | None) -> Filter | None:
    return where if where is None or isinstance(where, Compare | Combine) else parse_filter(where)
