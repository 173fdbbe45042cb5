"""A style encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["MomentStyleEncoder"]


class MomentStyleEncoder(nn.Module):
    """Means and variances of convolutional features, projected: image (N, C, H, W) to (N, S)."""

    def __init__(self, in_channels: int, style_dim: int, *, dim: int = 64) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, dim, 4, 2, 1), nn.ReLU(), nn.Conv2d(dim, dim, 4, 2, 1)
        )
        self.head = nn.Linear(2 * dim, style_dim)

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.features(x), dim=(2, 3))
        return self.head(torch.cat([mean, variance], dim=1))
