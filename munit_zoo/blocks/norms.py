"""Normalisation layers of feature maps (N, C, H, W).

`num_parameters` tells how a norm is called: 0 for `norm(x)`; P > 0 for `norm(x, parameters)` with
parameters (N, P) that something else computes (AdaIN).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.blocks._checks import at_least
from munit_zoo.errors import ContractError
from munit_zoo.registry.ranges import Fraction, NonNegative, Positive

__all__ = ["AdaIN", "BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "NoNorm"]


class InstanceNorm(nn.Module):
    """Instance normalisation (Ulyanov et al. 2016), without running statistics.

    affine: a learned weight and bias per channel.
    """

    num_parameters = 0

    def __init__(self, num_features: int, *, affine: bool = False, eps: NonNegative = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        if self.weight is None or self.bias is None:
            return _instance_norm(x, eps=self.eps)
        shape = (len(x), len(self.weight))
        return _instance_norm(x, self.weight.expand(shape), self.bias.expand(shape), self.eps)


class AdaIN(nn.Module):
    """Adaptive instance normalisation (Huang & Belongie 2017), a function of its inputs.

    Instance norm (biased variance), then weight and bias that are given: `parameters` (N, 2C) holds
    first the C biases, then the C weights. Maps of them, (N, 2C, h, w), differ from place to place
    (Park et al. 2019) and are interpolated where x is of another size.

    offset: added to the weights. 0: they are used as they are; 1: they are 1 + γ, and parameters of
        zero leave instance norm.
    """

    takes_maps = True

    def __init__(self, num_features: int, *, eps: NonNegative = 1e-5, offset: float = 0.0) -> None:
        super().__init__()
        self.num_features, self.eps, self.offset = num_features, eps, offset
        self.num_parameters = 2 * num_features

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        if parameters.dim() == 4:
            return self._spatial(x, parameters)
        bias, weight = torch.split(parameters, self.num_features, dim=1)
        return _instance_norm(x, weight + self.offset if self.offset else weight, bias, self.eps)

    def _spatial(self, x: Tensor, maps: Tensor) -> Tensor:
        if maps.shape[2:] != x.shape[2:]:
            maps = F.interpolate(maps, size=x.shape[2:], mode="bilinear")
        bias, weight = torch.split(maps, self.num_features, dim=1)
        return (_instance_norm(x, eps=self.eps) * (weight + self.offset) + bias).to(x.dtype)


class LayerNorm(nn.Module):
    """Layer normalisation over (C, H, W) of each sample, in the form of MUNIT's reference.

    (x - mean) / (std + eps) with the unbiased standard deviation, then a weight (drawn from
    U(0, 1), or 1 where `drawn` is off) and a bias (0) per channel.
    """

    num_parameters = 0

    def __init__(
        self,
        num_features: int,
        *,
        affine: bool = True,
        drawn: bool = True,
        eps: NonNegative = 1e-5,
    ) -> None:
        super().__init__()
        self.eps = eps
        weight = torch.rand(num_features) if drawn else torch.ones(num_features)
        self.weight = nn.Parameter(weight) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        # statistics of half-precision maps in full precision: the mean would lose its digits
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        # in two passes: torch.var_mean is exact as well, but takes five times as long on CPUs
        centred = wide - wide.mean(dim=(1, 2, 3), keepdim=True)
        count = wide[0].numel() - 1
        variance = centred.square().sum(dim=(1, 2, 3), keepdim=True) / max(count, 1)
        # sqrt has an infinite slope at 0: a flat sample must keep finite gradients
        std = variance.clamp_min(torch.finfo(wide.dtype).tiny).sqrt()
        scale = 1 / (std + self.eps)
        if self.weight is None or self.bias is None:
            return (centred * scale).to(x.dtype)
        scale = scale * self.weight[:, None, None]
        return torch.addcmul(self.bias[:, None, None], centred, scale).to(x.dtype)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation (Ioffe & Szegedy 2015) with running statistics.

    momentum: share of each batch in the running statistics.
    """

    num_parameters = 0

    def __init__(
        self,
        num_features: int,
        *,
        affine: bool = True,
        eps: NonNegative = 1e-5,
        momentum: Fraction = 0.1,
    ) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum, affine=affine)

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        if _is_channels_last(input):  # not of four axes: see _instance_norm
            pixels = input.permute(0, 2, 3, 1)
            normed = super().forward(pixels.flatten(0, 2)).reshape(pixels.shape)
            return normed.permute(0, 3, 1, 2)
        return super().forward(input.flatten(2)).reshape(input.shape)

    def _check_input_dim(self, input: Tensor) -> None:
        """torch's accepts four axes alone."""


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu & He 2018).

    Raises ContractError where `groups` does not divide the channels.
    """

    num_parameters = 0

    def __init__(
        self,
        num_features: int,
        *,
        groups: Positive = 32,
        affine: bool = True,
        eps: NonNegative = 1e-5,
    ) -> None:
        at_least(1, groups=groups)
        if num_features % groups:
            fits = [
                str(g) for g in range(1, min(groups, num_features) + 1) if num_features % g == 0
            ]
            raise ContractError(
                f"group norm of {num_features} channels: GROUPS {groups} does not divide them; "
                f"{', '.join(fits)} would"
            )
        super().__init__(groups, num_features, eps=eps, affine=affine)


class NoNorm(nn.Module):
    """No normalisation."""

    num_parameters = 0

    def __init__(self, num_features: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


def _instance_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Each channel of each sample to mean 0 and variance 1, then weight and bias, (N, C) each.

    x: (N, C, H, W) in any memory format, which its gradient need not share. Statistics of
    half-precision maps are in full precision. A 1×1 map becomes zero, then the bias.

    Computed as a batch norm, in one pass with the affine part, but never of four axes: there,
    "contiguous" is said of two memory formats, and torch's CPU backward (2.14) takes a map and its
    gradient for the same one. Of one sample, F.instance_norm and batch norm so give gradients that
    are wrong by their own size. Of two or three axes, contiguous means one order in memory.
    """
    n, c, h, w = x.shape
    wide = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
    # weights in full precision make batch norm keep its statistics in full precision as well
    weight = x.new_ones(n, c, dtype=wide) if weight is None else weight.to(wide)
    bias = x.new_zeros(n, c, dtype=wide) if bias is None else bias.to(wide)
    if torch.compiler.is_compiling():  # the formula, which it fuses
        values = x.to(wide)
        centred = values - values.mean(dim=(2, 3), keepdim=True)
        variance = centred.square().mean(dim=(2, 3), keepdim=True)
        scale = weight[:, :, None, None] * torch.rsqrt(variance + eps)
        return torch.addcmul(bias[:, :, None, None], centred, scale).to(x.dtype)
    if _is_channels_last(x) and (n == 1 or x.device.type == "cpu"):
        # H·W pixels of C channels, a sample at a time: twice as fast on CPUs as to copy the map
        # into the other format, and the convolution that follows finds the format that it wants
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
        samples = zip(pixels.unbind(), weight.unbind(), bias.unbind(), strict=True)
        normed = [_batch_norm(*sample, eps, cudnn=False) for sample in samples]
        rows = normed[0].unsqueeze(0) if n == 1 else torch.stack(normed)
        return rows.reshape(n, h, w, c).permute(0, 3, 1, 2)
    # one sample of N·C channels
    lines, cudnn = x.reshape(1, n * c, h * w), torch.backends.cudnn.enabled
    return _batch_norm(lines, weight.flatten(), bias.flatten(), eps, cudnn=cudnn).reshape(x.shape)


def _batch_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, *, cudnn: bool) -> Tensor:
    """Batch norm by the batch's own statistics. x: (N, C) or (N, C, L)."""
    # not F.batch_norm, which refuses a single value a channel
    return torch.batch_norm(x, weight, bias, None, None, True, 0.0, eps, cudnn)


def _is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel lie side by side, pixel after pixel, and only so."""
    return not x.is_contiguous() and x.permute(0, 2, 3, 1).is_contiguous()
