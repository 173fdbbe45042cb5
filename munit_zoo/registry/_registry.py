"""A registry: names to classes of one kind, from our own table, from plug-ins, from local files."""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from munit_zoo.errors import (
    AmbiguousComponentError,
    BrokenComponentError,
    ComponentError,
    ContractError,
    MunitZooError,
    UnknownComponentError,
    quoted,
    suggest,
)
from munit_zoo.registry._discovery import (
    CORE,
    Entry,
    builtin_entries,
    plugin_entries,
    spare_others,
    unmet_requirement,
)
from munit_zoo.registry._families import Families, is_family
from munit_zoo.registry._signature import Setting, Signature
from munit_zoo.registry._slots import SlotDefault
from munit_zoo.registry._strict import strict_error, strict_plugins
from munit_zoo.registry._summary import summary_of_class, summary_of_target
from munit_zoo.registry.contracts import Contract

__all__ = ["Description", "Factory", "Registry"]


@dataclass(frozen=True)
class Description:
    """What is known about a component: where it comes from, its signature and its documentation."""

    entry: Entry
    component: type
    signature: Signature
    contract: Contract
    doc: str

    @property
    def settings(self) -> Mapping[str, Setting]:
        return self.signature.settings


@dataclass(frozen=True)
class Factory:
    """A component with its settings bound: called with the wired arguments, it builds one.

    A setting may itself be a Factory (a slot). place: dotted path of the config's node that it was
    made from; a ContractError of building the component, or a part of it, says which. known: the
    others of its kind.
    """

    component: Callable[..., object]
    settings: Mapping[str, object] = field(default_factory=dict)
    contract: Contract | None = None
    name: str = ""
    place: str = ""
    known: Registry | None = None

    def __call__(self, *wired: object) -> Any:
        if not self.place:
            return self._build(*wired)
        try:
            return self._build(*wired)
        except ContractError as error:
            if not error.place:
                error.place = self.place
            raise

    def _build(self, *wired: object) -> Any:
        if self.contract is None:
            return self.component(*wired, **self.settings)
        label = f"{self.contract.kind} {self.name!r}"
        self._check_wired(len(wired), label)
        try:
            built = self.component(*wired, **self.settings)
        except MunitZooError:
            raise
        except Exception as error:
            raise ContractError(
                f"{label} cannot be built: {type(error).__name__}: {error}"
            ) from error
        self.contract.check_instance(built, label)
        return built

    def _check_wired(self, count: int, label: str) -> None:
        """Raises ContractError for a component that takes more from its builder than it is given,
        or less: of domains' numbers or styles, say, where the builder has none."""
        if self.contract is None or not inspect.isclass(self.component):
            return
        names, least = _wired_by(self.component)
        if least <= count <= len(names):
            return
        given = ", ".join((*self.contract.wired, *self.contract.optional)[:count])
        fitting = () if self.known is None else self.known.made_from(count)
        hint = f": choose {', '.join(fitting)}" if fitting else ""
        raise ContractError(
            f"{label} is made from ({', '.join(names)}), and here there is ({given}){hint}"
        )


