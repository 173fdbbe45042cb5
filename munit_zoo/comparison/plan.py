"""Plans of ablations: a YAML file that says which variants of a config are trained and scored.

PLAN_VERSION: 1
BASE: munit/shapes                      # a config's name, or a file relative to the plan
SET: [ENGINE.BATCH_SIZE=4]              # overrides for all
VARIANTS:                               # the first is what the others are compared with
  munit: []
  no_style_recon: [LOSSES.STYLE_RECON.WEIGHT=0]
  unit: {BASE: unit/shapes, SET: []}    # of another config
GRID: {MODEL.STYLE_DIM: [2, 8]}         # each variant with each value, all combinations
SEEDS: [0, 1, 2]
ITERATIONS: 1500
METRICS: {SHAPES: {NAME: shapes}}       # as in a config; left out: each config's own
COLUMNS: [shapes.shape, shapes.swap_*]  # what the tables show; left out: every score
"""

from __future__ import annotations

import fnmatch
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from munit_zoo.config import (
    Config,
    Node,
    Resolved,
    bind,
    domains_of,
    dump_value,
    find_plan,
    node_from,
    parse_override,
    read_yaml,
    resolve,
)
from munit_zoo.errors import ConfigError, MunitZooError, Problem, quoted, suggest

__all__ = ["Cell", "Plan", "Variant", "read_plan"]

VERSION = 1
KEYS = {
    "PLAN_VERSION": int,
    "ABOUT": str,
    "BASE": str,
    "SET": list,
    "VARIANTS": dict,
    "GRID": dict,
    "SEEDS": list,
    "ITERATIONS": int,
    "METRICS": dict,
    "METRIC_SEEDS": list,
    "COLUMNS": list,
}
MOST_CELLS = 10_000
_SHOWN_KEYS = ("LOG_EVERY", "GRID_EVERY", "SNAPSHOT_EVERY", "KEEP", "DISPLAY", "DISPLAY_STYLES")
"""Keys of ENGINE that decide what is written, not what is learnt."""


@dataclass(frozen=True)
class Variant:
    """One row of the table. base: its config's name or file; overrides: all but the seed.

    origin: where the plan has it. written: the overrides that are its own.
    """

    name: str
    base: str
    overrides: tuple[str, ...]
    origin: str = ""
    written: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One training: a variant under one seed."""

    variant: Variant
    seed: int
    resolved: Resolved

    @property
    def digest(self) -> str:
        """Of the config without its metrics: other metrics do not make it another training."""
        plain = self.resolved.config.plain()
        plain.pop("METRICS", None)
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @property
    def key(self) -> str:
        """Its name as a folder's: variant, seed, and a digest, so that a changed config is a new
        one."""
        slug = re.sub(r"[^\w.-]+", "-", self.variant.name).strip("-.")[:60] or "variant"
        return f"{slug}_{self.seed}_{self.digest[:10]}"

    @property
    def config(self) -> Config:
        return self.resolved.config

    @property
    def learnt(self) -> str:
        """Digest of what decides the training: two cells that agree in it are the same."""
        plain = self.config.plain()
        for key in ("METRICS", "SCHEMA_VERSION"):
            plain.pop(key, None)
        for key in _SHOWN_KEYS:
            plain["ENGINE"].pop(key, None)
        plain["LOSSES"] = {
            name: term
            for name, term in plain["LOSSES"].items()
            if term["WEIGHT"] or term.get("CRITIC_WEIGHT")
        }
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Plan:
    """A checked plan: every cell's config resolves, and no two are the same.

    metric_seeds: seeds of the metrics; none for the config's. columns: patterns of `metric.score`.
    tree: the plan as it was written, paths made absolute.
    """

    name: str
    about: str
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    metrics: Mapping[str, Any] | None
    metric_seeds: tuple[int, ...]
    columns: tuple[str, ...]
    tree: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @property
    def base(self) -> Variant:
        """What the others are compared with."""
        return self.variants[0]

    def of(self, variant: Variant) -> tuple[Cell, ...]:
        """A variant's cells, a seed each."""
        return tuple(cell for cell in self.cells if cell.variant == variant)

    def metric_words(self) -> tuple[str, ...]:
        """Overrides that give a config the plan's metrics."""
        if self.metrics is None:
            return ()
        return (
            "METRICS=null",
            *(f"METRICS.{name}={dump_value(node)}" for name, node in self.metrics.items()),
        )

    def shows(self, metric: str, score: str) -> bool:
        """Whether the tables have a column."""
        return not self.columns or any(
            fnmatch.fnmatchcase(f"{metric}.{score}", pattern) for pattern in self.columns
        )


