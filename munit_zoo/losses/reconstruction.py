"""Reconstruction losses: means over all elements of two tensors of one shape."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from munit_zoo.losses.base import NamesLoss

__all__ = ["L1", "MSE", "SmoothL1"]


class L1(NamesLoss):
    """mean |x - y|."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return F.l1_loss(x, y)


class MSE(NamesLoss):
    """mean (x - y)²."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(x, y)


class SmoothL1(NamesLoss):
    """mean |x - y| with a parabola below `beta` (Girshick 2015)."""

    def __init__(self, *, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return F.smooth_l1_loss(x, y, beta=self.beta)
