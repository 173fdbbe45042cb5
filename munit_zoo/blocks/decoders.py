"""Decoders: content code, and style code where there is one, to image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, odd, takes_maps, unsteered
from munit_zoo.blocks.conv import ConvBlock, PadType, WeightNorm
from munit_zoo.blocks.heads import ImageHead
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.mappings import Projection, style_mapping
from munit_zoo.blocks.residual import BlockForm, ResidualTrunk
from munit_zoo.blocks.upsampling import Upsampling
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
from munit_zoo.registry.ranges import Layers, Odd, PositiveFloat, Width

__all__ = ["AdaINResnetDecoder", "ResnetDecoder", "SpadeResnetDecoder"]


class AdaINResnetDecoder(nn.Module):
    """Residual blocks that a style steers through their norms, then upsampling convolutions.

    (content (N, content_channels, h, w), style (N, style_dim)) to image (N, out_channels,
    h·scale_factor, w·scale_factor), in [-1, 1] (Huang et al. 2018, appendix B.1). scale_factor is a
    power of two; each upsampling by 2 halves the channels.

    norm: of the residual blocks. upsample_norm: of the upsampling convolutions. At least one of
        them takes parameters (AdaIN): `mapping` makes all of them from the style, in the order of
        the layers.
    projection: `shared`: one mapping for all norms; `per_layer`: one of its own for each (with the
        mapping {NAME: mlp, LAYERS: 1}, a projection of the style for each layer).
    kernel_size, upsample_kernel_size, block_kernel_size: of the last convolution, the upsampling
        ones, the residual blocks; all odd.
    upsample: `nearest` or `bilinear` interpolation, `blur`, `pixel_shuffle` or `transposed`: see
        the page on networks.
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
        upsample: Upsampling = "nearest",
        norm: Slot[Norm] = slot("adain"),
        upsample_norm: Slot[Norm] = slot("layer"),
        activation: Slot[Activation] = slot("relu"),
        output_activation: Slot[Activation] = slot("tanh"),
        mapping: Slot[StyleMapping] = slot("mlp"),
        projection: Projection = "shared",
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
        head = ImageHead(
            content_channels,
            out_channels,
            scale_factor,
            kernel_size,
            upsample_kernel_size,
            upsample,
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
        sizes = [*self.trunk.norm_sizes, *head.sizes]
        self.mapping = style_mapping(MAPPINGS.factory(mapping), style_dim, sizes, projection)
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
    in [-1, 1] (Liu et al. 2017). Keys and errors as those of `adain_resnet`; no norm may take
    parameters.

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
        upsample: Upsampling = "nearest",
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
        self.head = ImageHead(
            content_channels,
            out_channels,
            scale_factor,
            kernel_size,
            upsample_kernel_size,
            upsample,
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


class SpadeResnetDecoder(nn.Module):
    """The decoder `adain_resnet` with modulation that differs from place to place (SPADE's).

    (content (N, content_channels, h, w), style (N, style_dim)) to image (N, out_channels,
    h·scale_factor, w·scale_factor), in [-1, 1]. Each norm's weight and bias are maps, made by
    convolutions from the content code and the style, which is projected and tiled over it (Park et
    al. 2019, eq. 1-2, where the map is a segmentation). The convolutions work at the code's size,
    for all norms at once; the maps are enlarged by bilinear interpolation where the features are
    larger.

    dim: channels between the two convolutions. map_kernel_size: of both, odd.
    style_channels: of the projected style.
    norm, upsample_norm: norms that take their parameters as maps; OFFSET 1 makes weights 1 + γ.
    Other keys and errors as those of `adain_resnet`.
    """

    takes_style = True

    def __init__(
        self,
        content_channels: int,
        out_channels: int,
        scale_factor: int,
        style_dim: int,
        *,
        dim: Width = 128,
        map_kernel_size: Odd = 3,
        style_channels: Width = 64,
        blocks: Layers = 4,
        kernel_size: Odd = 7,
        upsample_kernel_size: Odd = 5,
        block_kernel_size: Odd = 3,
        upsample: Upsampling = "nearest",
        norm: Slot[Norm] = slot("adain", offset=1.0),
        upsample_norm: Slot[Norm] = slot("adain", offset=1.0),
        activation: Slot[Activation] = slot("relu"),
        output_activation: Slot[Activation] = slot("tanh"),
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        fold: bool = True,
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, style_channels=style_channels)
        odd(map_kernel_size=map_kernel_size)
        self.trunk = ResidualTrunk(
            content_channels,
            blocks,
            block_kernel_size,
            norm=takes_maps(NORMS.factory(norm), "the decoder spade_resnet"),
            activation=ACTIVATIONS.factory(activation),
            pad_type=pad_type,
            weight_norm=weight_norm,
        )
        self.head = ImageHead(
            content_channels,
            out_channels,
            scale_factor,
            kernel_size,
            upsample_kernel_size,
            upsample,
            norm=takes_maps(NORMS.factory(upsample_norm), "the decoder spade_resnet"),
            activation=ACTIVATIONS.factory(activation),
            output_activation=ACTIVATIONS.factory(output_activation),
            pad_type=pad_type,
            weight_norm=weight_norm,
            fold=fold,
        )
        self._sizes = [self.trunk.num_parameters, self.head.num_parameters]
        if not sum(self._sizes):
            raise ContractError(
                "the decoder's norms take no parameters, so no style would reach the image: choose "
                "NORM: {NAME: adain, OFFSET: 1}, or the decoder resnet, which takes no style"
            )
        self.style = nn.Linear(style_dim, style_channels)
        self.hidden = ConvBlock(
            content_channels + style_channels,
            dim,
            map_kernel_size,
            activation=ACTIVATIONS.factory(activation),
            pad_type=pad_type,
        )
        self.maps = ConvBlock(dim, sum(self._sizes), map_kernel_size, pad_type=pad_type)
        initialise(self, init)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        tiled = self.style(style)[:, :, None, None].expand(-1, -1, *content.shape[2:])
        maps = self.maps(self.hidden(torch.cat([content, tiled.to(content.dtype)], dim=1)))
        trunk, head = torch.split(maps, self._sizes, dim=1)
        image: Tensor = self.head(self.trunk(content, trunk), head)
        return image
