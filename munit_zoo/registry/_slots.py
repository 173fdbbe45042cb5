"""Slots: how a component says that it takes a sub-component.

    def __init__(self, in_channels: int, *, norm: Slot[Norm] = slot("instance")) -> None:
        norm = NORMS.factory(norm)
        self.norm = norm(64)

From a config the parameter arrives as a factory with its settings bound; from Python a name, a
class or any callable does. `REGISTRY.factory` makes one of each.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

__all__ = [
    "Activation",
    "Augmentation",
    "ContentEncoder",
    "Decoder",
    "Discriminator",
    "FeatureExtractor",
    "Generator",
    "Norm",
    "Schedule",
    "Slot",
    "SlotDefault",
    "StyleEncoder",
    "StyleMapping",
    "slot",
]


class _Kind:
    """A kind of component as a type argument: `Slot[Norm]`.

    kind: as CONTRACTS has it, the class's name in lower case with underscores, unless it says.
    """

    kind: typing.ClassVar[str]

    def __init_subclass__(cls, kind: str = "") -> None:
        cls.kind = kind or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()


class Norm(_Kind):
    """A norm."""


class Activation(_Kind):
    """An activation."""


class ContentEncoder(_Kind):
    """A content encoder."""


class StyleEncoder(_Kind):
    """A style encoder."""


class Decoder(_Kind):
    """A decoder."""


class Generator(_Kind):
    """A generator."""


class StyleMapping(_Kind, kind="mapping"):
    """A mapping."""


class Discriminator(_Kind):
    """A discriminator."""


class Augmentation(_Kind):
    """An augmentation of what discriminators see."""


class Schedule(_Kind):
    """A schedule."""


class FeatureExtractor(_Kind, kind="extractor"):
    """An extractor of features."""


K = TypeVar("K", bound=_Kind)


class Slot(Generic[K]):
    """Type of a keyword-only parameter that takes a sub-component of kind K."""

    def __call__(self, *wired: object) -> Any:
        raise TypeError("Slot is a type annotation; pass the value through REGISTRY.factory first")

    @staticmethod
    def kind_of(annotation: object) -> str | None:
        """The kind that `Slot[Kind]` names; None for any other annotation."""
        if typing.get_origin(annotation) is Slot:
            (marker,) = typing.get_args(annotation)
            return str(marker.kind)
        return None


@dataclass(frozen=True)
class SlotDefault:
    """Default of a slot: a component's name and the settings that differ from its own."""

    name: str
    settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    def __call__(self, *wired: object) -> Any:
        raise TypeError(
            f"slot({self.name!r}) is only a default; turn it into a factory first, "
            "as in `norm = NORMS.factory(norm)`"
        )

    def __repr__(self) -> str:
        settings = "".join(f", {key}={value!r}" for key, value in self.settings.items())
        return f"slot({self.name!r}{settings})"


def slot(name: str, **settings: object) -> Any:
    """Default of a slot parameter: the component `name`, with settings that differ from its own."""
    return SlotDefault(name, MappingProxyType(dict(settings)))


ComponentChoice = str | type | SlotDefault | Callable[..., Any]
