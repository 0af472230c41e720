"""Importance matrices: how strongly a text drives each column of a weight, as llama.cpp's tools/imatrix has it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from enginebay.errors import JobError, ModelFormatError
from enginebay.interfaces.jobs import Events, JobEvent
from enginebay.interfaces.quantizer import QuantizationJob
from enginebay.paths import write_whole
from enginebay_plugins.llama_cpp.ggml_tensors import F32, check_layout, operation, tensor_at, values
from enginebay_plugins.llama_cpp.logs import LOG
from enginebay_plugins.llama_cpp.native import batch_of, token_ids

WINDOW = 512
"""Tokens of one pass."""

_FEWEST = 16
"""Products of fewer rows are passed over."""

ImportanceMatrix = Mapping[str, NDArray[np.float32]]
"""By the name of a weight, the mean square of what meets each of its columns, expert by expert."""


def importance_matrix(job: QuantizationJob, events: Events) -> ImportanceMatrix:
    """The matrix of a model and its calibration text; it is made once and kept in the job's cache.

    Raises:
        JobError: the text is too short, llama.cpp failed, or its tensors cannot be read.
        ModelFormatError: llama.cpp does not open the model.
    """
    text = job.calibration
    assert text is not None
    kept = job.cache / f"importance-{WINDOW}-{sha256(text.read_bytes()).hexdigest()[:16]}.npz"
    if not kept.exists():
        check_layout()
        matrix: dict[str, Any] = dict(_measured(job, text, events))
        file = io.BytesIO()
        np.savez(file, **matrix)
        write_whole(kept, file.getvalue())
    with np.load(kept) as found:
        return dict(found)


class _Sums:
    """Sums of squares of what weights are multiplied with."""

    def __init__(self) -> None:
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._counts: dict[str, NDArray[np.int64]] = {}
        self.failure: BaseException | None = None

    def receive(self, address: int, asks: bool, _: Any) -> bool:
        """llama.cpp's scheduler asks whether the result of a node is wanted, and hands it over if so."""
        try:
            if asks:
                return self._wanted(address)
            self._add(address)
        except BaseException as error:  # noqa: BLE001 - raised after the pass: C cannot be unwound
            self.failure = error
            return False
        return True

    def means(self) -> dict[str, NDArray[np.float32]]:
        """Mean squares. An expert that the text never came to has ones: all its columns count alike."""
        return {
            name: np.where(counts[:, None] > 0, self._sums[name] / np.maximum(counts, 1)[:, None], 1.0)
            .astype(np.float32)
            .reshape(-1)
            for name, counts in self._counts.items()
        }

    @staticmethod
    def _wanted(address: int) -> bool:
        kind = operation(address)
        if kind not in ("MUL_MAT", "MUL_MAT_ID"):
            return False
        node = tensor_at(address)
        inputs = tensor_at(node.src[1])
        if not tensor_at(node.src[0]).name.startswith(b"blk.") or inputs.type != F32:
            return False
        return kind == "MUL_MAT_ID" or inputs.ne[1] >= _FEWEST

    def _add(self, address: int) -> None:
        node = tensor_at(address)
        weight = tensor_at(node.src[0])
        inputs = values(node.src[1])
        if operation(address) == "MUL_MAT_ID":
            # Token by token, the experts that were chosen; all of them see one input, or each its own.
            matrices = values(node.src[2])[0, 0]
            tokens, chosen = matrices.shape
            rows = np.broadcast_to(inputs[0], (tokens, chosen, inputs.shape[-1]))
        else:
            outer, inner, count, width = inputs.shape
            numbers = np.arange(outer)[:, None] % weight.ne[3] * weight.ne[2] + np.arange(inner) % weight.ne[2]
            matrices = np.repeat(numbers.reshape(-1), count)
            rows = inputs.reshape(-1, width)
        self._add_rows(
            weight.name.decode(),
            int(weight.ne[2] * weight.ne[3]),
            matrices.reshape(-1),
            rows.reshape(matrices.size, -1),
        )

    def _add_rows(self, name: str, count: int, matrices: NDArray[Any], rows: NDArray[np.float32]) -> None:
        sums = self._sums.setdefault(name, np.zeros((count, rows.shape[1])))
        counts = self._counts.setdefault(name, np.zeros(count, dtype=np.int64))
        for number in np.unique(matrices):
            mine = rows[matrices == number]
            sums[number] += np.einsum("ij,ij->j", mine, mine, dtype=np.float64)
            counts[number] += len(mine)


def _measured(job: QuantizationJob, text: Path, events: Events) -> dict[str, NDArray[np.float32]]:
    sums = _Sums()
    callback = llama_cpp.ggml_backend_sched_eval_callback(sums.receive)
    with _model(job.model) as model, _context(model, job.threads, callback) as context:
        passes = _passes(model, context, text)
        for step, tokens in enumerate(passes, start=1):
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), False)
            code = llama_cpp.llama_decode(context, batch_of(tokens))
            if sums.failure is not None:
                raise sums.failure
            if code:
                raise JobError(f"llama_decode failed with code {code}: {LOG.reason()}", value=str(job.model))
            events(JobEvent("calibrate", step, len(passes)))
    return sums.means()


def _passes(model: Any, context: Any, text: Path) -> list[list[int]]:
    """The text in windows, each after the begin token if the model has one; what is left over is not used."""
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    tokens = token_ids(vocabulary, text.read_text(encoding="utf-8"), special=True)
    if len(tokens) < _FEWEST:
        raise JobError(
            f"the calibration text {text} has {len(tokens)} tokens", value=str(text), hint="give some thousand words"
        )
    window = min(int(llama_cpp.llama_n_batch(context)), len(tokens))
    begin = [llama_cpp.llama_vocab_bos(vocabulary)] if llama_cpp.llama_vocab_get_add_bos(vocabulary) else []
    starts = range(0, len(tokens) - window + 1, window)
    return [begin + tokens[start + len(begin) : start + window] for start in starts]


@contextmanager
def _model(path: Path) -> Iterator[Any]:
    LOG.clear()
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise ModelFormatError(f"llama.cpp did not open {path}: {LOG.reason()}", value=str(path))
    try:
        yield model
    finally:
        llama_cpp.llama_model_free(model)


@contextmanager
def _context(model: Any, threads: int, callback: Any) -> Iterator[Any]:
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = min(WINDOW, llama_cpp.llama_model_n_ctx_train(model))
    params.n_threads = params.n_threads_batch = threads
    params.offload_kqv = params.op_offload = False
    params.no_perf = True
    params.cb_eval = callback
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise JobError(f"llama.cpp made no context of {params.n_ctx} tokens: {LOG.reason()}")
    try:
        yield context
    finally:
        llama_cpp.llama_free(context)
