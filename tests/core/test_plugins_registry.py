"""What the rest of enginebay asks of the plugins that loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import typer
from pydantic import BaseModel

from enginebay.errors import BackendUnavailableError, PluginError, UnknownBackendError
from enginebay.hookspecs import hookimpl
from enginebay.matching.decision import RefusalCode
from enginebay.models.conversion import ConverterSpec
from enginebay.plugins import BackendState, Plugins, PluginState, load_modules
from enginebay.spec import API_VERSION, BackendSpec, DeviceKind, DeviceSupport, Interface

Make = Callable[..., ModuleType]


def spec(name: str, interface: Interface = Interface.GENERATOR, **fields: object) -> BackendSpec:
    given = {"factory": "made_engine:open_engine", "devices": (DeviceSupport(kind=DeviceKind.CPU),)} | fields
    return BackendSpec(name=name, interface=interface, **given)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a plugin module; `made_engine` holds what its import strings lead to."""
    engine = ModuleType("made_engine")
    engine.open_engine = lambda request: f"opened {request}"
    engine.not_callable = 7
    engine.Options = type("Options", (BaseModel,), {"__module__": __name__})
    monkeypatch.setitem(sys.modules, "made_engine", engine)

    def module(name: str, *specs: BackendSpec, **hooks: Callable[..., object]) -> ModuleType:
        made = ModuleType(f"made_{name}")
        made.api_version = API_VERSION
        made.backends = hookimpl(lambda: specs)
        for hook, function in hooks.items():
            setattr(made, hook, hookimpl(function))
        monkeypatch.setitem(sys.modules, made.__name__, made)
        return made

    return module


def loaded(*modules: ModuleType) -> Plugins:
    plugins = load_modules({module.__name__.removeprefix("made_"): module for module in modules}, import_limit=1.0)
    assert {record.state for record in plugins.records} <= {PluginState.OK}, plugins.records
    return plugins


def test_backends_are_in_a_total_order(make: Make) -> None:
    first = make("b", spec("zeta"), spec("alpha", Interface.EMBEDDER))
    second = make("a", spec("beta"), spec("zeta", Interface.EMBEDDER))
    plugins = loaded(first, second)
    expected = [("embedder", "alpha"), ("embedder", "zeta"), ("generator", "beta"), ("generator", "zeta")]
    assert [(found.interface, found.name) for found in plugins.backends] == expected
    assert [found.name for found in plugins.specs(Interface.GENERATOR)] == ["beta", "zeta"]
    assert [record.name for record in plugins.records] == ["a", "b"]
    assert plugins.owner(plugins.spec(Interface.GENERATOR, "zeta")).name == "b"


def test_unknown_backend_is_answered_with_a_suggestion_and_the_list(make: Make) -> None:
    plugins = loaded(make("a", spec("llama_one"), spec("other"), spec("store", Interface.VECTOR_STORE)))
    with pytest.raises(UnknownBackendError, match="no plugin offers a generator backend 'lama_one'") as caught:
        plugins.spec(Interface.GENERATOR, "lama_one")
    assert "did you mean 'llama_one'?" in str(caught.value)
    assert "llama_one, other" in str(caught.value)
    with pytest.raises(UnknownBackendError, match="it is a backend for: vector_store"):
        plugins.spec(Interface.GENERATOR, "store")


def test_name_of_a_quarantined_plugin_is_answered_with_its_reason(make: Make) -> None:
    broken = make("a")
    broken.api_version = 7
    with pytest.raises(UnknownBackendError, match="the plugin 'a' is quarantined: too new"):
        load_modules({"a": broken}).spec(Interface.GENERATOR, "a")


@pytest.mark.parametrize(
    ("fields", "code", "message", "hint"),
    [
        ({}, None, "", None),
        ({"requires": ("pluggy>=1",), "install": "get pluggy"}, None, "", None),
        ({"factory": None}, RefusalCode.NO_ENGINE, "this release has no engine for it yet", "a later release"),
        (
            {"requires": ("no-such-thing>=2",), "install": "get it"},
            RefusalCode.NOT_INSTALLED,
            "no-such-thing is not installed",
            "get it",
        ),
        (
            {"requires": ("no-such-thing", "pluggy", "nor-this"), "install": "get it"},
            RefusalCode.NOT_INSTALLED,
            "no-such-thing and nor-this are not installed",
            "get it",
        ),
        ({"requires": ("pluggy>=9000",), "install": "get it"}, RefusalCode.TOO_OLD, "needs pluggy>=9000", "get it"),
        (
            {"requires": ("no-such-thing; python_version < '3'",), "install": "x"},
            None,
            "",
            None,
        ),
    ],
)
def test_availability(
    make: Make, fields: dict[str, object], code: RefusalCode | None, message: str, hint: str | None
) -> None:
    plugins = loaded(make("a", spec("one", **fields)))
    availability = plugins.availability(plugins.backends[0])
    assert availability.code is code
    assert message in availability.message
    assert (hint is None and availability.hint is None) or hint in (availability.hint or "")
    assert plugins.availabilities(Interface.GENERATOR) == {"one": availability}


