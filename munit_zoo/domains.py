"""A domain: one of the sets of images that a model translates between."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Domain"]


@dataclass(frozen=True)
class Domain:
    """One domain.

    name: as graphs, folders and the command line spell it (`a`).
    channels: channels of its images, 1 to N.
    value_range: (low, high) measured values that map to [-1, 1]; None for the whole range of the
        files' integer type (0 to 255, 0 to 65535).
    """

    name: str
    channels: int = 3
    value_range: tuple[float, float] | None = None
