"""Data out of a text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from enginebay.errors import ContextLengthError, GenerationError, UnsupportedFeatureError
from enginebay.interfaces.generator import FinishReason
from enginebay.prompts.json_schema import tidy_schema
from enginebay.prompts.json_text import find_json
from enginebay.prompts.library import PromptLibrary
from enginebay.prompts.messages import Message
from enginebay.prompts.steps import Steps
from enginebay.prompts.tools import told
from enginebay.sampling.params import JsonSchema
from enginebay.spec import Feature
from enginebay.tasks.answers import Extraction
from enginebay.tasks.driver import arun, begin, can_constrain, run

if TYPE_CHECKING:
    from enginebay.generation.handle import GeneratorHandle
    from enginebay.generation.results import Result

ModelT = TypeVar("ModelT", bound=BaseModel)
T = TypeVar("T")


def extract(
    handle: GeneratorHandle,
    text: str,
    model: type[ModelT],
    *,
    instruction: str = "",
    retries: int = 1,
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> Extraction[ModelT]:
    """Extract an instance of a pydantic model from a text.

    The engine is held to the model's JSON schema where it can be; else it is asked for JSON, which may stand in a
    fenced block or among other words. Data that is not valid is answered with the validation error and asked for
    again. Greedy, unless a temperature is given or configured.

    Args:
        retries: how often to ask again.

    Raises:
        GenerationError: the last answer is not valid either, or was cut off by `max_tokens`; carries the text.
        ContextLengthError: the text and the schema do not fit.
        Beside these, what `GeneratorHandle.chat` raises.
    """
    return run(handle, _steps(handle, text, *_reading(model), instruction, retries, library, sampling))


async def aextract(
    handle: GeneratorHandle,
    text: str,
    model: type[ModelT],
    *,
    instruction: str = "",
    retries: int = 1,
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> Extraction[ModelT]:
    """Async twin of `extract`."""
    return await arun(handle, _steps(handle, text, *_reading(model), instruction, retries, library, sampling))


def extract_json(
    handle: GeneratorHandle,
    text: str,
    schema: JsonSchema,
    *,
    instruction: str = "",
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> Extraction[Any]:
    """Extract data under a JSON schema from a text. Raises as `extract` does.

    Raises:
        UnsupportedFeatureError: the backend cannot be held to a JSON schema; enginebay has no other check for one.
    """
    return run(handle, _held_steps(handle, text, schema, instruction, library, sampling))


async def aextract_json(
    handle: GeneratorHandle,
    text: str,
    schema: JsonSchema,
    *,
    instruction: str = "",
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> Extraction[Any]:
    """Async twin of `extract_json`."""
    return await arun(handle, _held_steps(handle, text, schema, instruction, library, sampling))


def _held_steps(
    handle: GeneratorHandle,
    text: str,
    schema: JsonSchema,
    instruction: str,
    library: PromptLibrary | None,
    sampling: dict[str, Any],
) -> Steps[Extraction[Any]]:
    if not can_constrain(handle, Feature.JSON_SCHEMA):
        raise UnsupportedFeatureError(
            f"backend {handle.spec.name!r} cannot be held to a JSON schema",
            value="json_schema",
            hint="use extract() with a pydantic model, or a backend with the feature json_schema",
        )
    return (yield from _steps(handle, text, schema, find_json, instruction, 0, library, sampling))


def _reading(model: type[ModelT]) -> tuple[JsonSchema, Callable[[str], ModelT]]:
    # As JSON, not as Python values: a strict model takes a date out of a text in JSON alone.
    return tidy_schema(model.model_json_schema()), lambda text: model.model_validate_json(json.dumps(find_json(text)))


def _steps(
    handle: GeneratorHandle,
    text: str,
    schema: JsonSchema,
    read: Callable[[str], T],
    instruction: str,
    retries: int,
    library: PromptLibrary | None,
    sampling: dict[str, Any],
) -> Steps[Extraction[T]]:
    setup = begin(handle, library, sampling, greedy=True, constrains=True)
    constrained = can_constrain(handle, Feature.JSON_SCHEMA)
    held: dict[str, Any] = {"json_schema": schema} if constrained else {}
    messages = setup.user("extract", text=text, schema=schema, instruction=instruction)
    setup.budget.check(messages)
    results: list[Result] = []
    while True:
        result = yield from setup.chat(messages, **held)
        results.append(result)
        try:
            value = read(result.text)
        except ValueError as error:
            reason = told(error) if isinstance(error, ValidationError) else str(error)
            if result.finish_reason is FinishReason.LENGTH or len(results) > retries:
                raise _invalid(result, reason) from error
            said = Message(role="assistant", content=result.text)
            messages = [*messages, said, *setup.user("extract_retry", error=reason)]
            try:
                setup.budget.check(messages)
            except ContextLengthError as too_long:
                raise _invalid(result, reason) from too_long
        else:
            return Extraction(result.text, tuple(results), (), value, constrained)


def _invalid(result: Result, reason: str) -> GenerationError:
    cut = result.finish_reason is FinishReason.LENGTH
    return GenerationError(
        "the answer was cut off before the JSON was whole" if cut else f"the answer is not valid: {reason}",
        partial_text=result.text,
        value=result.text,
        hint="raise max_tokens" if cut else "use a backend with the feature json_schema, or a larger model",
    )
