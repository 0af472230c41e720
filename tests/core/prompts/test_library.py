"""Prompt files: whose comes first, what a broken one says, what it cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginebay import paths
from enginebay.errors import PromptError
from enginebay.prompts.library import BUILT_IN, Origin, PromptLibrary


def own(name: str, source: str) -> Path:
    folder = paths.config_dir() / "prompts"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.jinja"
    file.write_text(source)
    return file


def test_the_users_file_comes_before_a_plugins_before_the_built_in() -> None:
    asked: list[int] = []

    def templates() -> list[tuple[str, str]]:
        asked.append(1)
        return [("zero_shot", "plugin {{ question }}"), ("extra", "x"), ("extra", "y")]

    library = PromptLibrary(plugin_templates=templates)
    assert not asked, "plugins are asked when a prompt is"
    assert PromptLibrary().where("zero_shot") == str(BUILT_IN / "zero_shot.jinja")
    assert library.render("zero_shot", question="?") == "plugin ?"
    assert library.find("zero_shot").origin is Origin.PLUGIN
    assert library.source("extra") == "x"
    assert len(asked) == 1
    file = own("zero_shot", "own {{ question }}")
    assert library.render("zero_shot", question="?") == "own ?", "a new file is seen at once"
    assert library.where("zero_shot") == str(file)
    file.write_text("changed {{ question }}")
    assert library.render("zero_shot", question="?") == "changed ?"
    file.unlink()
    assert library.render("zero_shot", question="?") == "plugin ?"
    assert {"extra", "zero_shot", "classify"} <= set(library.names())
    assert library.names() == sorted(set(library.names()))


def test_a_missing_variable_names_file_and_line() -> None:
    file = own("mine", "one\ntwo {{ nothing }}\n")
    with pytest.raises(PromptError, match="'nothing' is undefined") as caught:
        PromptLibrary().render("mine", question="?")
    assert f"{file}:2:" in caught.value.message
    assert "question" in str(caught.value.hint)


def test_a_broken_file_names_file_and_line() -> None:
    file = own("mine", "one\n\n{% if %}")
    with pytest.raises(PromptError, match="broken") as caught:
        PromptLibrary().render("mine")
    assert f"{file}:3:" in caught.value.message


def test_a_plugins_broken_template_is_named() -> None:
    library = PromptLibrary(plugin_templates=[("mine", "\n{{ x.y.z }}")])
    with pytest.raises(PromptError, match="a plugin's prompt 'mine':2"):
        library.render("mine", x={})


def test_files_may_include_one_another() -> None:
    own("inner", "\n{{ question }} {{ missing }}")
    own("outer", 'first\n{% include "inner" %}')
    with pytest.raises(PromptError, match=r"'missing' is undefined"):
        PromptLibrary().render("outer", question="?")
    assert PromptLibrary().render("outer", question="?", missing="!") == "first\n\n? !"
    own("endless", '{% include "endless" %}')
    with pytest.raises(PromptError, match="includes itself"):
        PromptLibrary().render("endless")
    own("lost", '{% include "nowhere" %}')
    with pytest.raises(PromptError, match="nowhere"):
        PromptLibrary().render("lost")


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ items.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% for i in range(10000000) %}x{% endfor %}",
        "{{ 1 / 0 }}",
        "{{ items | nofilter }}",
    ],
)
def test_a_prompt_file_stays_in_its_sandbox(source: str) -> None:
    own("hostile", source)
    with pytest.raises(PromptError, match="hostile"):
        PromptLibrary().render("hostile", items=[1])


@pytest.mark.parametrize("name", ["../secret", "a/b", "", ".hidden", "zero_shott"])
def test_names_that_are_none(name: str) -> None:
    (paths.config_dir()).mkdir(parents=True, exist_ok=True)
    (paths.config_dir() / "secret.jinja").write_text("secret")
    with pytest.raises(PromptError):
        PromptLibrary().source(name)
    with pytest.raises(PromptError, match="did you mean 'zero_shot'"):
        PromptLibrary().find("zero_shott")


def test_a_file_that_is_no_text() -> None:
    own("mine", "").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(PromptError, match="cannot read"):
        PromptLibrary().render("mine")


def test_every_built_in_file_compiles() -> None:
    library = PromptLibrary()
    assert len(library.names()) >= 15
    for name in library.names():
        library._environment.get_template(name)
