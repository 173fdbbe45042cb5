"""The last part of decoders: from a map of features to an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from munit_zoo.blocks._checks import odd
from munit_zoo.blocks.conv import ConvBlock, Make, PadType, WeightNorm
from munit_zoo.blocks.upsampling import UpsampleConv, Upsampling
from munit_zoo.errors import ContractError

__all__ = ["ImageHead", "doublings"]


def doublings(channels: int, scale_factor: int) -> int:
    """How often a decoder doubles a map, halving its channels.

    Raises ContractError for a scale_factor that is no power of two, and for channels that cannot be
    halved so often.
    """
    steps = scale_factor.bit_length() - 1
    if scale_factor < 1 or scale_factor != 2**steps:
        raise ContractError(
            "a decoder enlarges by a power of two, the content encoder's stride is "
            f"{scale_factor}: choose another content encoder or, of timm's, another OUT_INDEX"
        )
    if channels % scale_factor:
        raise ContractError(
            f"each of {steps} upsamplings halves the channels, the content code has {channels}:"
            f" its channels must be a multiple of {scale_factor} (DIM of the content encoder)"
        )
    return steps


class ImageHead(nn.Module):
    """Upsampling convolutions down to an image; `num_parameters` is what their norms take."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        scale_factor: int,
        kernel_size: int,
        upsample_kernel_size: int,
        upsample: Upsampling,
        *,
        norm: Make,
        activation: Make,
        output_activation: Make,
        pad_type: PadType,
        weight_norm: WeightNorm,
        fold: bool,
        weight_norm_last: bool = True,
        noise: bool = False,
    ) -> None:
        super().__init__()
        odd(kernel_size=kernel_size, upsample_kernel_size=upsample_kernel_size)
        steps = doublings(channels, scale_factor)
        self.ups = nn.ModuleList()
        self.sizes: list[int] = []
        for _ in range(steps):
            up = UpsampleConv(
                channels,
                channels // 2,
                upsample_kernel_size,
                upsample=upsample,
                norm=norm,
                activation=activation,
                pad_type=pad_type,
                weight_norm=weight_norm,
                fold=fold,
                noise=noise,
            )
            self.ups.append(up)
            self.sizes.append(up.num_parameters)
            channels //= 2
        self.num_parameters = sum(self.sizes)
        self.out = ConvBlock(
            channels,
            out_channels,
            kernel_size,
            activation=output_activation,
            pad_type=pad_type,
            weight_norm=weight_norm if weight_norm_last else "none",
            fold=fold,
        )

    def forward(self, x: Tensor, parameters: Tensor | None = None) -> Tensor:
        if parameters is None or not self.num_parameters:
            for up in self.ups:
                x = up(x)
        else:
            parts = torch.split(parameters, self.sizes, dim=1)
            for up, part in zip(self.ups, parts, strict=True):
                x = up(x, part)
        image: Tensor = self.out(x)
        return image
