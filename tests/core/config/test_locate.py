"""Line numbers of TOML keys agree with what tomllib reads."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from enginebay.config.locate import locate_keys

DOCUMENT = '''\
# a comment with [brackets] and key = "value"
plain = 1
"quoted key" = 2
a.b.c = """
not.a.key = 1
[not a table]
"""
list = [
  "x", # = "]"
  { inline = true },
]
raw = \'\'\'
x = 1\'\'\'\'
[table]
key = "a # b = c"
[table.sub]
key = { inline = { deep = 1 } }
[[many]]
name = 1
[[many]]
name = 2
[many.child]
x = 1
last = "]["'''


def test_a_document_with_everything() -> None:
    tomllib.loads(DOCUMENT)
    lines = locate_keys(DOCUMENT)
    expected = {
        ("plain",): 2,
        ("quoted key",): 3,
        ("a", "b", "c"): 4,
        ("list",): 8,
        ("raw",): 12,
        ("table",): 14,
        ("table", "key"): 15,
        ("table", "sub", "key"): 17,
        ("many", "0", "name"): 19,
        ("many", "1", "name"): 21,
        ("many", "1", "child", "x"): 23,
        ("many", "1", "child", "last"): 24,
    }
    assert {key: lines.get(key) for key in expected} == expected
    assert ("x",) not in lines
    assert ("not", "a", "key") not in lines


names = st.sampled_from(["alpha", "beta", "x-y", "k1"])
scalars = st.one_of(
    st.integers(-5, 5).map(str),
    st.sampled_from(
        ['"text"', "'raw # ='", '"""\nmulti\nx = 1\n"""', "'''\n[z]\n'''", "[1, 2]", "[\n  1,\n  # c ]\n]"]
    ),
    st.sampled_from(["{ inline = 1 }", "true", "1979-05-27"]),
)
tables = st.lists(
    st.tuples(st.lists(names, min_size=1, max_size=2), st.dictionaries(names, scalars, max_size=3)), max_size=4
)


def flat(tree: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, value in tree.items():
        key = (*prefix, name)
        found.append(key)
        if isinstance(value, dict) and name != "inline":
            found += flat(value, key)
    return found


@given(sections=tables)
def test_every_key_has_the_line_it_stands_on(sections: list[tuple[list[str], dict[str, str]]]) -> None:
    text = "".join(
        f"[{'.'.join(name)}]\n" + "".join(f"{key} = {value}\n" for key, value in content.items())
        for name, content in sections
    )
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines, source = locate_keys(text), text.splitlines()
    for key in flat(tree):
        if key[-1] == "inline":
            continue
        place = next((lines[key[:length]] for length in range(len(key), 0, -1) if key[:length] in lines), None)
        if key in lines:
            assert key[-1] in source[lines[key] - 1]
        else:
            assert place is not None or any(other[: len(key)] == key for other in lines)
    for key in lines:
        node: Any = tree
        for part in key:
            node = node[part]
