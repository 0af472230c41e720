"""The emulator of Weaviate refuses what Weaviate refuses, asked by the official client alone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import weaviate
from weaviate.classes.config import Configure, DataType, Property, Tokenization
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter
from weaviate.exceptions import (
    UnexpectedStatusCodeError,
    WeaviateInsertInvalidPropertyError,
    WeaviateInsertManyAllFailedError,
    WeaviateQueryError,
)

from emulators.weaviate_emulator import WeaviateEmulator


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with WeaviateEmulator() as server:
        client = weaviate.connect_to_custom(
            http_host="127.0.0.1",
            http_port=urlsplit(server.url).port,
            http_secure=False,
            grpc_host="127.0.0.1",
            grpc_port=server.grpc_port,
            grpc_secure=False,
            skip_init_checks=True,
        )
        with client:
            yield client


@pytest.fixture
def animals(client: Any) -> Iterator[Any]:
    """A tenant of a class with one property for each tokenization."""
    used = client.collections.create(
        "Animals",
        properties=[
            Property(name="word", data_type=DataType.TEXT),
            Property(name="whole", data_type=DataType.TEXT, tokenization=Tokenization.FIELD),
            Property(name="number", data_type=DataType.NUMBER),
            Property(name="silent", data_type=DataType.TEXT, index_filterable=False),
        ],
        vector_config=Configure.Vectors.self_provided(),
        multi_tenancy_config=Configure.multi_tenancy(enabled=True),
    )
    used.tenants.create(["zoo"])
    yield used.with_tenant("zoo")
    client.collections.delete("Animals")


def animal(key: int = 1, width: int = 2, **properties: Any) -> DataObject[Any, Any]:
    return DataObject(properties=properties, uuid=uuid.UUID(int=key), vector=[1.0] * width)


def found(collection: Any, where: Any) -> int:
    return len(collection.query.fetch_objects(filters=where).objects)


def test_it_gives_back_the_whole_configuration(client: Any, animals: Any) -> None:
    config = client.collections.use("Animals").config.get()
    assert config.multi_tenancy_config.enabled
    assert config.vector_config["default"].vector_index_config.distance_metric == "cosine"
    assert {one.name: one.tokenization for one in config.properties}["word"] == "word"
    assert "Animals" in client.collections.list_all(simple=False)


def test_words_are_folded_and_whole_values_trimmed(animals: Any) -> None:
    animals.data.insert_many([animal(word="The Lion_King", whole=" The Lion ")])
    on = Filter.by_property
    assert found(animals, on("word").equal("LION")) == 1
    assert found(animals, on("whole").equal("The Lion")) == 1
    assert found(animals, on("whole").equal("the lion")) == 0
    with pytest.raises(WeaviateQueryError, match="only stopwords"):
        found(animals, on("whole").equal("the"))


def test_what_lacks_a_property_is_not_equal(animals: Any) -> None:
    animals.data.insert_many([animal(1, whole="a lion"), animal(2)])
    assert found(animals, Filter.by_property("whole").not_equal("a lion")) == 1
    assert found(animals, Filter.not_(Filter.by_property("whole").equal("a lion"))) == 1
    assert found(animals, Filter.by_property("whole").less_than("b")) == 1


def test_filters_are_checked_by_the_schema(animals: Any) -> None:
    on = Filter.by_property
    for where, told in (
        (on("nowhere").equal("x"), "no such prop"),
        (on("number").equal("x"), "data type filter"),
        (on("silent").equal("x"), "requires inverted index"),
    ):
        with pytest.raises(WeaviateQueryError, match=told):
            found(animals, where)


def test_objects_are_checked(animals: Any) -> None:
    for bad, told in (
        (animal(word=5), "invalid text property"),
        (animal(number="five"), "invalid number property"),
        (animal(width=2), None),
        (animal(2, width=3), "vector with length 3"),
    ):
        if told is None:
            animals.data.insert_many([bad])
            continue
        with pytest.raises(WeaviateInsertManyAllFailedError, match=told):
            animals.data.insert_many([bad])
    with pytest.raises(WeaviateInsertInvalidPropertyError):
        animals.data.insert_many([animal(vector="x")])
    with pytest.raises(WeaviateInsertManyAllFailedError, match="UUID"):
        animals.data.insert_many([DataObject(properties={}, uuid="no-uuid", vector=[1.0, 1.0])])


def test_tenants_must_be_there(client: Any, animals: Any) -> None:
    other = client.collections.use("Animals")
    with pytest.raises(WeaviateQueryError, match="tenant not found"):
        other.with_tenant("farm").query.fetch_objects()
    with pytest.raises(WeaviateQueryError, match="without tenant"):
        other.query.fetch_objects()
    with pytest.raises(WeaviateInsertManyAllFailedError, match="tenant not found"):
        other.with_tenant("farm").data.insert_many([animal()])
    with pytest.raises(UnexpectedStatusCodeError, match="alphanumeric"):
        other.tenants.create(["no spaces"])


def test_names_are_checked(client: Any, animals: Any) -> None:
    config = client.collections.use("Animals").config
    for name in ("a.b", "id", "WORD"):
        with pytest.raises(UnexpectedStatusCodeError, match=r"valid property name|reserved|conflict"):
            config.add_property(Property(name=name, data_type=DataType.TEXT))
    with pytest.raises(UnexpectedStatusCodeError, match="valid class name"):
        client.collections.create("No-Hyphens")
    with pytest.raises(UnexpectedStatusCodeError, match="already exists"):
        client.collections.create("Animals")


def test_a_class_that_is_missing_is_guessed(client: Any) -> None:
    """As the server does where nobody has switched its automatic schema off."""
    client.collections.use("Guessed").with_tenant("a").data.insert_many([animal(word="x")])
    assert client.collections.exists("Guessed")
    client.collections.delete("Guessed")
    with pytest.raises(WeaviateQueryError, match="could not find class"):
        client.collections.use("Guessed").with_tenant("a").query.fetch_objects()


def test_a_cursor_takes_no_filter(animals: Any) -> None:
    animals.data.insert_many([animal(one) for one in (1, 2, 3)])
    after = animals.query.fetch_objects(after=uuid.UUID(int=1)).objects
    assert [one.uuid.int for one in after] == [2, 3]
    with pytest.raises(WeaviateQueryError, match="where filter cannot be set"):
        animals.query.fetch_objects(after=uuid.UUID(int=1), filters=Filter.by_property("number").equal(1.0))
