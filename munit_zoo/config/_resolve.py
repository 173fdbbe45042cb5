"""From layers of trees (bases, file, overrides) to one checked tree.

Layers are kept apart until the schema is known: only then can a change of NAME drop the keys that
were meant for the component it replaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from munit_zoo.config._migrations import retired_key, retired_value
from munit_zoo.config._schema import (
    MISSING,
    ROOT,
    Component,
    MapOf,
    Schema,
    Section,
    Value,
    coerce,
    expected,
    of_settings,
)
from munit_zoo.config._yaml import Node, node_from
from munit_zoo.errors import ComponentError, Problem, an, counted, quoted, suggest
from munit_zoo.registry import REGISTRIES, Entry, SlotDefault

__all__ = ["Dropped", "Resolution", "lay_over", "resolve_layers", "resolve_one"]


@dataclass(frozen=True)
class Dropped:
    """Keys that were set for a component and went when another took its place.

    path: the component's. before, after: its names. keys: dotted, below the path.
    """

    path: str
    before: str
    after: str
    keys: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.keys[:8]) + (", …" if len(self.keys) > 8 else "")
        count = counted(len(self.keys), "key")
        return f"{self.path}.NAME={self.after} dropped {count} of {self.before}: {shown}"


@dataclass
class Resolution:
    """What came of resolving: the plain tree, and per dotted path its origin and its component."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    components: dict[str, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    dropped: dict[str, Dropped] = field(default_factory=dict)

    def lost(self) -> list[Dropped]:
        """What was dropped and not set anew for the new component."""
        found = [
            replace(one, keys=tuple(key for key in one.keys if not self._set(f"{path}.{key}")))
            for path, one in self.dropped.items()
        ]
        return [one for one in found if one.keys]

    def _set(self, path: str) -> bool:
        return self.origins.get(path, "default") != "default"


def resolve_layers(layers: Sequence[Node]) -> Resolution:
    """The tree that `layers`, lowest first, make together, with all that is wrong with it."""
    resolver = _Resolver()
    resolver.result.values = resolver.section(ROOT, layers, "")
    return resolver.result


def resolve_one(kind: str, node: Node) -> Resolution:
    """A single component."""
    resolver = _Resolver()
    resolver.result.values = resolver.component(Component(kind), [node], kind)
    return resolver.result


