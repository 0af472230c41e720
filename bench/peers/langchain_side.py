"""LangChain: HuggingFaceEmbeddings, RecursiveCharacterTextSplitter, langchain-chroma."""

from __future__ import annotations

from pathlib import Path

from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter


class Side:
    """See worker.py."""

    def __init__(self, model: str, folder: str) -> None:
        embeddings = HuggingFaceEmbeddings(model_name=model, encode_kwargs={"normalize_embeddings": True})
        self._embeddings = embeddings
        self._store = Chroma("bench", embeddings, folder, collection_metadata={"hnsw:space": "cosine"})
        self._splitter = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=0)

    def warm_up(self) -> None:
        """Load what is loaded on first use."""
        self._embeddings.embed_query("warm")

    def ingest(self, files: list[str]) -> int:
        """Index files."""
        documents = [Document(Path(file).read_text(), metadata={"source": file}) for file in files]
        passages = self._splitter.split_documents(documents)
        self._store.add_documents(passages)
        return len(passages)

    def search(self, question: str) -> list[str]:
        """Texts of the nearest passages."""
        return [document.page_content for document in self._store.similarity_search(question, k=5)]
