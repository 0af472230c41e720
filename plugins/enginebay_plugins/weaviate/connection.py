"""A connection to a Weaviate server, and its errors in enginebay's tree."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
import httpx
import weaviate
from pydantic import SecretStr
from weaviate.classes.init import AdditionalConfig, Auth, Timeout
from weaviate.connect import ConnectionParams
from weaviate.exceptions import (
    UnexpectedStatusCodeError,
    WeaviateBaseError,
    WeaviateClosedClientError,
    WeaviateConnectionError,
    WeaviateTimeoutError,
)

from enginebay.errors import EnginebayError, EngineClosedError, OptionError, StoreError
from enginebay_plugins.weaviate.options import WeaviateOptions

DEFAULT_URL = "http://127.0.0.1:8080"
_OVERLOADED = (429, 502, 503, 504)
_REFUSED = (401, 403)
_FIRST_PAUSE = 0.2
"""Seconds; each later pause is twice as long."""

T = TypeVar("T")


class NotFoundError(StoreError):
    """The server has no such collection or tenant."""


class Connection:
    """An open client; every call to it goes through `ask`."""

    def __init__(self, url: str | None, api_key: SecretStr | None, options: WeaviateOptions) -> None:
        self.url = url or DEFAULT_URL
        self._retries = options.retries
        self._params = _params(self.url, options)
        self.client = weaviate.WeaviateClient(
            self._params,
            auth_client_secret=Auth.api_key(api_key.get_secret_value()) if api_key else None,
            additional_config=AdditionalConfig(
                timeout=Timeout(init=options.open_timeout, query=options.timeout, insert=options.timeout)
            ),
            skip_init_checks=True,  # they ask a package index for the client's newest version
        )
        try:
            self.ask(self.client.connect)
            self._check_grpc(options.open_timeout)
            self.version = _version(self.ask(self.client.get_meta)["version"])
        except BaseException:
            self.close()
            raise

    def ask(self, call: Callable[[], T]) -> T:
        """What the call gives. All calls that the store makes may be made twice.

        Raises:
            EngineClosedError: the connection was closed.
            NotFoundError: REST told that it is not there.
            StoreError: the server cannot be reached, took too long, or answered with an error.
        """
        for attempt in range(self._retries + 1):
            try:
                return call()
            except (WeaviateBaseError, httpx.HTTPError) as error:
                if attempt == self._retries or not _passes(error):
                    raise self._translated(error) from error
                time.sleep(_FIRST_PAUSE * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close the connection. Closing twice is no error."""
        self.client.close()

    def _check_grpc(self, timeout: float) -> None:
        """Without this, a wrong port is found out by the first query, which the client tries for a minute."""
        place = f"{self._params.grpc.host}:{self._params.grpc.port}"
        secure = self._params.grpc.secure
        credentials = grpc.ssl_channel_credentials()
        channel = grpc.secure_channel(place, credentials) if secure else grpc.insecure_channel(place)
        try:
            grpc.channel_ready_future(channel).result(timeout=timeout)
        except grpc.FutureTimeoutError as error:
            raise StoreError(
                f"Weaviate answers at {self.url}, but nothing speaks gRPC at {place}",
                value=place,
                hint="set the options grpc_port and grpc_host",
            ) from error
        finally:
            channel.close()

    def _translated(self, error: Exception) -> EnginebayError:
        if isinstance(error, WeaviateClosedClientError):
            return EngineClosedError("the weaviate store is closed", hint="open it again")
        status, code = _status(error), _grpc_code(error)
        if status == 404:
            return NotFoundError(f"{self.url}: {error}", value=self.url)
        if status in _REFUSED or code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return StoreError(f"Weaviate at {self.url} refuses the API key", value=self.url, hint="set api_key")
        if isinstance(error, WeaviateTimeoutError) or code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return StoreError(
                f"Weaviate at {self.url} took too long to answer", value=self.url, hint="set the option timeout"
            )
        if status is None and code in (None, grpc.StatusCode.UNAVAILABLE) and _unreachable(error):
            return StoreError(
                f"Weaviate at {self.url} cannot be reached: {error}",
                value=self.url,
                hint="start the server, or set url and the option grpc_port",
            )
        return StoreError(f"Weaviate at {self.url}: {error}", value=self.url)


def answered(error: StoreError) -> bool:
    """Whether the server answered with an error, in contrast to not at all."""
    cause = error.__cause__
    silent = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
    return (
        isinstance(cause, WeaviateBaseError)
        and not isinstance(cause, WeaviateTimeoutError | WeaviateConnectionError)
        and _grpc_code(cause) not in silent
    )


def _params(url: str, options: WeaviateOptions) -> Any:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise OptionError(
            f"url = {url!r} is no address of a Weaviate server", value=url, hint=f"for example {DEFAULT_URL}"
        )
    secure = parts.scheme == "https"
    return ConnectionParams.from_params(
        http_host=parts.hostname,
        http_port=parts.port or (443 if secure else 80),
        http_secure=secure,
        grpc_host=options.grpc_host or parts.hostname,
        grpc_port=options.grpc_port,
        grpc_secure=secure if options.grpc_secure is None else options.grpc_secure,
    )


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def _status(error: BaseException) -> int | None:
    """HTTP status of an answer; gRPC's codes are told by `_grpc_code`."""
    if isinstance(error, UnexpectedStatusCodeError) and _grpc_code(error) is None:
        return int(error.status_code)
    return None


def _grpc_code(error: BaseException) -> Any:
    """Status of a failed gRPC call, which the client keeps only as the context of its own errors."""
    seen: BaseException | None = error
    while isinstance(seen, WeaviateBaseError):
        seen = seen.__cause__ or seen.__context__
    return seen.code() if isinstance(seen, grpc.RpcError) else None


def _unreachable(error: Exception) -> bool:
    return (
        isinstance(error, WeaviateConnectionError | httpx.TransportError)
        or _grpc_code(error) is grpc.StatusCode.UNAVAILABLE
        or isinstance(error.__cause__, WeaviateConnectionError | httpx.TransportError)
    )


def _passes(error: Exception) -> bool:
    """Whether it is worth trying again. Most gRPC calls the client has tried again itself."""
    if isinstance(error, WeaviateTimeoutError):
        return False
    return _status(error) in _OVERLOADED or (_grpc_code(error) is None and _unreachable(error))