class _Resolver:
    def __init__(self) -> None:
        self.result = Resolution()

    def problem(self, path: str, message: str, origin: str = "") -> None:
        self.result.problems.append(Problem(path, message, origin))

    def resolve(self, schema: Schema, layers: Sequence[Node], path: str) -> Any:
        if isinstance(schema, Component):
            return self.component(schema, layers, path)
        if isinstance(schema, Section):
            return self.section(schema, layers, path)
        if isinstance(schema, MapOf):
            return self.map_of(schema, layers, path)
        return self.value(schema, layers, path)

    def section(self, schema: Section, layers: Sequence[Node], path: str) -> dict[str, Any]:
        layers = self.maps(layers, path)
        self.refuse_unknown(schema.fields, layers, path)
        values = {}
        for key, child in schema.fields.items():
            own = _children(layers, key)
            if isinstance(child, MapOf) and child.inherits:
                values[key] = self.inheriting(child, layers, own, path, key)
            else:
                values[key] = self.resolve(child, own, _join(path, key))
        return values

    def inheriting(
        self, schema: MapOf, section: Sequence[Node], layers: Sequence[Node], path: str, key: str
    ) -> dict[str, object]:
        """A map whose entries lie over another key of the section, `schema.inherits`."""
        base = _join(path, schema.inherits)
        below = [
            Node(layer.value, "default")
            for layer in _after_null(_children(section, schema.inherits))
            if layer.is_map
        ]
        # what is wrong there is told there, once
        told = {_below(p, base) for p in self.result.problems if p.path.startswith(f"{base}.")}
        before = len(self.result.problems)
        values = self.map_of(schema, layers, _join(path, key), below)
        self.result.problems[before:] = [
            p
            for p in self.result.problems[before:]
            if not any(_below(p, f"{_join(path, key)}.{name}") in told for name in values)
        ]
        return values

    def map_of(
        self, schema: MapOf, layers: Sequence[Node], path: str, below: Sequence[Node] = ()
    ) -> dict[str, object]:
        layers = [node_from(schema.default, "default"), *self.maps(layers, path)]
        resolved = {}
        for key in self.listed(layers, path) if schema.listed else _keys(layers):
            given = _after_null(_children(layers, key))
            if not given:  # `null` took it away
                continue
            if not re.fullmatch(r"[A-Z][A-Z0-9_]*", key):
                self.problem(
                    _join(path, key),
                    f"the name of {an(schema.what)} is written in capitals: {key.upper()}",
                    given[-1].origin,
                )
                continue
            resolved[key] = self.resolve(schema.item, [*below, *given], _join(path, key))
        return resolved

    def listed(self, layers: Sequence[Node], path: str) -> list[str]:
        """The keys of a map in which a layer that names a new one lists all of them."""
        keys: list[str] = []
        for layer in layers:
            for key, child in layer.value.items():
                if child.value is None and key not in keys:
                    message = f"there is none to take away; to name one, write {key}: {{}}"
                    self.problem(_join(path, key), message, child.origin)
            named = [key for key, child in layer.value.items() if child.value is not None]
            keys = keys if set(named) <= set(keys) else named
        return keys

    def component(self, schema: Component, layers: Sequence[Node], path: str) -> dict[str, object]:
        layers = self.maps(layers, path, kind=schema.kind)
        own = [_only(layer, schema.own) for layer in layers]
        named = [_without(layer, schema.own) for layer in layers]
        name, origin, active = self.choose(schema, named, path)
        values: dict[str, object] = {"NAME": name}
        if name is None:
            if not any("NAME" in layer.value for layer in named):
                known = ", ".join(REGISTRIES[schema.kind].list())
                self.problem(f"{path}.NAME", f"is required: the {schema.kind}, one of {known}")
            return values
        self.result.origins[f"{path}.NAME"] = origin
        registry = REGISTRIES[schema.kind]
        try:
            signature = registry.signature(name)
        except ComponentError as error:
            self.problem(f"{path}.NAME", str(error), origin)
            return values
        self.result.components[path] = registry.entry(name)
        for key, child in schema.own.items():
            values[key] = self.resolve(child, _children(own, key), _join(path, key))
        fields = of_settings(signature.settings)
        owner = f"the {schema.kind} {name!r}"
        self.refuse_unknown(["NAME", *schema.own, *fields], active, path, owner)
        for key, child in fields.items():
            if key in schema.own:
                message = f"{owner} has a setting {key}, a key that each term has of its own"
                self.problem(_join(path, key), message)
                continue
            values[key] = self.resolve(child, _children(active, key), _join(path, key))
        return values

    def choose(
        self, schema: Component, layers: Sequence[Node], path: str
    ) -> tuple[str | None, str, list[Node]]:
        """The component's name, where it was named, and the layers whose keys are meant for it."""
        name, origin, active = None, "default", []
        if isinstance(schema.default, SlotDefault):
            name = schema.default.name
            settings = node_from(schema.default, "default")
            active = [_without(settings, {"NAME"})]
        for layer in layers:
            given = layer.value.get("NAME")
            if given is not None and not isinstance(given.value, str):
                message = f"got {quoted(given.plain())}, expected the name of {an(schema.kind)}"
                if given.value is None and "none" in REGISTRIES[schema.kind]:
                    message += ". For none at all write the word none"
                self.problem(f"{path}.NAME", message, given.origin)
                name, active = None, []
                continue
            if given is not None:
                if given.value != name:
                    self.drop(path, name, given.value, active)
                    active = []
                name, origin = given.value, given.origin
            active.append(layer)
        return name, origin, active

    def drop(self, path: str, before: str | None, after: str, layers: Sequence[Node]) -> None:
        """Note the keys of layers that were meant for another component."""
        known = self.result.dropped.get(path)
        keys = dict.fromkeys(known.keys if known else ())
        keys |= dict.fromkeys(
            k for layer in layers if layer.origin != "default" for k in _leaves(layer)
        )
        if before is not None and keys:
            first = known.before if known else before
            self.result.dropped[path] = Dropped(path, first, after, tuple(keys))

    def value(self, schema: Value, layers: Sequence[Node], path: str) -> object:
        if not layers:
            if schema.default is MISSING:
                self.problem(path, f"is required: {expected(schema.annotation)}")
                return None
            self.result.origins[path] = "default"
            return _plain_default(schema.default)
        top = layers[-1]
        data = top.plain()
        if schema.is_map and top.is_map:
            maps = [layer for layer in _after_null(layers) if layer.is_map]
            merged = lay_over(maps, keep_null=schema.keeps_null)
            data = merged.plain()
            for key, child in merged.value.items():
                self.result.origins[_join(path, key)] = child.origin
        else:
            self.result.origins[path] = top.origin
        try:
            return coerce(schema.annotation, data)
        except ValueError as error:
            self.problem(path, retired_value(path, data) or str(error), top.origin)
            return None

    def maps(self, layers: Sequence[Node], path: str, kind: str = "") -> list[Node]:
        """The layers that are maps; the others are problems."""
        good = []
        for layer in _after_null(layers) or layers[-1:]:
            if layer.is_map:
                good.append(layer)
                continue
            if kind and isinstance(layer.value, str):
                message = f"write {{NAME: {layer.value}}} (on the command line: "
                message += f"{path}.NAME={layer.value})"
            elif kind and layer.value is None:
                message = f"cannot be null: name {an(kind)}"
                if "none" in REGISTRIES[kind]:
                    message += ", or write {NAME: none}"
            elif layer.value is None and not kind:
                continue
            else:
                message = f"got {quoted(layer.plain())}, expected a map of keys"
            self.problem(path, message, layer.origin)
        return good

    def refuse_unknown(
        self, known: Iterable[str], layers: Sequence[Node], path: str, owner: str = ""
    ) -> None:
        known = list(known)
        for layer in layers:
            for key, child in layer.value.items():
                if key in known:
                    continue
                hint = suggest(key, known) or f"Known: {', '.join(known)}."
                retired = retired_key(_join(path, key), child)
                unknown = f"{owner or path or 'a config'} has no key {quoted(key)}. {hint}"
                message = retired or unknown
                self.problem(_join(path, key), message, child.origin)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _children(layers: Sequence[Node], key: str) -> list[Node]:
    return [layer.value[key] for layer in layers if key in layer.value]


