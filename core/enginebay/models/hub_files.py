"""Which files of a hub repository make the model that a reference names."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

from enginebay.errors import FetchError
from enginebay.models.reference import HubReference

_COMPANIONS = (".json", ".jinja", ".model", ".txt")
"""Suffixes of configurations, chat templates and vocabularies, which lie at the top."""

_STEP = re.compile(r"\d+_\w+/[\w.-]+\.(json|safetensors)")
"""Files of the steps after an embedding model's transformer, such as 1_Pooling/config.json."""

_BESIDE = ("_data", ".data")
"""What is added to an ONNX file's name for weights that do not fit into it."""


def select(names: Sequence[str], reference: HubReference) -> list[str]:
    """The files a reference without catalogue entry means: its `file`, a glob, else weights and their companions.

    Safetensors come before GGUF, GGUF before ONNX. The companions of an ONNX file come with it even when it is named.

    Raises:
        FetchError: there are none, or several models among which to choose.
    """
    if reference.file is not None:
        chosen = sorted(fnmatch.filter(names, reference.file))
        if any(name.endswith(".onnx") for name in chosen):
            chosen = _with_companions(chosen, names)
    elif safetensors := [name for name in names if "/" not in name and name.endswith(".safetensors")]:
        chosen = _with_companions(safetensors, names)
    elif any(name.endswith(".gguf") for name in names):
        chosen = [_only([name for name in names if name.endswith(".gguf")], "GGUF", reference)]
    else:
        onnx = [name for name in names if name.endswith(".onnx")]
        full = [name for name in onnx if name in ("model.onnx", "onnx/model.onnx")]
        chosen = _with_companions([_only(full or onnx, "ONNX", reference)], names) if onnx else []
    if not chosen:
        raise FetchError(f"{reference} names no file of its repository", value=str(reference))
    return chosen


def _with_companions(chosen: Sequence[str], names: Sequence[str]) -> list[str]:
    beside = {name + more for name in chosen for more in _BESIDE}
    top = [name for name in names if "/" not in name and name.endswith(_COMPANIONS)]
    steps = [name for name in names if _STEP.fullmatch(name)]
    return list(dict.fromkeys([*chosen, *(name for name in names if name in beside), *top, *steps]))


def _only(files: Sequence[str], kind: str, reference: HubReference) -> str:
    if len(files) > 1:
        raise FetchError(
            f"{reference} holds several {kind} files",
            value=str(reference),
            hint="name one: " + ", ".join(f"hf:{reference.repository}:{name}" for name in files[:6]),
        )
    return files[0]
