"""A discriminator."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["PixelDiscriminator"]


class PixelDiscriminator(nn.Module):
    """Judges each pixel by its colour alone (Isola et al. 2017): (N, C, H, W) to [(N, 1, H, W)]."""

    def __init__(self, in_channels: int, *, dim: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, dim, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(dim, 2 * dim, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * dim, 1, 1),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.layers(x)]  # a list: one entry a scale
