"""Measured values to [-1, 1] and back: 8 or 16 bits, or numbers of any range."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from munit_zoo.errors import DataError

__all__ = ["from_unit", "mapping", "to_unit"]

Pixels = NDArray[Any]
"""(C, H, W) in the file's own type."""


def _limits(
    dtype: np.dtype[Any], value_range: tuple[float, float] | None, what: str, domain: str
) -> tuple[float, float]:
    if value_range is not None:
        low, high = value_range
        if not low < high:
            raise DataError(f"{what}: VALUE_RANGE [{low}, {high}] is empty")
        return low, high
    if dtype.kind == "f" or dtype.itemsize > 2:
        example = "[0,1]" if dtype.kind == "f" else "[0,65535]"
        raise DataError(
            f"{what} holds {dtype} numbers, which have no range of their own: say which values map "
            f"to [-1, 1], as in DOMAINS.{domain.upper()}.VALUE_RANGE={example}"
        )
    info = np.iinfo(dtype)
    return float(info.min), float(info.max)


def mapping(
    dtype: np.dtype[Any], value_range: tuple[float, float] | None, *, domain: str = "a"
) -> str:
    """The mapping in words: `0..65535 (uint16) to -1..1`."""
    low, high = _limits(dtype, value_range, "the image", domain)
    return f"{low:g}..{high:g} ({dtype}) to -1..1"


def to_unit(
    pixels: Pixels,
    value_range: tuple[float, float] | None = None,
    *,
    what: str = "the image",
    domain: str = "a",
) -> Tensor:
    """float32 (C, H, W) in [-1, 1].

    value_range: values that map to -1 and 1 (values beyond map beyond); None for the whole range of
    an integer type of 8 or 16 bits. what, domain: for messages.
    Raises DataError for floating-point pixels, and wider integers, without a range.
    """
    low, high = _limits(pixels.dtype, value_range, what, domain)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype.kind in "ui" and pixels.dtype.itemsize <= 2:
        table, single = _table(pixels.dtype.str, low, high)
        if single:
            return torch.from_numpy(_in_single(pixels, low, high))
        indices = pixels.view(f"u{pixels.dtype.itemsize}")
        return torch.from_numpy(np.take(table, indices, mode="clip"))  # none is beyond
    image = np.empty(pixels.shape, np.float32)
    with np.errstate(over="ignore"):  # found below
        for channel, values in zip(image, pixels, strict=True):  # one at a time: memory
            channel[:] = (values.astype(np.float64) - low) * (2 / (high - low)) - 1
    if not np.isfinite(image).all():
        raise DataError(f"{what} holds numbers that the range {low:g}..{high:g} cannot map")
    return torch.from_numpy(image)


@lru_cache(maxsize=16)
def _table(dtype: str, low: float, high: float) -> tuple[NDArray[np.float32], bool]:
    """What each value of an integer type maps to, by its bits; and whether single precision gives
    the same, as it does for whole numbers as limits, in a quarter of the time."""
    kind = np.dtype(dtype)
    values = np.arange(2 ** (8 * kind.itemsize), dtype=f"u{kind.itemsize}").view(kind)
    with np.errstate(over="ignore"):
        table = ((values.astype(np.float64) - low) * (2 / (high - low)) - 1).astype(np.float32)
        return table, np.array_equal(table, _in_single(values, low, high))


def _in_single(pixels: Pixels, low: float, high: float) -> NDArray[np.float32]:
    image = pixels.astype(np.float32)
    image *= 2
    image -= np.float32(low + high)
    image /= np.float32(high - low)
    return image


def from_unit(
    image: Tensor, dtype: np.dtype[Any] | type, value_range: tuple[float, float] | None = None
) -> Pixels:
    """Pixels of a type: the inverse of `to_unit`, rounded and clipped to the type's range."""
    kind = np.dtype(dtype)
    low, high = _limits(kind, value_range, "the image", "a")
    values = (image.detach().cpu().double().numpy() + 1) * ((high - low) / 2) + low
    if kind.kind == "f":
        return values.astype(kind)
    info = np.iinfo(kind)
    return np.clip(np.rint(values), info.min, info.max).astype(kind)
