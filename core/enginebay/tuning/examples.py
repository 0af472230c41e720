"""The shapes of training examples, one object of a JSONL file each, and which of them a method learns from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, StrictBool, ValidationError, model_validator

from enginebay.interfaces.tuner import TuningMethod
from enginebay.prompts.messages import Message
from enginebay.spec import FrozenModel
from enginebay.suggest import did_you_mean

_ROLES = ("system", "user", "assistant")


def _some_text(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; write a text, or leave the line out")
    return text


def _turns(begins: Literal["user", "assistant"], ends: Literal["user", "assistant"]) -> Callable[..., Any]:
    """A check that user and assistant alternate; a system message may come before a user's first one."""

    def check(messages: tuple[Message, ...]) -> tuple[Message, ...]:
        expected = begins
        for number, message in enumerate(messages, 1):
            if message.role == "tool" or message.tool_calls:
                raise ValueError(f"message {number} is of a tool; leave conversations with tools out")
            if not message.content.strip():
                raise ValueError(f"message {number} is empty; write a text, or leave the line out")
            if message.role == "system" and number == 1 and begins == "user":
                continue
            if message.role != expected:
                raise ValueError(
                    f"message {number} is the {message.role}'s, expected is the {expected}'s; "
                    "user and assistant take turns, system comes first or not at all"
                )
            expected = "assistant" if expected == "user" else "user"
        if not messages or messages[-1].role != ends:
            last = f"ends with the {messages[-1].role}'s message" if messages else "holds no message"
            raise ValueError(f"{last}; end with the {ends}'s")
        return messages

    return check


Text = Annotated[str, AfterValidator(_some_text)]
Conversation = Annotated[tuple[Message, ...], AfterValidator(_turns("user", "assistant"))]
Opening = Annotated[tuple[Message, ...], AfterValidator(_turns("user", "user"))]
Reply = Annotated[tuple[Message, ...], AfterValidator(_turns("assistant", "assistant"))]


class Example(FrozenModel):
    """One training example."""

    @property
    def digest(self) -> bytes:
        """16 bytes that two examples share only if they are alike but for their labels."""
        return sha256(self.model_dump_json(exclude={"label"}).encode()).digest()[:16]


class Chat(Example):
    """A conversation; the assistant's messages are what is learned."""

    messages: Conversation


class Completion(Example):
    """A text and how it goes on."""

    prompt: Text
    completion: Text


class ChatCompletion(Example):
    """A conversation up to a user's message, and the reply."""

    prompt: Opening
    completion: Reply


def _one_is_better(pair: Any) -> Any:
    if pair.chosen == pair.rejected:
        raise ValueError("'chosen' and 'rejected' are the same; leave the line out")
    return pair


class Preference(Example):
    """A prompt, the better and the worse completion."""

    prompt: Text
    chosen: Text
    rejected: Text

    _differ = model_validator(mode="after")(_one_is_better)


class ChatPreference(Example):
    """The same with messages."""

    prompt: Opening
    chosen: Reply
    rejected: Reply

    _differ = model_validator(mode="after")(_one_is_better)


class Judged(Example):
    """A prompt and a completion that is good or bad."""

    prompt: Text
    completion: Text
    label: StrictBool


class ChatJudged(Example):
    """The same with messages."""

    prompt: Opening
    completion: Reply
    label: StrictBool


class Labelled(Example):
    """A text and the class it belongs to."""

    text: Text
    label: Text


class Prompt(Example):
    """A prompt alone; what is learned from is the reward of the model's own answer."""

    prompt: Text


class ChatPrompt(Example):
    """The same with messages."""

    prompt: Opening


class Shape(StrEnum):
    """Shapes of examples. All examples of a file have the same, and all hold texts or all messages."""

    MESSAGES = "messages"
    COMPLETION = "prompt and completion"
    PREFERENCE = "preference pairs"
    JUDGED = "judged completions"
    LABELLED = "labelled text"
    PROMPT = "prompts"


