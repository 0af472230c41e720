"""Translating a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from enginebay.prompts.library import PromptLibrary
from enginebay.prompts.steps import Steps
from enginebay.tasks.answers import Answer
from enginebay.tasks.driver import arun, begin, run

if TYPE_CHECKING:
    from enginebay.generation.handle import GeneratorHandle


def translate(
    handle: GeneratorHandle,
    text: str,
    to: str,
    *,
    source: str | None = None,
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> Answer:
    """Translate a text.

    Args:
        to: the language to translate into, as one would name it ("German").
        source: the language of the text; None lets the model see for itself.

    Raises:
        ContextLengthError: the text does not fit.
        Beside it, what `GeneratorHandle.chat` raises.
    """
    return run(handle, _steps(handle, text, to, source, library, sampling))


async def atranslate(
    handle: GeneratorHandle,
    text: str,
    to: str,
    *,
    source: str | None = None,
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> Answer:
    """Async twin of `translate`."""
    return await arun(handle, _steps(handle, text, to, source, library, sampling))


def _steps(
    handle: GeneratorHandle,
    text: str,
    to: str,
    source: str | None,
    library: PromptLibrary | None,
    sampling: dict[str, Any],
) -> Steps[Answer]:
    setup = begin(handle, library, sampling)
    result = yield from setup.checked_chat(setup.user("translate", text=text, to=to, source=source))
    return Answer(result.text.strip(), (result,))
