"""The rules of a quantizer."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from enginebay.errors import EnginebayError, JobError, OptionError
from enginebay.interfaces.jobs import JobCancelled, JobEvent
from enginebay.models.fingerprint import lost_on_the_way
from enginebay.models.headers import read_info
from enginebay.models.identity import RECORD, weight_paths, weights_identity
from enginebay.quantizing import shipped_text
from enginebay.testing.checks import LIMIT, Checks, RuleBrokenError, refused, require, require_light_import
from enginebay.testing.embedder_subject import SENTENCES, cosines
from enginebay.testing.quantizer_subject import LOSS, QuantizerSubject, state_of

QUANTIZER_CHECKS: Checks[QuantizerSubject] = Checks()

rule = QUANTIZER_CHECKS

PARAGRAPHS = 6
"""Paragraphs of the shipped text that perplexity is taken of: a check is no benchmark."""


@rule
def importing_the_plugin_is_light(subject: QuantizerSubject) -> None:
    """Importing a plugin imports no more than the standard library and what enginebay itself has imported."""
    require_light_import(subject.spec)


@rule
def each_type_is_made(subject: QuantizerSubject) -> None:
    """Each type gives a model in the format that the spec declares, under the name that was asked for."""
    for name, made in subject.made.items():
        declared = subject.spec.type(name)
        assert declared is not None
        require(made.path.exists(), f"{name}: there is nothing at {made.path}")
        require(made.format is declared.format, f"{name} is {made.format}, declared as {declared.format}")
        require(made.backend == subject.spec.name and made.type == name, f"{name} is told as {made.type}")
        require(set(made.engines) == set(declared.engines), f"{name}: engines {made.engines}")


@rule
def results_are_as_small_as_declared(subject: QuantizerSubject) -> None:
    """Weights take no more than 1.6 times the declared bits: small models keep more of them whole than usual ones."""
    for name, made in subject.made.items():
        declared = subject.spec.type(name)
        assert declared is not None
        require(made.bytes > 0 and made.bits_per_weight > 0, f"{name}: {made.bytes} bytes are told")
        limit = 1.6 * declared.bits
        require(
            made.bits_per_weight <= limit or not subject.packs,
            f"{name}: {made.bits_per_weight:.2f} bits, declared {declared.bits:.2f}",
        )


@rule
def what_travels_with_the_weights_is_kept(subject: QuantizerSubject) -> None:
    """Chat template, begin and end tokens, vocabulary and context length are the source's."""
    for name, made in subject.made.items():
        lost = lost_on_the_way(subject.source, read_info(made.path))
        require(not lost, f"{name} lost {'; '.join(lost)}")


@rule
def the_fingerprint_says_what_it_was_made_of(subject: QuantizerSubject) -> None:
    """The fingerprint names the source's weights, the maker and the tokenizer, and stays the same."""
    for name, made in subject.made.items():
        told = made.fingerprint
        require(told["source"] == weights_identity(subject.source), f"{name}: the source is told as {told['source']}")
        require(told["maker"].split()[0] == subject.spec.name, f"{name}: the maker is told as {told['maker']}")
        require(bool(told["tokenizer"]), f"{name}: nothing is told of the tokenizer")
        if subject.source.chat_template:
            require(bool(told["chat_template"]), f"{name}: nothing is told of the chat template")


@rule
def results_run_in_their_engine(subject: QuantizerSubject) -> None:
    """Each result opens in an engine that the type names, and answers the same twice."""
    for name, made in subject.made.items():
        first, again = _answers(subject, name, made.path)
        require(first == again, f"{name} answers {first!r}, then {again!r}")


@rule
def quality_is_kept_as_the_bits_allow(subject: QuantizerSubject) -> None:
    """8 and 6 bits raise the perplexity by at most 5 %, 4 by 35 %; embedders keep a cosine of 0.98, 0.95, 0.8.

    Types that no declared engine can score have no perplexity.
    """
    for name, made in subject.made.items():
        declared = subject.spec.type(name)
        assert declared is not None
        bits = next((least for least in LOSS if declared.bits >= least - 0.2), None)
        if bits is None:
            continue
        if subject.embeds:
            least = {8.0: 0.98, 6.0: 0.95, 4.0: 0.8}[bits]
            cosine = _cosine(subject, name, made.path)
            require(cosine >= least, f"{name}: cosine {cosine:.4f} to the source's vectors")
        elif subject.scores(name):
            loss = _perplexity(subject, str(made.path)) / _perplexity(subject, subject.model) - 1
            require(loss <= LOSS[bits], f"{name}: the perplexity rises by {loss:.1%}")


@rule
def progress_is_told(subject: QuantizerSubject) -> None:
    """A job tells of its progress; steps do not go back within a stage, nor beyond their number."""
    require(bool(subject.made), "no type was made")
    for name in subject.types:
        events = [event for event in subject.events[name] if event.stage != "convert"]
        require(bool(events), f"{name}: no event came")
        last: dict[str, int] = {}
        for event in events:
            require(event.step >= last.get(event.stage, 0), f"{name}: {event.stage} goes back to step {event.step}")
            require(event.steps is None or event.step <= event.steps, f"{name}: step {event.step} of {event.steps}")
            last[event.stage] = event.step


