"""A generator: a whole image-to-image network."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["PlainGenerator"]


class PlainGenerator(nn.Module):
    """Strided convolutions down and back up.

    Image (N, in_channels, H, W) to (N, out_channels, H, W) in [-1, 1].

    dim: channels of the first convolution, doubled with each downsampling.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, dim: int = 64, downsamples: int = 2
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, dim, 7, padding=3), nn.ReLU()]
        for _ in range(downsamples):
            layers += [nn.Conv2d(dim, 2 * dim, 4, 2, 1), nn.InstanceNorm2d(2 * dim), nn.ReLU()]
            dim *= 2
        for _ in range(downsamples):
            layers += [nn.ConvTranspose2d(dim, dim // 2, 4, 2, 1), nn.ReLU()]
            dim //= 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(dim, out_channels, 7, padding=3), nn.Tanh())
        self.stride = 2**downsamples  # the sides of an image are multiples of it

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
