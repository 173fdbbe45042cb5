"""A run's page: `index.html`, readable from disk without a server.

Its data are written into it; only the grids are files of their own, beside it in `images/`.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from munit_zoo._version import __version__
from munit_zoo.engine.files import write_text
from munit_zoo.engine.logs import read_log
from munit_zoo.errors import duration

__all__ = ["write_page"]

POINTS = 800
"""Points of a curve that are kept; more would not be seen."""


def write_page(
    folder: Path,
    *,
    columns: Mapping[str, int] | None = None,
    iterations: int | None = None,
    left: float | None = None,
    refresh: int | None = None,
) -> Path:
    """Write `index.html` of a run from what its folder holds: log, grids, evaluations.

    columns: what a grid's columns are, with their number; kept from the last page where None.
    iterations: of the whole training. left: seconds until its end. refresh: seconds after which an
    open page loads itself anew, as while training; None for never.
    """
    page = folder / "index.html"
    notes = folder / "images" / "columns.json"
    if columns is not None and notes.parent.is_dir():
        write_text(notes, json.dumps(dict(columns)))
    elif notes.is_file():
        columns = _read(notes) or {}
    log = read_log(folder)
    grids = _grids(folder / "images")
    newest = {
        file.stem.rpartition("_")[0]: file
        for file in sorted((folder / "evaluation").glob("*.json"))
    }
    reports = [report for report in map(_read, newest.values()) if report is not None]
    last = log[-1] if log else {}
    parts = [
        f"<h1>{html.escape(folder.resolve().name)}</h1>",
        f"<p>{_summary(last, iterations, left)} · <a href='config.yaml'>config.yaml</a> · "
        f"munit_zoo {__version__}</p>",
        *[_report(report) for report in reports],
        *[_grid_section(way, iterations, columns or {}) for way, iterations in grids.items()],
        _curves(log),
    ]
    again = "" if refresh is None else f'\n<meta http-equiv="refresh" content="{refresh}">'
    title = html.escape(folder.resolve().name)
    write_text(page, _PAGE.format(title=title, again=again, body="\n".join(parts)))
    return page


def _read(file: Path) -> dict[str, Any] | None:
    """A JSON file; None for one that is damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _grids(folder: Path) -> dict[str, list[int]]:
    """Per direction the iterations of its grids."""
    found: dict[str, list[int]] = {}
    for file in sorted(folder.glob("*.png")):
        match = re.fullmatch(r"(.+)_(\d{8})", file.stem)
        if match and not file.name.startswith("."):
            found.setdefault(match[1], []).append(int(match[2]))
    return found


def _summary(last: Mapping[str, object], iterations: int | None, left: float | None) -> str:
    if not last:
        return "no iteration logged yet"
    text = f"iteration {last['iteration']:,}"
    if iterations is not None:
        text += f" of {iterations:,}"
    if "epoch" in last:
        text += f" · epoch {last['epoch']:.2f}"
    if "images_per_second" in last:
        text += f" · {last['images_per_second']:.1f} img/s"
    if left is not None and math.isfinite(left):
        text += f" · about {duration(left)} left"
    return text


def _report(report: Mapping[str, Any]) -> str:
    """A table of scores."""
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in ["", *report["columns"]])
    rows = []
    for row in report["rows"]:
        if row.get("heading"):
            rows.append(
                f"<tr class='heading'><td colspan='{len(report['columns']) + 1}'>"
                f"{html.escape(row['name'])}</td></tr>"
            )
            continue
        cells = "".join(f"<td>{html.escape(str(value))}</td>" for value in row["cells"])
        mark = " class='model'" if row.get("model") else ""
        rows.append(f"<tr{mark}><td>{html.escape(row['name'])}</td>{cells}</tr>")
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in report["notes"])
    return (
        f"<h2>{html.escape(report['title'])}</h2><div class='scroll'><table><tr>{head}</tr>"
        f"{''.join(rows)}</table></div><ul class='notes'>{notes}</ul>"
    )


