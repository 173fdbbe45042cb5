"""Residual blocks that normalise and activate before they convolve, and change the size."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.blocks.conv import Make, WeightNorm, conv2d
from munit_zoo.blocks.norms import AdaIN, InstanceNorm
from munit_zoo.blocks.upsampling import Upsampling, doubling_conv2d, enlarged

__all__ = ["PreActivationDown", "PreActivationUp", "StyledNorm"]


class PreActivationDown(nn.Module):
    """(shortcut + residual) / √2, each convolution behind its norm and activation.

    (N, in_channels, H, W) to (N, out_channels, H, W), or to half of that size with `halve`, by
    averaging. norm: a factory, None for none. The shortcut is a 1×1 convolution where the channels
    differ.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Make | None,
        activation: Make,
        *,
        halve: bool,
        weight_norm: WeightNorm = "none",
    ) -> None:
        super().__init__()
        self.first_norm = norm(in_channels) if norm else None
        self.second_norm = norm(in_channels) if norm else None
        self.activation = activation()
        self.first = conv2d(in_channels, in_channels, 3, padding=1, weight_norm=weight_norm)
        self.second = conv2d(in_channels, out_channels, 3, padding=1, weight_norm=weight_norm)
        self.shortcut = None
        if in_channels != out_channels:
            self.shortcut = conv2d(
                in_channels, out_channels, 1, bias=False, weight_norm=weight_norm
            )
        self.halves = halve

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.first_norm is None else self.first_norm(x)
        y = self._halved(self.first(self.activation(y)))
        y = y if self.second_norm is None else self.second_norm(y)
        y = self.second(self.activation(y))
        x = self._halved(x)  # a quarter of the work before the 1×1 convolution, and as good
        if self.shortcut is not None:
            x = self.shortcut(x)
        total: Tensor = (x + y) / math.sqrt(2)
        return total

    def _halved(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) if self.halves else x


class PreActivationUp(nn.Module):
    """(shortcut + residual) / √2 in the other direction, steered by a style through its norms.

    shortcut: whether there is one; the output is the residual alone where not.
    upsample, fold: as those of `doubling_conv2d`; the shortcut is interpolated.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        style_dim: int,
        activation: Make,
        *,
        double: bool,
        shortcut: bool,
        upsample: Upsampling = "nearest",
        fold: bool,
    ) -> None:
        super().__init__()
        self.first_norm = StyledNorm(in_channels, style_dim)
        self.second_norm = StyledNorm(out_channels, style_dim)
        self.activation = activation()
        self.first = (
            doubling_conv2d(in_channels, out_channels, 3, upsample=upsample, fold=fold)
            if double
            else conv2d(in_channels, out_channels, 3, padding=1)
        )
        self.second = conv2d(out_channels, out_channels, 3, padding=1)
        narrows = shortcut and in_channels != out_channels
        self.shortcut = conv2d(in_channels, out_channels, 1, bias=False) if narrows else None
        self.sums, self.doubles, self.upsample = shortcut, double, upsample

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        y = self.first(self.activation(self.first_norm(x, style)))
        y = self.second(self.activation(self.second_norm(y, style)))
        if not self.sums:
            residual: Tensor = y
            return residual
        if self.shortcut is not None:
            x = self.shortcut(x)  # before the doubling, as on the way down
        total: Tensor = ((enlarged(x, self.upsample) if self.doubles else x) + y) / math.sqrt(2)
        return total


class StyledNorm(nn.Module):
    """A norm, by default instance norm, whose weights, 1 + γ, and biases β are linear in a style.

    norm: a factory of norms that learn nothing themselves. Called with (x, style (N, style_dim)):
    a norm that is steered by `num_parameters` numbers.
    """

    def __init__(self, channels: int, style_dim: int, norm: Make | None = None) -> None:
        super().__init__()
        self.num_parameters = style_dim
        self.linear = nn.Linear(style_dim, 2 * channels)
        self.norm = AdaIN(channels) if norm is None else norm(channels)
        if isinstance(self.norm, InstanceNorm) and self.norm.weight is None:
            self.norm = AdaIN(channels, eps=self.norm.eps)  # the same in one pass

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        gamma, beta = self.linear(style).chunk(2, dim=1)
        if isinstance(self.norm, AdaIN):
            normed: Tensor = self.norm(x, torch.cat([beta, 1 + gamma], dim=1))
            return normed
        return torch.addcmul(beta[:, :, None, None], self.norm(x), 1 + gamma[:, :, None, None])