def _wired_by(component: type) -> tuple[list[str], int]:
    """Names of what a class is made from, and how many of them it cannot do without."""
    parameters = [
        p
        for p in inspect.signature(component).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return [p.name for p in parameters], sum(p.default is p.empty for p in parameters)


class Registry:
    """Names to classes of one kind.

    Listing reads metadata and imports nothing. A class is imported when its own name is asked for,
    so a broken plug-in hurts only those who ask for it.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.kind = contract.kind
        self._discovered: tuple[Entry, ...] | None = None
        self._local: dict[str, tuple[Entry, type]] = {}
        self._loaded: dict[Entry, tuple[type, Signature]] = {}
        self._broken: dict[Entry, ComponentError] = {}
        self._strict = False
        self.families = Families(filter(is_family, builtin_entries(self.kind)))

    def __repr__(self) -> str:
        return f"<registry of {len(self.entries())} {self.kind}s>"

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self._candidates(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.list())

    # What there is

    def entries(self) -> Sequence[Entry]:
        """All entries, naturally sorted by name."""
        if self._discovered is None:
            found = (*builtin_entries(self.kind), *plugin_entries(self.contract))
            self._discovered = tuple(dict.fromkeys(e for e in found if not is_family(e)))
        local = [entry for entry, _ in self._local.values()]
        return sorted([*self._discovered, *local], key=lambda e: (_natural(e.name), e.distribution))

    def list(self, pattern: str = "*") -> list[str]:
        """Names to write in a config, matching a wildcard pattern, naturally sorted.

        A name that a plain spelling would not reach (claimed twice, or hidden by a built-in) is
        listed as `dist:name`. Members of a family are listed where the pattern begins with its
        name, as `torch.*` does: to know them imports the package whose they are.
        """
        entries = self.entries()
        names = []
        prefix = self.families.prefix(pattern)
        if prefix is not None:
            members = self.families.members(prefix)
            return [name for name in members if fnmatch.fnmatchcase(name, pattern)]
        for entry in entries:
            rivals = [other for other in entries if other.name == entry.name]
            plain = len(rivals) == 1 or entry.origin == "builtin"
            name = entry.name if plain else entry.qualified
            if fnmatch.fnmatchcase(entry.name, pattern) or fnmatch.fnmatchcase(name, pattern):
                names.append(name)
        return names

    def families_like(self, pattern: str) -> dict[str, str]:
        """Families by name (`torch.*`), with the first line of what each says of itself: those that
        match a pattern which does not list their members. Imports nothing."""
        return {
            entry.name: summary_of_target(entry.target)
            for entry in self.families.entries.values()
            if fnmatch.fnmatchcase(entry.name, pattern) and self.families.prefix(pattern) is None
        }

    def summary(self, name: str) -> str:
        """The first line of what a component says of itself, without importing it; "" where its
        source is not at hand.

        Raises UnknownComponentError and AmbiguousComponentError as `entry`.
        """
        entry = self.entry(name)
        if entry.origin == "local":
            return summary_of_class(self._local[entry.name][1])
        member = self.families.component(entry)
        return summary_of_target(entry.target) if member is None else summary_of_class(member)

    def entry(self, name: str) -> Entry:
        """The entry that a name means.

        Raises UnknownComponentError with the nearest names, AmbiguousComponentError where two
        distributions claim the name.
        """
        candidates = self._candidates(name)
        if len(candidates) == 1:
            return candidates[0]
        if candidates and len({entry.qualified for entry in candidates}) == 1:
            targets = " and ".join(entry.target for entry in candidates)
            raise AmbiguousComponentError(
                f"{candidates[0].source} lists the {self.kind} {candidates[0].name!r} twice, as "
                f"{targets}: mend its entry points, or uninstall it"
            )
        if candidates:
            spellings = " or ".join(repr(entry.qualified) for entry in candidates)
            owners = " and ".join(entry.source for entry in candidates)
            raise AmbiguousComponentError(
                f"the {self.kind} {name!r} is offered by {owners}; write {spellings}"
            )
        raise UnknownComponentError(self._unknown(name))

    # A class

    def get(self, name: str) -> type:
        """The class of this name, imported now.

        Raises UnknownComponentError, AmbiguousComponentError, BrokenComponentError (the plug-in's
        own error as the cause) or ContractError.
        """
        return self._use(self.entry(name))[0]

    def signature(self, name: str) -> Signature:
        """Wired names and settings of the class of this name."""
        return self._use(self.entry(name))[1]

    def describe(self, name: str) -> Description:
        """Origin, signature and documentation of the class of this name."""
        entry = self.entry(name)
        component, signature = self._use(entry)
        doc = inspect.cleandoc(component.__dict__.get("__doc__") or "")  # its own, not torch's
        return Description(entry, component, signature, self.contract, doc)

    def made_from(self, count: int) -> tuple[str, ...]:
        """Our own components that can be made from so many wired arguments."""
        found = []
        for entry in self.entries():
            if entry.origin == "builtin":
                names, least = _wired_by(self.get(entry.name))
                found += [entry.name] if least <= count <= len(names) else []
        return tuple(found)

    def broken(self, *, check: bool = False) -> dict[str, ComponentError]:
        """Components that failed to load so far, as `dist:name` to error.

        check: import every plug-in now, rather than report what has been seen.
        """
        if check:
            for entry in self.entries():
                if entry.origin == "builtin":
                    continue
                try:
                    self._load(entry)
                except ComponentError:
                    continue
        return {entry.qualified: error for entry, error in self._broken.items()}

    def factory(
        self, choice: str | type | SlotDefault | Callable[..., object]
    ) -> Callable[..., Any]:
        """A callable that builds the chosen component from its wired arguments.

        choice: a name, a slot's default, a class, or any callable (returned as it is).
        Raises as `get` does, and ContractError for a setting that the component does not have.
        """
        if isinstance(choice, str):
            choice = SlotDefault(choice)
        if isinstance(choice, SlotDefault):
            return self.bind(choice.name, **choice.settings)
        if callable(choice):
            return choice
        raise ContractError(
            f"{choice!r} is no {self.kind}: give a name, a class or a callable that takes "
            f"{self.contract.call}"
        )

    def bind(self, name: str, **settings: object) -> Factory:
        """The named component with settings bound; slots among them by name, class or callable."""
        component, signature = self._use(self.entry(name))
        known = {setting.name: setting for setting in signature.settings.values()}
        for key in settings:
            if key not in known:
                hint = suggest(key, known) or f"It has: {', '.join(known) or 'none'}."
                raise ContractError(f"the {self.kind} {name!r} has no setting {key!r}. {hint}")
        return Factory(component, settings, self.contract, name, known=self)

    def register(self, name: str) -> Callable[[type], type]:
        """Class decorator for notebooks and `--plugin` files: make a class known by a name.

        Raises ContractError where the class does not keep the contract, and
        AmbiguousComponentError where a built-in or another file has the name already.
        """

        def decorate(component: type) -> type:
            label = f"{self.kind} {name!r} ({component.__module__}:{component.__qualname__})"
            self.contract.check_class(component, label)
            here = f"{component.__module__}:{component.__qualname__}"
            candidates = self._candidates(name)
            # a plug-in may do both: decorate its class and name it, where it stands or where its
            # package re-exports it, in an entry point
            if any(
                _package(e.target) == _package(here) for e in candidates if e.origin == "plugin"
            ):
                return component
            rivals = [e for e in candidates if e.origin != "local"]
            known = self._local.get(name)
            if known is not None and known[0].target != here:
                rivals = [known[0]]
            if rivals:
                raise AmbiguousComponentError(
                    f"{label}: the name is taken by {rivals[0].source}; choose another"
                )
            entry = Entry(self.kind, name, here, "", "", "local")
            self._local[name] = (entry, component)
            self._loaded.pop(entry, None)
            return component

        return decorate

    def refresh(self) -> None:
        """Forget what was discovered: the next look reads the installed metadata again."""
        self._discovered, self._strict = None, False
        self._loaded.clear()
        self._broken.clear()

    def _candidates(self, name: str) -> Sequence[Entry]:
        found = [e for e in self.entries() if name in (e.name, e.qualified)]
        builtin = [e for e in found if e.origin == "builtin"]
        if not found:
            member = self.families.entry(name)
            return [] if member is None else [member]
        return builtin or found

    def _unknown(self, name: str) -> str:
        prefix = self.families.prefix(name)
        members = [m for p in self.families.entries for m in self.families.members(p)]
        known = [*self.list(), *(f"{p}*" for p in self.families.entries)]
        if prefix is not None:
            known = members = [member for member in members if member.startswith(prefix)]
        parts = [f"no {self.kind} is called {quoted(name)}.", suggest(name, [*known, *members])]
        parts.append(f"Known: {', '.join(known) or 'none'}.")
        broken = self.broken()
        if broken:
            parts.append(f"Failed to load: {', '.join(broken)} (see `munit-zoo doctor`).")
        return " ".join(part for part in parts if part)

    def require_sound(self) -> None:
        """Import every plug-in of the kind. Raises BrokenComponentError for the first broken."""
        for entry in self.entries():
            if entry.origin == "plugin":
                try:
                    self._load(entry)
                except ComponentError as error:
                    raise strict_error(error) from error

    def _use(self, entry: Entry) -> tuple[type, Signature]:
        """As `_load`, after all plug-ins of all kinds where strictness asks for it."""
        if strict_plugins() and not self._strict:
            from munit_zoo.registry._kinds import require_sound_components

            self._strict = True  # at once: a plug-in may ask for components while it is imported
            try:
                self.require_sound()
                require_sound_components()
            except ComponentError:
                self._strict = False
                raise
        return self._load(entry)

    def _load(self, entry: Entry) -> tuple[type, Signature]:
        if entry in self._loaded:
            return self._loaded[entry]
        label = f"{self.kind} {entry.name!r} of {entry.source} ({entry.target})"
        try:
            if entry.origin == "local":
                component = self._local[entry.name][1]
            else:
                component = self.families.component(entry) or _import(entry, label)
            loaded = component, self._checked(component, entry, label)
        except ComponentError as error:
            self._broken[entry] = error
            raise
        self._broken.pop(entry, None)
        self._loaded[entry] = loaded
        return loaded

    def _checked(self, component: type, entry: Entry, label: str) -> Signature:
        try:
            return self.contract.check_class(component, label)
        except ComponentError:
            raise
        except Exception as error:  # a class that raises when it is looked at
            if entry.distribution == CORE:
                raise
            raise BrokenComponentError(
                f"{label} cannot be looked at: {type(error).__name__}: {error}"
            ) from error


def _import(entry: Entry, label: str) -> type:
    module, _, attribute = entry.target.partition(":")
    if entry.origin == "plugin":
        unmet = unmet_requirement(entry.distribution)
        if unmet:
            raise BrokenComponentError(f"{label} {unmet}. Install matching versions of both.")
    if not attribute:
        raise BrokenComponentError(
            f'{label}: the entry point names no class; write "{module}:Class"'
        )
    spare_others()
    try:
        found: Any = importlib.import_module(module.strip())
        for part in attribute.split("[")[0].strip().split("."):
            found = getattr(found, part)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if entry.distribution == CORE:
            raise  # our own bug, or a missing dependency: its traceback says it best
        raise BrokenComponentError(
            f"{label} cannot be imported: {type(error).__name__}: {error}. "
            f"Mend or uninstall {entry.distribution}."
        ) from error
    return found  # type: ignore[no-any-return]


def _package(target: str) -> str:
    """The top-level package of `module:Class`."""
    return target.partition(":")[0].partition(".")[0]


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]
