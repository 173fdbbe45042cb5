"""Checks of settings that several blocks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from munit_zoo.errors import ContractError

__all__ = ["at_least", "odd", "takes_maps", "unsteered"]


def at_least(minimum: int, **settings: int) -> None:
    """Raises ContractError where a setting is below `minimum`."""
    for name, value in settings.items():
        if value < minimum:
            raise ContractError(f"{name.upper()} is {value}, expected {minimum} or more")


def odd(**settings: int) -> None:
    """Raises ContractError where a kernel that has to keep the size of its map is not odd."""
    for name, value in settings.items():
        if value < 1 or value % 2 == 0:
            raise ContractError(
                f"{name.upper()} is {value}: a convolution that keeps the size of its map has an "
                f"odd kernel, such as {max(1, value - 1)} or {max(3, value + 1)}"
            )


def unsteered(norm: Callable[..., object], owner: str) -> Callable[..., Any]:
    """A factory of norms that refuses those that a style steers.

    Raises ContractError, naming the owner, where one takes parameters: nothing would make them.
    """

    def build(num_features: int) -> object:
        built = norm(num_features)
        if getattr(built, "num_parameters", 0):
            raise ContractError(
                f"{owner} has no style to make the parameters of {type(built).__name__} from: "
                "choose another NORM, such as {NAME: instance}"
            )
        return built

    return build


def takes_maps(norm: Callable[..., object], owner: str) -> Callable[..., Any]:
    """A factory of norms that refuses those whose parameters cannot differ from place to place.

    Raises ContractError, naming the owner, where one takes parameters but no maps of them.
    """

    def build(num_features: int) -> object:
        built = norm(num_features)
        if getattr(built, "num_parameters", 0) and not getattr(built, "takes_maps", False):
            raise ContractError(
                f"{owner} makes maps (N, P, h, w) of parameters, which {type(built).__name__} does "
                "not take: choose NORM: {NAME: adain, OFFSET: 1}"
            )
        return built

    return build