def _after_null(layers: Sequence[Node]) -> list[Node]:
    """The layers above the last `null`, which takes away what lies below it."""
    kept: list[Node] = []
    for layer in layers:
        kept = [] if layer.value is None else [*kept, layer]
    return kept


def _only(layer: Node, keys: Iterable[str]) -> Node:
    return Node({k: v for k, v in layer.value.items() if k in set(keys)}, layer.origin)


def _without(layer: Node, keys: Iterable[str]) -> Node:
    return Node({k: v for k, v in layer.value.items() if k not in set(keys)}, layer.origin)


def _keys(layers: Sequence[Node]) -> list[str]:
    return list(dict.fromkeys(key for layer in layers for key in layer.value))


def _leaves(layer: Node, prefix: str = "") -> Iterator[str]:
    """Dotted keys of a layer, but for its own NAME."""
    for key, child in layer.value.items():
        if child.is_map:
            yield from _leaves(child, f"{prefix}{key}.")
        elif prefix or key != "NAME":
            yield f"{prefix}{key}"


def _below(problem: Problem, path: str) -> Problem:
    """A problem, its path counted from `path`."""
    return replace(problem, path=problem.path.removeprefix(f"{path}."))


def lay_over(layers: Sequence[Node], *, keep_null: bool = False) -> Node:
    """Maps laid over each other; a null takes a key away, or stands (`keep_null`)."""
    merged: dict[str, Node] = {}
    for layer in layers:
        for key, child in layer.value.items():
            below = merged.get(key)
            if child.value is None and not keep_null:
                merged.pop(key, None)
            elif child.is_map and below is not None and below.is_map:
                merged[key] = lay_over([below, child], keep_null=keep_null)
            else:
                merged[key] = child
    return Node(merged, layers[-1].origin)


def _plain_default(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain_default(child) for key, child in value.items()}
    return value
