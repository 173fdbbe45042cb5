"""From a decoded image to a training sample: convert, resize, crop, flip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as T

from munit_zoo.data.images import MAX_PIXELS
from munit_zoo.errors import DataError
from munit_zoo.registry.ranges import Positive

__all__ = [
    "Convert",
    "Crop",
    "Interpolation",
    "Pipeline",
    "conversion_for",
    "convert_channels",
    "size_for",
]

Convert = Literal["none", "rgb", "gray"]
Crop = Positive | tuple[Positive, Positive] | None
Interpolation = Literal["bilinear", "bicubic", "nearest"]

CROP_AREAS = (0.8, 1.0)
CROP_ASPECTS = (0.9, 1.1)
"""Of `resized_crop`: of the area, and times the crop's aspect (evenly by its logarithm)."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Pipeline:
    """Resizes so that the short side is `size`, crops (at random, or the middle), flips.

    size: None keeps the images as they are. crop: (height, width), or a number for both; None for
    size × size. max_pixels: rows times columns of the largest image that one is resized to.
    convert: `rgb` repeats a single channel, `gray` weighs three (ITU-R BT.601); `none` neither.
    resized_crop: the share of training samples that are instead a part of the resized image, of .8
    to 1 of its area (less, where its aspect is another) and .9 to 1.1 of the crop's aspect, resized
    to the crop (StarGAN v2's random resized crop).
    Raises DataError where neither size nor crop is given, or the crop is larger than the size.
    """

    def __init__(
        self,
        *,
        size: int | None,
        crop: int | tuple[int, int] | None,
        flip: bool,
        interpolation: Interpolation,
        convert: Convert,
        max_pixels: int = MAX_PIXELS,
        resized_crop: float = 0.0,
    ) -> None:
        if crop is None and size is None:
            raise DataError("give DATA.SIZE (short side after resizing), DATA.CROP, or both")
        side = crop if isinstance(crop, int) else int(size or 0)
        self.crop = crop if isinstance(crop, tuple) else (side, side)
        if min(self.crop) < 1 or (size is not None and min(self.crop) > size):
            raise DataError(
                f"DATA.CROP {list(self.crop)} does not fit images whose short side is resized to "
                f"DATA.SIZE {size}"
            )
        self.short, self.flip, self.convert, self.max_pixels = size, flip, convert, max_pixels
        self.interpolation, self.resized_crop = InterpolationMode(interpolation), resized_crop

    def train(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """A training sample, all chance taken from `rng`."""
        image = self.resized(image)
        if self.resized_crop and rng.random() < self.resized_crop:
            image = self._resized_crop(image, rng)
        height, width = self.crop
        top = int(rng.integers(image.shape[1] - height + 1))
        left = int(rng.integers(image.shape[2] - width + 1))
        flipped = bool(rng.random() < 0.5)  # drawn even if unused: crops do not depend on FLIP
        image = image[:, top : top + height, left : left + width]
        return (image.flip(-1) if flipped and self.flip else image).contiguous()

    def _resized_crop(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """A large part of an image at a random place, of the crop's size."""
        rows, columns = image.shape[1:]
        area = rows * columns * rng.uniform(*CROP_AREAS)
        aspect = self.crop[1] / self.crop[0] * np.exp(rng.uniform(*np.log(CROP_ASPECTS)))
        height, width = np.sqrt(area / aspect), np.sqrt(area * aspect)
        fit = min(1.0, rows / height, columns / width)  # less of the area, rather than squeezed
        height, width = max(1, round(fit * height)), max(1, round(fit * width))
        top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
        part = image[:, top : top + height, left : left + width]
        return self._resize(part, list(self.crop))

    def _resize(self, image: Tensor, target: list[int]) -> Tensor:
        antialias = self.interpolation is not InterpolationMode.NEAREST
        resized: Tensor = T.resize(image, target, self.interpolation, antialias=antialias)
        bicubic = self.interpolation is InterpolationMode.BICUBIC
        return resized.clamp(-1, 1) if bicubic else resized  # it overshoots

    def test(self, image: Tensor) -> Tensor:
        """The middle crop."""
        cropped: Tensor = T.center_crop(self.resized(image), list(self.crop)).contiguous()
        return cropped

    def resized(self, image: Tensor) -> Tensor:
        """With its short side of `size`; the same image where it has that."""
        height, width = image.shape[1:]
        if self.short is not None and min(height, width) != self.short:
            scale = self.short / min(height, width)
            target = [max(self.short, round(side * scale)) for side in (height, width)]
            if target[0] * target[1] > self.max_pixels:
                raise DataError(
                    f"it is {height}×{width} (height × width), which DATA.SIZE {self.short} would "
                    f"make {target[0]}×{target[1]}, more than DATA.MAX_PIXELS {self.max_pixels:,} "
                    "allows"
                )
            image = self._resize(image, target)
        if image.shape[1] < self.crop[0] or image.shape[2] < self.crop[1]:
            raise DataError(
                f"it is {image.shape[1]}×{image.shape[2]} (height × width) and smaller than the "
                f"crop {self.crop[0]}×{self.crop[1]}: set DATA.SIZE to enlarge, or a smaller "
                "DATA.CROP"
            )
        return image


def convert_channels(image: Tensor, convert: Convert) -> Tensor:
    """(C, H, W) with the channels that `convert` asks for."""
    if convert == "rgb" and len(image) == 1:
        return image.expand(3, -1, -1)
    if convert == "gray" and len(image) == 3:
        return torch.einsum("chw,c->hw", image, image.new_tensor(_LUMA))[None]
    return image


def size_for(size: int | Mapping[str, int] | None, domain: str) -> int | None:
    """The short side of one domain of a setting that may differ by domain."""
    return size.get(domain.upper()) if isinstance(size, Mapping) else size


def conversion_for(convert: Convert | Mapping[str, Convert], domain: str) -> Convert:
    """The conversion of one domain of a setting that may differ by domain."""
    if isinstance(convert, str):
        return convert
    return convert.get(domain.upper(), "none")
