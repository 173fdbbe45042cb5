"""Where components come from: our table of contents and the entry points of what is installed.

Only metadata is read here; no class is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from munit_zoo.registry.builtins import BUILTINS
from munit_zoo.registry.contracts import CONTRACTS, Contract

if TYPE_CHECKING:
    from importlib_metadata import EntryPoint

__all__ = [
    "CONFIGS",
    "CORE",
    "Entry",
    "allowed_distributions",
    "builtin_entries",
    "canonical",
    "core_version",
    "plugin_entries",
    "plugin_points",
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
    for point, distribution, version in plugin_points(contract.group):
        yield Entry(contract.kind, point.name, point.value, distribution, version, "plugin")


def unmet_requirement(distribution: str) -> str | None:
    """What a distribution demands of munit-zoo that this one does not meet, as `munit-zoo>=2`."""
    import importlib_metadata
    from packaging.requirements import Requirement

    for line in importlib_metadata.requires(distribution) or ():
        demand = Requirement(line)
        applies = demand.marker is None or demand.marker.evaluate({"extra": ""})
        ours = applies and canonical(demand.name) == CORE
        if ours and not demand.specifier.contains(core_version(), prereleases=True):
            return f"{CORE}{demand.specifier}"
    return None


def plugin_points(group: str) -> Iterator[tuple[EntryPoint, str, str]]:
    """Third-party entry points of a group, each with its distribution and version."""
    import importlib_metadata  # 20 ms that a list of built-ins need not pay

    allowed = allowed_distributions()
    for point in importlib_metadata.entry_points(group=group):
        distribution = canonical(point.dist.name) if point.dist else ""
        if distribution == CORE or (allowed is not None and distribution not in allowed):
            continue
        yield point, distribution, point.dist.version if point.dist else ""


def strange_groups() -> Iterator[tuple[str, str]]:
    """Entry-point groups that look like ours and are none, each with who has it."""
    import importlib_metadata

    known = {CONFIGS, *(contract.group for contract in CONTRACTS.values())}
    for group in sorted(importlib_metadata.entry_points().groups):
        if canonical(group).startswith(f"{CORE}-") and group not in known:
            for _, distribution, version in plugin_points(group):
                yield group, f"{distribution} {version}"
