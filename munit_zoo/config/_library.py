"""Where configs are found by name: the package's own and those that plug-ins ship."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from munit_zoo.errors import ConfigError, Problem, suggest
from munit_zoo.registry import CORE, canonical, plugin_points

__all__ = ["Shelf", "find_config", "list_configs", "shelves"]

GROUP = "munit_zoo.configs"


@dataclass(frozen=True)
class Shelf:
    """A folder of configs and the distribution that ships it."""

    folder: Path
    distribution: str

    def names(self) -> list[str]:
        """Names of the configs in it (`munit/shapes`), without those meant only as bases."""
        files = sorted(self.folder.rglob("*.yaml"))
        relative = [file.relative_to(self.folder).with_suffix("") for file in files]
        return [
            path.as_posix()
            for path in relative
            if not any(part.startswith(("_", ".")) for part in path.parts)
        ]


def shelves() -> Iterator[Shelf]:
    """The package's own shelf, then the plug-ins' (entry-point group `munit_zoo.configs`, whose
    value is the package that holds the YAML files)."""
    package = Path(__file__).resolve().parent.parent
    installed, checkout = package / "_configs", package.parent / "configs"
    yield Shelf(installed if installed.is_dir() else checkout, CORE)
    for point, distribution, _ in plugin_points(GROUP):
        try:
            spec = importlib.util.find_spec(point.module)
        except Exception:  # a broken plug-in hurts only those who ask for its configs
            continue
        for folder in (spec.submodule_search_locations or []) if spec else []:
            yield Shelf(Path(folder), distribution)


def list_configs() -> list[str]:
    """Names that `load_config` takes, the package's own first."""
    return list(dict.fromkeys(name for shelf in shelves() for name in shelf.names()))


def find_config(source: str) -> tuple[Path, str]:
    """The file of a config and how messages call it.

    source: a path where it ends in .yaml or .yml, anything else a shipped name; `dist:name` says
    whose. Raises ConfigError for an unknown name (with the nearest) and for a `.py` file.
    """
    if source.endswith((".yaml", ".yml", ".py")):
        return Path(source), source
    distribution, _, name = source.rpartition(":")
    found = [
        (shelf, path)
        for shelf in shelves()
        if not distribution or shelf.distribution == canonical(distribution)
        for path in [shelf.folder / f"{name}.yaml"]
        if path.is_file()
    ]
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
    hint = suggest(source, known) or f"Shipped: {', '.join(known)}."
    message = f"no config is called {source!r}. {hint} A file's path ends in .yaml."
    raise ConfigError([Problem("", message)], source=source)
