"""Opening embedders by a bay, on fakes."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from embedding_folder import write_embedding_folder
from enginebay import BackendSpec, Bay, Feature, ModelFormat, OpenRequest, Pooling, hookimpl
from enginebay.errors import (
    ConfigError,
    EngineClosedError,
    EngineOpenError,
    FallbackWarning,
    ModelNotFoundError,
    NoMatchError,
    OptionError,
    UnknownBackendError,
    UnsupportedFeatureError,
)
from enginebay.hookspecs import RequestEvent
from enginebay.plugins import load_modules
from fake_embedder import FakeEmbedder, fake_embedder_spec
from fake_engine import FakeGenerator, fake_spec
from gguf_writer import write_gguf
from machines import machine

OPENED: list[tuple[OpenRequest, FakeEmbedder]] = []


def open_fake(request: OpenRequest) -> FakeEmbedder:
    engine = FakeEmbedder()
    engine.max_batch = request.streams
    engine.context_length = request.context_length
    OPENED.append((request, engine))
    return engine


def open_broken(request: OpenRequest) -> FakeEmbedder:
    raise RuntimeError("the fake factory broke")


def open_generator(request: OpenRequest) -> Any:
    return FakeGenerator()


def spec_of(name: str, factory: Callable[..., Any] = open_fake, **fields: Any) -> BackendSpec:
    given = {"formats": frozenset({ModelFormat.SAFETENSORS}), "factory": f"{__name__}:{factory.__name__}"}
    return fake_embedder_spec(name, **(given | fields))


def make_bay(*specs: BackendSpec, tell: Callable[..., None] | None = None, **given: Any) -> Bay:
    module = types.ModuleType("fake_plugin")
    module.api_version = 1  # type: ignore[attr-defined]

    @hookimpl
    def backends() -> Iterable[BackendSpec]:
        return specs

    module.backends = backends  # type: ignore[attr-defined]
    if tell is not None:
        module.request_finished = hookimpl(tell)  # type: ignore[attr-defined]
    return Bay(plugins=load_modules({"fake_plugin": module}), hardware=machine("epyc_server"), **given)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Factories are found by import strings, and this module has no importable name of its own."""
    module = types.ModuleType(__name__)
    vars(module).update(globals())
    monkeypatch.setitem(sys.modules, __name__, module)
    OPENED.clear()


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_embedding_folder(tmp_path / "model", text={"max_seq_length": 16}))


def test_a_model_embeds_with_what_its_authors_say(model: str) -> None:
    with make_bay(spec_of("fake")) as bay:
        handle = bay.embedder(model)
        assert handle.embed_documents(["a", "b"]).shape == (2, 8)
        assert (handle.spec.name, handle.device, handle.name) == ("fake", "cpu", model)
        assert (handle.dimension, handle.context_length) == (8, 16)
    request, engine = OPENED[0]
    assert request.embedding is not None
    assert (request.embedding.pooling, request.context_length, request.streams) == (Pooling.MEAN, 16, 32)
    assert engine.closed == 1


def test_handles_that_differ_in_texts_alone_share_an_engine(model: str) -> None:
    with make_bay(spec_of("fake")) as bay:
        one = bay.embedder(model)
        for changes in ({"query_prefix": "q"}, {"truncate": True}, {"normalise": False}, {"workload": "latency"}):
            assert bay.embedder(model, **changes).engine is one.engine
        for changes in ({"batch_size": 2}, {"context_length": 8}, {"pooling": "cls"}):
            assert bay.embedder(model, **changes).engine is not one.engine


def test_prefixes_come_from_the_model_unless_configured(tmp_path: Path) -> None:
    folder = str(write_embedding_folder(tmp_path / "e5", prompts={"query": "query: ", "document": "passage: "}))
    with make_bay(spec_of("fake")) as bay:
        own, none = bay.embedder(folder), bay.embedder(folder, query_prefix="")
        assert (own.query_prefix, own.document_prefix) == ("query: ", "passage: ")
        assert (none.query_prefix, none.document_prefix) == ("", "passage: ")
        assert own.fingerprint != none.fingerprint


def test_the_fingerprint_is_of_weights_pooling_and_prefixes(model: str, tmp_path: Path) -> None:
    with make_bay(spec_of("fake"), spec_of("other")) as bay:
        handle = bay.embedder(model, backend="fake")
        for same in ({"backend": "other"}, {"batch_size": 2}, {"truncate": True}, {"context_length": 8}):
            assert bay.embedder(model, **same).fingerprint == handle.fingerprint
        for other in ({"pooling": "cls"}, {"normalise": False}, {"document_prefix": "d"}):
            assert bay.embedder(model, **other).fingerprint != handle.fingerprint
        another = write_embedding_folder(tmp_path / "another", fill=7)
        assert bay.embedder(str(another)).fingerprint != handle.fingerprint


def test_pooling_that_nobody_states_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    folder = str(write_embedding_folder(tmp_path / "bare", steps=()))
    with make_bay(spec_of("fake")) as bay:
        with pytest.raises(UnsupportedFeatureError, match="pooling = one of mean, cls, last"):
            bay.embedder(folder)
        bay.embedder(folder, pooling="last")
        assert OPENED[0][0].embedding is not None
        assert OPENED[0][0].embedding.pooling is Pooling.LAST
        with pytest.raises(ConfigError, match="pooling"):
            bay.embedder(folder, pooling="sum")


