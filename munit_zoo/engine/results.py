"""Results files: scores of runs, each with its protocol, and the tables made of them."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from munit_zoo.engine.files import write_text
from munit_zoo.errors import UsageError
from munit_zoo.metrics.report import (
    MODEL,
    Column,
    Report,
    Row,
    as_json,
    columns_of,
    shown,
    spread_of,
    way_title,
)

__all__ = [
    "Form",
    "Record",
    "ResultTable",
    "add_to_results",
    "read_results",
    "render",
    "tables",
    "tex",
    "titled",
]

FORMAT = 1
Form = Literal["md", "html", "csv", "latex"]


@dataclass(frozen=True)
class Record:
    """One metric of one run under one seed, with all that decides what it may be compared with.

    key: what was computed, as a digest. metric: the name in METRICS. component, settings: the
    metric's NAME and keys. seed: of the metric; None for one without. run, recipe, iteration,
    weights (`averaged` or `last`), model_sha256: what was scored. config_sha256: of the run's
    config; variant_sha256: without seed and metrics, so that runs that differ in the seed share it.
    data: per domain number, shape and digest of the test images. report: scores and protocol.
    """

    key: str
    metric: str
    component: str
    settings: Mapping[str, Any]
    seed: int | None
    run: str
    recipe: str
    iteration: int
    weights: str
    model_sha256: str
    config_sha256: str
    variant_sha256: str
    training_seed: int
    data: Mapping[str, Any]
    device: str
    report: Report
    seconds: float
    versions: Mapping[str, str]

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Record:
        """A record from JSON. Raises KeyError or TypeError for what is none."""
        report = dict(data["report"])
        rows = tuple(Row(**{**row, "cells": tuple(row["cells"])}) for row in report["rows"])
        report |= {
            "rows": rows,
            "columns": tuple(report["columns"]),
            "notes": tuple(report["notes"]),
            "scores": _numbers(report["scores"]),
        }
        return cls(**{**data, "report": Report(**report)})

    @property
    def compared(self) -> dict[str, object]:
        """What two records have in common whose scores may share a column."""
        return {
            "component": self.component,
            **{f"protocol.{key}": value for key, value in self.report.protocol.items()},
            **{f"data.{key}": value for key, value in self.data.items()},
        }


def read_results(file: Path) -> list[Record]:
    """The records of a results file; none where there is no such file.

    Raises UsageError for a file that is none, or of another format.
    """
    if not file.exists():
        return []
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        form = document["results_format"]
        if form != FORMAT:
            raise UsageError(f"{file} has the results format {form}; this munit_zoo reads {FORMAT}")
        return [Record.read(data) for data in document["results"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{file} is no results file (`munit-zoo evaluate RUN --out results.json` writes them): "
            f"{type(error).__name__}: {error}"
        ) from None


def add_to_results(file: Path, record: Record) -> None:
    """Add a record to a results file, which is replaced at once; one of the same key goes."""
    kept = [other for other in read_results(file) if other.key != record.key]
    results = [as_json(asdict(r)) for r in (*kept, record)]
    document = {"results_format": FORMAT, "results": results}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(document, indent=1) + "\n")


def _numbers(scores: object) -> object:
    """Scores from JSON, which has no word for what is not a number."""
    if isinstance(scores, Mapping):
        return {key: _numbers(value) for key, value in scores.items()}
    return math.nan if scores is None else scores


@dataclass(frozen=True)
class Cell:
    """A score of one row: mean and deviation over `count` values, or no number at all."""

    mean: float
    deviation: float
    count: int


@dataclass(frozen=True)
class ResultTable:
    """Scores of one metric in one direction under one protocol.

    rows: the models, by name, then floors and ceilings; each a cell a column.
    about: the protocol, a sentence each.
    """

    metric: str
    way: str
    title: str
    columns: tuple[Column, ...]
    rows: Mapping[str, tuple[Cell | None, ...]]
    models: tuple[str, ...]
    about: tuple[str, ...]
    protocol: Mapping[str, object] = field(default_factory=dict)


def tables(records: Sequence[Record], *, separate: bool = False) -> list[ResultTable]:
    """A table a metric and direction. Runs that differ in the seed alone become one row.

    A cell is the mean over seeds with its standard deviation: over the runs' where there are
    several, else over the metric's.

    separate: give each protocol a table of its own.
    Raises UsageError where results of one metric have different protocols, saying how they differ.
    """
    found = []
    by_metric: dict[str, list[list[Record]]] = {}
    for record in records:
        groups = by_metric.setdefault(record.metric, [])
        for group in groups:
            if group[0].compared == record.compared:
                group.append(record)
                break
        else:
            if groups and not separate:
                raise UsageError(_apart(groups[0][0], record))
            groups.append([record])
    for metric, groups in by_metric.items():
        for number, group in enumerate(groups, start=1):
            label = f", protocol {number} of {len(groups)}" if len(groups) > 1 else ""
            ways = dict.fromkeys(way for record in group for way in record.report.scores)
            found += [_table(metric, way, group, label) for way in ways]
    return found


def _apart(one: Record, other: Record) -> str:
    """Why two records cannot share a column."""
    first, second = one.compared, other.compared
    differ = [
        f"{key} is {_brief(first.get(key))} there and {_brief(second.get(key))} here"
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    ]
    return (
        f"{one.metric} of {one.run} and of {other.run} cannot share a column, their protocols "
        f"differ: {'; '.join(differ)}. Evaluate both alike, or give each its own table with "
        "--separate"
    )


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 160 else text[:157] + "…"


def _table(metric: str, way: str, group: Sequence[Record], label: str) -> ResultTable:
    first = group[0].report
    keys = {k for r in group for found in r.report.scores.get(way, {}).values() for k in found}
    columns = tuple(c for c in columns_of(first.details, first.scores) if c.key in keys)
    variants: dict[tuple[str, int], list[Record]] = {}
    for record in group:
        if MODEL in record.report.scores.get(way, {}):
            variants.setdefault((record.variant_sha256, record.iteration), []).append(record)
    names = _names(variants.values())
    rows: dict[str, tuple[Cell | None, ...]] = {}
    for name, several in zip(names, variants.values(), strict=True):
        rows[name] = tuple(_over_runs(several, way, column.key) for column in columns)
    others = dict.fromkeys(
        row for record in group for row in record.report.scores.get(way, {}) if row != MODEL
    )
    for row in others:
        rows[row] = tuple(_over_seeds(group, way, row, column.key) for column in columns)
    return ResultTable(
        metric,
        way,
        f"{titled(first.title, group[0].metric, group[0].component)}, {way_title(way)}{label}",
        columns,
        rows,
        tuple(names),
        _about(group),
        group[0].compared,
    )


def titled(title: str, metric: str, component: str) -> str:
    """A report's title, with the metric's own name where it has one."""
    return title if metric.lower() == component else f"{title} ({metric.lower()})"


def _over_runs(records: Sequence[Record], way: str, key: str) -> Cell | None:
    """Over training seeds where there are several, else over the metric's."""
    by_run: dict[str, list[float]] = {}
    for record in records:
        value = record.report.scores[way][MODEL].get(key)
        if value is not None:
            by_run.setdefault(record.model_sha256, []).append(value)
    if not by_run:
        return None
    values = [sum(v) / len(v) for v in by_run.values()]
    if len(values) == 1:
        values = next(iter(by_run.values()))
    return Cell(*spread_of(values), len(values))


