"""An ablation's table: means over seeds, and differences to the base paired by seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from munit_zoo.comparison.cost import Cost
from munit_zoo.comparison.stats import Difference, paired_difference
from munit_zoo.engine.results import Record
from munit_zoo.metrics.report import MODEL, Column, columns_of, spread_of

__all__ = ["AblationTable", "Score", "Shown", "make_table"]


@dataclass(frozen=True)
class Shown:
    """A column: a metric's score."""

    metric: str
    column: Column

    @property
    def title(self) -> str:
        return self.column.title


@dataclass(frozen=True)
class Score:
    """One score of one variant in one direction.

    seeds: its value by training seed, each the mean over the metric's seeds. difference: to the
    base's; None for the base itself.
    """

    variant: str
    way: str
    shown: Shown
    seeds: Mapping[int, float]
    difference: Difference | None = None

    @property
    def spread(self) -> tuple[float, float]:
        """Mean and standard deviation over the seeds."""
        found = [value for value in self.seeds.values() if not math.isnan(value)]
        return spread_of(found) if found else (math.nan, math.nan)

    def record(self) -> dict[str, Any]:
        """Plain data."""
        mean, deviation = self.spread
        found = self.difference
        return {
            "variant": self.variant,
            "direction": self.way,
            "metric": self.shown.metric,
            "score": self.shown.column.key,
            "better": self.shown.column.better,
            "mean": mean,
            "sd": deviation,
            "n": len(self.seeds),
            "seeds": dict(self.seeds),
            "difference": None if found is None else found.mean,
            "low": None if found is None else found.low,
            "high": None if found is None else found.high,
            "holds_zero": None if found is None else found.holds_zero,
        }


@dataclass(frozen=True)
class AblationTable:
    """All scores of an ablation.

    columns: per direction, what is shown. scores: by (direction, variant, metric, score).
    references: floors and ceilings, by (direction, row, metric, score). costs: by variant.
    notes: what to know to read it. missing: variants and seeds that are not there (yet).
    """

    name: str
    about: str
    base: str
    variants: tuple[str, ...]
    columns: Mapping[str, tuple[Shown, ...]]
    scores: Mapping[tuple[str, str, str, str], Score]
    references: Mapping[str, Mapping[str, Mapping[tuple[str, str], float]]]
    costs: Mapping[str, Cost] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def score(self, way: str, variant: str, shown: Shown) -> Score | None:
        return self.scores.get((way, variant, shown.metric, shown.column.key))

    def records(self) -> list[dict[str, Any]]:
        """A record a score, in the table's order; then costs, as the metric `cost`."""
        order = [score.record() for score in self.scores.values()]
        for variant, cost in self.costs.items():
            for key, value in (
                ("parameters", cost.parameters),
                ("translating_parameters", cost.translating),
                ("gflop", cost.gflop),
                ("images_per_second", cost.images_per_second),
                ("memory", cost.memory),
            ):
                order.append(
                    {"variant": variant, "direction": "", "metric": "cost", "score": key}
                    | {"better": "", "mean": value, "sd": None, "n": 1, "seeds": {}}
                    | {"difference": None, "low": None, "high": None, "holds_zero": None}
                )
        return order


