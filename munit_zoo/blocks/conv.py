"""Convolutions: padding, convolution, normalisation and activation in one block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from munit_zoo.blocks.norms import InstanceNorm
from munit_zoo.errors import GraphError

__all__ = [
    "ConvBlock",
    "HookSpectralConv2d",
    "LegacySpectralConv2d",
    "PadType",
    "Padding",
    "ScaledNoise",
    "WeightNorm",
    "biased",
    "by_columns",
    "conv2d",
    "extend",
    "used_weight",
]

PadType = Literal["reflect", "replicate", "zero"]
WeightNorm = Literal["none", "spectral", "spectral_legacy", "spectral_hook", "weight"]

Make = Callable[..., Any]


class Padding(nn.Module):
    """Extends a map (N, C, H, W) by `amount` pixels at all four sides.

    Raises GraphError where a reflection would need more pixels than there are.
    """

    def __init__(self, amount: int, pad_type: PadType) -> None:
        super().__init__()
        self.amount = amount
        self.mode = "constant" if pad_type == "zero" else pad_type

    def forward(self, x: Tensor) -> Tensor:
        if not self.amount:
            return x
        if self.mode == "reflect" and min(x.shape[2:]) <= self.amount:
            raise GraphError(
                f"a map of {x.shape[2]}×{x.shape[3]} is too small to be padded by {self.amount} "
                "by reflection: use larger images, fewer downsamplings or PAD_TYPE replicate"
            )
        return extend(x, self.amount, self.mode)

    def extra_repr(self) -> str:
        return f"{self.amount}, {self.mode}"


def extend(x: Tensor, amount: int, mode: str) -> Tensor:
    """A map (N, C, H, W), or a line (N, C, L), longer by `amount` at each end of its axes.

    mode: `constant` (zeros), `reflect` or `replicate`.
    """
    if mode == "replicate" and torch.compiler.is_compiling():
        # the compiler mistakes the layout of F.pad's gradient for channels_last maps
        for dim in range(2, x.dim()):
            first, last = x.narrow(dim, 0, 1), x.narrow(dim, -1, 1)
            x = torch.cat([*[first] * amount, x, *[last] * amount], dim=dim)
        return x
    amounts = (amount,) * (2 * (x.dim() - 2))
    if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        # autocast would pad in float32, to and fro between two convolutions in half precision
        with torch.autocast("cpu", enabled=False):
            return F.pad(x, amounts, mode=mode)
    return F.pad(x, amounts, mode=mode)


class _SpectralConv2d(nn.Conv2d):
    """Convolution whose weight, as rows of outputs, is divided by its largest singular value.

    That is estimated as σ = uᵀWv with vectors u, v that are held constant and follow the weight
    from forward to forward; subclasses say when and how. A σ of 0 leaves the weight as it is.
    """

    u: Tensor
    v: Tensor

    @property
    def moves(self) -> bool:
        """Whether a forward changes the vectors."""
        return True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows, columns = self.weight.shape[0], self.weight[0].numel()
        self.register_buffer("u", F.normalize(torch.randn(rows), dim=0, eps=1e-12))
        self.register_buffer("v", F.normalize(torch.randn(columns), dim=0, eps=1e-12))

    def vectors(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """u and v for this forward: fresh tensors, since a second forward before the backward must
        not change this one's."""
        raise NotImplementedError

    def normalised_weight(self) -> Tensor:
        """The weight over σ, as one forward uses it."""
        if self.weight.is_meta:  # shapes alone are run; that the vectors move is to be seen
            if self.moves:
                self.u.copy_(self.u)
            return self.weight
        # Products and sums, and not `@`: autocast would compute that in half precision, and the
        # vectors, which carry over from step to step, would never get past its few digits.
        matrix = self.weight.flatten(1)
        with torch.no_grad():
            u, v = self.vectors(matrix)
        sigma = (u * (matrix * v).sum(1)).sum()
        weight: Tensor = self.weight / torch.where(sigma == 0, 1.0, sigma)
        return weight

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self._conv_forward(input, self.normalised_weight(), self.bias)
        return output


