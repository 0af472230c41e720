"""Every error that enginebay raises, in one tree.

EnginebayError
 ├── ConfigError                    a configuration value or file is wrong
 │    └── OptionError               a backend option is unknown or invalid
 ├── HardwareError                  a hardware profile cannot be read
 ├── PluginError                    a plugin broke its contract
 │    ├── UnknownBackendError       no plugin offers a backend of that name
 │    └── BackendUnavailableError   the backend is declared but cannot be used here
 ├── NoMatchError                   no backend on any device fits the requirement (carries the decision)
 ├── ModelError
 │    ├── ModelNotFoundError        the reference leads nowhere
 │    ├── ModelFormatError          the file is truncated, mutated or of another format
 │    ├── ConversionError           no converter makes the format, or one failed
 │    └── FetchError                no mirror gave the file
 │         └── ChecksumError        the bytes are not those that the catalogue promises
 ├── RequestError                   the caller asked for something wrong
 │    ├── InvalidParameterError     a sampling parameter has an impossible value
 │    ├── UnsupportedParameterError the engine has no such sampling parameter
 │    ├── UnsupportedFeatureError   the engine lacks a feature
 │    ├── ContextLengthError        the prompt does not fit into the context, or a text is longer than an embedder reads
 │    ├── PromptError               the chat template cannot render these messages
 │    ├── DocumentError             a document cannot be read, or an index does not take it
 │    ├── DatasetError              a file of training examples is wrong
 │    ├── RecordError               a record, an id or a vector is not what a collection takes
 │    ├── InvalidFilterError        a metadata filter is wrong
 │    ├── CollectionNotFoundError   the store has no collection of that name
 │    └── CollectionMismatchError   it has one of another dimension, metric or embedder
 ├── EngineError                    an engine failed
 │    ├── EngineOpenError           the engine did not open
 │    ├── EngineClosedError         it was used after close()
 │    ├── GenerationError           it failed while generating (carries the partial text)
 │    ├── EmbeddingError            it failed while embedding
 │    └── StoreError                a vector store failed, or cannot be reached
 └── JobError                       a tuning or quantising job failed

Each says what happened, the value it happened to, and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enginebay.matching.decision import Decision


class EnginebayError(Exception):
    """Base of all errors.

    Args:
        message: what happened, in one sentence, naming the value.
        value: the offending value, for programs; None when there is none.
        hint: what to do next; shown on a line of its own.
    """

    def __init__(self, message: str, *, value: object = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.value = value
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.hint}" if self.hint else self.message


class ConfigError(EnginebayError):
    """A configuration value or file is wrong; `file` and `line` say where it stands.

    Args:
        file: path of the file, or the name of another source such as an environment variable.
        line: line in that file, counted from 1; None when the source has no lines.
    """

    def __init__(
        self,
        message: str,
        *,
        value: object = None,
        hint: str | None = None,
        file: str | None = None,
        line: int | None = None,
    ) -> None:
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(where + message, value=value, hint=hint)
        self.file = file
        self.line = line


class OptionError(ConfigError):
    """A backend option is unknown or invalid."""


class HardwareError(EnginebayError):
    """A hardware profile cannot be read."""


class PluginError(EnginebayError):
    """A plugin broke its contract."""


class UnknownBackendError(PluginError):
    """No plugin offers a backend of that name."""


class BackendUnavailableError(PluginError):
    """The backend is declared but cannot be used on this machine."""


class NoMatchError(EnginebayError):
    """No backend on any device fits the requirement; `decision` holds every refusal."""

    def __init__(self, message: str, *, decision: Decision, hint: str | None = None) -> None:
        super().__init__(message, value=decision.requirement, hint=hint)
        self.decision = decision


class ModelError(EnginebayError):
    """A model cannot be used."""


class ModelNotFoundError(ModelError):
    """The model reference leads nowhere."""


class ModelFormatError(ModelError):
    """The model file is truncated, mutated or of another format."""


class ConversionError(ModelError):
    """No converter makes the format out of this model, or a conversion failed."""


class FetchError(ModelError):
    """No mirror gave the file."""


class ChecksumError(FetchError):
    """The bytes that came are not those that the catalogue promises."""


class RequestError(EnginebayError):
    """The caller asked for something that cannot be done."""


class InvalidParameterError(RequestError):
    """A sampling parameter has an impossible value."""


class UnsupportedParameterError(RequestError):
    """The engine has no such sampling parameter and the core cannot emulate it.

    Args:
        parameter: name of the field of `SamplingParams`.
        backend: name of the backend that lacks it.
        alternatives: names of installed backends that have it.
    """

    def __init__(self, parameter: str, backend: str, alternatives: Sequence[str] = ()) -> None:
        way_out = (
            f"installed backends that have it: {', '.join(alternatives)}"
            if alternatives
            else "no installed backend has it; leave it out"
        )
        super().__init__(
            f"backend {backend!r} does not support the sampling parameter {parameter!r}",
            value=parameter,
            hint=way_out,
        )
        self.parameter = parameter
        self.backend = backend
        self.alternatives = tuple(alternatives)


class UnsupportedFeatureError(RequestError):
    """The engine lacks a feature."""


class ContextLengthError(RequestError):
    """The prompt does not fit into the context, or a text is longer than an embedder reads.

    Args:
        prompt_tokens: tokens in the prompt or text, or None when the engine does not say.
        context_length: tokens that one sequence may hold, prompt and output together.
        text: place of the text among those to embed, from 0; None for a prompt.
    """

    def __init__(self, prompt_tokens: int | None, context_length: int, *, text: int | None = None) -> None:
        size = "more tokens" if prompt_tokens is None else f"{prompt_tokens} tokens"
        if text is None:
            message = f"the prompt has {size}, the context holds {context_length}"
            hint = "shorten the prompt, or open the engine with a larger context_length"
        else:
            message = f"text {text} has {size}, the embedder reads {context_length}"
            hint = "split the text, or have it cut: truncate=True"
        super().__init__(message, value=prompt_tokens, hint=hint)
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length
        self.text = text


class PromptError(RequestError):
    """The chat template cannot render these messages."""


class DocumentError(RequestError):
    """A document cannot be read, or an index does not take it."""


class DatasetError(RequestError):
    """A file of training examples is wrong; `value` is the list of its problems, each with its line."""


class RecordError(RequestError):
    """A record, an id or a vector is not what the collection takes. Nothing of the call was written."""


class InvalidFilterError(RequestError):
    """A metadata filter is wrong."""


class CollectionNotFoundError(RequestError):
    """The store has no collection of that name."""


class CollectionMismatchError(RequestError):
    """The store has a collection of that name with another dimension, metric or embedder."""


class EngineError(EnginebayError):
    """An engine failed."""


class EngineOpenError(EngineError):
    """The engine did not open."""


class EngineClosedError(EngineError):
    """The engine was used after close()."""


class GenerationError(EngineError):
    """The engine failed while generating; `partial_text` holds what had come so far."""

    def __init__(self, message: str, *, partial_text: str = "", value: object = None, hint: str | None = None) -> None:
        super().__init__(message, value=value, hint=hint)
        self.partial_text = partial_text


class EmbeddingError(EngineError):
    """The engine failed while embedding."""


class StoreError(EngineError):
    """A vector store failed, or cannot be reached."""


class JobError(EnginebayError):
    """A tuning or quantising job failed."""


class FallbackWarning(UserWarning):
    """The chosen backend did not open and another one answers in its place."""


class TruncationWarning(UserWarning):
    """Texts were longer than the embedder reads, and were cut, as `truncate` allows."""
