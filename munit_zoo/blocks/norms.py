"""Normalisation layers of feature maps (N, C, H, W).

`num_parameters` tells how a norm is called: 0 for `norm(x)`; P > 0 for `norm(x, parameters)` with
parameters (N, P) that something else computes (AdaIN).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
            return _instance_norm(x, None, None, self.eps)
        weight, bias = self.weight.repeat(len(x)), self.bias.repeat(len(x))
        return _instance_norm(x, weight, bias, self.eps)


class AdaIN(nn.Module):
    """Adaptive instance normalisation (Huang & Belongie 2017), a function of its inputs.

    Instance norm (biased variance), then weight and bias that are given: `parameters` (N, 2C) holds
    first the C biases, then the C weights, used as they are.
    """

    def __init__(self, num_features: int, *, eps: NonNegative = 1e-5) -> None:
        super().__init__()
        self.num_features, self.eps = num_features, eps
        self.num_parameters = 2 * num_features

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        bias, weight = torch.split(parameters, self.num_features, dim=1)
        return _instance_norm(x, weight.flatten(), bias.flatten(), self.eps)


class LayerNorm(nn.Module):
    """Layer normalisation over (C, H, W) of each sample, in the form of MUNIT's reference.

    (x - mean) / (std + eps) with the unbiased standard deviation, then a weight (drawn from
    U(0, 1)) and a bias (0) per channel.
    """

    num_parameters = 0

    def __init__(self, num_features: int, *, affine: bool = True, eps: NonNegative = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.rand(num_features)) if affine else None
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


def _instance_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Each channel of each sample to mean 0 and variance 1, then weight and bias, (N·C,) each."""
    n, c, h, w = x.shape
    # As batch norm of one sample with N·C channels: one pass with the affine part, and one sample
    # keeps its memory format. `torch.batch_norm`, and not F.batch_norm: the latter refuses 1×1
    # maps, on which the result (zero, then the bias) is well defined.
    flat = x.reshape(1, n * c, h, w)
    normed = torch.batch_norm(
        flat, weight, bias, None, None, True, 0.0, eps, torch.backends.cudnn.enabled
    )
    return normed.reshape(x.shape)
