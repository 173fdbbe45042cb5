"""Blocks: norms, activations, convolutions, encoders, decoders, mappings, discriminators."""

from munit_zoo.blocks.conv import ConvBlock, LegacySpectralConv2d, Padding, conv2d
from munit_zoo.blocks.init import initialise
from munit_zoo.blocks.residual import ResidualBlock, ResidualTrunk
from munit_zoo.blocks.upsampling import UpsampleConv

__all__ = [
    "ConvBlock",
    "LegacySpectralConv2d",
    "Padding",
    "ResidualBlock",
    "ResidualTrunk",
    "UpsampleConv",
    "conv2d",
    "initialise",
]
