"""docs/performance.md from the committed results: `python benchmarks/render.py`."""

from __future__ import annotations

from pathlib import Path

from munit_zoo.bench.report import read_result, to_markdown

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
TITLES = {
    "training": "Training",
    "inference": "Inference",
    "savings": "What each saving of equal maths brings: training",
    "savings_inference": "What each saving of equal maths brings: inference",
    "layout": "Channels last: training",
    "layout_small": "Channels last: training small images in batches of eight",
    "optimizer": "Fused Adam",
    "zoo": "Other recipes, as published, against their originals' way",
    "components": "Components alone, forward and backward",
    "data": "Loading",
}


def render() -> str:
    """The page: the text of performance.template.md, then every machine's tables."""
    parts = [(HERE / "performance.template.md").read_text(encoding="utf-8").rstrip()]
    for machine in sorted((HERE / "results").iterdir()):
        parts.append(f"## {machine.name}")
        for name, title in TITLES.items():
            file = machine / f"{name}.json"
            if file.is_file():
                parts += [f"### {title}", to_markdown(read_result(file)).rstrip()]
    return "\n\n".join(parts) + "\n"


def write() -> None:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    write()
