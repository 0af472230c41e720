"""Summarising a text, also one beyond the context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from enginebay.errors import GenerationError, PromptError
from enginebay.prompts.library import PromptLibrary
from enginebay.prompts.splitting import split_text
from enginebay.prompts.steps import Chat, Setup, Steps
from enginebay.tasks.answers import Summary
from enginebay.tasks.driver import arun, begin, run

if TYPE_CHECKING:
    from enginebay.generation.handle import GeneratorHandle
    from enginebay.generation.results import Result

LEAST_PIECE_TOKENS = 16


def summarise(
    handle: GeneratorHandle,
    text: str,
    *,
    words: int | None = None,
    focus: str = "",
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> Summary:
    """Summarise a text of any length.

    A text beyond the context is cut into pieces that fit, at the ends of paragraphs or sentences; the pieces are
    summarised, several at once where the engine batches, and so are their summaries together, until they fit.

    Args:
        words: length to ask for.
        focus: what matters, such as "the costs".

    Raises:
        ContextLengthError: not even a short piece fits beside `max_tokens`.
        GenerationError: the summaries of the pieces are no shorter than the pieces; carries them.
        PromptError: there is no text.
        Beside these, what `GeneratorHandle.chat` raises.
    """
    return run(handle, _steps(handle, text, words, focus, library, sampling))


async def asummarise(
    handle: GeneratorHandle,
    text: str,
    *,
    words: int | None = None,
    focus: str = "",
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> Summary:
    """Async twin of `summarise`."""
    return await arun(handle, _steps(handle, text, words, focus, library, sampling))


def _steps(
    handle: GeneratorHandle,
    text: str,
    words: int | None,
    focus: str,
    library: PromptLibrary | None,
    sampling: dict[str, Any],
) -> Steps[Summary]:
    if not text.strip():
        raise PromptError("there is no text to summarise", value=text)
    setup = begin(handle, library, sampling)
    setup.budget.check(setup.user("summarise", text="", words=words, focus=focus))
    results: list[Result] = []
    pieces: list[int] = []
    while not setup.budget.fits(whole := setup.user("summarise", text=text, words=words, focus=focus)):
        round_results = yield from shorten(setup, text, focus)
        results += round_results
        pieces.append(len(round_results))
        text = joined(setup, text, round_results)
    result = yield from setup.chat(whole)
    return Summary(result.text.strip(), (*results, result), pieces=tuple(pieces))


def shorten(setup: Setup, text: str, focus: str = "") -> Steps[list[Result]]:
    """Summarise the pieces of a text, each in a fifth of the context at most."""
    budget = setup.budget
    context = budget.handle.context_length
    frame = budget.count(setup.user("summarise_piece", text="", focus=focus))
    room = min(budget.room, max(LEAST_PIECE_TOKENS, (context - frame) // 5))

    def count(piece: str) -> int:
        return budget.count(setup.user("summarise_piece", text=piece, focus=focus))

    pieces = [piece for piece in split_text(text, count, context - room) if piece.strip()]
    conversations = [setup.user("summarise_piece", text=piece, focus=focus) for piece in pieces]
    results: list[Result] = yield Chat(conversations, {**setup.sampling, "max_tokens": room})
    return results


def joined(setup: Setup, text: str, results: list[Result]) -> str:
    """The summaries of the pieces as one text.

    Raises:
        GenerationError: it is empty, or no shorter than the text was: going on would never end.
    """
    shorter = "\n\n".join(summary for result in results if (summary := result.text.strip()))
    if not shorter or setup.budget.count_text(shorter) >= setup.budget.count_text(text):
        raise GenerationError(
            "the summaries of the pieces are " + ("no shorter than the pieces" if shorter else "empty"),
            partial_text=shorter,
            hint="open the engine with a larger context_length, or lower max_tokens",
        )
    return shorter
