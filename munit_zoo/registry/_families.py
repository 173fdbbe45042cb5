"""Families: a line `torch.* = module:Family` of the table of contents stands for all components
that the family knows, `torch.Adagrad` and the like. They are another package's, whatever its
version has; a family is imported when a name of it is asked for, and no sooner."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from munit_zoo.registry._discovery import Entry

__all__ = ["Families", "is_family"]


class Family(Protocol):
    """Many components of one make."""

    def members(self) -> list[str]:
        """Their names, sorted, without the family's."""

    def component(self, member: str) -> type:
        """The class of a member."""


def is_family(entry: Entry) -> bool:
    """Whether an entry stands for many."""
    return entry.name.endswith(".*")


class Families:
    """The families of a kind, by what their members' names begin with."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = {entry.name[:-1]: entry for entry in entries}
        self._loaded: dict[str, Family] = {}

    def prefix(self, name: str) -> str | None:
        """What a name of a family begins with; None for others."""
        return next((prefix for prefix in self.entries if name.startswith(prefix)), None)

    def members(self, prefix: str) -> list[str]:
        """All names of a family."""
        return [f"{prefix}{member}" for member in self._family(prefix).members()]

    def entry(self, name: str) -> Entry | None:
        """The entry of a member; None where there is none of this name."""
        prefix = self.prefix(name)
        if prefix is None or name not in self.members(prefix):
            return None
        return replace(self.entries[prefix], name=name)

    def component(self, entry: Entry) -> type | None:
        """The class of a member's entry; None for an entry of no family."""
        prefix = self.prefix(entry.name)
        if prefix is None or entry.target != self.entries[prefix].target:
            return None
        return self._family(prefix).component(entry.name.removeprefix(prefix))

    def _family(self, prefix: str) -> Family:
        if prefix not in self._loaded:
            module, _, attribute = self.entries[prefix].target.partition(":")
            self._loaded[prefix] = getattr(importlib.import_module(module), attribute)()
        return self._loaded[prefix]
