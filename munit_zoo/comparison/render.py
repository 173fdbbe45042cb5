"""An ablation's table as Markdown, HTML, CSV, LaTeX and JSON."""

from __future__ import annotations

import csv
import html
import io
import json
import math
from collections.abc import Callable

from munit_zoo.comparison.cost import COSTS, cells
from munit_zoo.comparison.table import AblationTable, Score, Shown
from munit_zoo.engine.results import tex
from munit_zoo.metrics.report import as_json, shown, way_title

__all__ = ["FORMS", "Sheet", "sheets", "to_csv", "to_html", "to_json", "to_latex", "to_markdown"]

ZERO = "○"
"""Marks a difference whose interval holds 0."""

Sheet = tuple[str, tuple[str, ...], list[tuple[str, tuple[str, ...]]]]
"""A table to print: title, head, and rows of (name, cells)."""


def sheets(table: AblationTable) -> list[Sheet]:
    """What is printed: per direction the scores and the differences to the base, then the costs."""
    found: list[Sheet] = []
    for way, columns in table.columns.items():
        head = tuple(column.title for column in columns)
        rows = [
            (variant, tuple(_mean(table.score(way, variant, c), c) for c in columns))
            for variant in table.variants
        ]
        for row, scores in table.references.get(way, {}).items():
            known = [scores.get((c.metric, c.column.key)) for c in columns]
            if any(value is not None for value in known):
                digits = [c.column.digits for c in columns]
                rows.append((row, tuple(map(shown, known, digits))))
        found.append((f"{way_title(way)}: mean ± standard deviation over seeds", head, rows))
        others = [variant for variant in table.variants if variant != table.base]
        if others:
            title = (
                f"{way_title(way)}: difference to {table.base}, paired by seed, [95 % interval]; "
                f"{ZERO} it holds 0"
            )
            rows = [
                (variant, tuple(_difference(table.score(way, variant, c), c) for c in columns))
                for variant in others
            ]
            found.append((title, head, rows))
    if table.costs:
        cost = next(iter(table.costs.values()))
        where = f"{cost.device}, {cost.threads} thread{'s' if cost.threads != 1 else ''}"
        title = f"Cost of training, from a short measurement ({where}, batch {cost.batch})"
        found.append((title, COSTS, [(v, cells(c)) for v, c in table.costs.items()]))
    return found


def _mean(score: Score | None, column: Shown) -> str:
    if score is None:
        return "–"
    mean, deviation = score.spread
    return shown(mean, column.column.digits, deviation=deviation)


def _difference(score: Score | None, column: Shown) -> str:
    found = None if score is None else score.difference
    if found is None or math.isnan(found.mean):
        return "–"
    digits = column.column.digits
    text = f"{found.mean:+.{digits}f}"
    if math.isnan(found.low):
        return f"{text} (one seed)"
    mark = f" {ZERO}" if found.holds_zero else ""
    return f"{text} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]{mark}"


def remarks(table: AblationTable) -> list[str]:
    """What stands under the tables."""
    fixed = [
        "Intervals are Student's, one comparison each: of twenty that are compared, one is "
        "expected to miss 0 by chance alone."
    ]
    lines = fixed if table.scores and len(table.variants) > 1 else []
    return [*(f"Not there: {text}." for text in table.missing), *lines, *table.notes]


def to_markdown(table: AblationTable) -> str:
    """Markdown."""
    lines = [f"# {table.name}", ""]
    lines += [table.about, ""] if table.about else []
    for title, head, rows in sheets(table):
        lines += [f"### {title}", "", f"| | {' | '.join(head)} |"]
        lines.append(f"|---|{'---:|' * len(head)}")
        for name, row in rows:
            bold = f"**{name}**" if name in table.variants else name
            lines.append(f"| {bold} | {' | '.join(row)} |")
        lines.append("")
    return "\n".join([*lines, *(f"- {line}" for line in remarks(table)), ""])


def to_html(table: AblationTable) -> str:
    """The tables as HTML, without a page around them."""
    parts = []
    for title, head, rows in sheets(table):
        heads = "".join(f"<th>{html.escape(text)}</th>" for text in head)
        body = []
        for name, row in rows:
            mark = " class='model'" if name in table.variants else ""
            texts = "".join(f"<td>{html.escape(text)}</td>" for text in row)
            body.append(f"<tr{mark}><td>{html.escape(name)}</td>{texts}</tr>")
        parts.append(
            f"<h3>{html.escape(title)}</h3><div class='scroll'><table><tr><th></th>{heads}</tr>"
            f"{''.join(body)}</table></div>"
        )
    notes = "".join(f"<li>{html.escape(line)}</li>" for line in remarks(table))
    return "\n".join(parts) + f"<ul class='notes'>{notes}</ul>"


def to_csv(table: AblationTable) -> str:
    """A line a score."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    records = table.records()
    keys = [key for key in (records[0] if records else {}) if key != "seeds"]
    seeds = sorted({seed for record in records for seed in record["seeds"]})
    writer.writerow([*keys, *(f"seed_{seed}" for seed in seeds)])
    for record in records:
        values = [record[key] for key in keys] + [record["seeds"].get(seed) for seed in seeds]
        writer.writerow(["" if v is None or v != v else v for v in values])
    return text.getvalue()


def to_latex(table: AblationTable) -> str:
    """Table environments; they need the package booktabs."""
    parts = []
    for title, head, rows in sheets(table):
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{tex(title)}}}",
            rf"\begin{{tabular}}{{l{'r' * len(head)}}}",
            r"\toprule",
            " & ".join(["", *map(tex, head)]) + r" \\",
            r"\midrule",
            *(" & ".join([tex(name), *map(tex, row)]) + r" \\" for name, row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
        parts.append("\n".join(lines))
    notes = [f"% {line}" for line in remarks(table)]
    return "\n\n".join([*parts, "\n".join(notes), ""])


def to_json(table: AblationTable) -> str:
    """Everything, as plain data; null for what is no number."""
    document = {
        "ablation": table.name,
        "base": table.base,
        "variants": list(table.variants),
        "records": table.records(),
        "references": [
            {"direction": way, "row": row, "metric": metric, "score": key, "mean": value}
            for way, rows in table.references.items()
            for row, scores in rows.items()
            for (metric, key), value in scores.items()
        ],
        "missing": list(table.missing),
        "notes": list(table.notes),
    }
    return json.dumps(as_json(document), indent=1) + "\n"


FORMS: dict[str, Callable[[AblationTable], str]] = {
    "md": to_markdown,
    "csv": to_csv,
    "tex": to_latex,
    "json": to_json,
}
"""Files that an ablation writes beside its page, by suffix."""
