"""Residual blocks."""

from __future__ import annotations

from torch import Tensor, nn

from munit_zoo.blocks.conv import ConvBlock, Make, PadType, WeightNorm

__all__ = ["ResidualBlock", "ResidualTrunk"]


class ResidualBlock(nn.Module):
    """x + conv(conv(x)), both normalised, only the first activated (He et al. 2016).

    `num_parameters`: what the two norms take together, the first's first.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        *,
        norm: Make,
        activation: Make,
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
    ) -> None:
        super().__init__()
        self.first = ConvBlock(
            channels,
            channels,
            kernel_size,
            norm=norm,
            activation=activation,
            pad_type=pad_type,
            weight_norm=weight_norm,
        )
        self.second = ConvBlock(
            channels, channels, kernel_size, norm=norm, pad_type=pad_type, weight_norm=weight_norm
        )
        self.num_parameters = self.first.num_parameters + self.second.num_parameters

    def forward(self, x: Tensor, parameters: Tensor | None = None) -> Tensor:
        if parameters is None:
            return x + self.second(self.first(x))
        sizes = [self.first.num_parameters, self.second.num_parameters]
        first, second = parameters.split(sizes, dim=1)
        return x + self.second(self.first(x, first), second)


class ResidualTrunk(nn.Module):
    """Several residual blocks; parameters (N, num_parameters) are handed out in order."""

    def __init__(
        self,
        channels: int,
        blocks: int,
        kernel_size: int = 3,
        *,
        norm: Make,
        activation: Make,
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(
                channels,
                kernel_size,
                norm=norm,
                activation=activation,
                pad_type=pad_type,
                weight_norm=weight_norm,
            )
            for _ in range(blocks)
        )
        self.sizes = [int(block.num_parameters) for block in self.blocks]
        self.num_parameters = sum(self.sizes)

    def forward(self, x: Tensor, parameters: Tensor | None = None) -> Tensor:
        if parameters is None or not self.num_parameters:
            for block in self.blocks:
                x = block(x)
            return x
        for block, part in zip(self.blocks, parameters.split(self.sizes, dim=1), strict=True):
            x = block(x, part)
        return x
