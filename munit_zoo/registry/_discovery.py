"""Where components come from: our table of contents and the entry points of what is installed.

Only metadata is read here; no class is imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from munit_zoo.registry.builtins import BUILTINS
from munit_zoo.registry.contracts import CONTRACTS, Contract

__all__ = [
    "CONFIGS",
    "CORE",
    "Entry",
    "Point",
    "allowed_distributions",
    "builtin_entries",
    "canonical",
    "core_version",
    "damaged_metadata",
    "plugin_entries",
    "plugin_points",
    "spare_others",
    "strange_groups",
    "unmet_requirement",
]

CORE = "munit-zoo"
CONFIGS = "munit_zoo.configs"  # the one group that names no classes


@dataclass(frozen=True)
class Entry:
    """One line of a table of contents: a name and where its class stands.

    name: what a config writes.
    target: `module:Class` (for local components, the file).
    distribution, version: who ships it; "" for components registered in the running program.
    origin: `builtin`, `plugin` or `local`.
    """

    kind: str
    name: str
    target: str
    distribution: str
    version: str
    origin: Literal["builtin", "plugin", "local"]

    @property
    def qualified(self) -> str:
        """`distribution:name`, which no other distribution can claim."""
        return f"{self.distribution}:{self.name}" if self.distribution else self.name

    @property
    def source(self) -> str:
        """Distribution and version, for people."""
        return f"{self.distribution} {self.version}".strip() or self.target


def canonical(distribution: str) -> str:
    """A distribution's name in one spelling: `Munit_Zoo.Extra` is `munit-zoo-extra`."""
    return distribution.replace("_", "-").replace(".", "-").lower()


def core_version() -> str:
    """Version of munit_zoo itself, as declared where it can be read without metadata."""
    from munit_zoo._version import __version__

    return __version__


def builtin_entries(kind: str) -> list[Entry]:
    """Our own components of a kind."""
    entries = []
    for line in BUILTINS.get(kind, "").strip().splitlines():
        name, target = (part.strip() for part in line.split("=", 1))
        entries.append(Entry(kind, name, target, CORE, core_version(), "builtin"))
    return entries


def allowed_distributions() -> set[str] | None:
    """The distributions that MUNIT_ZOO_PLUGINS admits; None where all are."""
    chosen = os.environ.get("MUNIT_ZOO_PLUGINS")
    if chosen is None:
        return None
    return {canonical(name.strip()) for name in chosen.split(",") if name.strip()}


def plugin_entries(contract: Contract) -> Iterable[Entry]:
    """Third-party components of a kind, from the metadata of what is installed."""
    if contract.group is None:
        return
    for point in plugin_points(contract.group):
        yield Entry(
            contract.kind, point.name, point.target, point.distribution, point.version, "plugin"
        )


@dataclass(frozen=True)
class Point:
    """An entry point of a third party, as its metadata has it.

    target: what stands behind the `=`, "" where there is none.
    """

    group: str
    name: str
    target: str
    distribution: str
    version: str


def unmet_requirement(distribution: str) -> str | None:
    """Why a distribution does not fit this munit-zoo (`needs munit-zoo>=2; this is …`), or that its
    metadata do not tell; None where it fits."""
    import importlib_metadata
    from packaging.requirements import Requirement

    try:
        for line in importlib_metadata.requires(distribution) or ():
            named = re.match(r"[\w.-]+", line.strip())
            if named is None or canonical(named[0]) != CORE:
                continue  # what it needs of others is not ours to judge
            demand = Requirement(line)
            applies = demand.marker is None or demand.marker.evaluate({"extra": ""})
            if applies and not demand.specifier.contains(core_version(), prereleases=True):
                return f"needs {CORE}{demand.specifier}; this is {CORE} {core_version()}"
    except Exception as error:  # whatever damaged metadata raise
        reason = " ".join(f"{type(error).__name__}: {str(error)[:200]}".split())
        return f"has metadata that cannot be read ({reason.rstrip(': ')})"
    return None


def plugin_points(group: str) -> Iterator[Point]:
    """Third-party entry points of a group, each with its distribution and version."""
    return (point for point in _points() if point.group == group)


def strange_groups() -> Iterator[tuple[str, str]]:
    """Entry-point groups that look like ours and are none, each with who has it."""
    known = {CONFIGS, *(contract.group for contract in CONTRACTS.values())}
    for point in sorted(_points(), key=lambda point: point.group):
        if canonical(point.group).startswith(f"{CORE}-") and point.group not in known:
            yield point.group, f"{point.distribution} {point.version}".strip()


def damaged_metadata() -> Iterator[tuple[str, str]]:
    """Installed distributions whose metadata cannot be read, whosever they are: the folder, why."""
    import importlib_metadata

    for found in importlib_metadata.distributions():
        try:
            _ = list(found.entry_points), found.metadata["Name"]
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {str(error)[:200]}".split())
            yield str(getattr(found, "_path", found)), reason


@cache
def spare_others() -> None:
    """Let torch, triton and pydantic work beside damaged metadata of whatever package.

    They look for extensions of theirs among all entry points, and fail where those of one
    distribution cannot be read; then they are told not to look.
    """
    import importlib.metadata

    try:
        for found in importlib.metadata.distributions():
            _ = found.entry_points
    except Exception:
        os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
        os.environ.setdefault("TRITON_BACKENDS_IN_TREE", "1")
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def _points() -> Iterator[Point]:
    """The entry points of all that is installed and admitted, in groups that look like ours.

    Read file by file, so that damaged metadata of one distribution hurt nobody else, and without
    looking at groups of others.
    """
    import importlib_metadata  # 20 ms that a list of built-ins need not pay

    allowed = allowed_distributions()
    seen = {CORE}
    for found in importlib_metadata.distributions():
        text = _entry_points_text(found)
        if CORE not in canonical(text):
            continue
        name = _name_of(found)
        if name in seen or (allowed is not None and name not in allowed):
            continue
        seen.add(name)  # what stands first on the path is what is imported
        version = _version_of(found)
        group = ""
        for line in text.splitlines():
            line = line.strip()
            if line.startswith("[") and line.endswith("]"):
                group = line[1:-1].strip()
            elif line and not line.startswith(("#", ";")) and CORE in canonical(group):
                point, _, target = (part.strip() for part in line.partition("="))
                yield Point(group, point, target, name, version)


def _entry_points_text(found: Any) -> str:
    """A distribution's entry_points.txt; "" where it has none or it cannot be read."""
    try:
        return str(found.read_text("entry_points.txt") or "")
    except UnicodeDecodeError as error:
        return error.object.decode("utf-8", "replace")
    except Exception:  # whatever a damaged installation raises
        return ""


def _name_of(found: Any) -> str:
    """A distribution's canonical name, from its folder's where its metadata do not tell."""
    try:
        name = found.metadata["Name"]
    except Exception:  # missing, undecodable
        name = None
    return canonical(name or _folder(found)[0] or "nameless")


def _version_of(found: Any) -> str:
    try:
        version = found.metadata["Version"]
    except Exception:
        version = None
    return str(version or _folder(found)[1])


def _folder(found: object) -> tuple[str, str]:
    """Name and version as the folder `name-version.dist-info` has them."""
    stem = os.path.splitext(os.path.basename(str(getattr(found, "_path", ""))))[0]
    name, _, version = stem.partition("-")
    return name, version
