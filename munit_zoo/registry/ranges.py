"""Types of settings that hold only some numbers: found wrong, all at once, when a config resolves.

    def __init__(self, in_channels: int, *, blocks: Count = 4, kernel_size: Odd = 7) -> None: ...

Apart from the package's namespace, so that listing components does not load pydantic.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

__all__ = [
    "Count",
    "Depth",
    "Fraction",
    "Halvings",
    "Kernel",
    "Layers",
    "Moment",
    "NonEmpty",
    "NonNegative",
    "Odd",
    "OpenFraction",
    "Positive",
    "PositiveFloat",
    "Scales",
    "Share",
    "ValueRange",
    "Width",
]

T = TypeVar("T", bound=tuple[object, ...])


def _odd(value: int) -> int:
    if value < 1 or value % 2 == 0:
        raise ValueError(
            "a convolution that keeps the size of its map has an odd kernel, such as "
            f"{max(1, value - 1)} or {max(3, value + 1)}"
        )
    if value > 1023:
        raise ValueError("a kernel is at most 1023 wide")
    return value


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise ValueError("the first number, which maps to -1, must be below the second")
    return value


def _some(value: T) -> T:
    if not value:
        raise ValueError("the list is empty; leave the key out, or list at least one")
    return value


def _moment(value: float) -> float:
    if value < 0 or (value > 1 and not value.is_integer()):
        raise ValueError(
            "a share of training from 0 to 1, or above 1 a whole number of iterations or epochs"
        )
    return value


# what indices of tensors, counters and files of a run are made for
MOST = 2**31 - 1

Count = Annotated[int, Field(ge=0, le=MOST)]
Positive = Annotated[int, Field(ge=1, le=MOST)]
Width = Annotated[int, Field(ge=1, le=65_536)]
"""Channels or features of a layer."""
Depth = Annotated[int, Field(ge=1, le=256)]
Layers = Annotated[int, Field(ge=0, le=256)]
"""How many layers or blocks follow each other: at least one (Depth), or none (Layers)."""
Kernel = Annotated[int, Field(ge=1, le=1_023)]
"""Sides of a kernel, even ones too."""
Halvings = Annotated[int, Field(ge=0, le=16)]
Scales = Annotated[int, Field(ge=1, le=16)]
"""How often a size is halved or doubled; how many sizes there are, each half the other."""
Odd = Annotated[int, AfterValidator(_odd)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
ValueRange = Annotated[tuple[float, float], AfterValidator(_rising)]
NonEmpty = Annotated[T, AfterValidator(_some)]
Moment = Annotated[float, AfterValidator(_moment)]
"""When in training: a share of it from 0 to 1, or above 1 a number of iterations or epochs."""
