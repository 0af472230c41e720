"""Opening vector stores."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import SecretStr

from enginebay.config.settings import StoreConfig, reveal
from enginebay.engines import check_options
from enginebay.errors import EnginebayError, StoreError
from enginebay.interfaces.vector_store import VectorStore
from enginebay.opening import StoreRequest
from enginebay.paths import data_dir
from enginebay.spec import Interface
from enginebay.stores.store import Store

if TYPE_CHECKING:
    from enginebay.plugins import Plugins


class StorePool:
    """Open stores of one bay. The same configuration shares one store."""

    def __init__(self, plugins: Callable[[], Plugins]) -> None:
        self._plugins = plugins
        self._open: dict[tuple[str, str], Store] = {}
        self._lock = threading.Lock()

    def open(self, name: str, config: StoreConfig) -> Store:
        """The store of a configuration.

        Args:
            name: what its folder is called where the configuration names none.

        Raises:
            UnknownBackendError: no plugin offers the backend.
            BackendUnavailableError: what it needs is not installed.
            OptionError: the options do not suit the backend.
            ConfigError: the key's environment variable is not set.
            StoreError: it did not open.
        """
        # The key is not in the dump: two keys for one server are two stores.
        secret = reveal(config.api_key) if config.api_key is not None else ""
        key = (name, config.model_dump_json() + secret)
        with self._lock:
            if key not in self._open:
                self._open[key] = self._opened(name, config, secret)
            return self._open[key]

    def close(self) -> None:
        """Close every store."""
        with self._lock:
            stores, self._open = list(self._open.values()), {}
        for store in stores:
            store.close()

    def _opened(self, name: str, config: StoreConfig, secret: str) -> Store:
        plugins = self._plugins()
        spec = plugins.spec(Interface.VECTOR_STORE, config.backend)
        factory = plugins.factory(spec)
        request = StoreRequest(
            path=config.path or data_dir() / "stores" / name,
            url=config.url,
            api_key=SecretStr(secret) if secret else None,
            options=check_options(spec, plugins.options_model(spec), config.options),
            backend=spec.name,
        )
        try:
            engine = factory(request)
            if not isinstance(engine, VectorStore):
                raise TypeError(f"the factory returned {type(engine).__name__}, not a VectorStore")
        except EnginebayError:
            raise
        except Exception as error:
            raise StoreError(
                f"store backend {spec.name!r} did not open: {type(error).__name__}: {error}", value=spec.name
            ) from error
        return Store(engine, spec.name)
