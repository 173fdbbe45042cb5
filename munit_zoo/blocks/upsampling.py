"""Convolutions to a map twice as large: every way of upsampling that networks choose from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from munit_zoo.blocks._checks import odd
from munit_zoo.blocks.conv import (
    ConvBlock,
    HookSpectralConv2d,
    LegacySpectralConv2d,
    Make,
    Padding,
    PadType,
    WeightNorm,
)
from munit_zoo.blocks.folding import (
    bilinear_conv2d,
    folded_conv2d,
    smooth_margin,
    smoothed_conv2d,
)
from munit_zoo.errors import ContractError

__all__ = ["DoublingConv2d", "UpsampleConv", "Upsampling", "doubling_conv2d", "enlarged"]

Upsampling = Literal["nearest", "bilinear", "blur", "pixel_shuffle", "transposed"]
"""How a map becomes twice as large: see `doubling_conv2d`."""


def doubling_conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    upsample: Upsampling,
    pad_type: PadType = "zero",
    weight_norm: WeightNorm = "none",
    bias: bool = True,
    fold: bool = True,
) -> nn.Module:
    """A convolution (N, C, H, W) to (N, C', 2H, 2W).

    upsample: `nearest` or `bilinear` interpolation, then a convolution over the padded large map;
        `blur`: zeros between the pixels of the padded small map, the convolution, then the low pass
        [1 3 3 1] (Karras et al. 2020: away from the borders the same function as `bilinear`);
        `pixel_shuffle`: a convolution to four times the channels, which become pixels (Shi et al.
        2016), started as `nearest` (ICNR, Aitken et al. 2017); `transposed`: a transposed
        convolution at stride 2, whatever pad_type (kernels of 4 leave no checkerboard).
    kernel_size: odd; 2 or more for `transposed`.
    fold: upsampling and convolution in one on the small map, the same up to rounding: `nearest` for
        2.25 (k = 3) or 2.8 (k = 5) times fewer multiplications, `bilinear` for 4 times fewer.

    Raises ContractError for a kernel that does not fit, and for `transposed` with the weight norms
    spectral_legacy and spectral_hook.
    """
    if upsample == "transposed":
        return _transposed(in_channels, out_channels, kernel_size, weight_norm, bias)
    odd(kernel_size=kernel_size)
    kind = _SPECTRAL.get(weight_norm, DoublingConv2d)
    convolution = kind(
        in_channels, out_channels, kernel_size, upsample, pad_type=pad_type, bias=bias, fold=fold
    )
    if weight_norm == "spectral":
        parametrizations.spectral_norm(convolution)
    elif weight_norm == "weight":
        parametrizations.weight_norm(convolution)
    return convolution


def _transposed(
    in_channels: int, out_channels: int, kernel_size: int, weight_norm: WeightNorm, bias: bool
) -> nn.ConvTranspose2d:
    if kernel_size < 2:
        raise ContractError(
            "UPSAMPLE transposed with a kernel 1×1 leaves three pixels of four empty: choose a "
            "kernel of 3 or more, or UPSAMPLE nearest"
        )
    if weight_norm in _SPECTRAL:
        raise ContractError(
            f"WEIGHT_NORM {weight_norm} is of plain convolutions alone, not of UPSAMPLE "
            "transposed: choose WEIGHT_NORM spectral, or another UPSAMPLE"
        )
    convolution = nn.ConvTranspose2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=2,
        padding=(kernel_size - 1) // 2,
        output_padding=kernel_size % 2,
        bias=bias,
    )
    if weight_norm == "spectral":
        parametrizations.spectral_norm(convolution)
    elif weight_norm == "weight":
        parametrizations.weight_norm(convolution, dim=1)
    return convolution


class DoublingConv2d(nn.Conv2d):
    """What `doubling_conv2d` makes, save for `transposed`. `out_channels` is the convolution's own:
    with `pixel_shuffle` four times as many as come out."""

    smoother: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        upsample: Upsampling,
        *,
        pad_type: PadType,
        bias: bool,
        fold: bool,
    ) -> None:
        copies = 4 if upsample == "pixel_shuffle" else 1
        super().__init__(in_channels, copies * out_channels, kernel_size, bias=bias)
        self.upsample, self.pad_type, self.copies = upsample, pad_type, copies
        self.reach = (kernel_size - 1) // 2
        blurs = upsample == "blur"
        self.pad = Padding(smooth_margin(kernel_size) if blurs else self.reach, pad_type)
        foldable = pad_type != "reflect" or kernel_size <= 5
        self.fold = fold and (
            upsample == "bilinear" or (upsample == "nearest" and kernel_size > 1 and foldable)
        )
        if blurs or (upsample == "bilinear" and self.fold):
            line = torch.tensor([1.0, 3.0, 3.0, 1.0])
            self.register_buffer("smoother", line[:, None] * line / 16, persistent=False)
        if copies > 1:
            with torch.no_grad():
                self.weight.copy_(self.weight[::4].repeat_interleave(4, dim=0))
                if self.bias is not None:
                    self.bias.copy_(self.bias[::4].repeat_interleave(4))

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.upsample == "blur":
            return smoothed_conv2d(self.pad(input), weight, bias, self.smoother)
        if self.upsample == "pixel_shuffle":
            return F.pixel_shuffle(super()._conv_forward(self.pad(input), weight, bias), 2)
        # small maps leave nothing to share between their pixels
        if self.fold and min(input.shape[2:]) > max(1, self.reach):
            if self.upsample == "nearest":
                return folded_conv2d(input, weight, bias, self.pad_type)
            return bilinear_conv2d(input, weight, bias, self.smoother, self.pad_type)
        plain: Tensor = super()._conv_forward(
            self.pad(enlarged(input, self.upsample)), weight, bias
        )
        return plain

    def extra_repr(self) -> str:
        shown = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        return f"{shown}, upsample={self.upsample}, fold={self.fold}"


class _LegacySpectralDoubling(DoublingConv2d, LegacySpectralConv2d):
    pass


class _HookSpectralDoubling(DoublingConv2d, HookSpectralConv2d):
    pass


_SPECTRAL: Mapping[str, type[DoublingConv2d]] = {
    "spectral_legacy": _LegacySpectralDoubling,
    "spectral_hook": _HookSpectralDoubling,
}


def enlarged(x: Tensor, upsample: Upsampling) -> Tensor:
    """A map (N, C, H, W) twice as large without a convolution: bilinear where `upsample` is smooth,
    nearest otherwise."""
    mode = "bilinear" if upsample in ("bilinear", "blur") else "nearest"
    return F.interpolate(x, scale_factor=2.0, mode=mode)


class UpsampleConv(nn.Module):
    """A convolution to a map twice as large, norm and activation.

    (N, C, H, W) to (N, C', 2H, 2W). `num_parameters`, `noise` and the call as those of ConvBlock;
    upsample, fold and errors as `doubling_conv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        upsample: Upsampling = "nearest",
        pad_type: PadType = "reflect",
        norm: Make | None = None,
        activation: Make | None = None,
        weight_norm: WeightNorm = "none",
        fold: bool = True,
        noise: bool = False,
    ) -> None:
        super().__init__()
        convolution = doubling_conv2d(
            in_channels,
            out_channels,
            kernel_size,
            upsample=upsample,
            pad_type=pad_type,
            weight_norm=weight_norm,
            fold=fold,
        )
        self.block = ConvBlock(
            in_channels,
            out_channels,
            kernel_size,
            norm=norm,
            activation=activation,
            convolution=convolution,
            noise=noise,
        )
        self.num_parameters = self.block.num_parameters

    def forward(self, x: Tensor, parameters: Tensor | None = None) -> Tensor:
        upsampled: Tensor = self.block(x, parameters)
        return upsampled
