"""Where configs are found by name: the package's own and those that plug-ins ship."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from munit_zoo.errors import ConfigError, Problem, quoted, suggest
from munit_zoo.registry import (
    CONFIGS,
    CORE,
    canonical,
    core_version,
    plugin_points,
    require_sound_components,
    strict_error,
    strict_plugins,
    unmet_requirement,
)

__all__ = [
    "Shelf",
    "find_config",
    "find_plan",
    "list_configs",
    "list_plans",
    "require_sound_plugins",
    "shelved",
    "shelves",
]

PLANS = "ablations"
"""The folder of a shelf that holds plans (`munit-zoo ablate`), which are no configs."""


@dataclass(frozen=True)
class Shelf:
    """A folder of configs and the distribution that ships it.

    problem: why a plug-in's configs cannot be used; "" where they can.
    """

    folder: Path
    distribution: str
    version: str
    problem: str = ""

    @property
    def source(self) -> str:
        """Distribution and version, for people."""
        return f"{self.distribution} {self.version}"

    def names(self) -> list[str]:
        """Names of the configs in it (`munit/shapes`), without those meant only as bases."""
        files = [] if self.problem else sorted(self.folder.rglob("*.yaml"))
        relative = [file.relative_to(self.folder).with_suffix("") for file in files]
        return [
            path.as_posix()
            for path in relative
            if not any(part.startswith(("_", ".")) for part in path.parts)
            and path.parts[0] != PLANS
        ]

    def plans(self) -> list[str]:
        """Names of the plans in it (`paper_table1`)."""
        files = [] if self.problem else sorted((self.folder / PLANS).glob("*.yaml"))
        return [file.stem for file in files]

    def file(self, name: str) -> Path | None:
        """The file of a config; None where it has none of this name."""
        words = name.split("/")
        if self.problem or not all(re.fullmatch(r"\w[\w.-]{0,99}", word) for word in words):
            return None  # a name is no path: neither absolute nor out of the shelf
        path = self.folder / f"{name}.yaml"
        return path if path.is_file() else None


def shelves() -> Iterator[Shelf]:
    """The package's own shelf, then the plug-ins' (entry-point group `munit_zoo.configs`, whose
    value is the package that holds the YAML files)."""
    package = Path(__file__).resolve().parent.parent
    installed, checkout = package / "_configs", package.parent / "configs"
    yield Shelf(installed if installed.is_dir() else checkout, CORE, core_version())
    for point in plugin_points(CONFIGS):
        unmet = unmet_requirement(point.distribution)
        try:
            if unmet:
                raise ValueError(unmet)
            yield Shelf(_folder_of(point.target), point.distribution, point.version)
        except Exception as error:  # a broken plug-in hurts only those who ask for its configs
            yield Shelf(Path(), point.distribution, point.version, str(error))


def _folder_of(package: str) -> Path:
    """Where a package's files stand, found without running any of its code.

    Raises ValueError where there is no such folder.
    """
    top, *rest = package.split(".")
    spec = importlib.util.find_spec(top)  # of a top-level name: looks, and imports nothing
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location, *rest)
        if folder.is_dir():
            return folder
    raise ValueError(f"the entry point names the package {package}, which has no folder")


def require_sound_plugins() -> None:
    """Under MUNIT_ZOO_STRICT_PLUGINS, raises BrokenComponentError for the first broken plug-in."""
    if not strict_plugins():
        return
    require_sound_components()
    for shelf in shelves():
        if shelf.problem:
            raise strict_error(f"the configs of {shelf.source}: {shelf.problem}")


def shelved() -> dict[str, Shelf]:
    """Names that `load_config` takes, each with its shelf, the package's own first.

    A name that two plug-ins ship is spelled `dist:name`.
    """
    found = [(name, shelf) for shelf in shelves() for name in shelf.names()]
    owners: dict[str, list[str]] = {}
    for name, shelf in found:
        owners.setdefault(name, []).append(shelf.distribution)
    spelled: dict[str, Shelf] = {}
    for name, shelf in found:
        alone = owners[name][0] == shelf.distribution == CORE or set(owners[name]) == {
            shelf.distribution
        }
        spelled.setdefault(name if alone else f"{shelf.distribution}:{name}", shelf)
    return spelled


def list_configs() -> list[str]:
    """Names that `load_config` takes, the package's own first."""
    return list(shelved())


def find_config(source: str) -> tuple[Path, str]:
    """The file of a config and how messages call it.

    source: a path where it ends in .yaml or .yml, anything else a shipped name; `dist:name` says
    whose. Raises ConfigError for an unknown name (with the nearest) and for a `.py` file.
    """
    if source.endswith((".yaml", ".yml", ".py")):
        return Path(source), source
    distribution, _, name = source.rpartition(":")
    if name.removeprefix(f"{PLANS}/") in list_plans():
        message = f"{quoted(source)} is a plan of several trainings: munit-zoo ablate {source}"
        raise ConfigError([Problem("", message)], source=source)
    looked = [
        shelf
        for shelf in shelves()
        if not distribution or shelf.distribution == canonical(distribution)
    ]
    found = [(shelf, path) for shelf in looked if (path := shelf.file(name)) is not None]
    owners = list(dict.fromkeys(shelf.distribution for shelf, _ in found))
    if len(owners) > 1 and CORE not in owners:
        spellings = " or ".join(f"{owner}:{name}" for owner in owners)
        raise ConfigError(
            [Problem("", f"{name!r} is shipped by {', '.join(owners)}; write {spellings}")],
            source=source,
        )
    if found:
        shelf, path = found[0]
        label = f"{'' if shelf.distribution == CORE else shelf.distribution + ':'}{name}.yaml"
        return path, label
    known = list_configs()
    folders = dict.fromkeys(f"{name.partition('/')[0]}/…" for name in known)
    hint = suggest(source, known) or f"`munit-zoo list configs` has: {', '.join(folders)}."
    message = f"no config is called {quoted(source)}. {hint} A file's path ends in .yaml."
    for shelf in looked:
        if shelf.problem:
            message += f" The configs of {shelf.source} cannot be used: {shelf.problem}."
    raise ConfigError([Problem("", message)], source=source)


def list_plans() -> list[str]:
    """Names of shipped plans of ablations, the package's own first."""
    return list(dict.fromkeys(name for shelf in shelves() for name in shelf.plans()))


def find_plan(source: str) -> tuple[Path, str]:
    """The file of a plan and how messages call it.

    source: a path where it ends in .yaml or .yml, else a shipped name, with or without
    `ablations/`. Raises ConfigError for an unknown name, with the nearest.
    """
    if source.endswith((".yaml", ".yml")):
        return Path(source), source
    name = source.removeprefix(f"{PLANS}/")
    for shelf in shelves():
        if name in shelf.plans():
            return shelf.folder / PLANS / f"{name}.yaml", f"{PLANS}/{name}.yaml"
    known = list_plans()
    hint = suggest(name, known) or f"Shipped: {', '.join(known)}."
    message = f"no plan is called {quoted(source)}. {hint} A file's path ends in .yaml."
    raise ConfigError([Problem("", message)], source=source)
