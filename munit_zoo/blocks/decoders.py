"""Decoders: content code, and style code where there is one, to image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from munit_zoo.blocks._checks import odd, unsteered
from munit_zoo.blocks.conv import ConvBlock, Make, PadType, WeightNorm
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.residual import BlockForm, ResidualTrunk
from munit_zoo.blocks.upsampling import UpsampleConv
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
from munit_zoo.registry.ranges import Layers, Odd, PositiveFloat

__all__ = ["AdaINResnetDecoder", "ResnetDecoder"]


class AdaINResnetDecoder(nn.Module):
    """Residual blocks that a style steers through their norms, then upsampling convolutions.

    (content (N, content_channels, h, w), style (N, style_dim)) to image (N, out_channels,
    h·scale_factor, w·scale_factor), in [-1, 1] (Huang et al. 2018, appendix B.1). scale_factor is a
    power of two; each upsampling by 2 halves the channels.

    norm: of the residual blocks. upsample_norm: of the upsampling convolutions. At least one of
        them takes parameters (AdaIN): `mapping` makes all of them from the style, in the order of
        the layers.
    kernel_size, upsample_kernel_size, block_kernel_size: of the last convolution, the upsampling
        ones, the residual blocks; all odd.
    fold: upsampling and convolution in one, the last convolution by columns: the same result for
        less work.

    Raises ContractError for a scale_factor that is no power of two, for channels that cannot be
    halved so often, and where neither norm takes parameters.
    """

    takes_style = True

    def __init__(
        self,
        content_channels: int,
        out_channels: int,
        scale_factor: int,
        style_dim: int,
        *,
        blocks: Layers = 4,
        kernel_size: Odd = 7,
        upsample_kernel_size: Odd = 5,
        block_kernel_size: Odd = 3,
        norm: Slot[Norm] = slot("adain"),
        upsample_norm: Slot[Norm] = slot("layer"),
        activation: Slot[Activation] = slot("relu"),
        output_activation: Slot[Activation] = slot("tanh"),
        mapping: Slot[StyleMapping] = slot("mlp"),
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        fold: bool = True,
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
        head = _Head(
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
            fold=fold,
        )
        self._sizes = [self.trunk.num_parameters, head.num_parameters]
        if not sum(self._sizes):
            raise ContractError(
                "the decoder's norms take no parameters, so no style would reach the image: choose "
                "NORM: {NAME: adain}, or the decoder resnet, which takes no style"
            )
        self.mapping = MAPPINGS.factory(mapping)(style_dim, sum(self._sizes))
        self.head = head
        initialise(self.trunk, init)
        initialise(self.head, init)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        trunk, head = torch.split(self.mapping(style), self._sizes, dim=1)
        image: Tensor = self.head(self.trunk(content, trunk), head)
        return image


class ResnetDecoder(nn.Module):
    """Residual blocks, then upsampling convolutions; no style.

    content (N, content_channels, h, w) to image (N, out_channels, h·scale_factor, w·scale_factor),
    in [-1, 1] with the default activation at its end (Liu et al. 2017). Keys and errors as those of
    `adain_resnet`; no norm may take parameters.

    block: form of the residual blocks, as the content encoder `resnet` has it. noise: noise of a
    learned scale after each convolution but the last, in evaluation, too. weight_norm_last: whether
    the last convolution has the WEIGHT_NORM. init_gain: of `init`; of `gaussian`, the deviation.
    """

    takes_style = False

    def __init__(
        self,
        content_channels: int,
        out_channels: int,
        scale_factor: int,
        *,
        blocks: Layers = 4,
        block: BlockForm = "resnet",
        kernel_size: Odd = 7,
        upsample_kernel_size: Odd = 5,
        block_kernel_size: Odd = 3,
        norm: Slot[Norm] = slot("instance"),
        upsample_norm: Slot[Norm] = slot("layer"),
        activation: Slot[Activation] = slot("relu"),
        output_activation: Slot[Activation] = slot("tanh"),
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        weight_norm_last: bool = True,
        noise: bool = False,
        fold: bool = True,
        init: Init = "kaiming",
        init_gain: PositiveFloat | None = None,
    ) -> None:
        super().__init__()
        self.trunk = ResidualTrunk(
            content_channels,
            blocks,
            block_kernel_size,
            norm=unsteered(NORMS.factory(norm), "the decoder resnet"),
            activation=ACTIVATIONS.factory(activation),
            form=block,
            pad_type=pad_type,
            weight_norm=weight_norm,
            noise=noise,
        )
        self.head = _Head(
            content_channels,
            out_channels,
            scale_factor,
            kernel_size,
            upsample_kernel_size,
            norm=unsteered(NORMS.factory(upsample_norm), "the decoder resnet"),
            activation=ACTIVATIONS.factory(activation),
            output_activation=ACTIVATIONS.factory(output_activation),
            pad_type=pad_type,
            weight_norm=weight_norm,
            weight_norm_last=weight_norm_last,
            noise=noise,
            fold=fold,
        )
        initialise(self, init, gain=init_gain)

    def forward(self, content: Tensor) -> Tensor:
        image: Tensor = self.head(self.trunk(content))
        return image


class _Head(nn.Module):
    """Upsampling convolutions down to an image; `num_parameters` is what their norms take."""

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
        fold: bool,
        weight_norm_last: bool = True,
        noise: bool = False,
    ) -> None:
        super().__init__()
        odd(kernel_size=kernel_size, upsample_kernel_size=upsample_kernel_size)
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
        self.ups = nn.ModuleList()
        self.sizes: list[int] = []
        for _ in range(steps):
            up = UpsampleConv(
                channels,
                channels // 2,
                upsample_kernel_size,
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
