"""What pages of several runs share: the frame, grids side by side, plots of points."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

from munit_zoo.comparison.grids import Shown
from munit_zoo.metrics.report import way_title

WIDE = 480
"""Pixels to which grids narrower than that are enlarged, by a whole number."""


def page(title: str, body: str) -> str:
    """An HTML page that needs nothing else."""
    return _PAGE.format(title=html.escape(title), body=body)


def side_by_side(grids: Sequence[Shown], notes: Mapping[str, str] | None = None) -> str:
    """Each direction's grids beside each other, as many as fit."""
    parts = []
    for way in dict.fromkeys(way for shown in grids for way in shown.files):
        having = [shown for shown in grids if way in shown.files]
        # one scale for all, at which small ones can be seen
        scale = max(1, WIDE // max(shown.widths[way] for shown in having))
        figures = []
        for shown in having:
            differ = shown.inputs[way] != having[0].inputs[way]
            warning = "<br><b>other test images than the first</b>" if differ else ""
            extra = html.escape((notes or {}).get(shown.name, ""))
            figures.append(
                f"<figure><figcaption><b>{html.escape(shown.name)}</b> {extra}{warning}<br>"
                f"<small>{html.escape(shown.columns[way])}</small></figcaption>"
                f"<img src='{html.escape(shown.files[way])}' width='{scale * shown.widths[way]}' "
                "onload=\"this.style.imageRendering=this.naturalWidth<this.clientWidth?'pixelated'"
                ":'auto'\" "
                f"alt='{html.escape(shown.name)}, {html.escape(way_title(way))}'></figure>"
            )
        parts.append(
            f"<h3>{html.escape(way_title(way))}</h3><div class='grids'>{''.join(figures)}</div>"
        )
    return "\n".join(parts)


def points(
    title: str,
    rows: Mapping[str, Mapping[int, float]],
    references: Mapping[str, float],
    digits: int = 3,
) -> str:
    """A plot: a line a variant, a point a seed, a stroke at their mean; floors and ceilings dashed.

    An SVG of its own; "" where there is no number.
    """
    values = [v for seeds in rows.values() for v in seeds.values() if math.isfinite(v)]
    marks = {name: v for name, v in references.items() if math.isfinite(v)}
    if not values:
        return ""
    low, high = min([*values, *marks.values()]), max([*values, *marks.values()])
    span = (high - low) or 1.0
    left, width, step = 8 * max(map(len, rows)) + 10, 300, 22
    height = step * len(rows)

    def at(value: float) -> float:
        return left + 8 + (value - low) / span * (width - 16)

    parts = [f"<text x='{left}' y='14' class='t'>{html.escape(title)}</text>"]
    for name, value in marks.items():
        x = at(value)
        parts.append(
            f"<line x1='{x:.1f}' x2='{x:.1f}' y1='22' y2='{height + 24}' class='r'>"
            f"<title>{html.escape(name)}: {value:.{digits}f}</title></line>"
        )
    for place, (name, seeds) in enumerate(rows.items()):
        y = 24 + step * (place + 0.5)
        parts.append(f"<text x='{left - 6}' y='{y + 4:.1f}' class='n'>{html.escape(name)}</text>")
        parts.append(f"<line x1='{left}' x2='{left + width}' y1='{y}' y2='{y}' class='g'/>")
        known = [v for v in seeds.values() if math.isfinite(v)]
        for seed, value in seeds.items():
            if math.isfinite(value):
                parts.append(
                    f"<circle cx='{at(value):.1f}' cy='{y}' r='4'><title>{html.escape(name)}, seed "
                    f"{seed}: {value:.{digits}f}</title></circle>"
                )
        if known:
            x = at(sum(known) / len(known))
            parts.append(f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{y - 8}' y2='{y + 8}' class='m'/>")
    bottom = height + 40
    parts.append(f"<text x='{left}' y='{bottom}' class='a'>{low:.{digits}f}</text>")
    parts.append(f"<text x='{left + width}' y='{bottom}' class='a e'>{high:.{digits}f}</text>")
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {left + width + 10} {bottom + 6}' "
        f"width='{left + width + 10}' height='{bottom + 6}' role='img' "
        f"aria-label='{html.escape(title)}'><style>{_SVG}</style>{''.join(parts)}</svg>"
    )


_SVG = (
    "text{font:12px system-ui,sans-serif;fill:#222}.t{font-weight:600}.n{text-anchor:end}"
    ".a{fill:#666;font-size:11px}.e{text-anchor:end}.g{stroke:#e5e5e5}"
    ".r{stroke:#999;stroke-dasharray:3 3}.m{stroke:#222;stroke-width:2}"
    "circle{fill:#2563eb;fill-opacity:.65}"
)

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1400px;
  padding: 0 1rem; color: #222; background: #fff; }}
h1, h2, h3 {{ font-weight: 600; }} h2 {{ margin-top: 2.4rem; }} h3 {{ font-size: 1rem; }}
.notes, .legend, small {{ color: #666; }} .notes {{ font-size: .85rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
td, th {{ padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #e5e5e5;
  white-space: nowrap; }}
td:first-child, th:first-child {{ text-align: left; position: sticky; left: 0; background: #fff; }}
tr.model td {{ background: #f3f7ff; }} tr.model td:first-child {{ font-weight: 600; }}
.grids {{ display: flex; flex-wrap: wrap; gap: 1.2rem 1.6rem; align-items: flex-end; }}
figure {{ margin: 0; }} figcaption {{ font-size: .9rem; max-width: 30rem; }}
.grids img {{ max-width: 100%; }}
.plots {{ display: flex; flex-wrap: wrap; gap: 1rem 2rem; }} svg {{ max-width: 100%; }}
</style>
<h1>{title}</h1>
{body}
</html>
"""
