"""What quantising cost a model in quality, and what it gained in size and speed.

Each model is measured in a process of its own: the memory it takes is that process's, and no engine's threads disturb
another's speed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from enginebay.benchmark import PROMPT
from enginebay.errors import JobError, NoMatchError, UnsupportedFeatureError
from enginebay.generation.scoring import WINDOW, checked_window, passes, perplexity_of
from enginebay.interfaces.generator import scores_of
from enginebay.interfaces.logits import log_softmax
from enginebay.models.child import Tell, call_in_child
from enginebay.models.identity import read_record
from enginebay.quantizing import read_text, shipped_text
from enginebay.sampling.plan import given_features
from enginebay.spec import Feature, FrozenModel

if TYPE_CHECKING:
    from enginebay.bay import Bay
    from enginebay.generation.handle import GeneratorHandle

TOKENS, RUNS = 64, 3
BEGINNING = 300
"""Characters of each text that is continued for the decode speed."""

COMPARED = 1024
"""Places of the text whose whole distributions are compared: each takes 4 bytes for every token of the vocabulary."""


class Quality(FrozenModel):
    """One model on this machine.

    Attributes:
        reference: as it was named, or the path of a quantised model.
        type: what the weights are stored as.
        quantizer: backend that made it; "" for a model that was not quantised here.
        bytes: of the weights.
        bits_per_weight: bits of stored weights over the number of weights; 0 when that is not known.
        backend, device: what runs it.
        tokens_per_second: decode speed of one stream, the median of three.
        memory_bytes: resident memory of a process that runs it, all libraries included.
        scored_by: backend that scored the text; "" when none could.
        perplexity: of the text; None when no engine scores it.
        perplexity_loss: share by which it is above the original's; None for the original itself.
        kl_mean, kl_p99: Kullback-Leibler divergence of the next token's distribution from the original's in nats, mean
            and 99th percentile over the first places of the text; None where engines give no whole distributions, or
            tokenize otherwise.
        same_best: share of those places where the likeliest token is the original's.
        cosine_mean, cosine_min: for embedders, in place of perplexity: cosine similarity to the original's vectors.
        accuracy: of tasks that were asked for, by "task metric".
        problem: why it could not be measured; "" when it was.
    """

    reference: str
    type: str
    quantizer: str = ""
    bytes: int
    bits_per_weight: float = 0.0
    backend: str = ""
    device: str = ""
    tokens_per_second: float = 0.0
    memory_bytes: int = 0
    scored_by: str = ""
    perplexity: float | None = None
    perplexity_loss: float | None = None
    kl_mean: float | None = None
    kl_p99: float | None = None
    same_best: float | None = None
    cosine_mean: float | None = None
    cosine_min: float | None = None
    accuracy: dict[str, float] = {}
    problem: str = ""


class QualityReport(FrozenModel):
    """The original and what was made of it.

    Attributes:
        text: name of the text's file.
        text_sha256: of its bytes.
        window: tokens of one pass over it.
        tokens: tokens of it that were scored at most.
    """

    created: datetime = Field(default_factory=lambda: datetime.now(UTC))
    text: str
    text_sha256: str
    window: int
    tokens: int
    original: Quality
    quantized: tuple[Quality, ...]


def compare(
    bay: Bay,
    original: str,
    quantized: Sequence[str],
    *,
    text: Path | None = None,
    window: int = 512,
    tokens: int = 4096,
    tasks: Sequence[str] = (),
    limit: int | None = None,
    tell: Callable[[str], None] = lambda what: None,
) -> QualityReport:
    """Measure a model and what was made of it.

    Args:
        original: model reference.
        quantized: paths of quantised models.
        text: file for perplexity and divergence; None takes the one that enginebay brings.
        window: tokens of one pass.
        tokens: of the text that are scored at most.
        tasks, limit: tasks of `enginebay eval`, and how many samples of each.
        tell: told which model is being measured.

    Raises:
        JobError: the original could not be measured, or the text not read.
    """
    tell(original)
    with Comparison(bay, original, text, window=window, tokens=tokens, tasks=tasks, limit=limit) as comparison:
        for each in quantized:
            tell(each)
            comparison.measure(each)
    return comparison.report


class Comparison:
    """Measures models against one original, whose distributions are kept in temporary files meanwhile.

    Arguments and errors as of `compare`.
    """

    def __init__(
        self,
        bay: Bay,
        original: str,
        text: Path | None = None,
        *,
        window: int = 512,
        tokens: int = 4096,
        tasks: Sequence[str] = (),
        limit: int | None = None,
    ) -> None:
        path = text if text is not None else shipped_text("evaluation")
        content = read_text(path)
        self._bay = bay
        self._folder = tempfile.TemporaryDirectory(prefix="enginebay-quality-", ignore_cleanup_errors=True)
        self._asked: dict[str, Any] = {
            "text": content, "window": window, "tokens": tokens, "tasks": list(tasks), "limit": limit,
            "kept": self._folder.name,
        }  # fmt: skip
        first = self._run(original, first=True)
        if first.problem:
            self.close()
            raise JobError(f"{original} could not be measured: {first.problem}", value=original)
        self.report = QualityReport(
            text=path.name,
            text_sha256=sha256(content.encode()).hexdigest(),
            window=window,
            tokens=tokens,
            original=first,
            quantized=(),
        )
        """What has been measured so far."""

    def measure(self, reference: str) -> Quality:
        """Measure one model in the engine that runs it fastest; what goes wrong is told by its `problem`."""
        found = self._run(reference)
        before, after = self.report.original.perplexity, found.perplexity
        loss = after / before - 1 if before and after else None
        found = found.model_copy(update={"perplexity_loss": loss})
        self.report = self.report.model_copy(update={"quantized": (*self.report.quantized, found)})
        return found

    def close(self) -> None:
        """Remove the temporary files."""
        self._folder.cleanup()

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def _run(self, reference: str, *, first: bool = False) -> Quality:
        info = self._bay.models.info(reference)
        row = Quality(
            reference=reference,
            type=info.quantization,
            quantizer=str(read_record(info.path).get("made_of", {}).get("backend", "")) if info.path else "",
            bytes=info.weight_bytes,
            bits_per_weight=info.bits_per_weight,
        )
        told: dict[str, Any] = {}
        embeds = info.embedding is not None
        try:
            call_in_child(
                "enginebay.evaluation.quality:measure_here",
                {**self._asked, "model": reference, "first": first, "embeds": embeds},
                told.update,
                name="the measurement",
                value=reference,
                error=JobError,
            )
        except Exception as error:  # noqa: BLE001 - one model that fails does not lose the others' figures
            return row.model_copy(update={"problem": getattr(error, "message", None) or str(error)})
        return row.model_copy(update=told)


def measure_here(question: dict[str, Any], tell: Tell) -> None:
    """What the child process does: open the model, and tell its figures."""
    from enginebay.bay import Bay

    with Bay() as bay:
        if question["embeds"]:
            _measure_embedder(bay, question, tell)
        else:
            _measure_generator(bay, question, tell)


def _measure_generator(bay: Bay, question: Mapping[str, Any], tell: Tell) -> None:
    model = question["model"]
    chosen: dict[str, Any] = {"conversion": "never", "context_length": max(question["window"], WINDOW)}
    handle = bay.generator(model, **chosen)
    speeds = [
        handle.complete(prompt, max_tokens=TOKENS, temperature=0).timing.tokens_per_second
        for prompt in (PROMPT, *_beginnings(question["text"]))
    ]
    tell(
        {
            "backend": handle.spec.name,
            "device": handle.device,
            "tokens_per_second": median([speed for speed in speeds[1:] if speed] or [0.0]),
            "memory_bytes": _resident(),
        }
    )
    if Feature.SCORING not in given_features(handle.spec):
        bay.release(handle)
        try:
            handle = bay.generator(model, **chosen, features=["scoring"])
        except NoMatchError:
            return
    tell({"scored_by": handle.spec.name, **_scored(handle, question)})
    if question["tasks"]:
        from enginebay.evaluation.harness import evaluate

        tell({"accuracy": evaluate(handle, question["tasks"], limit=question["limit"]).accuracy})


def _beginnings(text: str) -> list[str]:
    """Texts to continue: a question may be answered by nothing, which has no speed."""
    return [text[start * BEGINNING : (start + 1) * BEGINNING].strip() or PROMPT for start in range(RUNS)]


def _measure_embedder(bay: Bay, question: Mapping[str, Any], tell: Tell) -> None:
    import time

    from enginebay.embedding.similarity import cosine

    handle = bay.embedder(question["model"], conversion="never", truncate=True)
    passages = [part for part in question["text"].split("\n\n") if part.strip()][:256]
    handle.embed_documents(passages[:8])
    started = time.perf_counter()
    vectors = handle.embed_documents(passages)
    seconds = time.perf_counter() - started
    counted = sum(handle.count_tokens(passages))
    tell(
        {
            "backend": handle.spec.name,
            "device": handle.device,
            "tokens_per_second": counted / seconds,
            "memory_bytes": _resident(),
        }
    )
    kept = Path(question["kept"]) / "vectors.npy"
    if question["first"]:
        np.save(kept, vectors)
        return
    cosines = np.diagonal(cosine(np.load(kept), vectors))
    tell({"cosine_mean": float(cosines.mean()), "cosine_min": float(cosines.min())})


def _scored(handle: GeneratorHandle, question: Mapping[str, Any]) -> dict[str, Any]:
    """Perplexity, and how far the distributions are from the original's."""
    ids = handle.tokenize(question["text"], add_bos=True)[: question["tokens"]]
    window, stride = checked_window(min(question["window"], handle.context_length), None, handle.context_length)
    kept = _Kept(Path(question["kept"]), ids, write=question["first"])
    logprobs: list[float] = []
    if _hands_over_logits(handle, ids):
        for each in passes(ids, window, stride):
            rows = handle.prompt_logits(each.tokens[:-1])[each.first - 1 :]
            logprobs += scores_of(rows, each.tokens[each.first :]).logprobs.tolist()
            kept.take(rows)
    else:
        for part in handle.score_windows(ids, window, stride):
            logprobs += part.tolist()
    return {"perplexity": perplexity_of(logprobs, window, stride).value, **kept.divergence()}


