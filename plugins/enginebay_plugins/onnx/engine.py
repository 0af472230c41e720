"""Embedding by onnxruntime: the graph gives the tokens' vectors, the core's pooling makes one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from enginebay import DeviceKind, Embedded, Embedder, OpenRequest, Pooling
from enginebay.embedding.pooling import pool, pooling_of
from enginebay.embedding.tokens import EncoderTokenizer, TokenBatch
from enginebay.errors import EmbeddingError, EngineClosedError, EngineOpenError
from enginebay.models.onnx import onnx_file, onnx_folder
from enginebay_plugins.onnx.options import OnnxOptions

_PROVIDERS = {DeviceKind.CPU: "CPUExecutionProvider", DeviceKind.CUDA: "CUDAExecutionProvider"}
_LEVELS = {
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})
_ERRORS_ONLY = 3
_CPU_BATCH = 256
_NO_LIMIT = 1 << 30


def open_engine(request: OpenRequest) -> Embedder:
    """Open a session on the request's device.

    Raises:
        EngineOpenError: onnxruntime refuses the model or the device, or the graph is none of an encoder.
        ModelFormatError: the tokenizer is missing or broken.
    """
    options = request.options if isinstance(request.options, OnnxOptions) else OnnxOptions()
    file = onnx_file(request.model.path) if request.model.path is not None else None
    if file is None:
        raise EngineOpenError(f"there is no ONNX file at {request.model.path}", value=str(request.model.path))
    pooling = pooling_of(request)
    tokenizer = EncoderTokenizer(onnx_folder(file), request.context_length)
    provider = _PROVIDERS[request.device.kind]
    try:
        session = onnxruntime.InferenceSession(
            str(file), _session_options(request, options), providers=[(provider, _provider_options(request, options))]
        )
    except Exception as error:
        raise EngineOpenError(
            f"onnxruntime did not open {file}: {str(error).splitlines()[0]}",
            value=str(file),
            hint="convert or fetch the model again, or take another device",
        ) from error
    if provider not in session.get_providers():
        raise EngineOpenError(
            f"onnxruntime opened {file} without {provider}",
            value=provider,
            hint="see its log for the library that is missing, or take the device cpu",
        )
    together = _batch_tokens(request, options)
    return OnnxEmbedder(session, _output(session, str(file)), tokenizer, pooling, request, together)


def _batch_tokens(request: OpenRequest, options: OnnxOptions) -> int:
    if options.batch_tokens is not None:
        return options.batch_tokens
    if request.model.quantization.upper() in ("INT8", "UINT8"):
        return 1
    return _CPU_BATCH if request.device.kind is DeviceKind.CPU else _NO_LIMIT


def _session_options(request: OpenRequest, options: OnnxOptions) -> Any:
    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = options.intra_op_num_threads or max(1, int(request.cpu.usable_cores))
    session.graph_optimization_level = _LEVELS[options.graph_optimization_level]
    session.log_severity_level = _ERRORS_ONLY
    return session


def _provider_options(request: OpenRequest, options: OnnxOptions) -> dict[str, str]:
    _, _, number = request.device.id.partition(":")
    device = {"device_id": number} if number.isdigit() else {}
    return device | {name: str(value) for name, value in options.provider_options.items()}


def _output(session: Any, file: str) -> str:
    """The output with a vector of each token.

    Raises:
        EngineOpenError: there is none, or the graph wants inputs that no text gives.
    """
    unknown = sorted({one.name for one in session.get_inputs()} - _INPUTS)
    if unknown:
        raise EngineOpenError(
            f"the graph in {file} wants {', '.join(unknown[:4])}",
            value=unknown,
            hint="take the graph of an encoder, without a cache of keys and values",
        )
    for one in session.get_outputs():
        if len(one.shape) == 3:
            return str(one.name)
    raise EngineOpenError(
        f"no output of the graph in {file} has a vector of each token",
        value=[one.name for one in session.get_outputs()],
        hint="export it with its last_hidden_state",
    )


class OnnxEmbedder(Embedder):
    """A session. Many threads may call it.

    Args:
        output: name of the output of shape (texts, tokens, width).
        batch_tokens: tokens, padding included, that are computed together; a longer text is computed alone.
    """

    def __init__(
        self,
        session: Any,
        output: str,
        tokenizer: EncoderTokenizer,
        pooling: Pooling,
        request: OpenRequest,
        batch_tokens: int,
    ) -> None:
        self.max_batch = request.streams
        self.context_length: int = request.context_length
        self._batch_tokens = batch_tokens
        self._session: Any = session
        self._output = output
        self._inputs = [one.name for one in session.get_inputs()]
        self._tokenizer = tokenizer
        self._pooling = pooling
        shape = next(one.shape for one in session.get_outputs() if one.name == output)
        self._dimension = shape[2] if isinstance(shape[2], int) else self.embed(["a"]).vectors.shape[1]

    @property
    def dimension(self) -> int:
        """Width of a vector."""
        return int(self._dimension)

    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embedded:
        """Embed texts; see `Embedder.embed`."""
        session = self._opened()
        batch = self._tokenizer.encode(texts, truncate=truncate)
        return batch.embedded(self._batch_tokens, lambda part: self._run(session, part))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones included; see `Embedder.count_tokens`."""
        self._opened()
        return self._tokenizer.count(texts)

    def close(self) -> None:
        """Free the session; calls that are under way end first."""
        self._session = None

    def _run(self, session: Any, batch: TokenBatch) -> NDArray[np.float32]:
        ids, mask = batch.padded(self._tokenizer.pad)
        try:
            [hidden] = session.run([self._output], self._feeds(ids, mask))
        except RuntimeException as error:
            raise EmbeddingError(
                f"onnxruntime failed: {str(error).splitlines()[0]}", value=ids.shape, hint="try a smaller batch_size"
            ) from error
        return pool(hidden.astype(np.float32, copy=False), mask, self._pooling)

    def _opened(self) -> Any:
        session = self._session
        if session is None:
            raise EngineClosedError("the engine was closed", hint="open it again")
        return session

    def _feeds(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        feeds = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
            "position_ids": np.broadcast_to(np.arange(ids.shape[1]), ids.shape),
        }
        return {name: feeds[name] for name in self._inputs}
