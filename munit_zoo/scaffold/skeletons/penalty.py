"""A penalty: a loss that differentiates what a recipe names by something it is computed from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from munit_zoo.losses import NamesLoss

__all__ = ["GradientPenalty"]


class GradientPenalty(NamesLoss):
    """R1: ||∂D(x) / ∂x||², the mean over the images (Mescheder et al. 2018).

    logits: of the images, a list, a tensor a scale. x: the images, (N, C, H, W).
    """

    differentiates = True  # its first argument by its second

    def forward(self, logits: Sequence[Tensor], x: Tensor) -> Tensor:
        total = torch.stack([part.sum() for part in logits]).sum()
        (gradient,) = torch.autograd.grad(total, x, create_graph=True)
        return gradient.square().sum((1, 2, 3)).mean()
