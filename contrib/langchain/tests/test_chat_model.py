"""LangChain's standard suites on the real SmolLM2-135M-Instruct."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import BaseModel

from enginebay import Bay
from langchain_enginebay import ChatEnginebay
from langchain_enginebay.chat_model import _said


class _Real:
    params: ClassVar[dict[str, Any]] = {}
    other: ClassVar[str] = ""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def opened(cls, bay: Bay, chat_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        other = tmp_path_factory.mktemp("other") / "the-same-under-another-name.gguf"
        other.symlink_to(chat_model_path)
        _Real.other = str(other)
        _Real.params = {
            "model": str(chat_model_path),
            "bay": bay,
            "changes": {"backend": "xllamacpp", "context_length": 512, "streams": 4},
            "sampling": {"max_tokens": 120, "repetition_penalty": 1.2},
        }

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatEnginebay

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return _Real.params

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        """Greedy, short, and with a penalty on repetition: the model is small, and loops without."""
        return {"temperature": 0, "max_tokens": 120}

    @property
    def has_tool_calling(self) -> bool:
        """SmolLM2's chat template knows no tools."""
        return False

    @property
    def has_structured_output(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return _Real.other

    @property
    def supported_usage_metadata_details(self) -> dict[str, list[str]]:
        return {"invoke": [], "stream": []}


class TestUnit(_Real, ChatModelUnitTests):
    @property
    def has_tool_calling(self) -> bool:
        """Binding needs no model."""
        return True


class TestIntegration(_Real, ChatModelIntegrationTests):
    pass


class Person(BaseModel):
    name: str
    age: int


def test_structured_output_gives_raw_and_parsed(bay: Bay, chat_model_path: Path) -> None:
    model = ChatEnginebay(model=str(chat_model_path), bay=bay, temperature=0, max_tokens=60)
    found = model.with_structured_output(Person, include_raw=True).invoke("Ada Lovelace was 36 years old.")
    assert isinstance(found["parsed"], Person)
    assert isinstance(found["raw"], AIMessage)
    assert found["parsing_error"] is None


def test_a_forced_call_is_refused(bay: Bay, chat_model_path: Path) -> None:
    model = ChatEnginebay(model=str(chat_model_path), bay=bay).bind_tools([Person], tool_choice="any")
    with pytest.raises(NotImplementedError, match="tool_choice"):
        model.invoke("hello")


def test_messages_become_enginebays() -> None:
    call = {"name": "add", "args": {"a": 1}, "id": "call1", "type": "tool_call"}
    assert _said(AIMessage(content="", tool_calls=[call]))["tool_calls"] == [
        {"id": "call1", "name": "add", "arguments": {"a": 1}}
    ]
    assert _said(ToolMessage("2", tool_call_id="call1"))["tool_call_id"] == "call1"
    with pytest.raises(NotImplementedError, match="text"):
        _said(HumanMessage([{"type": "image", "url": "x"}]))