def test_too_old_names_both_versions(make: Make) -> None:
    import pluggy

    plugins = loaded(make("a", spec("one", requires=("pluggy>=9000",), install="get it")))
    message = plugins.availability(plugins.backends[0]).message
    assert f"pluggy {pluggy.__version__} is installed" in message


def test_factory_and_options_are_resolved(make: Make) -> None:
    plugins = loaded(make("a", spec("one", options="made_engine:Options"), spec("plain")))
    one = plugins.spec(Interface.GENERATOR, "one")
    assert plugins.factory(one)("it") == "opened it"
    assert plugins.options_model(one) is sys.modules["made_engine"].Options
    assert plugins.options_model(plugins.spec(Interface.GENERATOR, "plain")) is None


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"factory": None}, BackendUnavailableError, "no engine for it yet"),
        ({"requires": ("no-such-thing",), "install": "get it"}, BackendUnavailableError, "get it"),
        ({"factory": "made_engine:gone"}, PluginError, "'made_engine' has no 'gone'"),
        ({"factory": "made_engine:not_callable"}, PluginError, "cannot be called"),
    ],
)
def test_factory_that_is_not_there(make: Make, fields: dict[str, object], error: type[Exception], words: str) -> None:
    plugins = loaded(make("a", spec("one", **fields)))
    with pytest.raises(error, match=words):
        plugins.factory(plugins.backends[0])


def test_options_that_are_no_model(make: Make) -> None:
    plugins = loaded(make("a", spec("one", options="made_engine:not_callable")))
    with pytest.raises(PluginError, match="no pydantic model"):
        plugins.options_model(plugins.backends[0])


