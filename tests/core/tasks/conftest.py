"""A fake engine that gives scripted answers: it runs no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from enginebay import Chunk, Feature, FinishReason, GenerationRequest, Usage
from enginebay.generation.handle import GeneratorHandle
from fake_engine import FakeGenerator, fake_handle, fake_model, fake_spec

TEMPLATE = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}[{{ m.role }}]{{ m.content }}"
    "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}{% endfor %}[assistant]"
)

Script = str | Callable[[str], str]


class ScriptedGenerator(FakeGenerator):
    """A fake: one scripted answer for each request, or answers made of the prompt; each character is one token."""

    def __init__(self, *answers: Script, context: int) -> None:
        super().__init__()
        self.answers = answers
        self.context = context
        self.max_concurrency = 4

    @property
    def context_length(self) -> int:
        return self.context

    @property
    def prompts(self) -> list[str]:
        return [request.prompt for request in self.requests]

    def stream(self, request: GenerationRequest) -> Iterator[Chunk]:
        with self._lock:
            self.requests.append(request)
            answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        most = self.context - len(request.prompt)
        assert most > 0, "the prompt is beyond the context"
        text = answer if isinstance(answer, str) else answer(request.prompt)
        shown = text[: min(most, request.params.max_tokens or most)]
        reason = FinishReason.STOP if shown == text else FinishReason.LENGTH
        if shown:
            yield Chunk(shown, tuple(map(ord, shown)))
        yield Chunk("", finish_reason=reason, usage=Usage(len(request.prompt), len(shown), 0))


Scripted = Callable[..., tuple[GeneratorHandle, ScriptedGenerator]]


@pytest.fixture
def scripted() -> Scripted:
    """scripted("first answer", …, context=2000, features=…) -> (handle, fake engine)."""

    def make(
        *answers: Script, context: int = 2000, features: frozenset[Feature] = frozenset(), **fields: Any
    ) -> tuple[GeneratorHandle, ScriptedGenerator]:
        engine = ScriptedGenerator(*answers, context=context)
        known = {"temperature", "seed", "max_tokens"}
        spec = fake_spec(features=frozenset({Feature.STREAMING, Feature.CHAT_TEMPLATE}) | features, sampling=known)
        return fake_handle(engine, spec=spec, model=fake_model(chat_template=TEMPLATE), **fields), engine

    return make
