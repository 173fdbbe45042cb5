"""Runs side by side on one page: scores, cost, and grids of the same inputs in the same styles."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munit_zoo.comparison._page import page, side_by_side
from munit_zoo.comparison.cost import COSTS, Cost, cells, cost_of
from munit_zoo.comparison.grids import GridChoice, draw_grids
from munit_zoo.engine.files import write_text
from munit_zoo.engine.runs import find_snapshot
from munit_zoo.errors import UsageError
from munit_zoo.metrics.report import MODEL, columns_of, shown, way_title

__all__ = ["Scores", "compare", "names_of", "scores_of"]


@dataclass(frozen=True)
class Scores:
    """The newest report of one metric of one run, as its folder keeps it."""

    run: str
    metric: str
    iteration: int
    report: Mapping[str, Any]

    @property
    def compared(self) -> dict[str, object]:
        """What two reports have in common whose numbers may share a column."""
        details = self.report.get("details", {})
        protocol = {f"protocol.{k}": v for k, v in self.report.get("protocol", {}).items()}
        data = {f"data.{k}": v for k, v in details.get("data", {}).items()}
        return {"title": self.report["title"], **protocol, **data}


def compare(
    paths: Sequence[Path],
    out: Path,
    choice: GridChoice | None = None,
    *,
    measure: bool = True,
    device: str = "auto",
    tell: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write a page of runs (or snapshots), and its grids into a folder beside it.

    out: the page, `….html`. measure: time a few iterations of each config, for the costs.
    Scores are those that `evaluate` left in the runs; of different protocols they do not share a
    table. Raises UsageError for fewer than two runs or another suffix, CheckpointError for a path
    that is no run.
    """
    if len(paths) < 2:
        raise UsageError(f"compare sets two or more runs side by side, got {len(paths)}")
    if out.suffix != ".html":
        raise UsageError(f"--out is a page, as comparison.html; got {out}")
    runs = dict(zip(names_of(paths), paths, strict=True))
    found = [score for name, path in runs.items() for score in scores_of(name, path)]
    costs: dict[str, Cost] = {}
    for name, path in runs.items() if measure else ():
        tell(f"measuring {name}")
        try:
            costs[name] = cost_of(str(find_snapshot(path)[0].folder / "config.yaml"), device=device)
        except Exception as error:  # one that cannot be trained here can still be shown
            tell(f"{name} could not be measured: {error}")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.with_name(f"{out.stem}_files")
    grids = draw_grids(list(runs.items()), folder, choice, device=device, tell=tell)
    missing = [name for name in runs if not any(score.run == name for score in found)]
    body = [
        _runs(runs),
        "<h2>Scores</h2>",
        *[_tables(metric, found) for metric in dict.fromkeys(score.metric for score in found)],
        f"<p class='legend'>Not evaluated: {html.escape(', '.join(missing))}. "
        "<code>munit-zoo evaluate RUN</code> does it.</p>"
        if missing
        else "",
        f"<h2>Cost</h2>{_costs(costs)}" if costs else "",
        "<h2>The same inputs under the same styles</h2><p class='legend'>Each row an input. Drawn "
        "styles come from one seed, but codes of two trainings do not mean the same; the styles of "
        f"real images do.</p>{side_by_side(grids)}",
    ]
    write_text(out, page("Comparison", "\n".join(body)))
    return out


