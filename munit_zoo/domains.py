"""A domain: one of the sets of images that a model translates between."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Domain", "letter"]


@dataclass(frozen=True)
class Domain:
    """One domain.

    name: the user's word for it, as graphs, folders and the command line spell it (`night`).
    channels: channels of its images, 1 to N.
    value_range: (low, high) measured values that map to [-1, 1]; None for the whole range of the
        files' integer type (0 to 255, 0 to 65535).
    index: its place among the config's domains, 0 for the first; None for a domain on its own,
        whose name may say it (`b` is the second).
    among: the names of all domains of the config, in order; empty where they are not known.
    """

    name: str
    channels: int = 3
    value_range: tuple[float, float] | None = None
    index: int | None = None
    among: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """As configs spell it: `NIGHT`."""
        return self.name.upper()

    @property
    def place(self) -> int:
        """Its place among the domains, 0 for the first."""
        if self.index is not None:
            return self.index
        alone = len(self.name) == 1 and "a" <= self.name <= "z"
        return ord(self.name) - ord("a") if alone else 0

    @property
    def letter(self) -> str:
        """What a recipe calls it: `a` for the first."""
        return letter(self.place)


def letter(index: int) -> str:
    """What a recipe calls the domain in this place: a, b, … z, a1, b1, …"""
    again, place = divmod(index, 26)
    return chr(ord("a") + place) + (str(again) if again else "")
