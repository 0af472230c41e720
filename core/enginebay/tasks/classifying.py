"""Giving a text one of several labels."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from enginebay.errors import GenerationError, InvalidParameterError
from enginebay.interfaces.generator import FinishReason
from enginebay.prompts.examples import Example
from enginebay.prompts.library import PromptLibrary
from enginebay.prompts.messages import Message
from enginebay.prompts.steps import Steps
from enginebay.spec import Feature
from enginebay.tasks.answers import Classification
from enginebay.tasks.driver import arun, begin, can_constrain, run

if TYPE_CHECKING:
    from enginebay.generation.handle import GeneratorHandle

Labels = Sequence[str] | Mapping[str, str]
"""Labels, or labels with what each of them means."""

SPARE_TOKENS = 16
"""Tokens beyond the longest label that a free answer may have."""


def classify(
    handle: GeneratorHandle,
    text: str,
    labels: Labels,
    *,
    instruction: str = "",
    examples: Sequence[Example] = (),
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> Classification:
    """Give a text one of the labels.

    The engine is held to the labels where it can be; else the label is looked for in its free text. Greedy, unless a
    temperature is given or configured.

    Args:
        labels: at least two; a mapping says what each of them means.
        examples: texts with their right labels; those for which there is no room are left out.

    Raises:
        GenerationError: the text names none of the labels, or more than one; carries the text.
        ContextLengthError: the text does not fit, even without examples.
        InvalidParameterError: the labels are fewer than two, or alike; an example has another label.
        Beside these, what `GeneratorHandle.chat` raises.
    """
    return run(handle, _steps(handle, text, labels, instruction, examples, library, sampling))


async def aclassify(
    handle: GeneratorHandle,
    text: str,
    labels: Labels,
    *,
    instruction: str = "",
    examples: Sequence[Example] = (),
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> Classification:
    """Async twin of `classify`."""
    return await arun(handle, _steps(handle, text, labels, instruction, examples, library, sampling))


def _steps(
    handle: GeneratorHandle,
    text: str,
    labels: Labels,
    instruction: str,
    examples: Sequence[Example],
    library: PromptLibrary | None,
    sampling: dict[str, Any],
) -> Steps[Classification]:
    meanings = _checked(labels, examples)
    most = SPARE_TOKENS + max(len(handle.tokenize(label)) for label in meanings)
    setup = begin(handle, library, sampling, most=most, greedy=True, constrains=True)

    def build(shown: Sequence[Example]) -> list[Message]:
        pairs = [(example.input, example.output) for example in shown]
        return setup.turns("classify", pairs, text, labels=meanings, instruction=instruction)

    fitted = setup.budget.fit(build, examples)
    constrained = can_constrain(handle, Feature.CHOICES)
    held: dict[str, Any] = {"choices": tuple(meanings)} if constrained else {}
    result = yield from setup.chat(fitted.messages, **held)
    try:
        label = find_label(result.text, meanings)
    except GenerationError as error:
        if result.finish_reason is FinishReason.LENGTH:
            error.hint = "raise max_tokens"
        raise
    return Classification(result.text, (result,), fitted.left_out, label, constrained)


def _checked(labels: Labels, examples: Sequence[Example]) -> dict[str, str]:
    if isinstance(labels, str) or len({label.strip().casefold() for label in labels} - {""}) < max(2, len(labels)):
        raise InvalidParameterError(
            "labels must be at least two texts that differ in more than case", value=labels, hint='["yes", "no"]'
        )
    for example in examples:
        if example.output not in labels:
            raise InvalidParameterError(f"an example has the label {example.output!r}", value=example.output)
    return dict(labels) if isinstance(labels, Mapping) else dict.fromkeys(labels, "")


def find_label(text: str, labels: Collection[str]) -> str:
    """The label that a free text gives: the text itself, its first line, or the only one it names as whole words.

    Raises:
        GenerationError: it names none, or more than one; carries the text.
    """
    if text in labels:
        return text
    plain = {_plain(label): label for label in labels}
    for candidate in (text, text.strip().partition("\n")[0]):
        if _plain(candidate) in plain:
            return plain[_plain(candidate)]
    named = _named(text, labels)
    if len(named) == 1:
        return named[0]
    what = f"more than one label: {', '.join(named)}" if named else "none of the labels"
    raise GenerationError(
        f"the answer names {what}",
        partial_text=text,
        value=text,
        hint="use a backend that can be held to choices, or give labels their meanings",
    )


def _plain(text: str) -> str:
    return text.casefold().strip(" \t\r\n\"'`*.,:;!()[]")


def _named(text: str, labels: Collection[str]) -> list[str]:
    """Labels in the text as whole words; in "very good", "good" is not named beside "very good"."""
    named = []
    for label in sorted(labels, key=len, reverse=True):
        pattern = re.compile(rf"(?<!\w){re.escape(label.strip())}(?!\w)", re.IGNORECASE)
        text, times = pattern.subn(" ", text)
        if times:
            named.append(label)
    return named