def _hands_over_logits(handle: GeneratorHandle, ids: Sequence[int]) -> bool:
    """Whole distributions, not only the scores of given tokens."""
    try:
        handle.prompt_logits(ids[:1])
    except UnsupportedFeatureError:
        return False
    return True


class _Kept:
    """The original's logits on disk, written at the first measurement and compared with at the others."""

    def __init__(self, folder: Path, ids: Sequence[int], *, write: bool) -> None:
        self._folder, self._write = folder, write
        self._place = 0
        self._found: list[NDArray[np.float64]] = []
        self._same = 0
        ids_file = folder / "ids.npy"
        if write:
            np.save(ids_file, np.asarray(ids))
        self._alike = write or (ids_file.exists() and np.array_equal(np.load(ids_file), np.asarray(ids)))

    def take(self, rows: NDArray[np.floating]) -> None:
        """Keep rows of logits, or compare them."""
        rows = rows[: max(0, COMPARED - self._place)]
        if not len(rows) or not self._alike:
            return
        file = self._folder / f"logits-{self._place}.npy"
        if self._write:
            np.save(file, np.asarray(rows, dtype=np.float32))
        else:
            before = np.load(file, mmap_mode="r")
            for one, two in _pieces(before, rows):
                self._found.append(divergences(one, two))
                self._same += int((one.argmax(axis=1) == two.argmax(axis=1)).sum())
        self._place += len(rows)

    def divergence(self) -> dict[str, float]:
        """The figures; {} for the original and for a model that tokenizes otherwise."""
        if not self._found:
            return {}
        values = np.concatenate(self._found)
        return {
            "kl_mean": float(values.mean()),
            "kl_p99": float(np.quantile(values, 0.99)),
            "same_best": self._same / len(values),
        }


def divergences(reference: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """KL(reference || other) of each row of raw logits in nats; vocabularies padded to other lengths are cut."""
    width = min(reference.shape[1], other.shape[1])
    p, q = log_softmax(reference[:, :width]), log_softmax(other[:, :width])
    return np.asarray(np.maximum((np.exp(p) * (p - q)).sum(axis=1), 0.0))


def _pieces(one: NDArray[Any], two: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Some rows at a time: float64 copies of all would take gigabytes."""
    for start in range(0, min(len(one), len(two)), 64):
        yield one[start : start + 64], two[start : start + 64]


def _resident() -> int:
    import psutil

    return int(psutil.Process(os.getpid()).memory_info().rss)
