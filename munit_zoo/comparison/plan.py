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
METRIC_SEEDS: [0, 1]                    # of the metrics' chance; left out: the config's
SCORED_ON: [DATA.PAIRED=false]          # overrides of DATA for scoring: the same images for all
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from munit_zoo.config import Config, Resolved, bind, domains_of, dump_value

__all__ = ["Cell", "Plan", "Variant", "shown_changes", "sizes_of"]

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
    scored_on: overrides of DATA under which every variant is scored.
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
    scored_on: tuple[str, ...] = ()
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


def sizes_of(config: Config) -> dict[str, tuple[int, int]]:
    """(h, w) of training images by domain."""
    factory = bind("dataset", config.DATA)
    return {domain.name: factory(domain, "train").size for domain in domains_of(config)}


def shown_changes(variant: Variant, base: Config) -> str:
    """What a variant changes, as it is written, with what the base has in each place."""
    found = []
    for word in variant.written:
        node: Any = base
        for key in word.partition("=")[0].strip().split("."):
            node = node.get(key) if isinstance(node, Mapping) else None
        was = node.get("NAME") if isinstance(node, Mapping) else node
        found.append(f"{word} (was {'none' if was is None else dump_value(was)})")
    return ", ".join(found) or "nothing"