def test_a_generators_model_is_told_to_be_no_embedder(tmp_path: Path) -> None:
    path = str(write_gguf(tmp_path / "tiny.gguf"))
    with make_bay(spec_of("fake")) as bay, pytest.raises(UnsupportedFeatureError, match="may be no embedder"):
        bay.embedder(path)


def test_other_steps_need_a_backend_that_runs_them(tmp_path: Path) -> None:
    folder = str(write_embedding_folder(tmp_path / "dense", steps=("Transformer", "Pooling", "Dense")))
    plain, every = spec_of("alpha"), spec_of("beta", features=frozenset({Feature.EMBEDDING_MODULES}))
    with make_bay(plain, every) as bay:
        assert bay.embedder(folder).spec.name == "beta"
        with pytest.raises(NoMatchError, match="embedding_modules"):
            bay.embedder(folder, backend="alpha")


def test_the_next_match_is_tried_and_the_failure_told(model: str) -> None:
    with (
        make_bay(spec_of("alpha", open_broken), spec_of("beta")) as bay,
        pytest.warns(FallbackWarning, match="fell back to beta"),
    ):
        assert "the fake factory broke" in bay.embedder(model).decision.failures[0]


def test_a_factory_that_gives_no_embedder_is_told(model: str) -> None:
    with pytest.raises(EngineOpenError, match="returned FakeGenerator, not an Embedder"):
        make_bay(spec_of("fake", open_generator)).embedder(model, fallback=False)


def test_wrong_names_get_suggestions(model: str) -> None:
    bay = make_bay(spec_of("fake"), overrides={"embedders": {"search": {"model": model}}})
    with pytest.raises(UnknownBackendError, match="did you mean 'fake'"):
        bay.embedder(model, backend="fale")
    with pytest.raises(ConfigError, match="'serch' is neither a configured embedder"):
        bay.embedder("serch")
    with pytest.raises(ConfigError, match="did you mean 'query_prefix'"):
        bay.embedder("search", query_prefx="x")
    with pytest.raises(OptionError, match="has no options"):
        bay.embedder("search", options={"x": 1})
    with pytest.raises(NoMatchError, match="trained for"):
        bay.embedder(model, context_length=65)


def test_which_embedder_is_the_default(model: str) -> None:
    def named(**settings: Any) -> str:
        return make_bay(spec_of("fake"), overrides=settings).embedder().name

    one = {"model": model}
    assert named(embedders={"only": one}) == "only"
    assert named(embedders={"a": one, "b": one}, default_embedder="b") == "b"
    with pytest.raises(ConfigError, match="name one of: a, b"):
        named(embedders={"a": one, "b": one})
    with pytest.raises(ConfigError, match=r'give a model: bay.embedder\("MODEL"\)'):
        named()


def test_a_catalogue_model_that_is_not_here_names_the_way() -> None:
    with pytest.raises(ModelNotFoundError, match="enginebay pull all-minilm-l6-v2"):
        make_bay(spec_of("fake")).embedder("all-minilm-l6-v2")


def test_releasing_and_closing(model: str) -> None:
    bay = make_bay(spec_of("fake"))
    one, other = bay.embedder(model), bay.embedder(model, batch_size=2)
    bay.release(one)
    with pytest.raises(EngineClosedError, match=r"bay.embedder\(…\)"):
        one.embed_query("a")
    assert other.embed_query("a").shape == (8,)
    bay.close()
    with pytest.raises(EngineClosedError):
        other.count_tokens(["a"])
    assert [engine.closed for _, engine in OPENED] == [1, 1]


def test_one_name_may_serve_two_interfaces(model: str, tmp_path: Path) -> None:
    generator = fake_spec("both", factory=f"{__name__}:{open_generator.__name__}")
    with make_bay(spec_of("both"), generator) as bay:
        assert bay.embedder(model, backend="both").embed_query("b").argmax() == 1
        text = bay.generator(str(write_gguf(tmp_path / "tiny.gguf")), backend="both").complete("x").text
        assert text == "Hello"


def test_observers_are_told_of_requests(model: str) -> None:
    told: list[RequestEvent] = []
    with make_bay(spec_of("fake"), tell=lambda event: told.append(event)) as bay:
        bay.embedder(model).embed_documents(["ab"])
    assert [(event.backend, event.usage.prompt_tokens if event.usage else None) for event in told] == [("fake", 3)]


def test_explaining_judges_an_embedder_as_opening_it_does(model: str) -> None:
    with make_bay(spec_of("fake"), fake_spec("generator", formats=frozenset({ModelFormat.SAFETENSORS}))) as bay:
        explained, opened = bay.explain(model), bay.embedder(model).decision
        assert explained.requirement == opened.requirement
        assert [found.backend for found in explained.matches] == ["fake"]
        generating = bay.explain(model, interface="generator")
        assert [found.backend for found in generating.matches] == ["generator"]
