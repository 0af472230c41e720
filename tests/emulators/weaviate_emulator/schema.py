"""Classes of the emulator: checked, and with every default filled in, as the server gives them back."""

from __future__ import annotations

import copy
import re
from typing import Any

from emulators.weaviate_emulator.errors import RefusedError
from emulators.weaviate_emulator.tokens import TOKENIZATIONS

_CLASS = re.compile(r"[A-Z][_0-9A-Za-z]{0,254}")
_PROPERTY = re.compile(r"[_A-Za-z][_0-9A-Za-z]{0,230}")
_TENANT = re.compile(r"[A-Za-z0-9\-_]{1,64}")
_RESERVED = ("_additional", "_id", "id", "vector")
_TYPES = ("text", "text[]", "number", "int", "boolean")
_DISTANCES = ("cosine", "dot", "l2-squared")

_INDEX = {
    "bq": {"enabled": False},
    "cleanupIntervalSeconds": 300,
    "distance": "cosine",
    "dynamicEfFactor": 8,
    "dynamicEfMax": 500,
    "dynamicEfMin": 100,
    "ef": -1,
    "efConstruction": 128,
    "filterStrategy": "acorn",
    "flatSearchCutoff": 40000,
    "maxConnections": 32,
    "multivector": {"aggregation": "maxSim", "enabled": False},
    "pq": {"enabled": False},
    "rq": {"bits": 8, "enabled": False, "rescoreLimit": 20},
    "skip": False,
    "skipDefaultQuantization": False,
    "sq": {"enabled": False},
    "trackDefaultQuantization": False,
    "vectorCacheMaxObjects": 1000000000000,
}
_INVERTED = {
    "bm25": {"b": 0.75, "k1": 1.2},
    "cleanupIntervalSeconds": 60,
    "stopwords": {"additions": None, "preset": "en", "removals": None},
    "usingBlockMaxWAND": True,
}


def made_class(given: dict[str, Any]) -> dict[str, Any]:
    """A class as the server keeps it."""
    name = given.get("class", "")
    if not _CLASS.fullmatch(name):
        raise RefusedError(f"'{name}' is not a valid class name")
    made = {
        "class": name,
        "description": given.get("description", ""),
        "invertedIndexConfig": _INVERTED | given.get("invertedIndexConfig", {}),
        "multiTenancyConfig": {"enabled": False, "autoTenantCreation": False, "autoTenantActivation": False}
        | given.get("multiTenancyConfig", {}),
        "replicationConfig": {
            "asyncEnabled": False, "deletionStrategy": "TimeBasedResolution", "factor": 1,
        } | given.get("replicationConfig", {}),
        "objectTtlConfig": {"enabled": False},
        "shardingConfig": {},
        "vectorConfig": {name: _vector(name, one) for name, one in given.get("vectorConfig", {}).items()},
        "properties": [],
    }  # fmt: skip
    for one in given.get("properties", []):
        add_property(made, one)
    return copy.deepcopy(made)


def add_property(owner: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Add a property to a class."""
    name, data_type = given.get("name", ""), given.get("dataType", [""])[0]
    name = name[:1].lower() + name[1:]
    if not _PROPERTY.fullmatch(name):
        raise RefusedError(f"'{name}' is not a valid property name")
    if name in _RESERVED:
        raise RefusedError(f"'{name}' is a reserved property name")
    if name.lower() in {one["name"].lower() for one in owner["properties"]}:
        raise RefusedError(
            f"class {owner['class']!r}: conflict for property {name!r}: already in use or provided multiple times"
        )
    if data_type not in _TYPES:
        raise RefusedError(f"property '{name}': invalid dataType: [{data_type}]")
    text = data_type.startswith("text")
    tokenization = given.get("tokenization") or ("word" if text else "")
    if bool(tokenization) is not text or (text and tokenization not in TOKENIZATIONS):
        raise RefusedError(f"tokenization '{tokenization}' is not allowed for data type '{data_type}'")
    if given.get("indexSearchable") and not text:
        raise RefusedError("`indexSearchable` is allowed only for text/text[] data types")
    made = {
        "name": name,
        "dataType": [data_type],
        "description": given.get("description", ""),
        "indexFilterable": _or_default(given.get("indexFilterable"), True),
        "indexSearchable": _or_default(given.get("indexSearchable"), text),
        "indexRangeFilters": bool(given.get("indexRangeFilters")),
    } | ({"tokenization": tokenization} if text else {})
    owner["properties"].append(made)
    return made


def check_tenant(name: str) -> None:
    """Refuse a name that no tenant may have."""
    if not _TENANT.fullmatch(name):
        raise RefusedError(f"tenant name should only contain alphanumeric characters, _ and -, at most 64: {name!r}")


def _vector(name: str, given: dict[str, Any]) -> dict[str, Any]:
    index = _INDEX | given.get("vectorIndexConfig", {})
    if given.get("vectorizer") != {"none": {}} or given.get("vectorIndexType", "hnsw") != "hnsw":
        raise RefusedError(f"vector {name!r}: the emulator has hnsw without a vectorizer alone")
    if index["distance"] not in _DISTANCES:
        raise RefusedError(f"vector {name!r}: unrecognized distance {index['distance']!r}")
    return {"vectorIndexConfig": index, "vectorIndexType": "hnsw", "vectorizer": {"none": {}}}


def _or_default(given: Any, default: bool) -> bool:
    return default if given is None else bool(given)
