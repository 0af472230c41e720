"""LangChain's standard suites on the real all-MiniLM-L6-v2."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from langchain_core.embeddings import Embeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from enginebay import Bay
from langchain_enginebay import EnginebayEmbeddings


class _Real:
    params: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def opened(cls, bay: Bay, embedding_model_path: Path) -> None:
        _Real.params = {"model": str(embedding_model_path), "bay": bay, "backend": "sentence_transformers"}

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return EnginebayEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return _Real.params


class TestUnit(_Real, EmbeddingsUnitTests):
    pass


class TestIntegration(_Real, EmbeddingsIntegrationTests):
    pass
