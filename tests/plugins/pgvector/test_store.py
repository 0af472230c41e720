"""The pgvector store under kills of clients and of the server, other programs' tables, and hostile names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginebay import Bay, F, Record
from enginebay.errors import CollectionNotFoundError, ConfigError, InvalidParameterError, OptionError, StoreError
from enginebay.interfaces.filters import MetadataValue
from enginebay.stores import Collection
from enginebay.testing.store_subject import clustered
from real_servers import PostgresServer

WRITER = """
import sys
import numpy as np
from enginebay import Bay, Record

url, writer = sys.argv[1:]
collection = Bay().store("pgvector", url=url).create_collection("words", 16)
print("ready", flush=True)
for batch in range(100_000):
    order = -1 if writer == "second" else 1  # the same records from both ends
    shared = [Record(f"shared {n}", np.full(16, n + 1.0), {"writer": writer}) for n in range(20)][::order]
    own = [Record(f"{writer} {batch} {n}", np.full(16, n + 1.0), {"batch": batch}) for n in range(20)]
    collection.upsert(shared + own)
    print(batch, flush=True)
"""


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.new_database()


@pytest.fixture
def bay() -> Iterator[Bay]:
    with Bay() as bay:
        yield bay


def open_collection(bay: Bay, url: str, width: int = 2, **options: object) -> Collection:
    return bay.store("pgvector", url=url, options=options).create_collection("words", width)


def record(identity: str, *numbers: float, **metadata: MetadataValue) -> Record:
    return Record(identity, np.array(numbers, dtype=np.float32), metadata)


def writers(url: str) -> list[subprocess.Popen[str]]:
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, name], stdout=subprocess.PIPE, text=True)
        for name in ("first", "second")
    ]
    for writer in started:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    return started


def check_writers(collection: Collection, killed: list[subprocess.Popen[str]]) -> None:
    acknowledged = [int(writer.communicate()[0].splitlines()[-1]) + 1 for writer in killed]
    assert all(number > 1 for number in acknowledged)
    ids = [one.id for one in collection.scan()]
    assert len(ids) == len(set(ids))
    for name, batches in zip(("first", "second"), acknowledged, strict=True):
        found = {one for one in ids if one.startswith(name)}
        assert {f"{name} {batch} {n}" for batch in range(batches) for n in range(20)} <= found
        assert len(found) % 20 == 0, "a batch is there whole or not at all"
    assert len([one for one in ids if one.startswith("shared")]) == 20


def test_killed_writers_of_the_same_records_lose_nothing_that_was_acknowledged(url: str, bay: Bay) -> None:
    started = writers(url)
    time.sleep(2)
    for writer in started:
        writer.send_signal(signal.SIGKILL)
    check_writers(open_collection(bay, url, 16), started)


def test_writers_go_on_when_the_server_was_killed_and_started_again(bay: Bay) -> None:
    with PostgresServer() as server:
        url = server.new_database()
        watching = open_collection(bay, url, 16)
        started = writers(url)
        time.sleep(1)
        server.kill()
        time.sleep(0.5)
        server.start()
        assert watching.count() > 0, "an idle connection, which broke, is replaced"
        before = watching.count()
        until = time.monotonic() + 60
        while watching.count() == before and time.monotonic() < until:
            time.sleep(0.1)
        assert watching.count() > before, "writers go on"
        for writer in started:
            assert writer.poll() is None
            writer.send_signal(signal.SIGKILL)
        check_writers(watching, started)


def test_a_server_that_is_away_is_an_error_with_a_way_out(bay: Bay) -> None:
    with PostgresServer() as server:
        url = server.new_database()
        collection = open_collection(bay, url, connect_timeout=2)
        server.kill()
        with pytest.raises(StoreError, match=r"no connection within 2 s\n.*connect_timeout"):
            collection.count()
        with Bay() as other, pytest.raises(StoreError, match="cannot connect to PostgreSQL"):
            open_collection(other, url)
        server.start()
        assert collection.count() == 0


def test_a_wrong_url_shows_no_secret(bay: Bay) -> None:
    for url in ("postgresql://me:secret@[host/db", "host=x password='secret", "secret"):
        with pytest.raises(ConfigError, match="no PostgreSQL URL") as caught:
            bay.store("pgvector", url=url)
        assert "secret" not in str(caught.value)
    with pytest.raises(StoreError, match=r"PostgreSQL at 127\.0\.0\.1, database db") as refused:
        bay.store("pgvector", url="postgresql://me@127.0.0.1:9/db", api_key="secret")
    assert "secret" not in str(refused.value)


def test_the_key_is_the_password(url: str, bay: Bay) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        (data,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        (rules,) = connection.execute("SHOW hba_file").fetchone() or ("",)
        name = connection.info.dbname
        connection.execute("CREATE ROLE keyed LOGIN PASSWORD 'right' SUPERUSER")
    assert rules.startswith(data)
    with open(rules) as file:  # noqa: PTH123 - a path of the server's
        before = file.read()
    try:
        with open(rules, "w") as file:  # noqa: PTH123
            file.write("local all keyed scram-sha-256\n" + before)
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute("SELECT pg_reload_conf()")
        keyed = url.replace("postgres:@", "keyed@")
        assert name in keyed
        until = time.monotonic() + 20
        while time.monotonic() < until:  # the server reads its rules again soon
            try:
                psycopg.connect(keyed).close()
            except psycopg.OperationalError:
                break
        assert bay.store("pgvector", url=keyed, api_key="right").collections() == []
        with Bay() as other, pytest.raises(StoreError, match="password authentication failed") as caught:
            other.store("pgvector", url=keyed, api_key="wrong key")
        assert "wrong key" not in str(caught.value)
    finally:
        with open(rules, "w") as file:  # noqa: PTH123
            file.write(before)


def test_a_statement_that_takes_too_long_is_ended(url: str, bay: Bay) -> None:
    collection = open_collection(bay, url, statement_timeout=0.2)
    with closing(psycopg.connect(url)) as other:
        other.execute("LOCK TABLE enginebay.words_1")
        with pytest.raises(StoreError, match=r"statement timeout\n.*statement_timeout"):
            collection.upsert([record("a", 1.0, 0.0)])
    assert collection.count() == 0


def test_tables_of_another_program_are_left_alone(url: str, bay: Bay) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("CREATE SCHEMA enginebay; CREATE TABLE enginebay.collections (mine int)")
    with pytest.raises(StoreError, match=r"of another program(.|\n)*schema_name"):
        bay.store("pgvector", url=url)
    hostile = 'of"mine; DROP SCHEMA enginebay {table}'
    collection = open_collection(bay, url, schema_name=hostile)
    collection.upsert([record("a", 1.0, 0.0)])
    assert collection.query([1, 0])[0].id == "a"
    with closing(psycopg.connect(url)) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [hostile]).fetchall()
    assert sorted(found) == [("collections",), ("words_1",), ("words_1_named",)]


def test_a_role_that_may_do_little_is_told_what_to_ask_for(url: str, bay: Bay) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("CREATE ROLE poor LOGIN")
    poor = url.replace("postgres:@", "poor@")
    with pytest.raises(StoreError, match=r"lacks the extension(.|\n)*CREATE EXTENSION vector"):
        bay.store("pgvector", url=poor)
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("CREATE EXTENSION vector")
    with pytest.raises(StoreError, match=r"permission denied(.|\n)*grant"):
        bay.store("pgvector", url=poor)
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("CREATE SCHEMA enginebay; GRANT ALL ON SCHEMA enginebay TO poor")
    open_collection(bay, poor).upsert([record("a", 1.0, 0.0)])


def test_the_extension_may_be_in_a_schema_of_its_own(url: str, bay: Bay) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute('CREATE SCHEMA "Ext; ension"; CREATE EXTENSION vector SCHEMA "Ext; ension"')
    collection = open_collection(bay, url)
    collection.upsert([record("a", 1.0, 0.0)])
    assert collection.query([1, 0])[0].score == pytest.approx(1)


def test_many_that_open_a_new_database_at_once_make_its_tables_once(url: str) -> None:
    problems: list[BaseException] = []

    def work() -> None:
        try:
            with Bay() as bay:
                open_collection(bay, url)
        except BaseException as error:  # noqa: BLE001 - told to the thread that checks
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_a_batch_with_old_and_new_records_replaces_and_adds(url: str, bay: Bay) -> None:
    collection = open_collection(bay, url)
    huge = 2.0**70
    for namespace in ("", "named"):
        collection.upsert([record("b", 1.0, 0.0, old=True)], namespace=namespace)
        collection.upsert([record(one, 0.0, 1.0, huge=huge) for one in "abc"], namespace=namespace)
        found = collection.get(["a", "b", "c"], namespace=namespace)
        assert [one.metadata for one in found] == [{"huge": huge}] * 3
        assert all(one.vector.tolist() == [0.0, 1.0] for one in found)
    assert collection.namespaces() == ["", "named"]
    collection.delete_all()
    assert collection.namespaces() == ["named"]


def test_a_copy_is_done_again_on_the_table_of_a_collection_made_anew(url: str, bay: Bay) -> None:
    collection = open_collection(bay, url)
    collection.upsert([record("a", 1.0, 0.0)])
    with Bay() as elsewhere:
        store = elsewhere.store("pgvector", url=url)
        store.drop_collection("words")
        store.create_collection("words", 2)
    collection.upsert([record("b", 1.0, 0.0)])
    assert [one.id for one in collection.scan()] == ["b"]


def test_a_collection_made_anew_is_another_one(url: str, bay: Bay) -> None:
    with Bay() as elsewhere:
        old = open_collection(bay, url)
        old.upsert([record("a", 1.0, 0.0)])
        store = elsewhere.store("pgvector", url=url)
        store.drop_collection("words")
        store.create_collection("words", 2)
        assert old.count() == 0
        store.drop_collection("words")
        store.create_collection("words", 2, metric="dot")
        with pytest.raises(CollectionNotFoundError, match="made anew"):
            old.upsert([record("a", 1.0, 0.0)])


def test_impossible_dimensions_options_and_namespaces(url: str, bay: Bay) -> None:
    with pytest.raises(InvalidParameterError, match="holds 16000"):
        open_collection(bay, url, 16_001)
    with pytest.raises(InvalidParameterError, match=r"HNSW index holds 2000\n.*exact"):
        open_collection(bay, url, 2001, index="hnsw")
    with pytest.raises(OptionError, match="hnsw_m"):
        open_collection(bay, url, hnsw_n=3)
    collection = open_collection(bay, url, 16_000 // 8)
    long = "".join(chr(0x4E00 + n) for n in np.random.default_rng(1).integers(20_000, size=2000))
    with pytest.raises(StoreError, match=r"exceeds(.|\n)*namespaces of about 2,000 bytes"):
        collection.upsert([Record("a", np.ones(2000))], namespace=long)


def test_an_index_loses_no_hits_to_filters_and_namespaces(url: str, bay: Bay) -> None:
    collection = open_collection(bay, url, 32, index="hnsw", hnsw_m=8, hnsw_ef_construction=16)
    vectors = clustered(1000, seed=1)
    for space in ("here", "there"):
        collection.upsert(
            (Record(f"{n}", vector, {"rare": n % 100 == 0}) for n, vector in enumerate(vectors)), namespace=space
        )
    collection.upsert([Record("lonely", vectors[0])])
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("ANALYZE")  # else, of tables as new as this one, PostgreSQL knows no size
    far = -vectors[7]
    assert len(collection.query(far, limit=50, where=F.rare == True, namespace="here")) == 10  # noqa: E712
    assert [hit.id for hit in collection.query(far, limit=10)] == ["lonely"]
    assert len(collection.query(far, limit=1000, namespace="there")) == 1000
    assert [hit.id for hit in collection.query(vectors[5], limit=1, namespace="here")] == ["5"]
    bay.close()  # a connection that ends tells what it did
    with closing(psycopg.connect(url)) as connection:
        used = "SELECT sum(idx_scan)::int FROM pg_stat_user_indexes WHERE indexrelname LIKE '%vector%'"
        until = time.monotonic() + 20
        while connection.execute(used).fetchone() == (0,) and time.monotonic() < until:
            connection.rollback()
            time.sleep(0.1)
        assert connection.execute(used).fetchone() != (0,), "the index was asked"


def test_the_metadata_index_is_asked(url: str, bay: Bay) -> None:
    collection = open_collection(bay, url, metadata_index=True)
    collection.upsert(record(f"{n}", 1.0, n, n=n, tags=[f"t{n}"], **{f"of {n}": True}) for n in range(3000))
    used = "SELECT sum(idx_scan)::int FROM pg_stat_user_indexes WHERE indexrelname LIKE '%metadata%'"
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("VACUUM ANALYZE")  # else the index is a list yet
        filters = (F.n == 7, F.n.one_of([7, 8.0]), F.tags.contains("t7"), F["of 7"].exists(), (F.n == 7) & (F.n > 3))
        for number, where in enumerate(filters):
            assert collection.count(where=where) == (2 if number == 1 else 1)
        bay.close()  # a connection that ends tells what it did
        until = time.monotonic() + 20
        while connection.execute(used).fetchone() < (len(filters),) and time.monotonic() < until:  # type: ignore[operator]
            time.sleep(0.1)
        assert (connection.execute(used).fetchone() or (0,))[0] >= len(filters)


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)


def test_any_metadata_comes_back_and_is_found(url: str, bay: Bay) -> None:
    collection = open_collection(bay, url)

    @settings(max_examples=60)
    @given(st.dictionaries(NAMES, TEXTS | st.booleans() | NUMBERS | st.lists(TEXTS, max_size=3), max_size=4))
    def check(metadata: dict[str, MetadataValue]) -> None:
        collection.upsert([Record("a", np.ones(2), metadata)])
        (found,) = collection.get(["a"])
        assert found.metadata == metadata
        for name, value in metadata.items():
            assert type(found.metadata[name]) is type(value)
            assert collection.count(where=F[name].exists()) == 1
            if isinstance(value, list):
                assert all(collection.count(where=F[name].contains(one)) == 1 for one in value)
            else:
                assert collection.count(where=(F[name] == value) & F[name].one_of([value])) == 1
                assert collection.count(where=(F[name] != value) | F[name].none_of([value])) == 0
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                assert collection.count(where=(F[name] >= value) & (F[name] <= value)) == 1
                assert collection.count(where=(F[name] > value) | (F[name] < value)) == 0

    check()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_uses_connections_of_its_own(url: str, bay: Bay) -> None:
    collection = open_collection(bay, url)
    collection.upsert([record("parent", 1.0, 0.0)])
    child = os.fork()
    if child == 0:
        try:
            collection.upsert([record("child", 0.0, 1.0)])
            os._exit(0 if collection.count() == 2 else 3)
        finally:
            os._exit(4)
    assert os.waitpid(child, 0)[1] == 0
    assert {one.id for one in collection.scan()} == {"parent", "child"}
