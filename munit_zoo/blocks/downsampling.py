"""Convolutions to a map half as large."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from munit_zoo.blocks.conv import ConvBlock
from munit_zoo.blocks.filters import BlurDownsample

__all__ = ["Downsampling", "halving_block"]

Downsampling = Literal["strided", "blur"]
"""How a map becomes half as large: see `halving_block`."""


def halving_block(
    in_channels: int, out_channels: int, kernel_size: int, downsample: Downsampling, **make: Any
) -> nn.Module:
    """A convolution block from (N, C, H, W) to (N, C', H/2, W/2), H and W even.

    downsample: `strided`: a convolution at stride 2; `blur`: one at stride 1 and then, behind norm
    and activation, every second pixel of the blurred map, which keeps aliases out (Zhang 2019).
    make: further arguments of ConvBlock.
    """
    padding = (kernel_size - 1) // 2
    if downsample == "strided":
        return ConvBlock(in_channels, out_channels, kernel_size, stride=2, padding=padding, **make)
    # an even kernel leaves an odd side, one less; every second of these pixels are as many
    block = ConvBlock(in_channels, out_channels, kernel_size, padding=padding, **make)
    return nn.Sequential(block, BlurDownsample())
