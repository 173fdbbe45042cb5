"""Self-similarity: an image's structure as how alike its places are, whatever they look like."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional as F

from munit_zoo.losses.base import NamesLoss
from munit_zoo.pretrained.vgg16 import VGG16, Normalize

__all__ = ["SelfSimilarity"]


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"a window about a place has an odd side, such as {value + 1}")
    return value


Window = Annotated[int, Field(ge=3, le=63), AfterValidator(_odd)]


class SelfSimilarity(NamesLoss):
    """Mean |S(x) - S(y)|, S the cosine similarities of an image's places in VGG-16's features.

    A translation keeps which places are alike while their looks change. x, y: (N, C, H, W) in
    [-1, 1], a translation and its input. Over all pairs of places it is the content loss of Kolkin
    et al. (2019; `normalized` has its normalisation), over each place and its neighbours the fixed
    spatially-correlative loss of Zheng et al. (2021).

    layers: `relu1_1` to `relu5_3`; their losses are averaged.
    window: null: all pairs; an odd number: each place with those of a square of so many about it,
        zeros beyond the borders.
    places: how many a layer's map is thinned to at most, on a regular grid, as their pairs are
        compared (256: 16×16, 65,536 pairs); with `window` the map is not thinned.
    compare: `l1`, or `cosine`: 1 - the cosine of a place's similarities in x and in y.
    normalized: similarities become distances 1 - S, each divided by the sum of its place's.
    Other keys as those of `vgg_perceptual`.

    Raises WeightsError, ContractError and GraphError as `vgg_perceptual`.
    """

    same_shape: ClassVar[bool] = False  # one channel against three is fine

    def __init__(
        self,
        *,
        layers: tuple[str, ...] = ("relu3_1", "relu4_1"),
        window: Window | None = None,
        places: Annotated[int, Field(ge=4, le=4096)] = 256,
        compare: Literal["l1", "cosine"] = "l1",
        normalized: bool = False,
        weights: str | None = None,
        normalize: Normalize | None = None,
        download: bool = False,
        channels: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.vgg = VGG16(layers, weights, normalize, False, channels, download)
        self.window, self.places = window, places
        self.compare, self.normalized = compare, normalized

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        first, second = self.vgg(x), self.vgg(y)
        parts = []
        for layer in self.vgg.layers:
            one, other = self._similar(first[layer]), self._similar(second[layer])
            if self.compare == "cosine":
                parts.append(1 - F.cosine_similarity(one, other, dim=-1).mean())
            else:
                parts.append((one - other).abs().mean())
        return torch.stack(parts).mean()

    def _similar(self, features: Tensor) -> Tensor:
        """How alike places are: (N, places, others)."""
        if features.dtype in (torch.float16, torch.bfloat16):
            features = features.float()
        unit = features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-6)
        found = self._among_all(unit) if self.window is None else self._nearby(unit, self.window)
        if not self.normalized:
            return found
        distances = 1 - found
        return distances / (distances.sum(dim=-1, keepdim=True) + 1e-6)

    def _among_all(self, unit: Tensor) -> Tensor:
        height, width = unit.shape[2:]
        step = max(1, math.ceil(math.sqrt(height * width / self.places)))
        flat = unit[:, :, step // 2 :: step, step // 2 :: step].flatten(2)
        device = "cpu" if flat.is_meta else flat.device.type
        with torch.autocast(device, enabled=False):  # of differences that are small
            return torch.bmm(flat.mT, flat)

    @staticmethod
    def _nearby(unit: Tensor, window: int) -> Tensor:
        height, width = unit.shape[2:]
        border = window // 2
        padded = F.pad(unit, (border,) * 4)
        found = [
            (unit * padded[:, :, dy : dy + height, dx : dx + width]).sum(dim=1)
            for dy in range(window)
            for dx in range(window)
        ]
        return torch.stack(found, dim=-1).flatten(1, 2)
