"""Constraints as masks over the vocabulary, by llguidance."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enginebay.errors import BackendUnavailableError, GenerationError, InvalidParameterError
from enginebay.interfaces.logits import Vocabulary
from enginebay.sampling.params import Constraint, JsonSchema

COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON on one line: small models given the choice fill their output with white space."""


def guidance_grammar(constraint: Constraint) -> str:
    """The constraint as a grammar of llguidance.

    Raises:
        InvalidParameterError: llguidance cannot express it; the text has its reason.
        BackendUnavailableError: llguidance is not installed.
    """
    guidance = _llguidance()
    try:
        grammar = _grammar(guidance, constraint)
        problem = guidance.LLMatcher.validate_grammar(grammar)
    except (ValueError, TypeError, RecursionError) as error:
        problem = str(error) or type(error).__name__
        raise _inexpressible(constraint, problem) from error
    if problem:
        raise _inexpressible(constraint, problem)
    return str(grammar)


def compact_schema(schema: JsonSchema) -> JsonSchema:
    """The schema with llguidance told to write it on one line."""
    return {"x-guidance": COMPACT, **schema}


def guidance_tokenizer(vocabulary: Vocabulary, tokenize: Callable[[str], list[int]]) -> Any:
    """llguidance's tokenizer of a vocabulary. Making it takes long (about a second for 100,000 tokens): keep it."""
    guidance = _llguidance()
    wrapper = guidance.TokenizerWrapper(_Tokens(vocabulary, tokenize))
    return guidance.LLTokenizer(wrapper, n_vocab=len(vocabulary), eos_token=sorted(vocabulary.end))


class ConstraintMask:
    """What may come next in one output.

    Args:
        constraint: what the output must match.
        tokenizer: llguidance's tokenizer of the model: `guidance_tokenizer`, or made from a tokenizer file.

    Raises:
        InvalidParameterError: llguidance cannot express the constraint.
    """

    def __init__(self, constraint: Constraint, tokenizer: Any) -> None:
        guidance = _llguidance()
        self._constraint = constraint
        self._matcher = guidance.LLMatcher(tokenizer, guidance_grammar(constraint))
        self._bits = np.zeros((int(tokenizer.vocab_size) + 31) // 32, dtype=np.int32)
        self._check()

    def allowed(self, size: int) -> NDArray[np.bool_]:
        """Which tokens may come next, shape (size,); logits may be longer than the vocabulary, never allowed there.

        Raises:
            GenerationError: llguidance gave up.
        """
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        self._check()
        bits = np.unpackbits(self._bits.view(np.uint8), bitorder="little")
        if len(bits) >= size:
            return bits[:size].view(np.bool_)
        return np.concatenate([bits, np.zeros(size - len(bits), dtype=np.uint8)]).view(np.bool_)

    def allows(self, token: int) -> bool:
        """Whether a token that ends no output may come next; takes microseconds, where `allowed` looks at all."""
        return int(self._matcher.validate_tokens([token])) == 1

    def accept(self, token: int) -> None:
        """Take the token that was drawn.

        Raises:
            GenerationError: it was not allowed.
        """
        if not self._matcher.consume_token(token):
            self._check()
            raise GenerationError(f"the token {token} is not allowed by the constraint", value=token)

    @property
    def complete(self) -> bool:
        """Nothing may follow: the output matches and has no continuation."""
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GenerationError(
                f"llguidance gave up on the constraint: {str(self._matcher.get_error()).splitlines()[0]}",
                value=self._constraint,
                hint="make the constraint simpler",
            )


def _grammar(guidance: Any, constraint: Constraint) -> str:
    if constraint.choices is not None:
        lark = "start: " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in constraint.choices)
        return str(guidance.grammar_from("lark", lark))
    if constraint.regex is not None:
        return str(guidance.grammar_from("regex", constraint.regex))
    if constraint.json_schema is not None:
        return str(guidance.grammar_from("json_schema", json.dumps(compact_schema(constraint.json_schema))))
    return str(guidance.grammar_from("gbnf", constraint.grammar))


def _inexpressible(constraint: Constraint, problem: str) -> InvalidParameterError:
    value = getattr(constraint, constraint.kind)
    return InvalidParameterError(
        f"llguidance cannot express this {constraint.kind}: {problem.strip().splitlines()[0]}",
        value=value,
        hint="leave out what it names, and check that after generation",
    )


def _llguidance() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise BackendUnavailableError(
            f"constraints by masks need llguidance: {error}", value="llguidance", hint="pip install llguidance"
        ) from error
    return llguidance


class _Tokens:
    """A vocabulary as llguidance wants it."""

    def __init__(self, vocabulary: Vocabulary, tokenize: Callable[[str], list[int]]) -> None:
        self._tokenize = tokenize
        self.eos_token_id = min(vocabulary.end)
        self.bos_token_id = None
        self.tokens: Sequence[bytes] = vocabulary.pieces
        self.special_token_ids = sorted(vocabulary.special | vocabulary.end)

    def __call__(self, text: str) -> list[int]:
        # It is tried with bytes first, and is to refuse them.
        if not isinstance(text, str):
            raise TypeError("tokenizers of enginebay take text")
        return self._tokenize(text)
