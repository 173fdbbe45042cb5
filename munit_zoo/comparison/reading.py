"""Plans from YAML: what is wrong with one is found whole, before anything is trained."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from munit_zoo.comparison.plan import Cell, Plan, Variant
from munit_zoo.config import (
    Node,
    bind,
    dump_value,
    find_plan,
    node_from,
    parse_override,
    read_yaml,
    resolve,
)
from munit_zoo.errors import ConfigError, MunitZooError, Problem, quoted, suggest

__all__ = ["read_plan"]

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
    "SCORED_ON": list,
    "COLUMNS": list,
}
MOST_CELLS = 10_000


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
    if not node.is_map:
        return node  # which is told next
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
        scored_on = self.words("SCORED_ON", self.keys.get("SCORED_ON"))
        for word in scored_on:
            if word.partition("=")[0].split(".")[0] != "DATA":
                message = f"overrides DATA alone, as [DATA.PAIRED=false]; got {quoted(word)}"
                self.problem("SCORED_ON", message, self.keys["SCORED_ON"])
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
            tuple(scored_on),
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
                resolve(variant.base, [*words, *plan.scored_on])
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
