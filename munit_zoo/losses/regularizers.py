"""Regularisers of codes."""

from __future__ import annotations

from torch import Tensor

from munit_zoo.losses.base import NamesLoss
from munit_zoo.registry.ranges import PositiveFloat

__all__ = ["GaussianKL", "ModeSeeking", "VaeKL"]


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


class ModeSeeking(NamesLoss):
    """1 / (d(x2, x1) / d(z2, z1) + eps): two codes are to make two images (Mao et al. 2019).

    Read are the two images and then the two codes that they were made with; d is the mean |·|.
    """

    arity = 4
    same_shape = False

    def __init__(self, *, eps: PositiveFloat = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x2: Tensor, x1: Tensor, z2: Tensor, z1: Tensor) -> Tensor:
        ratio = (x2 - x1).abs().mean() / (z2 - z1).abs().mean()
        return 1 / (ratio + self.eps)
