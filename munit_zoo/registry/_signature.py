"""A component's signature, read as its schema: there is no second place where options live."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from munit_zoo.errors import ContractError
from munit_zoo.registry._slots import Slot, SlotDefault

__all__ = ["MAY_CHANGE", "Setting", "Signature", "read_signature"]

MAY_CHANGE: Final = "may change when a run is resumed"
"""Marks a setting whose other value goes on with the same training:
`keep: Annotated[int, MAY_CHANGE] = 3`."""


@dataclass(frozen=True)
class Setting:
    """One config key of a component.

    name: the keyword-only parameter; `key` is the same in capitals, as configs spell it.
    annotation: its type.
    default: its default, or `inspect.Parameter.empty` where it has none.
    slot: the kind of sub-component it takes, None for a plain value.
    """

    name: str
    annotation: object
    default: object
    slot: str | None = None

    @property
    def key(self) -> str:
        return self.name.upper()

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def may_change(self) -> bool:
        """Whether a run may be resumed with another value of it."""
        return MAY_CHANGE in getattr(self.annotation, "__metadata__", ())


@dataclass(frozen=True)
class Signature:
    """Wired (positional) parameter names and settings (keyword-only) of a class."""

    wired: tuple[str, ...]
    settings: Mapping[str, Setting]


def read_signature(component: type, label: str) -> Signature:
    """Wired names and settings of a class.

    Raises ContractError for `*args`, `**kwargs`, a setting without a type, and a setting whose
    slot default is not written with `slot(...)`.
    """
    init = component.__init__  # type: ignore[misc]
    owner = next((base for base in component.__mro__ if "__init__" in vars(base)), object)
    if owner is object or owner.__module__.startswith("torch.nn."):
        return Signature((), MappingProxyType({}))  # nn.Module's own: takes nothing
    try:
        hints = typing.get_type_hints(init, include_extras=True)
    except Exception as error:
        raise ContractError(f"{label}: a type annotation cannot be read: {error}") from error
    wired: list[str] = []
    settings: dict[str, Setting] = {}
    for name, parameter in list(inspect.signature(init).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ContractError(
                f"{label} takes {parameter}: a component spells out each of its settings, so that "
                "a misspelt key is an error and not silence. Replace it by named parameters."
            )
        if parameter.kind is not parameter.KEYWORD_ONLY:
            wired.append(name)
            continue
        if name not in hints:
            raise ContractError(f"{label}: the setting `{name}` has no type annotation; add one.")
        kind = Slot.kind_of(hints[name])
        plain = not isinstance(parameter.default, SlotDefault)
        if kind is not None and plain and parameter.default is not parameter.empty:
            raise ContractError(
                f"{label}: the slot `{name}` has the default {parameter.default!r}; "
                f'write it as slot("name").'
            )
        if kind is None and not _configurable(hints[name]):
            shown = inspect.formatannotation(hints[name])
            raise ContractError(
                f"{label}: the setting `{name}` has the type {shown}; a config can hold int, "
                "float, bool, str, Literal, tuples of these, `X | None` and dict[str, X]"
            )
        settings[name.upper()] = Setting(name, hints[name], parameter.default, kind)
    return Signature(tuple(wired), MappingProxyType(settings))


def _configurable(annotation: object) -> bool:
    """Whether a config can hold a value of a type, and hold it frozen."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _configurable(arguments[0])
    if origin is typing.Literal:
        return True
    if origin in (typing.Union, types.UnionType, tuple):
        return all(part is Ellipsis or _configurable(part) for part in arguments)
    if origin is dict:
        return arguments[0] is str and _configurable(arguments[1])
    return annotation in (int, float, bool, str, type(None))
