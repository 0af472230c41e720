"""enginebay's generators, embedders and vector stores in LangChain."""

from langchain_enginebay.chat_model import ChatEnginebay
from langchain_enginebay.embeddings import EnginebayEmbeddings
from langchain_enginebay.vector_store import EnginebayVectorStore

__all__ = ["ChatEnginebay", "EnginebayEmbeddings", "EnginebayVectorStore"]
