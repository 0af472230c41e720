"""An enginebay collection as LangChain's `VectorStore`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self
from uuid import uuid4

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from enginebay import Filter, Hit, Metric, Record
from enginebay.stores import Collection

Where = Filter | Mapping[str, Any] | None
"""A filter: an expression (`F.year >= 2020`) or its JSON form."""


class EnginebayVectorStore(VectorStore):
    """Documents in a collection of any of enginebay's stores.

    Args:
        collection: made by `bay.store(…).create_collection(…)` with the width of the embeddings.
        embedding: makes the vectors.
        namespace: keeps documents of one collection apart.
    """

    def __init__(self, collection: Collection, embedding: Embeddings, *, namespace: str = "") -> None:
        self.collection = collection
        self.namespace = namespace
        self._embedding = embedding

    @property
    def embeddings(self) -> Embeddings:
        """What makes the vectors."""
        return self._embedding

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Embed and write texts; those without an id get a random one.

        Raises:
            ValueError: other numbers of ids or metadata than of texts.
            RecordError: metadata that is not flat; nothing was written.
        """
        written = list(texts)
        vectors = self._embedding.embed_documents(written)
        return self._write(_records(written, vectors, metadatas, ids))

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Async twin of `add_texts`."""
        written = list(texts)
        records = _records(written, await self._embedding.aembed_documents(written), metadatas, ids)
        await self.collection.aupsert(records, namespace=self.namespace)
        return [record.id for record in records]

    def add_documents(self, documents: list[Document], **kwargs: Any) -> list[str]:
        """Embed and write documents; the ids in `kwargs` come before their own."""
        ids = kwargs.pop("ids", None) or [document.id for document in documents]
        return self.add_texts(*_parts(documents), ids=ids, **kwargs)

    async def aadd_documents(self, documents: list[Document], **kwargs: Any) -> list[str]:
        """Async twin of `add_documents`."""
        ids = kwargs.pop("ids", None) or [document.id for document in documents]
        return await self.aadd_texts(*_parts(documents), ids=ids, **kwargs)

    def delete(self, ids: Sequence[str] | None = None, *, where: Where = None, **kwargs: Any) -> bool:
        """Delete documents by ids, or those that match a filter; without either, all of the namespace."""
        if ids is None and where is None:
            self.collection.delete_all(namespace=self.namespace)
        else:
            self.collection.delete(ids, where=where, namespace=self.namespace)
        return True

    async def adelete(self, ids: Sequence[str] | None = None, *, where: Where = None, **kwargs: Any) -> bool:
        """Async twin of `delete`."""
        if ids is None:
            return await super().adelete(ids, where=where, **kwargs) or False
        await self.collection.adelete(ids, namespace=self.namespace)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Documents by id, in the order asked; those not there are left out."""
        return [_document(one) for one in self.collection.get(ids, namespace=self.namespace)]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Async twin of `get_by_ids`."""
        return [_document(one) for one in await self.collection.aget(ids, namespace=self.namespace)]

    def similarity_search(self, query: str, k: int = 4, *, filter: Where = None, **kwargs: Any) -> list[Document]:
        """The documents nearest to a query, best first."""
        return [document for document, _ in self.similarity_search_with_score(query, k, filter=filter)]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Where = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """The nearest documents with their scores, higher for nearer: cosine similarity, dot product, or minus the
        Euclidean distance, as the collection's metric is."""
        return self._scored(self._query(self._embedding.embed_query(query), k, filter))

    async def asimilarity_search(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Where = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Async twin of `similarity_search`."""
        return [document for document, _ in await self.asimilarity_search_with_score(query, k, filter=filter)]

    async def asimilarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Where = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """Async twin of `similarity_search_with_score`."""
        vector = await self._embedding.aembed_query(query)
        return self._scored(await self.collection.aquery(vector, limit=k, where=filter, namespace=self.namespace))

    def similarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        *,
        filter: Where = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The documents nearest to a vector."""
        return [_document(hit) for hit in self._query(embedding, k, filter)]

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Where = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Documents near to a query and unlike each other."""
        vector = self._embedding.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, filter=filter)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Where = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Documents near to a vector and unlike each other, out of the `fetch_k` nearest."""
        import numpy as np

        hits = self._query(embedding, max(k, fetch_k), filter, with_vectors=True)
        vectors = [hit.vector for hit in hits if hit.vector is not None]
        chosen = maximal_marginal_relevance(np.asarray(embedding), vectors, lambda_mult, k) if vectors else []
        return [_document(hits[place]) for place in chosen]

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        collection: Collection | None = None,
        namespace: str = "",
        **kwargs: Any,
    ) -> Self:
        """A store over `collection`, with the texts written to it.

        Raises:
            ValueError: no collection.
        """
        if collection is None:
            raise ValueError("from_texts needs collection=bay.store(…).create_collection(…)")
        store = cls(collection, embedding, namespace=namespace)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Scores as relevance from 0 to 1."""
        match self.collection.info.metric:
            case Metric.COSINE:
                return lambda score: max(0.0, min(1.0, score))
            case Metric.EUCLIDEAN:
                return lambda score: 1 / (1 - score)
        raise NotImplementedError("dot products have no bounds, and so no relevance from 0 to 1")

    def _write(self, records: list[Record]) -> list[str]:
        self.collection.upsert(records, namespace=self.namespace)
        return [record.id for record in records]

    def _query(self, vector: list[float], k: int, where: Where, *, with_vectors: bool = False) -> list[Hit]:
        return self.collection.query(vector, limit=k, where=where, namespace=self.namespace, with_vectors=with_vectors)

    def _scored(self, hits: list[Hit]) -> list[tuple[Document, float]]:
        return [(_document(hit), hit.score) for hit in hits]


def _records(
    texts: list[str],
    vectors: list[list[float]],
    metadatas: Sequence[Mapping[str, Any]] | None,
    ids: Sequence[str | None] | None,
) -> list[Record]:
    made = [one or str(uuid4()) for one in ids or [None] * len(texts)]
    rows = zip(made, vectors, metadatas or [{}] * len(texts), texts, strict=True)
    return [Record(one, vector, metadata, text) for one, vector, metadata, text in rows]  # type: ignore[arg-type]


def _parts(documents: list[Document]) -> tuple[list[str], list[dict[str, Any]]]:
    return [one.page_content for one in documents], [one.metadata for one in documents]


def _document(found: Record | Hit) -> Document:
    return Document(page_content=found.text or "", metadata=dict(found.metadata), id=found.id)