@pytest.mark.parametrize("statement", ["raise RuntimeError('no driver')", "import sys; sys.exit('no driver')"])
def test_engine_module_that_does_not_import(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    (tmp_path / "broken_engine_module.py").write_text(statement)
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins = loaded(make("a", spec("one", factory="broken_engine_module:open")))
    with pytest.raises(BackendUnavailableError, match=r"does not import: .*no driver"):
        plugins.factory(plugins.backends[0])


def test_checks_are_those_of_installed_backends(make: Make) -> None:
    check = "made_engine:open_engine"
    plugins = loaded(
        make(
            "a",
            spec("one", check=check),
            spec("unchecked"),
            spec("missing", check=check, requires=("no-such-thing",), install="x"),
        )
    )
    assert plugins.checks() == {"one": check}


def test_things_that_plugins_add(make: Make) -> None:
    step = ConverterSpec(name="c", source="gguf", target="safetensors", factory="made_engine:open_engine")
    good = make("a", converters=lambda: [step], prompt_templates=lambda: iter([("t", "{{ x }}")]))
    silent = make("b")
    plugins = loaded(good, silent)
    assert plugins.converters() == (step,)
    assert plugins.prompt_templates() == (("t", "{{ x }}"),)
    assert plugins.catalogue_entries() == ()
    assert plugins.probe_modules() == ()


def test_a_hook_that_fails_is_a_warning_on_its_plugin_alone(make: Make) -> None:
    step = ConverterSpec(name="c", source="gguf", target="safetensors", factory="made_engine:open_engine")

    def explode() -> object:
        raise ValueError("no converters today")

    plugins = loaded(
        make("a", converters=explode), make("b", converters=lambda: [step, "junk"]), make("c", models=lambda: None)
    )
    assert plugins.converters() == (step,)
    assert plugins.converters() == (step,)
    assert plugins.catalogue_entries() == ()
    warnings = {record.name: record.warnings for record in plugins.records}
    assert len(warnings["a"]) == 1
    assert "the hook converters raises ValueError: no converters today" in warnings["a"][0]
    assert warnings["b"] == ("the hook converters gives something that is not a ConverterSpec",)
    assert "the hook models raises TypeError" in warnings["c"][0]


def test_a_hook_that_hangs_is_given_up(make: Make) -> None:
    def forever() -> Iterator[ConverterSpec]:
        while True:
            pass

    plugins = load_modules({"a": make("a", converters=forever)}, import_limit=0.2)
    assert plugins.converters() == ()
    assert plugins.records[0].warnings == ("the hook converters did not end within 0.2 s",)


def test_observers_hear_and_a_broken_one_costs_nothing(make: Make) -> None:
    heard: list[object] = []

    def deaf(event: object) -> None:
        raise RuntimeError("not listening")

    plugins = loaded(make("a", request_finished=deaf), make("b", request_finished=lambda event: heard.append(event)))
    for number in range(3):
        plugins.notify("request_finished", event=number)
    assert heard == [0, 1, 2]
    assert len(plugins.records[0].warnings) == 1
    assert "request_finished raises RuntimeError: not listening" in plugins.records[0].warnings[0]
    assert plugins.records[1].warnings == ()


def test_failures_are_remembered_until_success(make: Make) -> None:
    module = make("a", spec("one"), spec("two"))
    one = loaded(module).backends[0]
    loaded(module).record_failure(one, "RuntimeError: out\nof \x1b[31mmemory")
    later = loaded(module)
    failure = later.failure(one)
    assert failure is not None
    assert failure.reason == "RuntimeError: out of [31mmemory"
    assert later.failure(later.backends[1]) is None
    later.record_success(one)
    assert loaded(module).failure(one) is None


def test_failures_are_bounded(make: Make) -> None:
    module = make("a", *(spec(f"n{number}") for number in range(300)))
    plugins = loaded(module)
    for number in range(300):
        plugins.record_failure(plugins.spec(Interface.GENERATOR, f"n{number}"), "x" * 10_000)
    kept = [found for found in plugins.backends if plugins.failure(found)]
    assert len(kept) == 200
    assert plugins.failure(plugins.spec(Interface.GENERATOR, "n299")) is not None
    assert plugins.failure(plugins.spec(Interface.GENERATOR, "n0")) is None


def test_backend_states(make: Make) -> None:
    plugins = loaded(make("a", spec("one"), spec("missing", requires=("no-such-thing",), install="x")))
    missing, one = plugins.backends
    assert plugins.backend_state(missing) is BackendState.DECLARED
    assert plugins.backend_state(one) is BackendState.INSTALLED
    for state in (BackendState.LOADABLE, BackendState.VERIFIED):
        plugins.record_state(one, state)
        assert plugins.backend_state(one) is state
    plugins.record_state(one, BackendState.INSTALLED)
    assert plugins.backend_state(one) is BackendState.INSTALLED


def test_memory_that_cannot_be_read_or_written_is_no_error(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ENGINEBAY_DATA_DIR", str(tmp_path / "file" / "below"))
    plugins = loaded(make("a", spec("one")))
    plugins.record_failure(plugins.backends[0], "x")
    plugins.record_success(plugins.backends[0])
    assert plugins.failure(plugins.backends[0]) is None


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[]", b'{"failures": {"a": 1}}', b'{"unknown": {}}'])
def test_garbage_in_the_memory_is_forgotten(make: Make, content: bytes) -> None:
    from enginebay.plugins.memory import Memory

    path = Memory().path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    plugins = loaded(make("a", spec("one")))
    plugins.record_failure(plugins.backends[0], "x")
    assert plugins.failure(plugins.backends[0]) is not None


def test_commands_of_plugins(make: Make) -> None:
    def good(app: typer.Typer) -> None:
        @app.command()
        def hello() -> None: ...

    def unreadable(app: typer.Typer) -> None:
        @app.command()
        def strange(value: Annotated[int, typer.Argument(), typer.Option()]) -> None: ...

    def clashing(app: typer.Typer) -> None:
        @app.command("hello")
        def other() -> None: ...

    def reserved(app: typer.Typer) -> None:
        @app.command()
        def probe() -> None: ...

    def group(app: typer.Typer) -> None:
        sub = typer.Typer()
        sub.command()(lambda: None)
        app.add_typer(sub, name="tools")

    plugins = loaded(
        make("a", cli=good),
        make("b", cli=unreadable),
        make("c", cli=clashing),
        make("d", cli=reserved),
        make("e", cli=group),
        make("f", cli=lambda app: None),
        make("g", cli=lambda app: 1 / 0),
    )
    app = typer.Typer()
    plugins.extend_cli(app, reserved=("probe",))
    assert set(typer.main.get_group(app).commands) == {"hello", "tools"}
    warnings = {record.name: record.warnings for record in plugins.records}
    assert "the hook cli raises" in warnings["b"][0]
    assert warnings["c"] == ("its command 'hello' is taken by the plugin 'a'",)
    assert warnings["d"] == ("its command 'probe' is taken by enginebay itself",)
    assert "ZeroDivisionError" in warnings["g"][0]
    assert warnings["a"] == warnings["e"] == warnings["f"] == ()


def test_specs_of_another_registry_are_refused(make: Make) -> None:
    plugins = loaded(make("a", spec("one")))
    with pytest.raises(UnknownBackendError):
        plugins.availability(spec("two"))