def _over_seeds(records: Sequence[Record], way: str, row: str, key: str) -> Cell | None:
    """A floor or ceiling: no run's own, so a value a seed."""
    values: dict[int | None, float] = {}
    for record in records:
        value = record.report.scores.get(way, {}).get(row, {}).get(key)
        if value is not None:
            values.setdefault(record.seed, value)
    return Cell(*spread_of(list(values.values())), len(values)) if values else None


def _names(variants: Iterable[Sequence[Record]]) -> list[str]:
    """A name a row: the runs' folders, and what else tells them apart."""
    names: list[str] = []
    for records in variants:
        runs = list(dict.fromkeys(Path(record.run).name for record in records))
        seeds = sorted({record.training_seed for record in records})
        name = runs[0]
        if len(runs) > 1:
            bare = {re.sub(r"[-_. ]*(seed)?[-_. ]*\d+$", "", run) for run in runs}
            name = f"{bare.pop() if len(bare) == 1 else runs[0]} ({len(seeds)} seeds)"
        if name in names:
            name += f" @ {records[0].iteration:,}"
        while name in names:
            name += f" ({records[0].variant_sha256[:8]})"
        names.append(name)
    return names


def _about(group: Sequence[Record]) -> tuple[str, ...]:
    """The protocol in words."""
    first = group[0]
    protocol = first.report.protocol
    weights = ", ".join(
        f"{file['file']} (SHA-256 {file['sha256'][:12]}…)" for file in protocol.get("weights", [])
    )
    plain = {
        key: value
        for key, value in protocol.items()
        if key not in ("weights", "extractor", "resize")
    }
    lines = [
        f"Extractor {protocol.get('extractor', 'none')}, resize {protocol.get('resize', 'none')}"
        + (f", weights {weights}" if weights else ""),
        "; ".join(f"{key}: {_words(value)}" for key, value in plain.items()),
        "Seeds of the metric: "
        + ", ".join(sorted({str(record.seed) for record in group}))
        + "; of the training: "
        + ", ".join(sorted({str(record.training_seed) for record in group})),
        "Test images: "
        + ", ".join(f"{name.upper()} {d['images']}" for name, d in first.data.items()),
        "; ".join(
            f"{Path(run).name}: iteration {r.iteration:,}, {r.weights} weights, config "
            f"{r.config_sha256[:12]}"
            for run, r in {record.run: record for record in group}.items()
        ),
        ", ".join(f"{name} {version}" for name, version in first.versions.items()),
    ]
    return tuple(line for line in lines if line)


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_words, value)) or "none"
    return str(value)


