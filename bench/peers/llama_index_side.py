"""LlamaIndex: HuggingFaceEmbedding, SentenceSplitter, its vector store on Chroma."""

from __future__ import annotations

import chromadb
from llama_index.core import SimpleDirectoryReader, StorageContext, VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.vector_stores.chroma import ChromaVectorStore


class Side:
    """See worker.py."""

    def __init__(self, model: str, folder: str) -> None:
        client = chromadb.PersistentClient(folder)
        collection = client.get_or_create_collection("bench", configuration={"hnsw": {"space": "cosine"}})
        self._embedding = HuggingFaceEmbedding(model_name=model, embed_batch_size=32)
        self._index = VectorStoreIndex.from_vector_store(
            ChromaVectorStore(chroma_collection=collection),
            embed_model=self._embedding,
            storage_context=StorageContext.from_defaults(vector_store=ChromaVectorStore(chroma_collection=collection)),
        )
        self._splitter = SentenceSplitter(chunk_size=256, chunk_overlap=0)
        self._retriever = self._index.as_retriever(similarity_top_k=5)

    def warm_up(self) -> None:
        """Load what is loaded on first use."""
        self._embedding.get_query_embedding("warm")

    def ingest(self, files: list[str]) -> int:
        """Index files."""
        documents = SimpleDirectoryReader(input_files=files).load_data()
        nodes = self._splitter.get_nodes_from_documents(documents)
        self._index.insert_nodes(nodes)
        return len(nodes)

    def search(self, question: str) -> list[str]:
        """Texts of the nearest passages."""
        return [found.node.get_content() for found in self._retriever.retrieve(question)]