def _grid_section(way: str, iterations: Sequence[int], columns: Mapping[str, int]) -> str:
    source, _, target = way.partition("2")
    legend = " | ".join(
        f"{name}{f' × {count}' if count > 1 else ''}" for name, count in columns.items()
    )
    newest = iterations[-1]
    return f"""<h2>{html.escape(source.upper())} → {html.escape(target.upper())}</h2>
<p class='legend'>Columns: {html.escape(legend)}. One row an image.</p>
<p><input type='range' min='0' max='{len(iterations) - 1}' value='{len(iterations) - 1}'
 data-way='{html.escape(way)}' data-iterations='{json.dumps(list(iterations))}'
 aria-label='iteration of the grid'> <output>iteration {newest:,}</output></p>
<div class='scroll'><img id='grid-{html.escape(way)}' alt='{html.escape(way)} translations'
 src='images/{html.escape(way)}_{newest:08d}.png'></div>"""


_NO_LOSS = ("iteration", "images_per_second", "skipped", "epoch")


def _curves(log: Sequence[Mapping[str, Any]]) -> str:
    """Loss curves, a small plot a term."""
    step = max(1, -(-len(log) // POINTS))
    kept = list(log[::step])
    if log and kept[-1] is not log[-1]:
        kept.append(log[-1])
    names = [n for n in (log[-1] if log else {}) if n not in _NO_LOSS]
    plots = []
    for name in sorted(names, key=lambda n: (not _is_total(n), n)):
        points = [(line["iteration"], line[name]) for line in kept if name in line]
        if points:
            plots.append(_plot(name, points))
    if not plots:
        return ""
    thinned = f" Every {step}th log line is drawn." if step > 1 else ""
    return (
        "<h2>Loss curves</h2><p class='legend'>Unweighted parts; totals are weighted sums."
        f"{thinned}</p><div class='plots'>{''.join(plots)}</div>"
    )


def _is_total(name: str) -> bool:
    return name.startswith("total/") or name.endswith("/total")


def _plot(name: str, points: Sequence[tuple[int, float]]) -> str:
    width, height = 260, 110
    first, last = points[0][0], points[-1][0]
    low, high = min(v for _, v in points), max(v for _, v in points)
    span_x, span_y = max(1, last - first), (high - low) or 1.0
    path = " ".join(
        f"{(i - first) / span_x * width:.1f},{height - (v - low) / span_y * height:.1f}"
        for i, v in points
    )
    return (
        f"<figure><figcaption>{html.escape(name)} <b>{points[-1][1]:.4g}</b></figcaption>"
        f"<svg viewBox='-2 -4 {width + 4} {height + 8}' role='img' "
        f"aria-label='{html.escape(name)}'>"
        f"<polyline points='{path}'/></svg>"
        f"<small>{low:.3g} to {high:.3g} · iterations {first:,} to {last:,}</small></figure>"
    )


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">{again}
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px;
  padding: 0 1rem; color: #222; background: #fff; }}
h1, h2 {{ font-weight: 600; }} h2 {{ margin-top: 2.2rem; }}
.legend, .notes, small {{ color: #666; }} .notes {{ font-size: .9rem; }}
.scroll {{ overflow-x: auto; }} img {{ image-rendering: pixelated; min-width: 60%;
  max-width: 100%; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
td, th {{ padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #e5e5e5; }}
td:first-child, th:first-child {{ text-align: left; }}
tr.model td {{ font-weight: 600; background: #f3f7ff; }} tr.heading td {{ padding-top: 1rem;
  text-align: left; font-weight: 600; }}
.plots {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 1rem; }}
figure {{ margin: 0; }} svg {{ width: 100%; }}
polyline {{ fill: none; stroke: #2563eb; stroke-width: 1.5; }}
input[type=range] {{ width: 40%; }}
</style>
{body}
<script>
for (const slider of document.querySelectorAll("input[data-way]")) {{
  const iterations = JSON.parse(slider.dataset.iterations);
  slider.addEventListener("input", () => {{
    const iteration = iterations[slider.value];
    slider.parentElement.querySelector("output").textContent =
      "iteration " + iteration.toLocaleString("en");
    document.getElementById("grid-" + slider.dataset.way).src =
      "images/" + slider.dataset.way + "_" + String(iteration).padStart(8, "0") + ".png";
  }});
}}
</script>
</html>
"""
