"""A loss of tensors that a recipe names."""

from __future__ import annotations

from torch import Tensor

from munit_zoo.losses import NamesLoss

__all__ = ["Charbonnier"]


class Charbonnier(NamesLoss):
    """mean √((x - y)² + eps²): an L1 that is smooth at zero (Charbonnier et al. 1994).

    x, y: tensors of one shape. eps: where the parabola turns into a line.
    """

    def __init__(self, *, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return ((x - y).square() + self.eps**2).sqrt().mean()
