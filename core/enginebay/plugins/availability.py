"""Whether the distributions a backend needs are installed, from metadata alone."""

from __future__ import annotations

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
    needed = [need for need in map(Requirement, spec.requires) if need.marker is None or need.marker.evaluate()]
    versions = {need.name: _installed(need.name) for need in needed}
    main = next((found for found in versions.values() if found), None) or own_version or None
    missing = [need.name for need in needed if versions[need.name] is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        return Availability(
            code=RefusalCode.NOT_INSTALLED,
            message=f"{' and '.join(missing)} {verb} not installed",
            hint=spec.install,
        )
    for need in needed:
        found = versions[need.name] or ""
        if not _satisfies(need, found):
            return Availability(
                code=RefusalCode.TOO_OLD,
                message=f"{need.name} {found or 'without a readable version'} is installed, "
                f"{spec.name} needs {need.name}{need.specifier}",
                hint=spec.install,
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
