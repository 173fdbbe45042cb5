"""What a component says of itself in one line, read from its source: nothing is imported."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

__all__ = ["summary_of_class", "summary_of_target"]


def summary_of_target(target: str) -> str:
    """First line of the docstring of `module:Class`; "" where its source is not found, or says
    nothing."""
    module, _, name = target.partition(":")
    file = _source(module)
    return _classes(file).get(name, "") if file else ""


def summary_of_class(component: type) -> str:
    """First line of a class's docstring, "" where it has none of its own."""
    return _first(inspect.cleandoc(component.__dict__.get("__doc__") or ""))


def _source(module: str) -> Path | None:
    """A module's file, found without importing it or its packages."""
    found: Path | None = None
    places: list[str] | None = None
    full = ""
    for part in module.split("."):
        full = f"{full}.{part}" if full else part
        spec = PathFinder.find_spec(full, places)
        if spec is None:
            return None
        found = Path(spec.origin) if spec.origin else None
        places = list(spec.submodule_search_locations or [])
    return found


@cache
def _classes(file: Path) -> dict[str, str]:
    """The first line of each class's docstring."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return {node.name: _first(ast.get_docstring(node) or "") for node in classes}


def _first(text: str) -> str:
    """The first sentence's line, as people end it."""
    return text.split("\n", 1)[0].strip()
