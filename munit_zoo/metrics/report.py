"""A table of scores and everything needed to trust it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Report", "Row"]


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
class Report:
    """Scores.

    columns, rows: the table, its cells as text. notes: how to read it, a sentence each.
    scores: the numbers themselves, by direction, row and column. details: protocol, counts, seeds,
    judges, versions.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    scores: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

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
