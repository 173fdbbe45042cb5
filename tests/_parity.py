"""How far each recipe's training is from its original's, as the golden cases find it.

With MUNIT_ZOO_PARITY=FILE a test run writes it there: per recipe the number of cases and settings
that were compared, and the largest error of all, by the cases' measure.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

_FOUND: dict[str, list[float]] = {}


def note(recipe: str, error: float) -> None:
    """One case in one setting: the largest error of its losses, gradients and weights."""
    _FOUND.setdefault(recipe, []).append(error)


def write() -> None:
    """At the end of a test run."""
    file = os.environ.get("MUNIT_ZOO_PARITY")
    if file and _FOUND:
        known = {
            recipe: {"runs": len(errors), "largest_error": float(f"{max(errors):.1e}")}
            for recipe, errors in sorted(_FOUND.items())
        }
        Path(file).write_text(json.dumps(known, indent=2) + "\n")
