"""The log of a run: one line of JSON each time that losses were noted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["by_term", "read_log"]


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log. What a crash or a full disk left half written is left out."""
    file = folder / "log.jsonl"
    if not file.is_file():
        return []
    lines = []
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("iteration"), int):
            lines.append(line)
    return lines


def by_term(parts: Mapping[str, float]) -> dict[str, float]:
    """Losses by term: the parts of each (`generators/image_recon/x_aa`, `…/x_bb`) added up. A term
    that several updates know has each of them named."""
    sums: dict[tuple[str, str], float] = {}
    for name, value in parts.items():
        update, _, rest = name.partition("/")
        if rest != "total":
            key = rest.split("/")[0], update
            sums[key] = sums.get(key, 0.0) + value
    several = [term for term, _ in sums]
    return {
        f"{update}/{term}" if several.count(term) > 1 else term: value
        for (term, update), value in sums.items()
    }
