"""A table of scores and everything needed to trust it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = ["COPIED", "MODEL", "REAL", "UNRELATED", "Column", "Report", "Row", "Scores", "tabulated"]

# Names of rows, the same in each metric. A floor is what no effort at all reaches.
MODEL = "model"
COPIED = "floor: input copied"
UNRELATED = "floor: unrelated real image"
REAL = "ceiling: real images"

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
        return json.dumps(asdict(self), indent=2) + "\n"

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


def tabulated(
    title: str,
    columns: Sequence[Column],
    scores: Scores,
    *,
    notes: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
    protocol: Mapping[str, Any] | None = None,
) -> Report:
    """A report whose table is its scores: a heading a direction, a row each, a column a score.

    A score that a row lacks, or that is not a number, is shown as a dash.
    """
    rows = []
    for way, by_row in scores.items():
        source, _, target = way.partition("2")
        rows.append(Row(f"{source.upper()} → {target.upper()}", heading=True))
        for name, found in by_row.items():
            cells = tuple(shown(found.get(column.key), column.digits) for column in columns)
            rows.append(Row(name, cells, model=name == MODEL))
    arrows = {"higher": " ↑", "lower": " ↓", "": ""}
    return Report(
        title,
        tuple(column.label + arrows[column.better] for column in columns),
        tuple(rows),
        tuple(notes),
        scores,
        {**(details or {}), "better": {c.key: c.better for c in columns if c.better}},
        protocol or {},
    )


def shown(value: float | None, digits: int = 3) -> str:
    """A number as a cell shows it."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"
