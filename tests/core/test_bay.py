"""The bay: opening, sharing, falling back and closing engines, on fakes."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from enginebay import BackendSpec, Bay, hookimpl
from enginebay.errors import (
    ConfigError,
    EngineClosedError,
    EngineOpenError,
    FallbackWarning,
    ModelNotFoundError,
    NoMatchError,
    OptionError,
    UnknownBackendError,
)
from enginebay.hookspecs import EngineEvent
from enginebay.plugins import load_modules
from fake_engine import FakeGenerator, fake_spec
from gguf_writer import write_gguf
from machines import machine

OPENED: list[FakeGenerator] = []


class FakeOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    threads: int = 1


def open_fake(request: Any) -> FakeGenerator:
    engine = FakeGenerator()
    OPENED.append(engine)
    return engine


def open_broken(request: Any) -> FakeGenerator:
    raise RuntimeError("the fake factory broke")


def open_exiting(request: Any) -> FakeGenerator:
    sys.exit("the fake factory left")


def open_nonsense(request: Any) -> Any:
    return "no generator"


def plugin(*specs: BackendSpec, **hooks: Callable[..., Any]) -> types.ModuleType:
    """A plugin module made here."""
    module = types.ModuleType("fake_plugin")
    module.api_version = 1  # type: ignore[attr-defined]

    @hookimpl
    def backends() -> Iterable[BackendSpec]:
        return specs

    module.backends = backends  # type: ignore[attr-defined]
    for name, hook in hooks.items():
        setattr(module, name, hookimpl(hook))
    return module


def spec_of(name: str, factory: Callable[..., Any] = open_fake, **fields: Any) -> BackendSpec:
    home = sys.modules[__name__].__name__
    return fake_spec(name, factory=f"{home}:{factory.__name__}", options=f"{home}:FakeOptions", **fields)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Factories are found by import strings, and this module has no importable name of its own."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or types.ModuleType(__name__))
    OPENED.clear()


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_gguf(tmp_path / "tiny.gguf"))


def make_bay(*specs: BackendSpec, hooks: dict[str, Callable[..., Any]] | None = None, **given: Any) -> Bay:
    plugins = load_modules({"fake_plugin": plugin(*specs, **(hooks or {}))})
    return Bay(plugins=plugins, hardware=machine("epyc_server"), **given)


def test_a_model_answers(model: str) -> None:
    with make_bay(spec_of("fake")) as bay:
        result = bay.generator(model).complete("x")
        assert (result.text, result.backend, result.device) == ("Hello", "fake", "cpu")
    assert OPENED[0].closed == 1


def test_equal_requests_share_an_engine_and_others_do_not(model: str) -> None:
    with make_bay(spec_of("fake")) as bay:
        one, same = bay.generator(model), bay.generator(model, sampling={"temperature": 0})
        other = bay.generator(model, options={"threads": 2})
        assert one.engine is same.engine
        assert other.engine is not one.engine
        assert len(OPENED) == 2


def test_threads_that_ask_at_once_share_an_engine(model: str) -> None:
    with make_bay(spec_of("fake")) as bay:
        barrier = threading.Barrier(8)

        def work() -> None:
            barrier.wait()
            assert bay.generator(model).complete("x").text == "Hello"

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(OPENED) == 1


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        (open_broken, "the fake factory broke"),
        (open_exiting, "the fake factory left"),
        (open_nonsense, "not a Generator"),
    ],
)
def test_the_next_match_is_tried_and_the_failure_told(model: str, factory: Callable[..., Any], told: str) -> None:
    with make_bay(spec_of("alpha", factory), spec_of("beta")) as bay:
        with pytest.warns(FallbackWarning, match=rf"alpha on cpu: .*{told}.*fell back to beta on cpu"):
            handle = bay.generator(model)
        assert handle.spec.name == "beta"
        assert told in handle.decision.failures[0]
        assert told in handle.complete("x").decision.failures[0]  # type: ignore[union-attr]


def test_without_fallback_the_failure_is_raised(model: str) -> None:
    bay = make_bay(spec_of("alpha", open_broken), spec_of("beta"))
    with pytest.raises(EngineOpenError, match="the fake factory broke"):
        bay.generator(model, fallback=False)
    assert OPENED == []


def test_when_none_opens_every_failure_is_told(model: str) -> None:
    bay = make_bay(spec_of("alpha", open_broken), spec_of("beta", open_exiting))
    with pytest.raises(EngineOpenError, match=r"alpha on cpu.*broke.*beta on cpu.*left"):
        bay.generator(model)


def test_nothing_fits_is_told_with_the_decision(model: str) -> None:
    with pytest.raises(NoMatchError, match="does not fit") as caught:
        make_bay(spec_of("fake")).generator(model, memory_limit="1MB")
    assert caught.value.decision.chosen is None


def test_wrong_names_get_suggestions(model: str, tmp_path: Path) -> None:
    bay = make_bay(spec_of("fake"), overrides={"generators": {"chat": {"model": model}}})
    with pytest.raises(UnknownBackendError, match="did you mean 'fake'"):
        bay.generator(model, backend="fale")
    with pytest.raises(OptionError, match="did you mean 'threads'"):
        bay.generator(model, options={"thread": 1})
    with pytest.raises(OptionError, match="'threads' of backend 'fake' = 'many'"):
        bay.generator(model, options={"threads": "many"})
    with pytest.raises(ConfigError, match="did you mean 'chat'"):
        bay.generator("chatt")
    with pytest.raises(ConfigError, match="did you mean 'backend'"):
        bay.generator("chat", bakend="x")
    with pytest.raises(NoMatchError, match="on cuda: this machine has no such device"):
        bay.generator(model, device="cuda")
    with pytest.raises(ModelNotFoundError, match="no model at"):
        bay.generator(str(tmp_path / "missing.gguf"))


def test_a_catalogue_model_that_is_not_here_names_the_way() -> None:
    with pytest.raises(ModelNotFoundError, match="enginebay pull smollm2-135m-instruct"):
        make_bay(spec_of("fake")).generator("smollm2-135m-instruct")


def test_which_generator_is_the_default(model: str) -> None:
    def named(**settings: Any) -> str:
        return make_bay(spec_of("fake"), overrides=settings).generator().name

    one = {"model": model}
    assert named(generators={"only": one}) == "only"
    assert named(generators={"a": one, "b": one}, default_generator="b") == "b"
    with pytest.raises(ConfigError, match="name one of: a, b"):
        named(generators={"a": one, "b": one})
    with pytest.raises(ConfigError, match="give a model"):
        named()


def test_changes_go_over_the_configuration(model: str) -> None:
    configured = {"chat": {"model": model, "backend": "alpha", "sampling": {"max_tokens": 1}, "system": "S"}}
    with make_bay(spec_of("alpha"), spec_of("beta"), overrides={"generators": configured}) as bay:
        chat = bay.generator("chat")
        assert (chat.spec.name, chat.complete("x").text, chat.system) == ("alpha", "Hel", "S")
        assert bay.generator("chat", backend="beta").spec.name == "beta"


def test_closing(model: str) -> None:
    bay = make_bay(spec_of("fake"))
    handle = bay.generator(model)
    bay.close()
    bay.close()
    with pytest.raises(EngineClosedError):
        handle.complete("x")
    assert OPENED[0].closed == 1
    assert bay.generator(model).complete("x").text == "Hello", "a closed bay opens anew"
    bay.close()


def test_releasing_one_keeps_the_others(model: str) -> None:
    with make_bay(spec_of("fake")) as bay:
        one, other = bay.generator(model), bay.generator(model, options={"threads": 2})
        bay.release(one)
        with pytest.raises(EngineClosedError):
            one.complete("x")
        assert other.complete("x").text == "Hello"


def test_a_forgotten_bay_frees_its_engines(model: str) -> None:
    bay = make_bay(spec_of("fake"))
    bay.generator(model)
    del bay
    gc.collect()
    assert OPENED[0].closed == 1


def test_an_engine_that_fails_to_close_harms_no_other(model: str) -> None:
    events: list[EngineEvent] = []
    bay = make_bay(spec_of("fake"), hooks={"engine_closed": lambda event: events.append(event)})
    bay.generator(model)
    bay.generator(model, options={"threads": 2})
    OPENED[0].close = lambda: 1 / 0  # type: ignore[method-assign,assignment]
    bay.close()
    assert OPENED[1].closed == 1
    assert [event.error is None for event in events].count(False) == 1


def test_observers_are_told(model: str) -> None:
    told: list[str] = []

    def observer(name: str, argument: str) -> Callable[..., None]:
        scope: dict[str, Any] = {"told": told}
        exec(f"def hook({argument}): told.append({name!r})", scope)
        hook: Callable[..., None] = scope["hook"]
        return hook

    hooks = {
        "decided": observer("decided", "decision"),
        "engine_opened": observer("engine_opened", "event"),
        "engine_closed": observer("engine_closed", "event"),
        "request_finished": observer("request_finished", "event"),
    }
    with make_bay(spec_of("fake"), hooks=hooks) as bay:
        bay.generator(model).complete("x")
    assert told == ["decided", "engine_opened", "request_finished", "engine_closed"]


def test_free_memory_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bay = Bay(plugins=load_modules({}))
    first = bay.hardware()
    assert bay.hardware() is first
    monkeypatch.setattr("enginebay.bay.FRESH", -1.0)
    bay.hardware(refresh=True)
    assert bay.hardware() is not bay.hardware()
    given = Bay(plugins=load_modules({}), hardware=first)
    assert given.hardware() is first


def test_explaining_opens_nothing(model: str) -> None:
    bay = make_bay(spec_of("fake"))
    decision = bay.explain(model, workload="throughput", sampling=["temperature"])
    assert decision.chosen is not None
    assert OPENED == []
    assert bay.explain(model, hardware=machine("apple_m1_8gb")).machine == "MacBook Air, M1, 8 GB"


def test_importing_starts_nothing() -> None:
    """No thread, no logging configuration, none of the heavy modules."""
    script = (
        "import sys, threading, logging, enginebay\n"
        "assert threading.active_count() == 1\n"
        "assert not logging.getLogger().handlers\n"
        "heavy = {'pydantic', 'numpy', 'typer', 'rich', 'httpx', 'jinja2', 'pluggy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_no_warning_without_a_fall(model: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with make_bay(spec_of("fake")) as bay:
            assert bay.generator(model).decision.failures == ()
