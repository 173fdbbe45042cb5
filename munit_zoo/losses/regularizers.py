"""Regularisers of codes and of images."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from munit_zoo.losses.base import NamesLoss

__all__ = ["GaussianKL", "TotalVariation", "VaeKL"]


class GaussianKL(NamesLoss):
    """mean h²: up to constants the KL divergence of N(h, I) from N(0, I) (Liu et al. 2017)."""

    arity = 1

    def forward(self, h: Tensor) -> Tensor:
        return h.square().mean()


class VaeKL(NamesLoss):
    """KL(N(μ, σ²) ‖ N(0, I)) of a mean and a log-variance (N, S) (Kingma & Welling 2014, app. B).

    ½ (μ² + σ² − log σ² − 1), summed over the numbers of a code, averaged over the batch.
    """

    def forward(self, mean: Tensor, logvar: Tensor) -> Tensor:
        divergence = 0.5 * (mean.square() + logvar.exp() - logvar - 1)
        return divergence.flatten(1).sum(dim=1).mean()


class TotalVariation(NamesLoss):
    """Mean difference of neighbouring pixels (Rudin et al. 1992; Johnson et al. 2016, section 3.2).

    Of one image (N, C, H, W), along rows and along columns, each averaged; their sum. A side of one
    pixel has no neighbours and counts 0.

    of: `absolute` differences (anisotropic total variation), or their `squares`.
    """

    arity: ClassVar[int | None] = 1

    def __init__(self, *, of: Literal["absolute", "squares"] = "absolute") -> None:
        super().__init__()
        self.of = of

    def forward(self, x: Tensor) -> Tensor:
        steps = x.diff(dim=2), x.diff(dim=3)
        sizes = [step.square() if self.of == "squares" else step.abs() for step in steps]
        found = [size.mean() for size in sizes if size.numel()]
        return torch.stack(found).sum() if found else x.sum() * 0