@rule
def the_same_job_is_done_once(subject: QuantizerSubject) -> None:
    """Without an output, the same model, type and options are made once, and found again."""
    first = subject.quantize()
    again = subject.quantize()
    require(first.path == again.path and again.seconds == 0, f"{again.path} was made anew in {again.seconds:.1f} s")


@rule
def quantising_is_deterministic(subject: QuantizerSubject) -> None:
    """The same job gives the same weights."""
    name = subject.types[0]
    made = subject.quantize(output=subject.place())
    one, two = (_weights(path) for path in (made.path, subject.made[name].path))
    require(one == two, f"{name} gave other weights the second time")


@rule
def the_source_is_left_as_it_was(subject: QuantizerSubject) -> None:
    """Quantising changes nothing of the source's files."""
    require(bool(subject.made), "no type was made")
    require(state_of(Path(subject.model)) == subject.before, "the source's files have changed")


@rule
def what_stands_under_the_output_is_not_lost(subject: QuantizerSubject) -> None:
    """An output that exists is refused by name and left alone; with `overwrite` it is replaced."""
    made, other = subject.made[subject.types[0]].path, subject.place()
    if made.is_dir():
        shutil.copytree(made, other, ignore=shutil.ignore_patterns(RECORD))  # with its record it is the model asked for
    else:
        shutil.copyfile(made, other)
    before = state_of(other)
    refused(JobError, lambda: subject.quantize(output=other), "an output that exists", str(other))
    require(state_of(other) == before, "the refused output has changed")
    again = subject.quantize(output=other, overwrite=True)
    require(again.seconds > 0 and again.path == other, "the output was not replaced")


@rule
def unknown_types_are_refused(subject: QuantizerSubject) -> None:
    """A type that is not there is refused by name, and known ones are named."""
    refused(JobError, lambda: subject.quantize("q9_zz"), "an unknown type", "q9_zz", subject.types[0])


@rule
def unknown_options_are_refused(subject: QuantizerSubject) -> None:
    """An option that the backend does not have is refused by name, before anything is loaded."""
    place = subject.place()
    refused(OptionError, lambda: subject.quantize(output=place, options={"blorp": 1}), "an unknown option", "blorp")
    require(not subject.left_over(place), f"it left {subject.left_over(place)}")


@rule
def quantised_models_are_refused(subject: QuantizerSubject) -> None:
    """A model that is quantised already is refused, with the way to allow it."""
    quantised = [str(made.path) for made in subject.made.values() if read_info(made.path).quantized]
    require(bool(quantised), f"none of {', '.join(subject.types)} is a quantised type")
    place, path = subject.place(), quantised[0]
    refused(JobError, partial(subject.quantize, model=path, output=place), f"the source {path}", "requantize")
    require(not subject.left_over(place), f"it left {subject.left_over(place)}")


@rule
def a_place_that_cannot_be_written_is_refused(subject: QuantizerSubject) -> None:
    """An output below a file is refused by name."""
    place = subject.place()
    place.write_text("a file")
    below = place / "below" / "model"
    refused(JobError, lambda: subject.quantize(output=below), "an output below a file", str(place))


@rule
def a_broken_model_is_an_error(subject: QuantizerSubject) -> None:
    """A source whose files are cut off is an error of enginebay, and nothing is left under the output's name."""
    broken = subject.place()
    _copy_cut(Path(subject.model), broken)
    place = subject.place()
    try:
        subject.quantize(model=str(broken), output=place)
    except EnginebayError:
        pass
    else:
        raise RuleBrokenError("a broken source was quantised")
    require(not subject.left_over(place), f"it left {subject.left_over(place)}")


@rule
def cancelling_leaves_nothing(subject: QuantizerSubject) -> None:
    """Raising JobCancelled in the receiver of events ends the job; nothing stands under the output's name or beside."""
    place = subject.place()

    def cancel(event: JobEvent) -> None:
        if event.stage != "convert":
            raise JobCancelled

    try:
        subject.quantize(output=place, events=cancel)
    except JobCancelled:
        pass
    else:
        raise RuleBrokenError("the job went on after it was cancelled")
    require(not subject.left_over(place), f"it left {subject.left_over(place)}")


if sys.platform != "win32":  # Windows has no limit of a file's size that a process could be given

    @rule
    def a_full_disk_is_an_error(subject: QuantizerSubject) -> None:
        """When the system lets no more be written, the error names the place, and nothing stands there or beside."""
        place = subject.place()
        limit = max(file.stat().st_size for file in weight_paths(read_info(subject.made[subject.types[0]].path))) // 2
        with _job(subject, place, limit) as child:
            told = child.communicate(timeout=LIMIT)[0]
        require(child.returncode == 0, f"with no room for the result the job ended with {child.returncode}")
        require(str(place.parent) in told, f"the error does not name {place.parent}: {told.strip() or 'none came'}")
        require(not subject.left_over(place), f"it left {subject.left_over(place)}")


