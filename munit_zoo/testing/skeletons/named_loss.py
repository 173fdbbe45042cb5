"""A named loss: it says itself which of the recipe's tensors it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from munit_zoo.losses import NamedLoss

__all__ = ["GradientPenalty"]


class GradientPenalty(NamedLoss):
    """R1: ||∂D_b(x_b) / ∂x_b||², the mean over real images (Mescheder et al. 2018).

    names: `x_b`, (N, C, H, W). critics: the discriminators by domain.
    """

    reads = ("x_b",)
    side = "discriminator"  # whose loss it is part of
    wants_critics = True  # without this, `critics` is empty

    def forward(self, names: Mapping[str, Any], critics: Mapping[str, Any]) -> Tensor:
        x = names["x_b"].detach().requires_grad_()
        logits = torch.stack([part.sum() for part in critics["b"](x)]).sum()
        (gradient,) = torch.autograd.grad(logits, x, create_graph=True)
        return gradient.square().sum((1, 2, 3)).mean()
