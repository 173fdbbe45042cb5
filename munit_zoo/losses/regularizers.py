"""Regularisers of single tensors."""

from __future__ import annotations

from torch import Tensor

from munit_zoo.losses.base import NamesLoss

__all__ = ["GaussianKL"]


class GaussianKL(NamesLoss):
    """mean h²: up to constants the KL divergence of N(h, I) from N(0, I) (Liu et al. 2017)."""

    arity = 1

    def forward(self, h: Tensor) -> Tensor:
        return h.square().mean()
