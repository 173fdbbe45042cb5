"""What differs between two configs, and whether a training may go on with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from munit_zoo.config import Config, free_on_resume

__all__ = ["INEXACT", "Change", "changes", "plain"]

INEXACT = ("ENGINE.COMPILE", "ENGINE.CUDA_GRAPHS")
"""Keys that may change on resume, under which the same maths may round otherwise."""


@dataclass(frozen=True)
class Change:
    """A key in which two configs differ; None where one lacks it.

    free: whether training may go on with it.
    """

    key: str
    before: object
    after: object
    free: bool

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.before)} -> {_shown(self.after)}"


def changes(old: Config, new: Config) -> list[Change]:
    """The keys in which two configs differ."""
    before, after = _flat(old), _flat(new)
    free = {*free_on_resume(old), *free_on_resume(new), *INEXACT, "METRICS"}
    return [
        Change(
            key,
            before.get(key),
            after.get(key),
            any(key == other or key.startswith(f"{other}.") for other in free),
        )
        for key in dict.fromkeys([*before, *after])
        if (key in before, before.get(key)) != (key in after, after.get(key))
    ]


def _flat(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _shown(value: object) -> str:
    return "none" if value is None else str(value)


def plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