def make_table(
    found: Mapping[str, Mapping[int, Sequence[Record]]],
    *,
    name: str,
    about: str = "",
    shows: Callable[[str, str], bool] = lambda metric, score: True,
    costs: Mapping[str, Cost] | None = None,
    missing: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> AblationTable:
    """The table of records by variant and training seed; the first variant is the base.

    shows: whether (metric, score) is a column. A variant that was scored by another protocol than
    the base has no place in that metric's columns, and a note says how they differ.
    """
    base = next(iter(found))
    kept, apart = _alike(found)
    every = [record for seeds in kept.values() for several in seeds.values() for record in several]
    ways = dict.fromkeys(way for record in every for way in record.report.scores)
    columns = {way: _columns(every, way, shows) for way in ways}
    scores: dict[tuple[str, str, str, str], Score] = {}
    for way in ways:
        for variant, seeds in kept.items():
            for shown in columns[way]:
                values = _values(seeds, way, shown)
                if not values:
                    continue
                of_base = scores.get((way, base, shown.metric, shown.column.key))
                difference = None
                if variant != base and of_base is not None:
                    both = [seed for seed in values if seed in of_base.seeds]
                    difference = paired_difference([(values[s], of_base.seeds[s]) for s in both])
                scores[way, variant, shown.metric, shown.column.key] = Score(
                    variant, way, shown, values, difference
                )
    unknown = () if scores or not every else (_no_column(every),)
    return AblationTable(
        name,
        about,
        base,
        tuple(found),
        {way: several for way, several in columns.items() if several},
        scores,
        {way: _references(every, way) for way in ways},
        dict(costs or {}),
        (*notes, *_protocols(every), *apart, *unknown),
        tuple(missing),
    )


def _alike(
    found: Mapping[str, Mapping[int, Sequence[Record]]],
) -> tuple[dict[str, dict[int, list[Record]]], list[str]]:
    """Records that may share a column with the first of their metric; why others may not."""
    first: dict[str, Record] = {}
    apart: dict[str, None] = {}
    kept: dict[str, dict[int, list[Record]]] = {}
    for variant, seeds in found.items():
        kept[variant] = {}
        for seed, records in seeds.items():
            kept[variant][seed] = []
            for record in records:
                one = first.setdefault(record.metric, record)
                if one.compared == record.compared:
                    kept[variant][seed].append(record)
                    continue
                a, b = one.compared, record.compared
                keys = ", ".join(k for k in dict.fromkeys([*a, *b]) if a.get(k) != b.get(k))
                apart[
                    f"{record.metric} of {variant} is left out: it was measured by another "
                    f"protocol, which differs in {keys}"
                ] = None
    return kept, list(apart)


def _columns(
    records: Sequence[Record], way: str, shows: Callable[[str, str], bool]
) -> tuple[Shown, ...]:
    found: dict[tuple[str, str], Shown] = {}
    for record in records:
        report = record.report
        keys = report.scores.get(way, {}).get(MODEL, {})
        for column in columns_of(report.details, report.scores):
            if column.key in keys and shows(record.metric, column.key):
                found.setdefault((record.metric, column.key), Shown(record.metric, column))
    return tuple(found.values())


def _no_column(records: Sequence[Record]) -> str:
    known = {
        f"{record.metric}.{key}": None
        for record in records
        for rows in record.report.scores.values()
        for key in rows.get(MODEL, {})
    }
    return f"COLUMNS names no score that there is: there are {', '.join(known)}"


def _values(seeds: Mapping[int, Sequence[Record]], way: str, shown: Shown) -> dict[int, float]:
    found = {}
    for seed, records in seeds.items():
        values = [
            record.report.scores[way][MODEL][shown.column.key]
            for record in records
            if record.metric == shown.metric
            and shown.column.key in record.report.scores.get(way, {}).get(MODEL, {})
        ]
        if values:
            found[seed] = sum(values) / len(values)
    return found


def _references(records: Sequence[Record], way: str) -> dict[str, dict[tuple[str, str], float]]:
    """Floors and ceilings, means over the metric's seeds."""
    several: dict[str, dict[tuple[str, str], dict[int | None, float]]] = {}
    for record in records:
        for row, scores in record.report.scores.get(way, {}).items():
            for key, value in scores.items():
                if row != MODEL:
                    by_seed = several.setdefault(row, {}).setdefault((record.metric, key), {})
                    by_seed.setdefault(record.seed, value)
    return {
        row: {key: sum(v.values()) / len(v) for key, v in scores.items()}
        for row, scores in several.items()
    }


def _protocols(records: Sequence[Record]) -> list[str]:
    """A sentence a metric on how it was measured, and the versions."""
    first = {record.metric: record for record in records}
    lines = []
    for metric, record in first.items():
        protocol = record.report.protocol
        weights = ", ".join(
            f"{w['file']} (SHA-256 {w['sha256'][:12]}…)" for w in protocol.get("weights", [])
        )
        words = [f"extractor {protocol.get('extractor', 'none')}"]
        words += [f"resize {protocol.get('resize', 'none')}"]
        words += [f"weights {weights}"] if weights else []
        words += [
            f"{key} {value}"
            for key, value in protocol.items()
            if isinstance(value, (int, str)) and key not in ("extractor", "resize")
        ]
        images = ", ".join(f"{name.upper()} {d['images']}" for name, d in record.data.items())
        seeds = sorted({str(r.seed) for r in records if r.metric == metric})
        lines.append(
            f"{metric}: {', '.join(words)}; seed {', '.join(seeds)}; test images {images}; "
            f"{record.weights} weights of the last iteration"
        )
    if records:
        lines.append(", ".join(f"{name} {v}" for name, v in records[0].versions.items()))
    return lines
