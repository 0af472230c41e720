"""Whether the distributions a backend needs are installed, from metadata alone."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement
from packaging.version import InvalidVersion

from enginebay.matching.decision import Availability, RefusalCode
from enginebay.spec import BackendSpec


def judge(spec: BackendSpec, own_version: str) -> Availability:
    """Judge a backend by metadata: nothing is imported.

    Args:
        own_version: version of the plugin's distribution, for a backend that needs nothing beside it.
    """
    if spec.factory is None:
        return Availability(
            code=RefusalCode.NO_ENGINE,
            message="this release has no engine for it yet",
            hint="a later release of its plugin brings it",
        )
    return judge_distributions(spec.name, spec.requires, spec.requires_any, spec.install, own_version)


def judge_distributions(
    name: str, requires: Sequence[str], requires_any: Sequence[str], install: str, own_version: str = ""
) -> Availability:
    """Judge what something called `name` needs: all of `requires`, and one of `requires_any` if there are any."""
    needed = [need for need in map(Requirement, requires) if need.marker is None or need.marker.evaluate()]
    choices = list(map(Requirement, requires_any))
    versions = {need.name: _installed(need.name) for need in (*choices, *needed)}
    main = next((found for found in versions.values() if found), None) or own_version or None
    missing = [need.name for need in needed if versions[need.name] is None]
    if choices:
        present = [need for need in choices if versions[need.name] is not None]
        if not present:
            missing.append(choices[0].name)
        fitting = [need for need in present if _satisfies(need, versions[need.name] or "")]
        needed += (fitting or present)[:1]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        return Availability(
            code=RefusalCode.NOT_INSTALLED,
            message=f"{' and '.join(missing)} {verb} not installed",
            hint=install,
        )
    for need in needed:
        found = versions[need.name] or ""
        if not _satisfies(need, found):
            return Availability(
                code=RefusalCode.TOO_OLD,
                message=f"{need.name} {found or 'without a readable version'} is installed, "
                f"{name} needs {need.name}{need.specifier}",
                hint=install,
                version=main,
            )
    return Availability(version=main)


def _installed(name: str) -> str | None:
    """The installed version, "" when the metadata does not tell, None when it is not installed."""
    try:
        return version(name) or ""
    except PackageNotFoundError:
        return None
    except Exception:  # noqa: BLE001 - garbage in METADATA: there, but nobody knows which
        return ""


def _satisfies(need: Requirement, found: str) -> bool:
    if not need.specifier:
        return True
    try:
        return need.specifier.contains(found, prereleases=True)
    except InvalidVersion:
        return False