class LegacySpectralConv2d(_SpectralConv2d):
    """Convolution with spectral normalisation in the order of MUNIT's reference.

    At every forward, training or not, one power iteration: v = Wᵀu / (‖Wᵀu‖ + 1e-12), then
    u = Wv / (‖Wv‖ + 1e-12). torch's own spectral norm (Miyato et al. 2018) updates u first and only
    in training.
    """

    def vectors(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        v = (matrix * self.u[:, None]).sum(0)
        v = v / (v.norm() + 1e-12)
        u = (matrix * v).sum(1)
        u = u / (u.norm() + 1e-12)
        self.u.copy_(u)
        self.v.copy_(v)
        return u, v


class HookSpectralConv2d(_SpectralConv2d):
    """Convolution with spectral normalisation in the order of torch's older, hooked form.

    At each forward in training one power iteration: v = Wᵀu / max(‖Wᵀu‖, 1e-12), then u = Wv /
    max(‖Wv‖, 1e-12); evaluation takes both as they are. Vectors of zeros mark a weight that is used
    as it is, as a moving average of normalised weights; training begins to normalise it anew.
    """

    @property
    def moves(self) -> bool:
        return self.training

    def vectors(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        if not self.moves:
            return self.u, self.v
        u = torch.where(self.u.any(), self.u, len(self.u) ** -0.5)
        v = F.normalize((matrix * u[:, None]).sum(0), dim=0, eps=1e-12)
        u = F.normalize((matrix * v).sum(1), dim=0, eps=1e-12)
        self.u.copy_(u)
        self.v.copy_(v)
        return u, v

    @torch.no_grad()
    def averaged(self) -> dict[str, Tensor]:
        """What a moving average takes of it: the normalised weight, its vectors as they are."""
        u, v = self.u, self.v
        sigma = (u * (self.weight.flatten(1) * v).sum(1)).sum()
        return {"weight": self.weight / torch.where(sigma == 0, 1.0, sigma)}


class _FullPrecision(nn.Conv2d):
    """Computed in float32 under autocast, too."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        device = input.device.type
        output: Tensor
        if device == "meta" or not torch.is_autocast_enabled(device):
            output = super()._conv_forward(input, weight, bias)
            return output
        with torch.autocast(device, enabled=False):
            output = super()._conv_forward(input.float(), weight, bias)
            return output


class _FullPrecisionLegacySpectral(_FullPrecision, LegacySpectralConv2d):
    pass


class _FullPrecisionHookSpectral(_FullPrecision, HookSpectralConv2d):
    pass


_SPECTRAL: Mapping[str, tuple[type[_SpectralConv2d], type[_SpectralConv2d]]] = {
    "spectral_legacy": (LegacySpectralConv2d, _FullPrecisionLegacySpectral),
    "spectral_hook": (HookSpectralConv2d, _FullPrecisionHookSpectral),
}


def used_weight(convolution: nn.Conv2d) -> Tensor:
    """The weight that one forward of a convolution uses, normalised where it is."""
    if isinstance(convolution, _SpectralConv2d):
        return convolution.normalised_weight()
    return convolution.weight


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    padding: int = 0,
    pad_type: PadType = "zero",
    weight_norm: WeightNorm = "none",
    bias: bool = True,
    full_precision: bool = False,
) -> nn.Conv2d:
    """A convolution that pads by itself, its weight normalised as asked.

    weight_norm: `spectral` (Miyato et al. 2018, torch's), `spectral_legacy` (that of MUNIT's
    reference), `spectral_hook` (that of torch's older form, in which the authors' later version
    has it), `weight` (Salimans & Kingma 2016) or `none`. full_precision: in float32 whatever the
    precision around it, as that of a discriminator's logits should be.
    """
    kind: type[nn.Conv2d] = _FullPrecision if full_precision else nn.Conv2d
    if weight_norm in _SPECTRAL:
        kind = _SPECTRAL[weight_norm][full_precision]
    convolution = kind(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=padding,
        padding_mode="zeros" if pad_type == "zero" else pad_type,
        bias=bias,
    )
    if weight_norm == "spectral":
        parametrizations.spectral_norm(convolution)
    elif weight_norm == "weight":
        parametrizations.weight_norm(convolution)
    return convolution


def biased(bias: bool | None, norm: Make, channels: int) -> bool:
    """Whether the convolutions before norms have a bias.

    bias: as set; None for the rule of CycleGAN, pix2pix and CUT: only where that is an instance
    norm (where it changes nothing). norm: the factory of norms, tried with this many channels.
    """
    return isinstance(norm(channels), InstanceNorm) if bias is None else bias


def by_columns(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution k×k at stride 1, unpadded, as k×1 convolutions that are shifted and added.

    x: (N, C, H, W). weight: (C', C, k, k). The same result up to rounding. Where C' is a few
    channels, a library's vectors of outputs stay mostly empty; here k·C' fill them.
    """
    out, _, _, columns = weight.shape
    kernels = weight.permute(0, 3, 1, 2).flatten(0, 1).unsqueeze(-1)
    parts = F.conv2d(x, kernels)
    half = parts.dtype in (torch.float16, torch.bfloat16)
    wide = (parts.float() if half else parts).unflatten(1, (out, columns))
    width = x.shape[3] - columns + 1
    total = wide[:, :, 0, :, :width]
    for column in range(1, columns):
        total = total + wide[:, :, column, :, column : column + width]
    if bias is not None:
        total = total + bias[:, None, None]
    kernel: Tensor = total.to(parts.dtype)
    return kernel


class ScaledNoise(nn.Module):
    """x + scale · n with one n ~ N(0, 1) a pixel, (N, 1, H, W); the scale is learned, from 0 on."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        noisy: Tensor = x + self.scale * self.draw(x)
        return noisy

    def draw(self, x: Tensor) -> Tensor:
        """The noise for a map."""
        return torch.randn(len(x), 1, *x.shape[2:], dtype=x.dtype, device=x.device)


class ConvBlock(nn.Module):
    """Pad, convolve, normalise, activate.

    norm, activation: factories, `norm(num_features)` and `activation()`; None for none.
    padding: at each side; the default keeps the size at stride 1.
    fold: compute a convolution to a few channels `by_columns`, on CPUs.
    first: normalise and activate before padding and convolution, not after.
    noise: add noise of a learned scale right after the convolution (Karras et al. 2019).
    convolution: one that pads by itself, instead of one by these settings.

    `forward(x)`, or `forward(x, parameters)` where the norm takes parameters (AdaIN);
    `num_parameters` says how many.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        pad_type: PadType = "reflect",
        norm: Make | None = None,
        activation: Make | None = None,
        weight_norm: WeightNorm = "none",
        bias: bool = True,
        fold: bool = False,
        first: bool = False,
        noise: bool = False,
        convolution: nn.Module | None = None,
    ) -> None:
        super().__init__()
        amount = (kernel_size - 1) // 2 if padding is None else padding
        self.fold = fold and stride == 1 and kernel_size >= 5 and out_channels <= 4
        # the convolution pads with zeros itself, without a copy
        inside = convolution is not None or (pad_type == "zero" and not self.fold)
        self.pad = Padding(0 if inside else amount, pad_type)
        self.conv = convolution or conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=amount if inside else 0,
            weight_norm=weight_norm,
            bias=bias,
        )
        self.first = first
        self.noise = ScaledNoise() if noise else None
        self.norm = norm(in_channels if first else out_channels) if norm is not None else None
        self.activation = activation() if activation is not None else None
        self.num_parameters = int(getattr(self.norm, "num_parameters", 0))

    def forward(self, x: Tensor, parameters: Tensor | None = None) -> Tensor:
        if self.first:
            x = self._activated(x, parameters)
        x = self.pad(x)
        if self.fold and isinstance(self.conv, nn.Conv2d) and x.device.type == "cpu":
            return self.finish(by_columns(x, used_weight(self.conv), self.conv.bias), parameters)
        return self.finish(self.conv(x), parameters)

    def finish(self, x: Tensor, parameters: Tensor | None = None) -> Tensor:
        """What follows the convolution: noise, norm and activation."""
        if self.noise is not None:
            x = self.noise(x)
        return x if self.first else self._activated(x, parameters)

    def _activated(self, x: Tensor, parameters: Tensor | None) -> Tensor:
        if self.norm is not None:
            x = self.norm(x, parameters) if self.num_parameters else self.norm(x)
        if self.activation is not None:
            x = self.activation(x)
        return x
