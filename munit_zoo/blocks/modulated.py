"""Convolutions whose weights a style modulates, and the decoder that is made of them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, odd
from munit_zoo.blocks.conv import ConvBlock, Make, PadType
from munit_zoo.blocks.heads import doublings
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.mappings import Projection, style_mapping
from munit_zoo.blocks.upsampling import Upsampling, doubling_conv2d
from munit_zoo.registry import ACTIVATIONS, MAPPINGS, Activation, Slot, StyleMapping, slot
from munit_zoo.registry.ranges import Layers, Odd, PositiveFloat

__all__ = ["ModulatedConv", "ModulatedResnetDecoder"]


class ModulatedConv(nn.Module):
    """A convolution whose weight is scaled by a style, then bias and activation.

    (x (N, C, H, W), scales (N, C)) to (N, C', H, W), or (N, C', 2H, 2W) with `upsample`. The weight
    of each sample is w'_oik = (1 + scales_i) w_oik and, demodulated, w'_oik / √(Σ_ik w'_oik² + ε),
    which takes the place of a norm (Karras et al. 2020, eq. 1 and 3). Instead of a weight for each
    sample, the map's channels are scaled before one convolution and after it: the same numbers.

    activation: a factory, None for none; what comes out of it is multiplied by `gain`.
    `num_parameters`: how many scales it takes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        upsample: Upsampling | None = None,
        demodulate: bool = True,
        activation: Make | None,
        gain: float = 1.0,
        pad_type: PadType = "reflect",
        fold: bool = True,
        eps: float = 1e-8,
    ) -> None:
        super().__init__()
        convolution = None
        if upsample is not None:
            convolution = doubling_conv2d(
                in_channels,
                out_channels,
                kernel_size,
                upsample=upsample,
                pad_type=pad_type,
                bias=False,
                fold=fold,
            )
        self.block = ConvBlock(
            in_channels,
            out_channels,
            kernel_size,
            pad_type=pad_type,
            bias=False,
            fold=fold,
            convolution=convolution,
        )
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.activation = activation() if activation is not None else None
        self.num_parameters = in_channels
        self.demodulate, self.gain, self.eps = demodulate, gain, eps

    def forward(self, x: Tensor, scales: Tensor) -> Tensor:
        scales = 1 + scales
        y: Tensor = self.block(x * scales.to(x.dtype)[:, :, None, None])
        if self.demodulate:
            y = y * self._demodulation(scales).to(y.dtype)[:, :, None, None]
        y = y + self.bias.to(y.dtype)[:, None, None]
        if self.activation is not None:
            y = self.gain * self.activation(y)
        return y

    def _demodulation(self, scales: Tensor) -> Tensor:
        """1 / √(Σ w'² + eps) of each output, (N, C'), in full precision."""
        convolution: Any = self.block.conv
        energy: Tensor = convolution.weight.square().sum(dim=(2, 3))
        if isinstance(convolution, nn.ConvTranspose2d):
            energy = energy.T
        copies = getattr(convolution, "copies", 1)
        if copies > 1:  # the pixels that one output becomes have a kernel each
            energy = energy.unflatten(0, (-1, copies)).mean(dim=1)
        # no `@`: autocast would compute it in half precision
        total = (scales.to(energy.dtype).square()[:, None] * energy).sum(dim=2)
        return torch.rsqrt(total + self.eps)


class ModulatedResnetDecoder(nn.Module):
    """Residual blocks and upsampling of convolutions that a style modulates, without norms.

    (content (N, content_channels, h, w), style (N, style_dim)) to image (N, out_channels,
    h·scale_factor, w·scale_factor), in [-1, 1]. A block is (x + conv(conv(x))) / √2; the last
    convolution is modulated, too, but not demodulated, as the original's to RGB (Karras et al.
    2020). Its noise inputs and equalised learning rates are left out.

    mapping, projection: from the style to the scales, 1 + what they make, as those of
        `adain_resnet`.
    gain: that activations are multiplied by.
    upsample, fold, kernel_size, upsample_kernel_size, block_kernel_size: as those of
        `adain_resnet`.

    Raises ContractError for settings out of range, for a scale_factor that is no power of two and
    for channels that cannot be halved so often.
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
        upsample_kernel_size: Odd = 3,
        block_kernel_size: Odd = 3,
        upsample: Upsampling = "blur",
        activation: Slot[Activation] = slot("lrelu"),
        gain: PositiveFloat = 2**0.5,
        output_activation: Slot[Activation] = slot("tanh"),
        mapping: Slot[StyleMapping] = slot("mlp"),
        projection: Projection = "shared",
        pad_type: PadType = "reflect",
        fold: bool = True,
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        at_least(0, blocks=blocks)
        odd(kernel_size=kernel_size, block_kernel_size=block_kernel_size)
        steps, channels = doublings(content_channels, scale_factor), content_channels
        make = ACTIVATIONS.factory(activation)

        def convolution(width: int, size: int, up: Upsampling | None = None) -> ModulatedConv:
            return ModulatedConv(
                channels,
                width,
                size,
                upsample=up,
                activation=make,
                gain=gain,
                pad_type=pad_type,
                fold=fold,
            )

        self.blocks = nn.ModuleList(
            convolution(channels, block_kernel_size) for _ in range(2 * blocks)
        )
        self.ups = nn.ModuleList()
        for _ in range(steps):
            self.ups.append(convolution(channels // 2, upsample_kernel_size, upsample))
            channels //= 2
        self.out = ModulatedConv(
            channels,
            out_channels,
            kernel_size,
            demodulate=False,
            activation=ACTIVATIONS.factory(output_activation),
            pad_type=pad_type,
            fold=fold,
        )
        initialise(self, init)
        self._sizes = [layer.num_parameters for layer in (*self.blocks, *self.ups, self.out)]
        self.mapping = style_mapping(MAPPINGS.factory(mapping), style_dim, self._sizes, projection)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        scales = iter(torch.split(self.mapping(style), self._sizes, dim=1))
        x = content
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            x = (x + second(first(x, next(scales)), next(scales))) / math.sqrt(2)
        for up in self.ups:
            x = up(x, next(scales))
        image: Tensor = self.out(x, next(scales))
        return image
