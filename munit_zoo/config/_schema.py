"""What a config may hold: sections, components, maps of either, and single values."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import TypeAdapter, ValidationError

from munit_zoo.config.settings import (
    AugmentSettings,
    DomainSettings,
    EngineSettings,
    TermSettings,
    UpdateSettings,
)
from munit_zoo.errors import shortened, suggest
from munit_zoo.registry import MAY_CHANGE, Setting, read_signature, slot, spare_others

__all__ = [
    "MISSING",
    "ROOT",
    "Component",
    "MapOf",
    "Schema",
    "Section",
    "Value",
    "coerce",
    "expected",
    "of_settings",
]

MISSING: object = object()
LARGEST_INTEGER = 2**63 - 1
LARGEST_NUMBER = 3.4028234663852886e38


@dataclass(frozen=True)
class Value:
    """One value of a type, with its default (MISSING where it must be given)."""

    annotation: object
    default: object = MISSING

    @property
    def is_map(self) -> bool:
        """Whether a YAML map is a value of this type (`dict[str, X]`, alone or in a union)."""
        return self._map is not None

    @property
    def keeps_null(self) -> bool:
        """Whether null is a value in such a map, and does not take a key away."""
        found = self._map
        return found is not None and type(None) in _options(typing.get_args(found)[1])

    @property
    def may_change(self) -> bool:
        """Whether a run may be resumed with another value."""
        options = [self.annotation, *typing.get_args(self.annotation)]
        # Python 3.10 wraps what is null by default once more: Optional[Annotated[…]]
        return any(MAY_CHANGE in getattr(option, "__metadata__", ()) for option in options)

    @property
    def _map(self) -> Any:
        return next((option for option in _options(self.annotation) if _is_dict(option)), None)


def _options(annotation: object) -> list[Any]:
    """The types that a union, marked or not, is of; a type alone of any other."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _options(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return [option for argument in arguments for option in _options(argument)]
    return [annotation]


def _is_dict(annotation: object) -> bool:
    return typing.get_origin(annotation) is dict


@dataclass(frozen=True)
class Component:
    """A component of a kind: `NAME` and its keys.

    default: the component where none is named, as `slot(...)` writes it; None: must be named.
    own: keys that belong to the place and not to the component (a term's WEIGHT).
    """

    kind: str
    default: object = None
    own: Mapping[str, Schema] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A fixed set of keys."""

    fields: Mapping[str, Schema]


@dataclass(frozen=True)
class MapOf:
    """A map with keys of the user's choosing (capitals), each of one schema.

    default: entries where no layer has any.
    inherits: a key of the same section whose layers lie below those of each entry.
    listed: a layer that names a new entry lists all of them, in this order.
    """

    item: Schema
    what: str
    default: Mapping[str, object] = field(default_factory=dict)
    inherits: str = ""
    listed: bool = False


Schema = Value | Component | Section | MapOf


def of_settings(settings: Mapping[str, Setting]) -> dict[str, Schema]:
    """The schemas of a signature's settings."""
    return {
        key: Component(s.slot, None if s.required else s.default)
        if s.slot
        else Value(s.annotation, MISSING if s.required else s.default)
        for key, s in settings.items()
    }


def _of_class(settings: type) -> dict[str, Schema]:
    """The schemas of a dataclass's fields."""
    made = {
        name: f.default_factory()
        for name, f in settings.__dataclass_fields__.items()  # type: ignore[attr-defined]
        if f.default_factory is not dataclasses.MISSING
    }
    signature = read_signature(settings, settings.__name__)
    return of_settings(
        {
            key: replace(s, default=made[s.name]) if s.name in made else s
            for key, s in signature.settings.items()
        }
    )


