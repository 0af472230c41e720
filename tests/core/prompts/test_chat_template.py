"""Chat templates: rendered as the model wants, inside the sandbox, with clear refusals."""

from __future__ import annotations

import pytest

from enginebay.errors import PromptError, UnsupportedFeatureError
from enginebay.prompts.chat_template import ChatTemplate
from enginebay.prompts.messages import Message, as_messages
from enginebay.prompts.tools import Tool

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_chatml() -> None:
    prompt = ChatTemplate(CHATML).render(as_messages("Hi", system="Be brief."))
    assert prompt.text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert len(prompt.template_digest) == 64


def test_a_begin_token_that_the_tokenizer_adds_is_taken_off() -> None:
    source = "{{ bos_token }}{{ messages[0].content }}"
    kept = ChatTemplate(source, bos="<s>").render([Message(role="user", content="x")])
    taken = ChatTemplate(source, bos="<s>", add_bos=True).render([Message(role="user", content="x")])
    assert (kept.text, kept.add_bos) == ("<s>x", False)
    assert (taken.text, taken.add_bos) == ("x", True)


def test_the_templates_own_refusal_is_told() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(PromptError, match="roles must alternate"):
        template.render(as_messages("x"))


def test_a_broken_template_names_the_line() -> None:
    with pytest.raises(PromptError, match="line 2"):
        ChatTemplate("ok\n{% if %}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% for i in range(10000000) %}x{% endfor %}",
        "{{ 1 / 0 }}",
        "{{ messages[7].content.x }}",
    ],
)
def test_hostile_templates_are_refused(source: str) -> None:
    with pytest.raises(PromptError):
        ChatTemplate(source).render(as_messages("x"))


def test_tojson_keeps_text_as_it_is() -> None:
    template = ChatTemplate("{{ messages[0].content | tojson }}")
    assert template.render(as_messages("<é>")).text == '"<é>"'


def test_messages_are_checked() -> None:
    with pytest.raises(PromptError, match="message 0: role"):
        as_messages([{"role": "robot", "content": "x"}])
    with pytest.raises(PromptError, match="no message"):
        as_messages([])
    assert as_messages([{"role": "system", "content": "a"}], system="b")[0].content == "a"


TOOLS = """{%- if tools %}
    {%- for tool in tools %}{{- tool | tojson }}{%- endfor %}
{%- endif %}
{%- for message in messages %}
    {{- '<' + message.role + '>' + message.content }}
    {%- if message.tool_calls is defined %}
        {%- for call in message.tool_calls %}{{- call.function | tojson }}{%- endfor %}
    {%- endif %}
{%- endfor %}"""


def test_tools_and_their_calls() -> None:
    tool = Tool("weather", "The <weather>.", {"type": "object", "properties": {}}, lambda: None)
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln"}}}
    messages = as_messages(
        [
            {"role": "user", "content": "?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "content": "rain", "name": "weather"},
        ]
    )
    said = '<user>?<assistant>{"name": "weather", "arguments": {"city": "Köln"}}<tool>rain'
    template = ChatTemplate(TOOLS)
    assert template.render(messages).text == said
    definition = (
        '{"type": "function", "function": {"name": "weather", "description": "The <weather>.",'
        ' "parameters": {"type": "object", "properties": {}}}}'
    )
    assert template.render(messages, tools=[tool]).text == definition + said
    assert template.render(messages, tools=[tool.definition]).text == definition + said


@pytest.mark.parametrize(
    ("source", "takes"),
    [
        (TOOLS, True),
        (CHATML, False),
        ("{% if not tools is defined %}{% set tools = none %}{% endif %}{{ tools }}", True),
        ("tools {# tools #} {{ 'tools' }} {{ messages.tools }}", False),
    ],
)
def test_a_template_without_tools_refuses_them(source: str, takes: bool) -> None:
    template = ChatTemplate(source)
    assert template.takes_tools is takes
    if not takes:
        tool = Tool("f", "", {"type": "object"}, lambda: None)
        with pytest.raises(UnsupportedFeatureError, match="knows no tools"):
            template.render(as_messages("x"), tools=[tool])


def test_generation_tags_render_their_content() -> None:
    source = (
        "{% set x = 1 %}{% for m in messages %}{% generation %}{% set x = 2 %}\n"
        "{{ m.content }}{{ x }}{% endgeneration %}{{ x }}{% endfor %}"
    )
    assert ChatTemplate(source).render(as_messages("a")).text == "a21"
    with pytest.raises(PromptError, match="line 1"):
        ChatTemplate("{% generation %}x")