def names_of(paths: Sequence[Path]) -> list[str]:
    """A name a run: its folder's, with as many of those above as tell it apart, and without those
    below that all have (`…/run`)."""
    snapshots = [find_snapshot(path)[1].folder.resolve() for path in paths]
    twice = next((s for s in snapshots if snapshots.count(s) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is named twice: name runs, or snapshots, that differ")
    whole = [find_snapshot(path)[0].folder.resolve().parts for path in paths]
    while len({parts[-1] for parts in whole}) == 1 and len(set(whole)) > 1:
        whole = [parts[:-1] for parts in whole]
    for depth in range(1, max(map(len, whole)) + 1):
        names = ["/".join(parts[-depth:]) for parts in whole]
        if len(set(names)) == len(names):
            return names
    return [
        f"{name} @ {find_snapshot(p)[1].iteration:,}" for name, p in zip(names, paths, strict=True)
    ]


def scores_of(name: str, path: Path) -> list[Scores]:
    """The newest report of each metric in a run's folder, of a snapshot its own."""
    run, snapshot = find_snapshot(path)
    own = snapshot.iteration if (path / "snapshot.json").is_file() else None
    newest: dict[str, Scores] = {}
    for file in sorted((run.folder / "evaluation").glob("*.json")):
        match = re.fullmatch(r"(.+)_(\d{8})", file.stem)
        if match is None or (own is not None and int(match[2]) != own):
            continue
        try:
            report = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # damaged: as if it were not there
            continue
        if isinstance(report, dict) and {"title", "scores", "notes", "details"} <= set(report):
            newest[match[1]] = Scores(name, match[1], int(match[2]), report)
    return list(newest.values())


def _runs(runs: Mapping[str, Path]) -> str:
    rows = []
    for name, path in runs.items():
        run, snapshot = find_snapshot(path)
        config = run.resolved().config
        rows.append(
            f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(config.MODEL.NAME))}</td>"
            f"<td>{snapshot.iteration:,}</td><td>{html.escape(config.digest()[:12])}</td>"
            f"<td>{html.escape(str(run.folder))}</td></tr>"
        )
    return (
        "<div class='scroll'><table><tr><th>run</th><th>recipe</th><th>iteration</th>"
        f"<th>config</th><th>folder</th></tr>{''.join(rows)}</table></div>"
    )


def _tables(metric: str, found: Sequence[Scores]) -> str:
    """A metric's tables: one a direction and protocol."""
    groups: list[list[Scores]] = []
    for score in found:
        if score.metric != metric:
            continue
        for group in groups:
            if group[0].compared == score.compared:
                group.append(score)
                break
        else:
            groups.append([score])
    parts = []
    for number, group in enumerate(groups, start=1):
        of = f", protocol {number} of {len(groups)}" if len(groups) > 1 else ""
        title = html.escape(group[0].report["title"] + of)
        parts.append(f"<h3>{title}</h3>")
        if number > 1:
            one, other = groups[0][0].compared, group[0].compared
            keys = [k for k in dict.fromkeys([*one, *other]) if one.get(k) != other.get(k)]
            parts.append(
                "<p class='legend'>Not to be compared with the first: "
                f"{html.escape(', '.join(keys))} differ.</p>"
            )
        parts += [_table(way, group) for way in group[0].report["scores"]]
        notes = "".join(f"<li>{html.escape(str(n))}</li>" for n in group[0].report["notes"])
        parts.append(f"<ul class='notes'>{notes}</ul>")
    return "\n".join(parts)


def _table(way: str, group: Sequence[Scores]) -> str:
    first = group[0].report
    columns = [
        column
        for column in columns_of(first["details"], first["scores"])
        if any(column.key in rows for rows in first["scores"][way].values())
    ]
    rows: list[tuple[str, bool, Mapping[str, float | None]]] = [
        (score.run, True, score.report["scores"].get(way, {}).get(MODEL, {})) for score in group
    ]
    rows += [(row, False, scores) for row, scores in first["scores"][way].items() if row != MODEL]
    head = "".join(f"<th>{html.escape(column.title)}</th>" for column in columns)
    body = []
    for name, model, scores in rows:
        texts = "".join(
            f"<td>{html.escape(shown(scores.get(c.key), c.digits))}</td>" for c in columns
        )
        mark = " class='model'" if model else ""
        body.append(f"<tr{mark}><td>{html.escape(name)}</td>{texts}</tr>")
    return (
        f"<p><b>{html.escape(way_title(way))}</b></p><div class='scroll'><table>"
        f"<tr><th></th>{head}</tr>{''.join(body)}</table></div>"
    )


def _costs(costs: Mapping[str, Cost]) -> str:
    head = "".join(f"<th>{html.escape(title)}</th>" for title in ("batch", *COSTS))
    rows = "".join(
        f"<tr class='model'><td>{html.escape(name)}</td><td>{cost.batch}</td>"
        + "".join(f"<td>{text}</td>" for text in cells(cost))
        + "</tr>"
        for name, cost in costs.items()
    )
    one = next(iter(costs.values()))
    return (
        f"<p class='legend'>Of training, from a few iterations on {html.escape(one.device)}, "
        f"{one.threads} threads; <code>munit-zoo bench</code> measures carefully.</p>"
        f"<div class='scroll'><table><tr><th></th>{head}</tr>{rows}</table></div>"
    )
