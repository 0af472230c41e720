"""Documents out of files: text, places, encodings, and what is no document."""

from __future__ import annotations

import codecs
import importlib
from pathlib import Path
from typing import Any

import pytest
from fpdf import FPDF
from fpdf.enums import AccessPermission

from enginebay.errors import BackendUnavailableError, DocumentError
from enginebay.retrieval import Kind
from enginebay.retrieval.files import Selection, Skipped
from enginebay.retrieval.loading import read_document

GERMAN = "Die Größe der Straße: Übermut tut selten gut, schöne Grüße aus München und Köln.\n" * 3


def pdf(*pages: str, password: str | None = None) -> bytes:
    made = FPDF()
    made.set_font("helvetica", size=12)
    for text in pages:
        made.add_page()
        made.multi_cell(0, text=text)
    if password is not None:
        made.set_encryption("owner", password, permissions=AccessPermission.none())
    return bytes(made.output())


def place_of(document: Any, words: str) -> str:
    start = document.text.index(words)
    return str(document.place(start, start + len(words)))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (GERMAN.encode(), GERMAN),
        (codecs.BOM_UTF8 + GERMAN.encode(), GERMAN),
        (GERMAN.encode("utf-16"), GERMAN),
        (codecs.BOM_UTF32_BE + GERMAN.encode("utf-32-be"), GERMAN),
        (GERMAN.encode("cp1252"), GERMAN),
        (b"one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
        (b"", ""),
    ],
)
def test_encodings(data: bytes, text: str) -> None:
    assert read_document("a.txt", data).text == text


@pytest.mark.parametrize(
    "data", [b"\0\1", b"text\0more", codecs.BOM_UTF16_LE + b"\0\xd8x", b"\x89PNG\r\n\x1a\n\xff\xfe\xfa" * 9]
)
def test_what_is_no_text(data: bytes) -> None:
    with pytest.raises(DocumentError):
        read_document("a.txt", data)


def test_kinds_by_name() -> None:
    kinds = {name: read_document(name, b"x = 1") for name in ("a.md", "a.py", "a.TXT", "Makefile", "a.rs")}
    assert [one.kind for one in kinds.values()] == [Kind.MARKDOWN, Kind.CODE, Kind.TEXT, Kind.TEXT, Kind.CODE]
    assert kinds["a.rs"].language == "rust"


def test_lines_of_a_text() -> None:
    document = read_document("a.txt", b"one\ntwo\n\nfour\nfive")
    assert place_of(document, "one") == "1"
    assert place_of(document, "two\n\nfour") == "2-4"
    assert place_of(document, "two\n") == "2"
    assert place_of(document, "five") == "5"


HTML = b"""<!doctype html>
<html><head><title>Not shown</title>
<style>p { color: red }</style></head>
<body>
<h1>Bread
and butter</h1>
<!-- a comment
of two lines -->
<p>First <b>bold</b> paragraph,
   going on.</p><ul><li>one<li>two</ul>
<script>var x = "hidden";</script>
<pre>
  kept   as is
</pre>
<p>caf&eacute;<br>below</p>
</body></html>
"""


def test_html() -> None:
    document = read_document("a.html", HTML)
    assert document.text.split("\n") == [
        *("Bread", "and butter", "", "First bold paragraph,", "going on.", "", "one", "", "two", ""),
        *("  kept   as is", "", "café", "below"),
    ]
    lines = HTML.decode().split("\n")
    for words in ("Bread", "and butter", "First", "going on", "one", "kept", "below"):
        line = int(place_of(document, words))
        assert words in lines[line - 1], (words, line)


def test_html_says_its_encoding() -> None:
    text = '<meta charset="iso-8859-2"><p>Żółta łódź</p>'
    assert read_document("a.htm", text.encode("iso-8859-2")).text == "Żółta łódź"


