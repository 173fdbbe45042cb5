"""A table of scores and everything needed to trust it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = [
    "COPIED",
    "MEAN",
    "MODEL",
    "REAL",
    "UNRELATED",
    "Column",
    "Report",
    "Row",
    "Scores",
    "as_json",
    "averaged",
    "columns_of",
    "spread_of",
    "tabulated",
    "way_title",
    "with_mean",
]

# Names of rows, the same in each metric. A floor is what no effort at all reaches.
MODEL = "model"
COPIED = "floor: input copied"
UNRELATED = "floor: unrelated real image"
REAL = "ceiling: real images"

MEAN = "mean"
"""The direction that is the mean over all, of more than two."""

Scores = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By direction (`a2b`), row and column."""


@dataclass(frozen=True)
class Row:
    """One row of a table.

    model: the row is the judged model's, not a floor's or a ceiling's. heading: it only titles the
    rows below it.
    """

    name: str
    cells: tuple[str, ...] = ()
    model: bool = False
    heading: bool = False


@dataclass(frozen=True)
class Column:
    """One score. key: as in `scores`. better: which way is better, "" where neither is."""

    key: str
    label: str
    better: Literal["higher", "lower", ""] = ""
    digits: int = 3

    @property
    def title(self) -> str:
        """The label, with an arrow towards what is better."""
        return self.label + {"higher": " ↑", "lower": " ↓", "": ""}[self.better]


@dataclass(frozen=True)
class Report:
    """Scores.

    columns, rows: the table, its cells as text. notes: how to read it, a sentence each.
    scores: the numbers themselves, by direction, row and column. details: counts, seeds, judges,
    versions.
    protocol: what decides whether two numbers may stand in one column, as JSON: how and how many
    were drawn, which network with which weights (SHA-256) saw them at which size; not the seed.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    scores: Scores = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The whole report as JSON."""
        return json.dumps(as_json(asdict(self)), indent=2) + "\n"

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [
            f"| {' | '.join(['', *self.columns])} |",
            f"|{'|'.join(['---', *['---:'] * len(self.columns)])}|",
        ]
        for row in self.rows:
            cells: Sequence[str] = row.cells or [""] * len(self.columns)
            name = f"**{row.name}**" if row.heading or row.model else row.name
            lines.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join([f"### {self.title}", "", *lines, "", *[f"- {n}" for n in self.notes], ""])


def as_json(value: object) -> object:
    """The same with null for what is not a number, for which JSON has no word."""
    if isinstance(value, Mapping):
        return {key: as_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def columns_of(details: Mapping[str, Any], scores: Scores) -> list[Column]:
    """The columns that a report's details describe; for one that describes none, its scores."""
    noted = details.get("columns")
    if noted:
        return [Column(**column) for column in noted]
    keys = (key for rows in scores.values() for found in rows.values() for key in found)
    return [Column(key, key.replace("_", " ")) for key in dict.fromkeys(keys)]


def way_title(way: str) -> str:
    """A direction for people: `A → B` of `a2b`."""
    if way == MEAN:
        return "mean over all directions"
    source, _, target = way.partition("2")
    return f"{source.upper()} → {target.upper()}"


def with_mean(scores: Scores) -> Scores:
    """Scores with the direction MEAN, the mean over all of them, where there are more than two (as
    Choi et al. 2020 report theirs).

    A score that some direction lacks has none; numbers that are not finite stay so.
    """
    if len(scores) <= 2 or MEAN in scores:
        return scores
    ways = list(scores.values())
    mean = {
        row: {
            key: sum(rows[row][key] for rows in ways) / len(ways)
            for key in found
            if all(key in rows.get(row, {}) for rows in ways)
        }
        for row, found in ways[0].items()
        if all(row in rows for rows in ways)
    }
    return {**scores, MEAN: mean}


def spread_of(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (unbiased; not a number for fewer than two)."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def averaged(reports: Sequence[Report]) -> Report:
    """One report of several that differ in the seed alone: means and standard deviations."""
    first = reports[0]
    if len(reports) == 1:
        return first
    columns = columns_of(first.details, first.scores)
    scores: dict[str, dict[str, dict[str, float]]] = {}
    rows = []
    for way, by_row in first.scores.items():
        rows.append(Row(way_title(way), heading=True))
        scores[way] = {}
        for name, found in by_row.items():
            several = {
                key: spread_of([r.scores[way][name].get(key, math.nan) for r in reports])
                for key in found
            }
            scores[way][name] = {key: mean for key, (mean, _) in several.items()}
            cells = tuple(
                shown(several[c.key][0], c.digits, deviation=several[c.key][1])
                if c.key in several
                else shown(None)
                for c in columns
            )
            rows.append(Row(name, cells, model=name == MODEL))
    seeds = [report.details.get("seed") for report in reports]
    note = f"Mean ± standard deviation over the seeds {', '.join(map(str, seeds))}."
    return Report(
        first.title,
        tuple(column.title for column in columns),
        tuple(rows),
        (*first.notes, note),
        scores,
        {**first.details, "seed": seeds},
        first.protocol,
    )


def tabulated(
    title: str,
    columns: Sequence[Column],
    scores: Scores,
    *,
    notes: Sequence[str] = (),
    details: Mapping[str, object] | None = None,
    protocol: Mapping[str, object] | None = None,
) -> Report:
    """A report whose table is its scores: a heading a direction, a row each, a column a score.

    A score that a row lacks, or that is not a number, is shown as a dash. Of more than two
    directions the mean over all of them follows.
    """
    scores = with_mean(scores)
    rows = []
    for way, by_row in scores.items():
        rows.append(Row(way_title(way), heading=True))
        for name, found in by_row.items():
            cells = tuple(shown(found.get(column.key), column.digits) for column in columns)
            rows.append(Row(name, cells, model=name == MODEL))
    return Report(
        title,
        tuple(column.title for column in columns),
        tuple(rows),
        tuple(notes),
        scores,
        {**(details or {}), "columns": [asdict(column) for column in columns]},
        protocol or {},
    )


def shown(value: float | None, digits: int = 3, *, deviation: float = math.nan) -> str:
    """A number as a cell shows it, with its deviation where it has one."""
    if value is None or math.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text if math.isnan(deviation) else f"{text} ± {deviation:.{digits}f}"
