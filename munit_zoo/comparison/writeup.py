"""What is made of an ablation's cells: tables, plots, grids and a page."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from munit_zoo.comparison._page import page, points, side_by_side
from munit_zoo.comparison.cells import CellFolder
from munit_zoo.comparison.cost import Cost
from munit_zoo.comparison.grids import GridChoice, draw_grids
from munit_zoo.comparison.plan import Plan
from munit_zoo.comparison.render import FORMS, to_html
from munit_zoo.comparison.table import AblationTable, make_table
from munit_zoo.engine.files import write_text
from munit_zoo.engine.results import Record
from munit_zoo.errors import counted
from munit_zoo.metrics.report import way_title

__all__ = ["collect", "write_up"]

PLOTS = 24
"""Plots on the page, at the most; every number is in the table."""


def collect(
    plan: Plan, out: Path, costs: Mapping[str, Cost] | None = None
) -> tuple[AblationTable, list[str]]:
    """The table of what is there, and what failed: a line a cell.

    Raises UsageError for a results file that is none.
    """
    found: dict[str, dict[int, Sequence[Record]]] = {v.name: {} for v in plan.variants}
    missing, failed = [], []
    for cell in plan.cells:
        place = CellFolder.of(out, cell)
        records = place.records(plan)
        name = f"{cell.variant.name}, seed {cell.seed}"
        state = place.state()
        if records:
            found[cell.variant.name][cell.seed] = records
        if not place.finished(plan):
            how = state.get("state", "not begun")
            if how == "failed":
                failed.append(
                    f"{name}: {state.get('error')} (iteration {state.get('iteration', 0)}, "
                    f"{counted(int(state.get('attempts', 1)), 'attempt')}; {place.folder})"
                )
            missing.append(f"{name} ({how})")
    known = {cell.key for cell in plan.cells}
    folder = out / "cells"
    stale = [p.name for p in folder.iterdir() if p.name not in known] if folder.is_dir() else []
    notes = (
        [f"{counted(len(stale), 'cell')} of earlier plans in cells/: not shown"] if stale else []
    )
    table = make_table(
        found,
        name=plan.name,
        about=plan.about,
        shows=plan.shows,
        costs=costs,
        missing=missing,
        notes=notes,
    )
    return table, failed


def write_up(
    plan: Plan,
    table: AblationTable,
    failed: Sequence[str],
    out: Path,
    *,
    device: str = "auto",
    tell: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write the tables, plots, grids and the page; the page's file."""
    out.mkdir(parents=True, exist_ok=True)
    for suffix, render in FORMS.items():
        write_text(out / f"table.{suffix}", render(table))
    plots = _plots(table)
    (out / "plots").mkdir(exist_ok=True)
    for name, svg in plots.items():
        write_text(out / "plots" / f"{name}.svg", svg)
    runs = []
    for variant in plan.variants:
        for cell in plan.of(variant):
            place = CellFolder.of(out, cell)
            if place.trained:
                runs.append((variant.name, place.run.folder, cell.seed))
                break
    shown = draw_grids(
        [(name, path) for name, path, _ in runs],
        out / "grids",
        GridChoice(),
        data=plan.scored_on,
        device=device,
        tell=tell,
    )
    seeds = {name: f"seed {seed}" for name, _, seed in runs}
    links = "".join(
        f"<li><a href='{html.escape(str(CellFolder.of(out, cell).run.folder.relative_to(out)))}"
        f"/index.html'>{html.escape(cell.variant.name)}, seed {cell.seed}</a></li>"
        for cell in plan.cells
        if (CellFolder.of(out, cell).run.folder / "index.html").is_file()
    )
    bad = "".join(f"<li>{html.escape(line)}</li>" for line in failed)
    hidden = "" if len(plots) <= PLOTS else f"<p class='legend'>{len(plots)} plots in plots/.</p>"
    body = [
        f"<p>{html.escape(plan.about)}</p>" if plan.about else "",
        "<p class='legend'>"
        + " · ".join(f"<a href='table.{suffix}'>table.{suffix}</a>" for suffix in FORMS)
        + " · <a href='plan.yaml'>plan.yaml</a></p>",
        f"<h2>Failed</h2><ul>{bad}</ul>" if bad else "",
        f"<h2>Table</h2>{to_html(table)}",
        "<h2>Seeds</h2><p class='legend'>A point a seed, a stroke at their mean; floors and "
        "ceilings are dashed (point at one for its name).</p>"
        f"<div class='plots'>{''.join(list(plots.values())[:PLOTS])}</div>{hidden}"
        if plots
        else "",
        "<h2>The same inputs under the same styles</h2><p class='legend'>Each row an input. Drawn "
        "styles come from one seed, but codes of two trainings do not mean the same; the styles of "
        f"real images do.</p>{side_by_side(shown, seeds)}"
        if shown
        else "",
        f"<h2>Runs</h2><ul>{links}</ul>" if links else "",
    ]
    file = out / "index.html"
    write_text(file, page(plan.name, "\n".join(body)))
    return file


def _plots(table: AblationTable) -> dict[str, str]:
    found: dict[str, str] = {}
    for way, columns in table.columns.items():
        for column in columns:
            key = (column.metric, column.column.key)
            rows: dict[str, Any] = {}
            for variant in table.variants:
                score = table.score(way, variant, column)
                rows[variant] = {} if score is None else score.seeds
            marks = {
                row: scores[key]
                for row, scores in table.references.get(way, {}).items()
                if key in scores
            }
            title = f"{column.title}, {way_title(way)}"
            svg = points(title, rows, marks, column.column.digits)
            if svg:
                found[f"{way}_{key[0]}_{key[1]}"] = svg
    return found
