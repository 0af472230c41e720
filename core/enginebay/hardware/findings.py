"""What a probe of one kind of device answers: plain data, so that a child process needs no more to give it."""

from __future__ import annotations

from typing import Any, TypedDict


class Findings(TypedDict):
    """Devices as the fields of `Device`, and what could not be read, in sentences.

    A device that shares main memory (`unified`) may leave its memory out: it is main memory's then.
    """

    devices: list[dict[str, Any]]
    warnings: list[str]


def visible(devices: list[dict[str, Any]], variable: str | None) -> list[dict[str, Any]]:
    """What a variable such as CUDA_VISIBLE_DEVICES leaves, in its order; all when it is not set.

    Its entries are indexes or the beginnings of UUIDs (a device's `uuid`). As CUDA and ROCm do it, the first entry
    that fits no device, or not one alone, ends the list.
    """
    if variable is None:
        return devices
    chosen: list[dict[str, Any]] = []
    for entry in (part.strip() for part in variable.split(",")):
        if entry.isascii() and entry.isdigit():
            named = devices[int(entry) : int(entry) + 1]
        else:
            named = [device for device in devices if entry and device["uuid"].startswith(entry)]
        if len(named) != 1 or named[0] in chosen:
            break
        chosen += named
    return chosen


def numbered(kind: str, devices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The devices with their ids, and without the UUIDs that only choosing needs."""
    return [
        {"id": f"{kind}:{index}", "kind": kind, **{name: fact for name, fact in device.items() if name != "uuid"}}
        for index, device in enumerate(devices)
    ]
