"""Chat templates: the model's own Jinja source, rendered in an immutable sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from enginebay.errors import PromptError, UnsupportedFeatureError
from enginebay.prompts.messages import Message
from enginebay.prompts.tools import Tool

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt as the model reads it.

    Attributes:
        text: the prompt; without the begin token when the tokenizer adds it by itself.
        template_digest: SHA-256 of the template's source, "" for a prompt without template.
        add_bos: the tokenizer is to add its begin token.
        messages, tools: for an engine that applies the template itself: the conversation in place of a text, and the
            definitions of the tools, as OpenAI's API writes both; None for a text.
    """

    text: str
    template_digest: str = ""
    add_bos: bool = True
    messages: tuple[Mapping[str, Any], ...] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()


class ChatTemplate:
    """A model's chat template.

    Args:
        source: Jinja source, as in GGUF's `tokenizer.chat_template` or a tokenizer's files.
        bos, eos: text of the begin and end tokens, as templates expect them.
        add_bos: the tokenizer adds the begin token by itself, so that a rendered one is taken off.

    Raises:
        PromptError: the source is no Jinja template.
    """

    def __init__(self, source: str, *, bos: str = "", eos: str = "", add_bos: bool = False) -> None:
        self.source = source
        self.digest = sha256(source.encode()).hexdigest()
        self._bos = bos
        self._eos = eos
        self._add_bos = add_bos
        self._template = _compile(source)

    @property
    def takes_tools(self) -> bool:
        """The template reads `tools`."""
        return _reads(self.source, "tools")

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool | Mapping[str, Any]] = (),
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> RenderedPrompt:
        """Render a conversation.

        Args:
            tools: what the model may call, as tools or as definitions in the chat APIs' form.
            add_generation_prompt: end with the opening of the assistant's turn.
            variables: further names that a template may read, such as `enable_thinking`.

        Raises:
            PromptError: the template refuses the messages, reads what is not there, or leaves its sandbox.
            UnsupportedFeatureError: there are tools, and the template does not read them.
        """
        from jinja2 import TemplateError

        if tools and not self.takes_tools:
            raise UnsupportedFeatureError(
                "the model's chat template knows no tools",
                value="tools",
                hint="use a model that was trained to call tools",
            )
        try:
            text = self._template.render(
                messages=[message.model_dump() for message in messages],
                tools=[tool.definition if isinstance(tool, Tool) else tool for tool in tools] or None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                bos_token=self._bos,
                eos_token=self._eos,
                **variables,
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            raise PromptError(
                f"the model's chat template refuses these messages: {error}",
                hint="check roles and their order, or use complete() with a prompt of your own",
            ) from error
        if self._add_bos and self._bos and text.startswith(self._bos):
            text = text[len(self._bos) :]
        return RenderedPrompt(text, self.digest, add_bos=self._add_bos)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from enginebay.prompts.generation_tag import GenerationTag

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", GenerationTag]
    )

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda style: datetime.now().strftime(style)
    environment.filters["tojson"] = to_json
    return environment


@lru_cache(maxsize=32)
def _compile(source: str) -> Template:
    from jinja2 import TemplateSyntaxError

    try:
        return _environment().from_string(source)
    except TemplateSyntaxError as error:
        raise PromptError(f"the model's chat template is broken at line {error.lineno}: {error.message}") from error


@lru_cache(maxsize=32)
def _reads(source: str, name: str) -> bool:
    from jinja2 import nodes

    names = _environment().parse(source).find_all(nodes.Name)
    return any(node.name == name and node.ctx == "load" for node in names)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As transformers renders it: no HTML escapes, non-ASCII as it is."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
