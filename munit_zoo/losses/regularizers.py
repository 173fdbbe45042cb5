"""Regularisers of codes."""

from __future__ import annotations

from torch import Tensor

from munit_zoo.losses.base import NamesLoss

__all__ = ["GaussianKL", "VaeKL"]


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