ROOT = Section(
    {
        "SCHEMA_VERSION": Value(int),
        "MODEL": Component("model"),
        "LOSSES": MapOf(Component("loss", own=_of_class(TermSettings)), "loss term"),
        "UPDATES": MapOf(Section(_of_class(UpdateSettings)), "update"),
        "AUGMENT": Component("augmentation", slot("none"), own=_of_class(AugmentSettings)),
        "DOMAINS": MapOf(
            Section(_of_class(DomainSettings)), "domain", {"A": {}, "B": {}}, listed=True
        ),
        "DATA": Component("dataset", slot("shapes")),
        "OPTIM": Section(
            {
                "DEFAULT": Component("optimizer", slot("adam")),
                "NETWORKS": MapOf(
                    Component("optimizer", slot("adam")), "network", inherits="DEFAULT"
                ),
                "SCHEDULE": Component("schedule", slot("constant")),
            }
        ),
        "ENGINE": Section(_of_class(EngineSettings)),
        "METRICS": MapOf(Component("metric"), "metric"),
    }
)


def coerce(annotation: Any, value: Any) -> Any:
    """`value`, as YAML gives it, as the annotated type: int to float, list to tuple, nothing else.

    Raises ValueError that says what was expected.
    """
    if _holds_bool(value) and not _takes_bool(annotation):
        raise ValueError(_complaint(annotation, value))  # pydantic takes True for Literal[1]
    _check_numbers(value)
    spare_others()
    try:
        return TypeAdapter(annotation).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        # a number of the right type that is none of those allowed: the type's own words
        reasons = [
            str(e["ctx"]["error"]) if e["type"] == "value_error" else e["msg"]
            for e in error.errors()
            if e["type"] == "value_error" or "than" in e["type"]
        ]
        if reasons:
            raise ValueError(f"{_show(value)}: {reasons[0][0].lower()}{reasons[0][1:]}") from None
        raise ValueError(_complaint(annotation, value)) from None


def _check_numbers(value: object) -> None:
    """Raises ValueError for a number that tensors, files or random generators cannot hold."""
    if isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            _check_numbers(part)
    elif isinstance(value, int) and not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
        digits = len(f"{abs(value):x}") * 1.204
        shown = value if digits < 40 else f"an integer of some {digits:.0f} digits"
        raise ValueError(f"got {shown}, which does not fit in 64 bits: use a smaller one")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"got {value}: a number here is finite")
    elif isinstance(value, float) and abs(value) > LARGEST_NUMBER:
        raise ValueError(f"got {value}, which is too large for 32 bits (at most 3.4e38)")


def _complaint(annotation: object, value: object) -> str:
    hint = suggest(value, _words(annotation)) if isinstance(value, str) else ""
    if isinstance(value, float) and value.is_integer() and "integer" in expected(annotation):
        hint = f"Write {int(value)}."
    return f"got {_show(value)}, expected {expected(annotation)}. {hint}".rstrip()


def _show(value: object) -> str:
    kind = {bool: "boolean", int: "integer", float: "number", str: "word", list: "list"}
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "a map"
    return f"the {kind.get(type(value), type(value).__name__)} {shortened(json.dumps(value))}"


def expected(annotation: Any) -> str:
    """A type in a config user's words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return expected(arguments[0])
    if origin is Literal:
        return "one of " + ", ".join("null" if a is None else str(a) for a in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(expected(argument) for argument in arguments)
    if origin in (tuple, list):
        if origin is list or (len(arguments) == 2 and arguments[1] is Ellipsis):
            return f"a list, each {expected(arguments[0])}"
        return f"a list of {len(arguments)}: " + ", ".join(expected(a) for a in arguments)
    if origin is dict:
        return f"a map such as {{KEY: …}}, each value {expected(arguments[1])}"
    words = {int: "an integer", float: "a number", bool: "true or false", str: "a word"}
    words[type(None)] = "null"
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _words(annotation: object) -> list[str]:
    if typing.get_origin(annotation) is Literal:
        return [a for a in typing.get_args(annotation) if isinstance(a, str)]
    return [word for part in typing.get_args(annotation) for word in _words(part)]


def _holds_bool(value: object) -> bool:
    if isinstance(value, list):
        return any(map(_holds_bool, value))
    return isinstance(value, bool)


def _takes_bool(annotation: object) -> bool:
    if typing.get_origin(annotation) is Literal:
        return any(isinstance(a, bool) for a in typing.get_args(annotation))
    return annotation in (bool, Any) or any(map(_takes_bool, typing.get_args(annotation)))
