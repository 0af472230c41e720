"""Configuration: who overrides whom, where each value came from, and errors that say where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay.config import SourceKind, load_settings
from enginebay.config.loading import merge, nested
from enginebay.config.settings import reveal
from enginebay.config.sources import layer, leaves
from enginebay.errors import ConfigError

CHAT = '[generators.chat]\nmodel = "m"\n'


def load(text: str, tmp_path: Path, **given: Any) -> Any:
    file = tmp_path / "given.toml"
    file.write_text(text)
    return load_settings(file=file, **{"environ": {}, **given})


def test_no_file_at_all_is_fine(tmp_path: Path) -> None:
    loaded = load_settings(environ={}, cwd=tmp_path)
    assert loaded.settings.generators == {}
    assert loaded.files == ()


def test_each_source_overrides_the_one_before(tmp_path: Path, own_folders: Path) -> None:
    project = tmp_path / "project"
    (project / "deep" / "er").mkdir(parents=True)
    user = own_folders / "config" / "enginebay.toml"
    user.parent.mkdir(parents=True, exist_ok=True)
    key = "[generators.chat]\nmodel = "
    environ: dict[str, str] = {}
    given: dict[str, Any] = {"environ": environ, "cwd": project / "deep" / "er"}

    def now() -> tuple[str, SourceKind]:
        loaded = load_settings(**given)
        return loaded.settings.generators["chat"].model, loaded.provenance["generators.chat.model"].kind

    user.write_text(key + '"user"')
    assert now() == ("user", SourceKind.USER_FILE)
    (project / "enginebay.toml").write_text(key + '"project"\n[profiles.p.generators.chat]\nmodel = "profile"')
    assert now() == ("project", SourceKind.PROJECT_FILE)
    (project / "pyproject.toml").write_text('[tool.enginebay.generators.chat]\nmodel = "pyproject"')
    assert now() == ("pyproject", SourceKind.PYPROJECT)
    given["profile"] = "p"
    assert now() == ("profile", SourceKind.PROFILE)
    environ["ENGINEBAY_GENERATORS__CHAT__MODEL"] = "environment"
    assert now() == ("environment", SourceKind.ENVIRONMENT)
    given["flags"] = {"generators": {"chat": {"model": "flag"}}}
    assert now() == ("flag", SourceKind.FLAG)
    given["overrides"] = {"generators": {"chat": {"model": "argument"}}}
    assert now() == ("argument", SourceKind.ARGUMENT)


def test_an_explicit_file_replaces_the_discovered_ones(tmp_path: Path) -> None:
    (tmp_path / "enginebay.toml").write_text('default_generator = "a"')
    (tmp_path / "other.toml").write_text(CHAT)
    loaded = load_settings(environ={"ENGINEBAY_CONFIG": str(tmp_path / "other.toml")}, cwd=tmp_path)
    assert loaded.settings.default_generator is None
    assert loaded.files == (tmp_path / "other.toml",)


def test_the_search_stops_at_the_repository(tmp_path: Path) -> None:
    (tmp_path / "enginebay.toml").write_text('default_generator = "outside"')
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    assert load_settings(environ={}, cwd=tmp_path / "repo").files == ()


def test_a_broken_pyproject_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[[[ not toml")
    assert load_settings(environ={}, cwd=tmp_path).files == ()


keys = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map(tuple)
trees = st.dictionaries(keys, st.integers(), max_size=5).map(
    lambda flat: nested(
        {key: value for key, value in flat.items() if not any(key != k and key[: len(k)] == k for k in flat)}
    )
)


@given(sources=st.lists(trees, min_size=1, max_size=5))
def test_the_winner_is_the_strongest_source_that_sets_a_key(sources: list[dict[str, Any]]) -> None:
    layers = [layer(tree, SourceKind.FLAG, str(index)) for index, tree in enumerate(sources)]
    whole = merge(layers)
    for key, value in whole.values.items():
        index = int(whole.sources[key].name)
        assert layers[index].values[key] == value
        for stronger in layers[index + 1 :]:
            assert not any(
                key[: len(k)] == k or k[: len(key)] == key for k in stronger.values if stronger.values[k] != {}
            )
    assert dict(leaves(nested(whole.values))) == whole.values


@pytest.mark.parametrize(
    ("text", "value"),
    [("llama_cpp", "llama_cpp"), ("'auto'", "auto"), ("a b", "a b")],
)
def test_environment_values_are_toml_or_text(tmp_path: Path, text: str, value: str) -> None:
    loaded = load(CHAT, tmp_path, environ={"ENGINEBAY_GENERATORS__CHAT__BACKEND": text})
    assert loaded.settings.generators["chat"].backend == value
    assert str(loaded.provenance["generators.chat.backend"]) == "ENGINEBAY_GENERATORS__CHAT__BACKEND"


def test_environment_names_find_the_spelling_of_the_file(tmp_path: Path) -> None:
    loaded = load(
        '[generators."My-Chat"]\nmodel = "m"', tmp_path, environ={"ENGINEBAY_GENERATORS__MY_CHAT__STREAMS": "3"}
    )
    assert loaded.settings.generators["My-Chat"].streams == 3


def test_a_table_in_the_environment(tmp_path: Path) -> None:
    loaded = load(CHAT, tmp_path, environ={"ENGINEBAY_GENERATORS__CHAT__OPTIONS": "{ threads = 2 }"})
    assert loaded.settings.generators["chat"].options == {"threads": 2}


@pytest.mark.parametrize(("text", "names"), [("none", ()), ("a, b", ("a", "b"))])
def test_the_plugin_allow_list(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    loaded = load("", tmp_path, environ={"ENGINEBAY_PLUGINS": text})
    assert loaded.settings.plugins.allow == names


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a = ", 1, "no TOML"),
        (CHAT + "\n[broken", 4, "no TOML"),
        ('[generators.chat]\nmodle = "m"\nmodel = "m"', 2, "did you mean 'model'"),
        ('[generators.chat]\nbackend = "x"', 2, "'generators.chat.model' is missing"),
        (CHAT + 'streams = "many"', 3, "generators.chat.streams = 'many'"),
        (CHAT + "\n\nstreams = 0", 5, "greater than or equal to 1"),
        (CHAT + 'features = ["json"]', 3, "features"),
        (CHAT + "sampling = { temprature = 1 }", 3, "did you mean 'temperature'"),
        (CHAT + 'memory_limit = "4 apples"', 3, "is no size"),
        ("[generatorz.chat]\nmodel = 1", 2, "did you mean 'generators'"),
        ("[profiles.p.generators.c]\nmodel = 1\n", None, ""),
        ('defualt_generator = "x"', 1, "did you mean 'default_generator'"),
        ("[plugins]\nalow = []", 2, "did you mean 'allow'"),
    ],
)
def test_errors_say_file_and_line(tmp_path: Path, text: str, line: int | None, message: str) -> None:
    if line is None:
        load(text, tmp_path)
        return
    with pytest.raises(ConfigError) as caught:
        load(text, tmp_path)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{tmp_path / 'given.toml'}:{line}: ")
    assert message in str(caught.value)


def test_a_fault_in_a_profile_is_found_in_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"given\.toml:4: .*streams"):
        load(CHAT + "[profiles.p.generators.chat]\nstreams = -1", tmp_path, profile="p")


def test_an_unknown_profile_names_those_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'laptop'"):
        load("[profiles.laptop]\ndefault_generator = 'x'", tmp_path, profile="labtop")


def test_a_fault_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^ENGINEBAY_GENERATORS__CHAT__STREAMS: "):
        load(CHAT, tmp_path, environ={"ENGINEBAY_GENERATORS__CHAT__STREAMS": "-1"})
    with pytest.raises(ConfigError, match=r"^ENGINEBAY_DEFUALT_GENERATOR: .*unknown key"):
        load(CHAT, tmp_path, environ={"ENGINEBAY_DEFUALT_GENERATOR": "x"})


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(file=tmp_path / "missing.toml", environ={})
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    with pytest.raises(ConfigError, match="no UTF-8"):
        load_settings(file=tmp_path / "latin.toml", environ={})


@pytest.mark.parametrize(("text", "count"), [("4GB", 4 * 10**9), ("1.5 GiB", 3 << 29), ("512", 512), ("2 kB", 2000)])
def test_sizes(tmp_path: Path, text: str, count: int) -> None:
    assert load(CHAT + f'memory_limit = "{text}"', tmp_path).settings.generators["chat"].memory_limit == count


def test_secrets_are_not_shown_and_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load('[stores.s]\nbackend = "x"\napi_key = "env:THE_KEY"\n', tmp_path).settings
    key = settings.stores["s"].api_key
    assert "THE_KEY" not in repr(settings) + settings.model_dump_json()
    with pytest.raises(ConfigError, match="THE_KEY"):
        reveal(key)
    monkeypatch.setenv("THE_KEY", "s3cret")
    assert reveal(key) == "s3cret"
