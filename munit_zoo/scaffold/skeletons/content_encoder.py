"""A content encoder."""

from __future__ import annotations

from torch import Tensor, nn

from munit_zoo.registry import NORMS, Norm, Slot, slot

__all__ = ["PlainContentEncoder"]


class PlainContentEncoder(nn.Module):
    """Strided convolutions, each followed by a norm and a ReLU, and one convolution at the end.

    Image (N, in_channels, H, W) to content code (N, dim, H/2^downsamples, W/2^downsamples).
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: int = 64,
        downsamples: int = 2,
        norm: Slot[Norm] = slot("instance"),
    ) -> None:
        super().__init__()
        make = NORMS.factory(norm)
        layers: list[nn.Module] = []
        channels = in_channels
        for _ in range(downsamples):
            layers += [
                nn.Conv2d(channels, dim, 4, 2, 1, padding_mode="reflect"),
                make(dim),
                nn.ReLU(),
            ]
            channels = dim
        layers.append(nn.Conv2d(channels, dim, 3, 1, 1, padding_mode="reflect"))
        self.layers = nn.Sequential(*layers)
        self.out_channels, self.stride = dim, 2**downsamples

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
