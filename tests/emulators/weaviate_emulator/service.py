"""The emulator's gRPC interface: writing, searching, deleting and counting objects."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import numpy as np
from weaviate.proto.v1 import (
    aggregate_pb2,
    base_pb2,
    batch_delete_pb2,
    batch_pb2,
    health_weaviate_pb2,
    search_get_pb2,
    tenants_pb2,
    weaviate_pb2_grpc,
)

from emulators.weaviate_emulator.errors import RefusedError
from emulators.weaviate_emulator.filters import matching
from emulators.weaviate_emulator.shard import Found, Shard

if TYPE_CHECKING:
    from emulators.weaviate_emulator.server import WeaviateEmulator

_MAXIMUM_RESULTS = 10_000
Scored = list[tuple[str, float]]
T = TypeVar("T")


class Service(weaviate_pb2_grpc.WeaviateServicer):
    """What the official client calls."""

    def __init__(self, emulator: WeaviateEmulator) -> None:
        self._emulator = emulator
        self._database = emulator.database

    def BatchObjects(self, request: Any, context: Any) -> Any:
        return self._answer(context, lambda: self._written(request))

    def Search(self, request: Any, context: Any) -> Any:
        return self._answer(context, lambda: self._found(request))

    def BatchDelete(self, request: Any, context: Any) -> Any:
        return self._answer(context, lambda: self._deleted(request))

    def Aggregate(self, request: Any, context: Any) -> Any:
        return self._answer(context, lambda: self._counted(request))

    def TenantsGet(self, request: Any, context: Any) -> Any:
        return self._answer(context, lambda: self._tenants(request))

    def _answer(self, context: Any, answer: Callable[[], T]) -> T:
        if self._emulator.pause:
            time.sleep(self._emulator.pause)
        if not self._emulator.allows(dict(context.invocation_metadata()).get("authorization")):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "unauthorized: invalid api key")
        try:
            with self._database.lock:
                return answer()
        except RefusedError as error:
            code = grpc.StatusCode.UNIMPLEMENTED if error.status == 501 else grpc.StatusCode.UNKNOWN
            context.abort(code, str(error))
            raise AssertionError("abort raises") from error

    def _written(self, request: Any) -> Any:
        errors = []
        for index, one in enumerate(request.objects):
            try:
                if one.uuid in self._emulator.refused:
                    raise RefusedError("the emulator was told to refuse this object")
                self._database.put(one)
            except RefusedError as error:
                errors.append(batch_pb2.BatchObjectsReply.BatchError(index=index, error=str(error)))
        return batch_pb2.BatchObjectsReply(took=0.1, errors=errors)

    def _found(self, request: Any) -> Any:
        shard = self._database.shard(request.collection, request.tenant)
        limit = request.limit or _MAXIMUM_RESULTS
        if request.offset or limit > _MAXIMUM_RESULTS:
            raise RefusedError("query maximum results exceeded")
        allowed = self._allowed(request, shard)
        metadata: Callable[[float], dict[str, Any]] = lambda _: {}  # noqa: E731
        if request.HasField("near_vector"):
            scored = shard.nearest(_query_vector(request.near_vector), allowed, limit)
            metadata = lambda distance: {"distance": distance, "distance_present": True}  # noqa: E731
        elif request.HasField("hybrid_search"):
            scored = self._hybrid(request, shard, allowed)[:limit]
            metadata = lambda score: {"score": score, "score_present": True}  # noqa: E731
        elif request.after and request.HasField("filters"):
            raise RefusedError("where filter cannot be set with after and limit parameters")
        else:
            scored = [(one, 0.0) for one in sorted(allowed) if one > request.after][:limit]
        return search_get_pb2.SearchReply(
            took=0.1, results=[self._result(request, shard, one, metadata(number)) for one, number in scored]
        )

    def _allowed(self, request: Any, shard: Shard) -> Found:
        if not request.HasField("filters"):
            return shard.visible()
        owner = self._database.owner(request.collection)
        version = self._emulator.version_numbers
        return shard.visible() & matching(request.filters, shard, owner, version)

    def _hybrid(self, request: Any, shard: Shard, allowed: Found) -> Scored:
        """Relative score fusion: each search's scores are brought to 0…1, weighed and added."""
        asked = request.hybrid_search
        owner = self._database.owner(request.collection)
        weights: dict[str, float] = {}
        near = shard.nearest(np.frombuffer(asked.vector_bytes, dtype="<f4"), allowed, _MAXIMUM_RESULTS)
        searches = [([(one, -distance) for one, distance in near], asked.alpha)]
        for name in asked.properties:
            prop = next(one for one in owner["properties"] if one["name"] == name)
            if not prop["indexSearchable"]:
                raise RefusedError(f"property {name} is not indexed for search by words")
            searches.append((shard.bm25(asked.query, prop, allowed), 1 - asked.alpha))
        for found, weight in searches:
            for one, score in _relative(found) if weight else ():
                weights[one] = weights.get(one, 0.0) + weight * score
        return sorted(weights.items(), key=lambda pair: (-pair[1], pair[0]))

    def _result(self, request: Any, shard: Shard, identity: str, metadata: dict[str, Any]) -> Any:
        stored = shard.objects[identity]
        owner = self._database.owner(request.collection)
        (vector,) = owner["vectorConfig"]
        sent = search_get_pb2.MetadataResult(id=identity, id_as_bytes=uuid.UUID(identity).bytes, **metadata)
        if request.metadata.vector:
            sent.vectors.append(
                base_pb2.Vectors(
                    name=vector,
                    vector_bytes=stored.vector.astype("<f4").tobytes(),
                    type=base_pb2.Vectors.VECTOR_TYPE_SINGLE_FP32,
                )
            )
        properties = search_get_pb2.PropertiesResult(target_collection=request.collection)
        known = {one["name"] for one in owner["properties"]}
        for name in request.properties.non_ref_properties:
            if name not in known:
                raise RefusedError(f"no such prop with name '{name}' found in class '{request.collection}'")
            value = stored.properties.get(name)
            if isinstance(value, str):
                properties.non_ref_props.fields[name].text_value = value
            elif value is None:
                properties.non_ref_props.fields[name].null_value = 0
            else:
                raise RefusedError("the emulator gives back text alone", 501)
        return search_get_pb2.SearchResult(properties=properties, metadata=sent)

    def _deleted(self, request: Any) -> Any:
        shard = self._database.shard(request.collection, request.tenant)
        if not request.HasField("filters"):
            raise RefusedError("no filters in batch delete request")
        matches = sorted(self._allowed(request, shard))[: self._emulator.deletes_at_once]
        for one in matches:
            shard.remove(one)
        return batch_delete_pb2.BatchDeleteReply(took=0.1, matches=len(matches), successful=len(matches))

    def _counted(self, request: Any) -> Any:
        shard = self._database.shard(request.collection, request.tenant)
        count = len(self._allowed(request, shard))
        return aggregate_pb2.AggregateReply(
            took=0.1, single_result=aggregate_pb2.AggregateReply.Single(objects_count=count)
        )

    def _tenants(self, request: Any) -> Any:
        self._database.owner(request.collection)
        names = self._database.shards[request.collection]
        asked = list(request.names.values) if request.HasField("names") else list(names)
        status = tenants_pb2.TENANT_ACTIVITY_STATUS_ACTIVE
        return tenants_pb2.TenantsGetReply(
            took=0.1, tenants=[tenants_pb2.Tenant(name=one, activity_status=status) for one in asked if one in names]
        )


def health() -> grpc.GenericRpcHandler:
    """grpc.health.v1, by which the client finds out whether gRPC is there."""
    serving = health_weaviate_pb2.WeaviateHealthCheckResponse.SERVING
    check = grpc.unary_unary_rpc_method_handler(
        lambda request, context: health_weaviate_pb2.WeaviateHealthCheckResponse(status=serving),
        request_deserializer=health_weaviate_pb2.WeaviateHealthCheckRequest.FromString,
        response_serializer=health_weaviate_pb2.WeaviateHealthCheckResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})


def _query_vector(near: Any) -> Any:
    sent = near.vectors[0].vector_bytes if near.vectors else near.vector_bytes
    return np.frombuffer(sent or near.vector_for_targets[0].vectors[0].vector_bytes, dtype="<f4")


def _relative(found: Scored) -> Scored:
    if not found:
        return []
    low, high = min(score for _, score in found), max(score for _, score in found)
    return [(one, (score - low) / (high - low) if high > low else 1.0) for one, score in found]
