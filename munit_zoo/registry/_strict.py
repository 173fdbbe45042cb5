"""MUNIT_ZOO_STRICT_PLUGINS: any broken plug-in is fatal, whatever was asked for."""

from __future__ import annotations

import os

from munit_zoo.errors import BrokenComponentError

__all__ = ["strict_error", "strict_plugins"]


def strict_plugins() -> bool:
    """Whether MUNIT_ZOO_STRICT_PLUGINS is set."""
    return os.environ.get("MUNIT_ZOO_STRICT_PLUGINS", "") not in ("", "0")


def strict_error(problem: object) -> BrokenComponentError:
    """The error that a broken plug-in is under MUNIT_ZOO_STRICT_PLUGINS."""
    return BrokenComponentError(
        f"MUNIT_ZOO_STRICT_PLUGINS is set and an installed plug-in is broken: {problem}"
    )