def read_plan(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Plan:
    """A plan by the name of a shipped one (`paper_table1`), a path, or as a tree of plain data.

    overrides: `KEY=VALUE` of the plan (`SEEDS=[0]`, `METRICS.SHAPES.INPUTS=50`), or of every cell's
    config (`DATA.SIZE=64`), where they join SET.

    Raises ConfigError that lists every problem of the plan and of its cells' configs.
    """
    if isinstance(source, Mapping):
        node, name, folder = node_from(source, "the plan"), "ablation", Path()
    else:
        file, label = find_plan(str(source))
        node, name, folder = read_yaml(file, label), file.stem, file.parent
    return _Reader(_varied(node, overrides), name, folder).plan()


def _varied(node: Node, overrides: Sequence[str]) -> Node:
    """A plan's tree under overrides."""
    for text in overrides:
        key, equals, value = text.partition("=")
        words = key.strip().split(".")
        origin = f"override {text}"
        if not equals or not all(words):
            raise ConfigError([Problem("", f"an override is KEY=VALUE, got {quoted(text)}")])
        if words[0] in KEYS:
            node = _placed(node, words, parse_override(value, origin))
        else:
            known = node.value.get("SET")
            listed = known.plain() if known is not None else []
            joined = Node([*listed, text], origin) if isinstance(listed, list) else known
            node = Node({**node.value, "SET": joined}, node.origin)
    return node


def _placed(node: Node, words: Sequence[str], value: Node) -> Node:
    """A tree with a value at a dotted place."""
    if not words:
        return value
    children = dict(node.value) if node.is_map else {}
    below = children.get(words[0], Node({}, value.origin))
    children[words[0]] = _placed(below, words[1:], value)
    return Node(children, node.origin)


class _Reader:
    """From a plan's tree to its cells; problems are collected."""

    def __init__(self, node: Node, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.problems: list[Problem] = []
        if not node.is_map:
            raise ConfigError([Problem("", "is not a map of keys", node.origin)], source=name)
        self.keys: dict[str, Node] = {}
        for key, child in node.value.items():
            if key not in KEYS:
                hint = suggest(key, KEYS) or f"A plan has {', '.join(KEYS)}."
                self.problem(key, f"is no key of a plan. {hint}", child)
            elif child.value is not None and not self._is(child.value, KEYS[key]):
                self.problem(key, f"is {_kind(KEYS[key])}, got {quoted(child.plain())}", child)
            elif child.value is not None:
                self.keys[key] = child
        self.origin = node.origin

    @staticmethod
    def _is(value: Any, kind: type) -> bool:
        return isinstance(value, kind) and not (kind is int and isinstance(value, bool))

    def problem(self, path: str, message: str, node: Node | None = None) -> None:
        self.problems.append(Problem(path, message, node.origin if node is not None else ""))

    def get(self, key: str, default: Any) -> Any:
        return self.keys[key].plain() if key in self.keys else default

    def plan(self) -> Plan:
        """The plan. Raises ConfigError."""
        version = self.get("PLAN_VERSION", None)
        if version != VERSION:
            said = "is missing" if version is None else f"is {version}"
            self.problem("PLAN_VERSION", f"{said}: write PLAN_VERSION: {VERSION}")
        if "BASE" not in self.keys:
            self.problem("BASE", "is missing: the config that variants change (munit/shapes)")
        seeds = self.numbers("SEEDS", [0, 1, 2])
        metric_seeds = self.numbers("METRIC_SEEDS", [])
        if not seeds:
            self.problem("SEEDS", "is empty: name one at the least, better three")
        iterations = self.get("ITERATIONS", None)
        if iterations is not None and iterations < 1:
            self.problem("ITERATIONS", f"is 1 or more, got {iterations}", self.keys["ITERATIONS"])
        columns = self.words("COLUMNS", self.keys.get("COLUMNS"))
        self.stop()
        metrics = self.get("METRICS", None)
        variants = self.variants(iterations)
        self.stop()
        if len(variants) * len(seeds) > MOST_CELLS:
            self.problem("GRID", f"makes more than {MOST_CELLS:,} cells")
            self.stop()
        plan = Plan(
            self.name,
            self.get("ABOUT", ""),
            tuple(variants),
            tuple(seeds),
            (),
            metrics,
            tuple(metric_seeds),
            tuple(columns),
            self.tree(),
        )
        cells = self.cells(plan)
        self.stop()
        return Plan(**{**vars(plan), "cells": tuple(cells)})

    def stop(self) -> None:
        if self.problems:
            raise ConfigError(self.problems, source=self.name)

    def numbers(self, key: str, default: list[int]) -> list[int]:
        found = self.get(key, default)
        for value in found:
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                self.problem(key, f"lists numbers from 0 on, got {quoted(value)}", self.keys[key])
        twice = {value for value in found if found.count(value) > 1}
        if twice:
            self.problem(key, f"lists {', '.join(map(str, twice))} twice", self.keys[key])
        return list(found)

    def words(self, path: str, node: Node | None) -> list[str]:
        """A list of texts."""
        if node is None or node.value is None:
            return []
        found = node.plain()
        if isinstance(found, list) and all(isinstance(word, str) for word in found):
            return list(found)
        what = "patterns, as [shapes.shape]" if path == "COLUMNS" else "overrides, as [KEY=VALUE]"
        self.problem(path, f"is a list of {what}; got {quoted(found)}", node)
        return []

    def variants(self, iterations: int | None) -> list[Variant]:
        """All rows: each variant with each combination of the grid."""
        own_base, common = self.base(self.keys["BASE"]), self.words("SET", self.keys.get("SET"))
        last = [] if iterations is None else [f"ENGINE.ITERATIONS={iterations}"]
        listed = self.keys["VARIANTS"].value if "VARIANTS" in self.keys else {}
        rows = [
            (name, *self.variant(name, node, own_base), node.origin)
            for name, node in listed.items()
        ] or [("base", own_base, [], self.origin)]
        found: list[Variant] = []
        for (name, base, words, origin), combination in itertools.product(rows, self.grid()):
            label = " ".join(text for text, _ in combination)
            if label:
                name = label if name == "base" and not listed else f"{name} {label}"
            own = [*words, *(word for _, word in combination)]
            overrides = (*common, *own, *last)
            found.append(Variant(name, base, overrides, origin, tuple(own)))
        return found

    def variant(self, name: str, node: Node, base: str) -> tuple[str, list[str]]:
        """A variant's config and overrides."""
        path = f"VARIANTS.{name}"
        if not node.is_map:
            return base, self.words(path, node)
        known = ("BASE", "SET")
        for key, child in node.value.items():
            if key not in known:
                hint = suggest(key, known) or "Overrides are a list: [KEY=VALUE]."
                self.problem(f"{path}.{key}", f"is not BASE or SET. {hint}", child)
        if "BASE" in node.value:
            base = self.base(node.value["BASE"])
        return base, self.words(f"{path}.SET", node.value.get("SET"))

    def base(self, node: Node) -> str:
        """A config's name, or its file as seen from here."""
        source = str(node.value)
        if not source.endswith((".yaml", ".yml")) or Path(source).is_absolute():
            return source
        return str((self.folder / source).resolve())

    def grid(self) -> list[tuple[tuple[str, str], ...]]:
        """Combinations, each of (label, override)."""
        axes = []
        for key, node in (self.keys["GRID"].value if "GRID" in self.keys else {}).items():
            if not isinstance(node.value, list) or not node.value:
                self.problem(f"GRID.{key}", f"lists values, as {key}: [1, 2]", node)
                continue
            axes.append(
                [(_label(key, value), f"{key}={dump_value(value)}") for value in node.value]
            )
        return list(itertools.product(*axes))

    def cells(self, plan: Plan) -> list[Cell]:
        """Every cell, resolved; what is wrong with any becomes a problem."""
        found: list[Cell] = []
        known: dict[str, Cell] = {}
        wrong: set[tuple[str, str]] = set()
        for variant, seed in itertools.product(plan.variants, plan.seeds):
            path = f"VARIANTS.{variant.name}"
            words = [*variant.overrides, *plan.metric_words(), f"ENGINE.SEED={seed}"]
            try:
                cell = Cell(variant, seed, resolve(variant.base, words))
                for name, metric in cell.config.METRICS.items():
                    bind("metric", metric, f"METRICS.{name}")()
            except ConfigError as error:
                for problem in error.problems:
                    if (problem.path, problem.message) not in wrong:
                        wrong.add((problem.path, problem.message))
                        where = f"{variant.origin}, {problem.origin}".strip(", ")
                        self.problems.append(
                            Problem(f"{path}: {problem.path}", problem.message, where)
                        )
                continue
            except MunitZooError as error:
                self.problems.append(Problem(path, str(error), variant.origin))
                continue
            if not cell.config.METRICS and seed == plan.seeds[0]:
                self.problems.append(
                    Problem(path, "has no METRICS: the plan or its config names some", "")
                )
            other = known.setdefault(cell.learnt, cell)
            if other is not cell and (seed == plan.seeds[0]):
                self.problems.append(
                    Problem(
                        path,
                        f"is the same training as {other.variant.name!r}: the configs differ in "
                        "nothing that is learnt from. Remove one, or look for the override that "
                        "does nothing",
                        variant.origin,
                    )
                )
            found.append(cell)
        return found

    def tree(self) -> dict[str, Any]:
        """The plan as plain data that means the same from any folder."""
        plain = {key: node.plain() for key, node in self.keys.items()}
        plain["BASE"] = self.base(self.keys["BASE"])
        for name, node in plain.get("VARIANTS", {}).items():
            if isinstance(node, dict) and "BASE" in node:
                inner = self.keys["VARIANTS"].value[name].value["BASE"]
                plain["VARIANTS"][name] = {**node, "BASE": self.base(inner)}
        return plain


def _label(key: str, value: Any) -> str:
    shown = value.get("NAME", "…") if isinstance(value, Mapping) else value
    return f"{key.rpartition('.')[2]}={dump_value(shown)}"


def _kind(kind: type) -> str:
    return {int: "a number", str: "a text", list: "a list", dict: "a map"}[kind]


def sizes_of(config: Config) -> dict[str, tuple[int, int]]:
    """(h, w) of training images by domain."""
    factory = bind("dataset", config.DATA)
    return {domain.name: factory(domain, "train").size for domain in domains_of(config)}


def shown_changes(changed: Sequence[Any], most: int = 6) -> str:
    """What a variant changes, in a line; `changed` as `engine.runs.changes` has it."""
    texts = [str(change) for change in changed if change.key != "ENGINE.SEED"]
    more = f", and {len(texts) - most} more keys" if len(texts) > most else ""
    return (", ".join(texts[:most]) + more) or "nothing"