def test_deeply_nested_html_ends_nothing() -> None:
    with pytest.raises(DocumentError, match="nested too deeply"):
        read_document("a.html", b"<div>" * 20_000 + b"deep")
    assert "deep" in read_document("a.html", b"<div>" * 100 + b"deep").text


def test_xhtml_makes_no_noise() -> None:
    assert read_document("a.xhtml", b'<?xml version="1.0"?><html><body><p>x</p></body></html>').text == "x"
    assert read_document("b.html", b"a.html").text == "a.html"


def test_pdf_pages() -> None:
    document = read_document("a.pdf", pdf("Foxes jump.", "Dogs are lazy.", "Hens lay eggs."))
    assert [place_of(document, words) for words in ("Foxes", "Dogs", "eggs")] == ["page 1", "page 2", "page 3"]
    assert document.place(0, 5).first_line is None
    assert read_document("no suffix", pdf("Foxes jump.")).pages == (0,)


def test_pdf_that_cannot_be_read() -> None:
    whole = pdf("Foxes jump.")
    for data in (b"%PDF-1.4", whole[:200], whole.replace(b"/Pages", b"/Pagez")):
        with pytest.raises(DocumentError, match="broken PDF"):
            read_document("a.pdf", data)


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name in ("pypdf", "bs4", "pathspec"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, package)

    monkeypatch.setattr("enginebay.libraries.import_module", without)
    for name in ("a.pdf", "a.html"):
        with pytest.raises(BackendUnavailableError, match=r"pip install 'enginebay\[documents\]'"):
            read_document(name, b"x")


def walked(folder: Path, selection: Selection) -> tuple[list[str], dict[str, str]]:
    taken, left_out = [], {}
    for found in selection.walk(folder):
        if isinstance(found, Skipped):
            left_out[found.path.relative_to(folder).as_posix()] = found.reason
        else:
            taken.append(found.relative_to(folder).as_posix())
    return taken, left_out


def put(folder: Path, **files: str) -> None:
    for name, text in files.items():
        file = folder / name.replace("__", "/").replace("_DOT_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_ignore_rules(tmp_path: Path) -> None:
    put(
        tmp_path,
        a_DOT_md="a",
        b_DOT_log="b",
        keep_DOT_log="k",
        build__out_DOT_md="o",
        sub__build_DOT_md="s",
        sub__c_DOT_log="c",
        sub__only_DOT_md="x",
        _DOT_hidden__d_DOT_md="d",
    )
    (tmp_path / ".gitignore").write_text("*.log\n!keep.log\nbuild/\n")
    (tmp_path / "sub" / ".gitignore").write_text("!c.log\nonly.md\n")
    taken, left_out = walked(tmp_path, Selection())
    assert taken == ["a.md", "keep.log", "sub/build.md", "sub/c.log"]
    assert left_out["build"] == left_out["b.log"] == left_out["sub/only.md"] == "ignored by .gitignore"
    assert left_out[".hidden"] == "hidden"
    assert "build/out.md" in walked(tmp_path, Selection(gitignore=False))[0]
    assert ".hidden/d.md" in walked(tmp_path, Selection(hidden=True))[0]
    assert walked(tmp_path, Selection(include=("*.md",), exclude=("sub/",)))[0] == ["a.md"]
    assert walked(tmp_path, Selection(max_bytes=0))[1]["a.md"] == "larger than 0 bytes"
    assert list(Selection(include=("*.md",)).walk(tmp_path / "b.log")) == [tmp_path / "b.log"], "named by itself"
    with pytest.raises(DocumentError, match="no file or folder"):
        list(Selection().walk(tmp_path / "nowhere"))


def test_ignore_rules_above_the_folder(tmp_path: Path) -> None:
    put(tmp_path, docs__a_DOT_md="a", docs__b_DOT_log="b", _DOT_git__HEAD="ref")
    (tmp_path / ".gitignore").write_text("*.log\n")
    assert walked(tmp_path / "docs", Selection())[0] == ["a.md"]
    assert walked(tmp_path, Selection(hidden=True))[1][".git"] == "hidden"
