"""LangChain's standard suite on enginebay's sqlite store, and what is ours beyond it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from enginebay import Bay, F
from langchain_enginebay import EnginebayVectorStore

WIDTH = 6
_NAMES = count()


class TestSqlite(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, bay: Bay, tmp_path: Path) -> Iterator[VectorStore]:  # type: ignore[override]
        store = bay.store("sqlite", path=tmp_path)
        name = f"documents-{next(_NAMES)}"
        yield EnginebayVectorStore(store.create_collection(name, WIDTH), self.get_embeddings())
        store.drop_collection(name)


@pytest.fixture
def filled(bay: Bay, tmp_path: Path) -> EnginebayVectorStore:
    collection = bay.store("sqlite", path=tmp_path).create_collection("documents", WIDTH)
    documents = [
        Document(page_content=f"text {number}", metadata={"year": 2000 + number}, id=f"{number}") for number in range(9)
    ]
    made = EnginebayVectorStore(collection, VectorStoreIntegrationTests.get_embeddings())
    made.add_documents(documents)
    return made


def test_filters_are_enginebays(filled: EnginebayVectorStore) -> None:
    found = filled.similarity_search("text 3", k=9, filter=F.year >= 2006)
    assert {one.metadata["year"] for one in found} == {2006, 2007, 2008}
    assert len(filled.similarity_search("text 3", k=9, filter={"year": {"$lt": 2002}})) == 2


def test_the_text_itself_is_nearest_and_most_relevant(filled: EnginebayVectorStore) -> None:
    (best, score), *_ = filled.similarity_search_with_score("text 5")
    assert best.id == "5"
    assert score == pytest.approx(1, abs=1e-5)
    (_, relevance), *others = filled.similarity_search_with_relevance_scores("text 5")
    assert relevance == pytest.approx(1, abs=1e-5)
    assert all(0 <= one <= 1 for _, one in others)


def test_as_a_retriever_of_unlike_documents(filled: EnginebayVectorStore) -> None:
    retriever = filled.as_retriever(search_type="mmr", search_kwargs={"k": 3, "fetch_k": 6})
    found = retriever.invoke("text 1")
    assert len({one.id for one in found}) == 3
    assert found[0].id == "1"


def test_metadata_that_no_store_keeps_is_refused(filled: EnginebayVectorStore) -> None:
    with pytest.raises(Exception, match="nested"):
        filled.add_texts(["x"], [{"nested": {"a": 1}}])


def test_other_numbers_of_ids_than_texts_are_refused(filled: EnginebayVectorStore) -> None:
    with pytest.raises(ValueError, match="zip"):
        filled.add_texts(["x", "y"], ids=["1"])