@rule
def killing_leaves_no_part_under_the_name(subject: QuantizerSubject) -> None:
    """Killed by SIGKILL at random points, a job leaves nothing under the output's name, and the next run succeeds."""
    place = subject.place()
    whole = _killed_after(subject, place, LIMIT)
    require(place.exists(), "a job of its own process made nothing")
    drawn = random.Random(5)
    for _ in range(subject.kills):
        _remove(place)
        _killed_after(subject, place, whole * drawn.uniform(0.3, 1.0))
        if place.exists():
            read_info(place)  # it was done before it was killed: then it must be whole
    made = subject.quantize(output=place, overwrite=True)
    require(_answers(subject, subject.types[0], made.path)[0] != "", "the result of the next run does not answer")
    left = [name for name in subject.left_over(place) if not name.startswith(place.name)]
    require(not left, f"beside the result stands {left}")


def _answers(subject: QuantizerSubject, to: str, path: Path) -> tuple[str, str]:
    """What a result answers twice."""
    engine = subject.engine_of(to)
    if subject.embeds:
        embedder = subject.bay.embedder(str(path), backend=engine, conversion="never")
        try:
            one, two = (str(np.round(embedder.embed_query("The cat sleeps."), 3).tolist()) for _ in range(2))
        finally:
            subject.bay.release(embedder)
        return one, two
    handle = subject.bay.generator(str(path), backend=engine, context_length=512, conversion="never")
    try:
        one, two = (handle.complete("The capital of France is", temperature=0, max_tokens=8).text for _ in range(2))
    finally:
        subject.bay.release(handle)
    require(bool(one.strip()), f"{to} answers nothing in {engine}")
    return one, two


def _perplexity(subject: QuantizerSubject, model: str) -> float:
    """The perplexity of the first paragraphs of the shipped text, by an engine that scores."""
    if model not in subject.perplexities:
        text = "\n\n".join(shipped_text("evaluation").read_text(encoding="utf-8").split("\n\n")[:PARAGRAPHS])
        handle = subject.bay.generator(model, context_length=512, conversion="never", features=["scoring"])
        try:
            subject.perplexities[model] = handle.perplexity(text).value
        finally:
            subject.bay.release(handle)
    return subject.perplexities[model]


def _cosine(subject: QuantizerSubject, to: str, path: Path) -> float:
    """Mean cosine similarity of a result's vectors to the source's."""
    found = []
    for model, backend in ((subject.model, "auto"), (str(path), subject.engine_of(to))):
        embedder = subject.bay.embedder(model, backend=backend)
        try:
            found.append(embedder.embed_documents(SENTENCES))
        finally:
            subject.bay.release(embedder)
    return float(cosines(found[0], found[1]).mean())


def _weights(path: Path) -> str:
    """Digest of a model's weight files, whatever its record says of their origin."""
    total = sha256()
    for file in weight_paths(read_info(path)):
        with file.open("rb") as opened:
            if file.suffix == ".safetensors":  # the order of its header's keys is chance
                header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
                total.update(json.dumps(header, sort_keys=True).encode())
            while block := opened.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def _copy_cut(source: Path, target: Path) -> None:
    """Copy a model, its largest file cut to half."""
    shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    files = [file for file in target.rglob("*") if file.is_file()] if target.is_dir() else [target]
    largest = max(files, key=lambda file: file.stat().st_size)
    with largest.open("r+b") as file:
        file.truncate(largest.stat().st_size // 2)


_JOB = """
import json, sys
sys.path[:], changes, hardware, limit = json.loads(sys.argv[1])
from enginebay import Bay, HardwareProfile
from enginebay.errors import JobError
if limit is not None:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    Bay(hardware=HardwareProfile.model_validate(hardware)).quantize(**changes)
except JobError as error:
    print(error)
"""


@contextmanager
def _job(subject: QuantizerSubject, place: Path, limit: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Quantise in a process of its own, which prints the JobError if there is one; it is killed when the block ends.

    Args:
        limit: bytes of the largest file that the process and its children may write.
    """
    changes = {
        "model": subject.model, "to": subject.types[0], "output": str(place), "backend": subject.spec.name,
        **subject.changes,
    }  # fmt: skip
    told = json.dumps([sys.path, changes, subject.bay.hardware().model_dump(mode="json"), limit])
    child = subprocess.Popen(
        [sys.executable, "-c", _JOB, told], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


def _killed_after(subject: QuantizerSubject, place: Path, seconds: float) -> float:
    """Quantise in a process of its own, killed after some seconds if it is not done; gives the seconds it ran."""
    started = time.monotonic()
    with _job(subject, place) as child, suppress(subprocess.TimeoutExpired):
        child.wait(seconds)
    return time.monotonic() - started


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
