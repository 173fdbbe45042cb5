"""Penalties on a discriminator's slope: they differentiate its logits by its images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from munit_zoo.losses.base import NamesLoss
from munit_zoo.registry.ranges import NonNegative

__all__ = ["R1", "R2", "WganGP"]


class R1(NamesLoss):
    """½ E‖∂D(x)/∂x‖²: zero-centred slope at real images (Mescheder et al. 2018, eq. 9).

    Of a pair (logits, images): logits a tensor or a list of them; the squares are summed over an
    image and averaged over the batch. A weight of γ is the paper's γ, with its ½.

    of: what is differentiated: the `sum` of an image's logits, or the `mean` of all logits of the
    batch (as FUNIT does, whose penalty so shrinks with the square of their number).
    """

    same_shape: ClassVar[bool] = False
    differentiates: ClassVar[bool] = True

    def __init__(self, *, of: Literal["sum", "mean"] = "sum") -> None:
        super().__init__()
        self.of = of

    def forward(self, result: Tensor | Sequence[Tensor], by: Tensor) -> Tensor:
        parts = [result] if isinstance(result, Tensor) else list(result)
        count = sum(part.numel() for part in parts) if self.of == "mean" else 1
        return 0.5 * (slope(parts, by) / count).square().sum(dim=1).mean()


class R2(R1):
    """½ E‖∂D(x)/∂x‖² at translations (Mescheder et al. 2018, eq. 10): R1 on other names."""


class WganGP(NamesLoss):
    """E(‖∂D(x)/∂x‖ − target)²: slope of one between reals and fakes (Gulrajani et al. 2017, eq. 3).

    Of a pair (logits, images), as `r1`. The recipe says which images: the paper takes points
    between reals and fakes.
    """

    same_shape: ClassVar[bool] = False
    differentiates: ClassVar[bool] = True

    def __init__(self, *, target: NonNegative = 1.0) -> None:
        super().__init__()
        self.target = target

    def forward(self, result: Tensor | Sequence[Tensor], by: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(slope(result, by), dim=1)
        penalty: Tensor = (length - self.target).square().mean()
        return penalty


def slope(result: Tensor | Sequence[Tensor], by: Tensor) -> Tensor:
    """∂(sum of `result`)/∂`by`, (N, numbers of a sample), differentiable itself."""
    parts = [result] if isinstance(result, Tensor) else list(result)
    total = torch.stack([part.sum() for part in parts]).sum()
    (gradient,) = torch.autograd.grad(total, by, create_graph=True)
    return gradient.flatten(1)
