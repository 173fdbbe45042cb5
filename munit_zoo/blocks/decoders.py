"""Decoders: content code, and style code where there is one, to image."""

from __future__ import annotations

from torch import Tensor, nn

from munit_zoo.blocks.conv import ConvBlock, Make, PadType, UpsampleConv, WeightNorm
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.residual import ResidualTrunk
from munit_zoo.errors import ContractError
from munit_zoo.registry import (
    ACTIVATIONS,
    MAPPINGS,
    NORMS,
    Activation,
    Norm,
    Slot,
    StyleMapping,
    slot,
)

__all__ = ["AdaINResnetDecoder", "ResnetDecoder"]


class AdaINResnetDecoder(nn.Module):
    """Residual blocks that a style steers through their norms, then upsampling convolutions.

    (content (N, content_channels, h, w), style (N, style_dim)) to image (N, out_channels,
    h·scale_factor, w·scale_factor), in [-1, 1] (Huang et al. 2018, appendix B.1). scale_factor is a
    power of two; each upsampling by 2 halves the channels.

    norm: of the residual blocks; its parameters are made of the style by `mapping`, in the order
        of the blocks. upsample_norm: of the upsampling convolutions. kernel_size: of the last
        convolution.
    """

    takes_style = True

    def __init__(
        self,
        content_channels: int,
        out_channels: int,
        scale_factor: int,
        style_dim: int,
        *,
        blocks: int = 4,
        kernel_size: int = 7,
        upsample_kernel_size: int = 5,
        block_kernel_size: int = 3,
        norm: Slot[Norm] = slot("adain"),
        upsample_norm: Slot[Norm] = slot("layer"),
        activation: Slot[Activation] = slot("relu"),
        output_activation: Slot[Activation] = slot("tanh"),
        mapping: Slot[StyleMapping] = slot("mlp"),
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        self.trunk = ResidualTrunk(
            content_channels,
            blocks,
            block_kernel_size,
            norm=NORMS.factory(norm),
            activation=ACTIVATIONS.factory(activation),
            pad_type=pad_type,
            weight_norm=weight_norm,
        )
        if not self.trunk.num_parameters:
            raise ContractError(
                "the decoder's norm takes no parameters, so no style would reach the image: choose "
                "NORM: {NAME: adain}, or the decoder resnet, which takes no style"
            )
        self.mapping = MAPPINGS.factory(mapping)(style_dim, self.trunk.num_parameters)
        self.head = _Head(
            content_channels,
            out_channels,
            scale_factor,
            kernel_size,
            upsample_kernel_size,
            norm=NORMS.factory(upsample_norm),
            activation=ACTIVATIONS.factory(activation),
            output_activation=ACTIVATIONS.factory(output_activation),
            pad_type=pad_type,
            weight_norm=weight_norm,
        )
        initialise(self.trunk, init)
        initialise(self.head, init)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        return self.head(self.trunk(content, self.mapping(style)))


class ResnetDecoder(nn.Module):
    """Residual blocks, then upsampling convolutions; no style.

    content (N, content_channels, h, w) to image (N, out_channels, h·scale_factor, w·scale_factor),
    in [-1, 1]. Keys as those of `adain_resnet`.
    """

    takes_style = False

    def __init__(
        self,
        content_channels: int,
        out_channels: int,
        scale_factor: int,
        *,
        blocks: int = 4,
        kernel_size: int = 7,
        upsample_kernel_size: int = 5,
        block_kernel_size: int = 3,
        norm: Slot[Norm] = slot("instance"),
        upsample_norm: Slot[Norm] = slot("layer"),
        activation: Slot[Activation] = slot("relu"),
        output_activation: Slot[Activation] = slot("tanh"),
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        self.trunk = ResidualTrunk(
            content_channels,
            blocks,
            block_kernel_size,
            norm=NORMS.factory(norm),
            activation=ACTIVATIONS.factory(activation),
            pad_type=pad_type,
            weight_norm=weight_norm,
        )
        if self.trunk.num_parameters:
            raise ContractError(
                "the decoder resnet takes no style, its norm asks for parameters: choose another "
                "NORM, or the decoder adain_resnet"
            )
        self.head = _Head(
            content_channels,
            out_channels,
            scale_factor,
            kernel_size,
            upsample_kernel_size,
            norm=NORMS.factory(upsample_norm),
            activation=ACTIVATIONS.factory(activation),
            output_activation=ACTIVATIONS.factory(output_activation),
            pad_type=pad_type,
            weight_norm=weight_norm,
        )
        initialise(self, init)

    def forward(self, content: Tensor) -> Tensor:
        return self.head(self.trunk(content))


class _Head(nn.Module):
    """Upsampling convolutions down to an image."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        scale_factor: int,
        kernel_size: int,
        upsample_kernel_size: int,
        *,
        norm: Make,
        activation: Make,
        output_activation: Make,
        pad_type: PadType,
        weight_norm: WeightNorm,
    ) -> None:
        super().__init__()
        steps = scale_factor.bit_length() - 1
        if scale_factor < 1 or scale_factor != 2**steps:
            raise ContractError(
                f"a decoder enlarges by a power of two, the content encoder's stride is "
                f"{scale_factor}"
            )
        if channels % scale_factor:
            raise ContractError(
                f"each of {steps} upsamplings halves the channels; the content code has {channels}"
            )
        self.ups = nn.ModuleList()
        for _ in range(steps):
            up = UpsampleConv(
                channels,
                channels // 2,
                upsample_kernel_size,
                norm=norm,
                activation=activation,
                pad_type=pad_type,
                weight_norm=weight_norm,
            )
            self.ups.append(up)
            channels //= 2
        self.out = ConvBlock(
            channels,
            out_channels,
            kernel_size,
            activation=output_activation,
            pad_type=pad_type,
            weight_norm=weight_norm,
        )

    def forward(self, x: Tensor) -> Tensor:
        for up in self.ups:
            x = up(x)
        return self.out(x)