# Rendering


def render(found: Sequence[ResultTable], form: Form) -> str:
    """Tables as text: Markdown, an HTML page, CSV (a line a number), or LaTeX (booktabs)."""
    if form == "csv":
        return _csv(found)
    if form == "html":
        body = "\n".join(_html(table) for table in found)
        return _PAGE.format(body=body)
    write = _markdown if form == "md" else _latex
    return "\n".join(write(table) for table in found)


def _cell(cell: Cell | None, column: Column) -> str:
    if cell is None:
        return "–"
    return shown(cell.mean, column.digits, deviation=cell.deviation)


def _markdown(table: ResultTable) -> str:
    lines = [
        f"### {table.title}",
        "",
        f"| | {' | '.join(column.title for column in table.columns)} |",
        f"|---|{'---:|' * len(table.columns)}",
    ]
    for name, cells in table.rows.items():
        label = f"**{name}**" if name in table.models else name
        row = [_cell(cell, c) for cell, c in zip(cells, table.columns, strict=True)]
        lines.append(f"| {label} | {' | '.join(row)} |")
    return "\n".join([*lines, "", *(f"- {line}" for line in table.about), ""])


def _html(table: ResultTable) -> str:
    head = "".join(f"<th>{html.escape(column.title)}</th>" for column in table.columns)
    rows = []
    for name, cells in table.rows.items():
        mark = " class='model'" if name in table.models else ""
        row = "".join(
            f"<td>{html.escape(_cell(cell, c))}</td>"
            for cell, c in zip(cells, table.columns, strict=True)
        )
        rows.append(f"<tr{mark}><td>{html.escape(name)}</td>{row}</tr>")
    notes = "".join(f"<li>{html.escape(line)}</li>" for line in table.about)
    return (
        f"<h2>{html.escape(table.title)}</h2><div class='scroll'><table><tr><th></th>{head}</tr>"
        f"{''.join(rows)}</table></div><ul class='notes'>{notes}</ul>"
    )


def _csv(found: Sequence[ResultTable]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["metric", "direction", "row", "is_model", "score", "better", "mean", "sd", "n", "protocol"]
    )
    for table in found:
        protocol = json.dumps(table.protocol, sort_keys=True)
        for name, cells in table.rows.items():
            for cell, column in zip(cells, table.columns, strict=True):
                if cell is None:
                    continue
                numbers = ["" if math.isnan(v) else repr(v) for v in (cell.mean, cell.deviation)]
                writer.writerow(
                    [
                        table.metric,
                        table.way,
                        name,
                        int(name in table.models),
                        column.key,
                        column.better,
                        *numbers,
                        cell.count,
                        protocol,
                    ]
                )
    return text.getvalue()


_TEX = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "→": r"$\to$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "–": "--",
    "○": r"$\circ$",
    "…": r"\ldots{}",
}


def tex(text: str) -> str:
    """A text as LaTeX has it."""
    return "".join(_TEX.get(letter, letter) for letter in text)


def _latex(table: ResultTable) -> str:
    """A table environment; needs the package booktabs."""
    head = " & ".join(["", *(tex(column.title) for column in table.columns)])
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{tex(table.title)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        head + r" \\",
        r"\midrule",
    ]
    for name, cells in table.rows.items():
        label = rf"\textbf{{{tex(name)}}}" if name in table.models else tex(name)
        row = [tex(_cell(cell, c)) for cell, c in zip(cells, table.columns, strict=True)]
        lines.append(" & ".join([label, *row]) + r" \\")
    notes = [f"% {line}" for line in table.about]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *notes, r"\end{table}", ""])


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Results</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px;
  padding: 0 1rem; color: #222; background: #fff; }}
h1, h2 {{ font-weight: 600; }} h2 {{ margin-top: 2.2rem; }}
.notes {{ color: #666; font-size: .85rem; }} .scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
td, th {{ padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #e5e5e5; }}
td:first-child, th:first-child {{ text-align: left; }}
tr.model td {{ font-weight: 600; background: #f3f7ff; }}
</style>
<h1>Results</h1>
{body}
</html>
"""
