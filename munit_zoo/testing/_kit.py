"""Checks as named callables, for a component or for all of a distribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from munit_zoo.errors import ComponentError, MunitZooError, UsageError
from munit_zoo.registry import REGISTRIES, canonical, registry

__all__ = ["Check", "ConformanceError", "check_component", "checks", "checks_of"]


class ConformanceError(MunitZooError, AssertionError):
    """A component does not keep the contract of its kind; the message says what to change."""


@dataclass(frozen=True)
class Check:
    """One named check of one component: call it to run it.

    Raises ConformanceError that says what to change.
    """

    kind: str
    component: str
    name: str
    settings: Mapping[str, object]
    run: Callable[[str, str, Mapping[str, object]], None]

    def __call__(self) -> None:
        try:
            self.run(self.kind, self.component, self.settings)
        except ConformanceError as error:
            raise ConformanceError(f"{self}: {error}") from error.__cause__
        except Exception as error:
            reason = str(error) if isinstance(error, MunitZooError) else repr(error)
            raise ConformanceError(f"{self}: {reason}") from error

    def __str__(self) -> str:
        return f"{self.kind}:{self.component}:{self.name}"


def checks(kind: str, name: str, **settings: object) -> list[Check]:
    """The checks of a component.

    settings: its keys, in lower case, where the defaults do not do (a folder for a dataset); slots
        by name, or as `slot("name", key=…)`. A loss that is for certain names of a recipe says
        which: recipe="cut", reads=("q_ab", "k_a").
    """
    from munit_zoo.testing._checks import checks_for

    found = registry(kind)
    found.entry(name)
    try:
        component = found.get(name)
    except ComponentError:
        component = None  # the check tells why
    return [
        Check(found.kind, name, label, dict(settings), run)
        for label, run in checks_for(found.kind, component).items()
    ]


def check_component(kind: str, name: str, **settings: object) -> None:
    """Run all checks of a component.

    Raises ConformanceError that lists what fails; what fails several of them is said once.
    """
    problems: dict[str, str] = {}
    for check in checks(kind, name, **settings):
        try:
            check()
        except ConformanceError as error:
            problems.setdefault(str(error).removeprefix(f"{check}: "), str(error))
    if problems:
        raise ConformanceError("\n".join(problems.values()))


def checks_of(
    distribution: str, settings: Mapping[str, Mapping[str, object]] | None = None
) -> list[Check]:
    """The checks of every component that an installed distribution's entry points name.

    settings: by component (`"dataset:stains"`), for those whose defaults do not do.
    Raises UsageError where the distribution offers no component.
    """
    wanted = canonical(distribution)
    found = [
        entry
        for one in REGISTRIES.values()
        for entry in one.entries()
        if canonical(entry.distribution) == wanted
    ]
    if not found:
        raise UsageError(
            f"no installed distribution {distribution!r} offers components; install it "
            "(pip install -e .) and look at the entry points in its pyproject.toml"
        )
    chosen = dict(settings or {})
    known = {f"{entry.kind}:{entry.name}" for entry in found}
    for key in chosen:
        if key not in known:
            raise UsageError(f"{distribution} has no component {key!r}; it has {sorted(known)}")
    result: list[Check] = []
    for entry in found:
        name = entry.qualified if entry.origin == "plugin" else entry.name
        try:
            result += checks(entry.kind, name, **chosen.get(f"{entry.kind}:{entry.name}", {}))
        except ComponentError as error:
            raise ConformanceError(str(error)) from error
    return result