MODELS: Mapping[Shape, tuple[type[Example], ...]] = {
    Shape.MESSAGES: (Chat,),
    Shape.COMPLETION: (Completion, ChatCompletion),
    Shape.PREFERENCE: (Preference, ChatPreference),
    Shape.JUDGED: (Judged, ChatJudged),
    Shape.LABELLED: (Labelled,),
    Shape.PROMPT: (Prompt, ChatPrompt),
}
"""The models of a shape: with texts, with messages."""

_SUPERVISED = (Shape.MESSAGES, Shape.COMPLETION, Shape.LABELLED)

METHOD_SHAPES: Mapping[TuningMethod, tuple[Shape, ...]] = {
    TuningMethod.FEATURE_BASED: (Shape.LABELLED,),
    TuningMethod.LAST_LAYERS: _SUPERVISED,
    TuningMethod.FULL: _SUPERVISED,
    TuningMethod.PROMPT_TUNING: _SUPERVISED,
    TuningMethod.LORA: _SUPERVISED,
    TuningMethod.QLORA: _SUPERVISED,
    TuningMethod.REWARD: (Shape.PREFERENCE,),
    TuningMethod.DPO: (Shape.PREFERENCE,),
    TuningMethod.KTO: (Shape.JUDGED,),
    TuningMethod.RLOO: (Shape.PROMPT,),
    TuningMethod.GRPO: (Shape.PROMPT,),
    TuningMethod.PPO: (Shape.PROMPT,),
}
"""The shapes that a method learns from."""


def keys_of(shape: Shape) -> tuple[str, ...]:
    """The keys that its objects have."""
    return tuple(MODELS[shape][0].model_fields)


def described(shapes: Iterable[Shape]) -> str:
    """Shapes for people: 'labelled text {"text", "label"}'."""
    return " or ".join(f"{shape} {{{json.dumps(keys_of(shape))[1:-1]}}}" for shape in shapes)


def shape_of(keys: Iterable[str]) -> Shape | None:
    """The shape whose objects have exactly these keys."""
    given = set(keys)
    return next((shape for shape in Shape if set(keys_of(shape)) == given), None)


def wrong_keys(keys: Iterable[str], shapes: Iterable[Shape]) -> list[str]:
    """What is wrong with the keys of an object that has none of the shapes, told for the nearest of them."""
    given = set(keys)
    nearest = max(shapes, key=lambda shape: (len(given & set(keys_of(shape))), -len(keys_of(shape))))
    wanted = keys_of(nearest)
    told = []
    missing = [key for key in wanted if key not in given]
    for key in sorted(given - set(wanted)):
        way_out = did_you_mean(key, missing) if missing else "leave it out"
        told.append(f"unknown key {shown(key)}; {way_out}")
    return told or [f"the key {key!r} is missing; write {described([nearest])}" for key in missing]


def shown(value: object) -> str:
    """A value for a message, cut."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def wrong_values(error: ValidationError) -> list[str]:
    """What pydantic found wrong with an example, one sentence each with the way out."""
    return [_wrong_value(each["type"], each["loc"], each["input"], each["msg"]) for each in error.errors()]


def _wrong_value(kind: str, place: tuple[int | str, ...], value: object, message: str) -> str:
    name = " of ".join(f"message {part + 1}" if isinstance(part, int) else f"{part!r}" for part in reversed(place))
    if kind == "value_error":
        told = message.removeprefix("Value error, ")
        return f"{name} {told}" if name else told
    if kind == "missing":
        return f'{name} is missing; a message is written {{"role": …, "content": …}}'
    if kind == "extra_forbidden":
        return f'unknown key {name}; a message is written {{"role": …, "content": …}}'
    if kind == "literal_error":
        return f"{name} is {shown(value)}; {did_you_mean(str(value), _ROLES)}"
    return f"{name} is {shown(value)}; {_WANTED.get(kind, message)}"


_WANTED = {
    "string_type": "write a text in quotes",
    "bool_type": "write true or false",
    "tuple_type": "write a list of messages",
    "model_type": 'write a message as {"role": …, "content": …}',
}
