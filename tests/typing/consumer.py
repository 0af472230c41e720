"""What a host application writes; checked by mypy and pyright against the installed packages."""

from __future__ import annotations

import enginebay_plugins.llama_cpp as llama_cpp_plugin
from enginebay import BackendSpec, Bay, Decision


def answer(question: str) -> tuple[str, Decision]:
    with Bay() as bay:
        result = bay.generator("chat").chat(question, temperature=0)
        assert result.decision is not None
        return result.text, result.decision


def specs() -> list[BackendSpec]:
    return list(llama_cpp_plugin.backends())
