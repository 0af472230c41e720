"""What a plugin's own tests look like: it loads by enginebay's rules, and its engine keeps the interface's."""

import enginebay_toy_echo
import pytest
from enginebay_toy_echo.engine import EchoOptions, ToyEcho

from enginebay import FinishReason, GenerationRequest, SamplingParams
from enginebay.errors import ContextLengthError, EngineClosedError
from enginebay.plugins import PluginState, load_modules


def test_plugin_keeps_the_rules():
    plugins = load_modules({"toy_echo": enginebay_toy_echo})
    (record,) = plugins.records
    assert (record.state, record.reason, record.warnings) == (PluginState.OK, None, ())
    assert callable(plugins.factory(enginebay_toy_echo.TOY_ECHO))
    assert plugins.options_model(enginebay_toy_echo.TOY_ECHO) is EchoOptions


def test_engine_repeats_the_prompt():
    completion = ToyEcho(100, EchoOptions(upper=True)).generate(GenerationRequest("hello"))
    assert completion.text == "HELLO"
    assert completion.finish_reason is FinishReason.STOP
    assert completion.usage.completion_tokens == 5


def test_engine_ends_at_max_tokens():
    completion = ToyEcho(100, EchoOptions()).generate(GenerationRequest("hello", SamplingParams(max_tokens=2)))
    assert (completion.text, completion.finish_reason) == ("he", FinishReason.LENGTH)


def test_engine_refuses_what_the_interface_says():
    engine = ToyEcho(5, EchoOptions())
    with pytest.raises(ContextLengthError):
        engine.generate(GenerationRequest("too long"))
    engine.close()
    with pytest.raises(EngineClosedError):
        engine.generate(GenerationRequest("hi"))
