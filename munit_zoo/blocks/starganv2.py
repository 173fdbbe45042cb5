"""StarGAN v2's networks: one generator for K domains, steered by styles of a domain."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.blocks._checks import at_least, unsteered
from munit_zoo.blocks._layers import outputs
from munit_zoo.blocks.conv import Make, WeightNorm, conv2d
from munit_zoo.blocks.filters import HighPass
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.minibatch import compared
from munit_zoo.blocks.preactivation import PreActivationDown, PreActivationUp
from munit_zoo.blocks.upsampling import Upsampling
from munit_zoo.errors import ContractError, GraphError
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot
from munit_zoo.registry.ranges import Count, Depth, NonNegative, Positive, Width

__all__ = [
    "StarGANv2Discriminator",
    "StarGANv2Generator",
    "StarGANv2Mapping",
    "StarGANv2StyleEncoder",
]

HIGH_PASS_HEIGHTS = (32, 64, 128)
"""Heights of the feature maps of which a high pass goes around the bottleneck."""


class StarGANv2Generator(nn.Module):
    """Image and style to image: G(x, s) (Choi et al. 2020, appendix C).

    (x (N, in_channels, H, W), style (N, style_dim)) to (N, out_channels, H, W), H and W multiples
    of `stride`; no output activation, so images may leave [-1, 1] a little. Residual blocks down to
    16×16 (of images of `size`), two more there, and their mirror image, steered by AdaIN.

    size: side of the training images, a power of two from 32 on (from 16 with high_pass): it sets
        depth and widths. channel_budget: channels × size of the first layer; widths double at each
        halving, up to max_dim.
    high_pass: above 0, blocks go down to 8×8, the upward ones have no shortcut, and where `masks`
        = (m32, m64) are given, (N, 1, h, w) each, the high pass of features of height 32 (m32), 64
        and 128 (m64), masked, is added on the way up. The filter is divided by this number.
    norm: of the blocks downward. upsample: `nearest`, `bilinear`, `blur`, `pixel_shuffle` or
        `transposed`. fold: upsampling and convolution in one: the same result for less work.

    Raises ContractError for settings out of range and for a norm that a style steers; the forward,
    GraphError for masks without high_pass.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        style_dim: int,
        *,
        size: Positive = 256,
        channel_budget: Positive = 2**14,
        max_dim: Width = 512,
        high_pass: NonNegative = 0.0,
        norm: Slot[Norm] = slot("instance", affine=True),
        activation: Slot[Activation] = slot("lrelu"),
        upsample: Upsampling = "nearest",
        fold: bool = True,
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        make_norm = unsteered(NORMS.factory(norm), "the way down of the generator starganv2")
        make_activation = ACTIVATIONS.factory(activation)
        halvings = _log2(size) - (3 if high_pass else 4)
        if halvings < 1:
            raise ContractError(
                f"SIZE is {size}: this generator takes images of {16 if high_pass else 32} and more"
            )
        widths = _widths(size, halvings, channel_budget, max_dim)
        self.stem = conv2d(in_channels, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for index in range(halvings + 2):
            shrinks = index < halvings
            wide = widths[min(index + 1, halvings)]
            narrow = widths[min(index, halvings)]
            self.down.append(
                PreActivationDown(narrow, wide, make_norm, make_activation, halve=shrinks)
            )
            self.up.insert(
                0,
                PreActivationUp(
                    wide,
                    narrow,
                    style_dim,
                    make_activation,
                    double=shrinks,
                    shortcut=not high_pass,
                    upsample=upsample,
                    fold=fold,
                ),
            )
        self.head = nn.Sequential(
            make_norm(widths[0]), make_activation(), conv2d(widths[0], out_channels, 1)
        )
        self.high_pass = HighPass(high_pass) if high_pass else None
        self.stride = 2**halvings
        initialise(self, init)

    def forward(self, x: Tensor, style: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        if masks is not None and self.high_pass is None:
            raise GraphError("a generator without HIGH_PASS has no use for masks")
        x = self.stem(x)
        kept: dict[int, Tensor] = {}
        for down in self.down:
            kept[x.shape[2]] = x
            x = down(x)
        for up in self.up:
            x = up(x, style)
            if masks is not None and self.high_pass and x.shape[2] in HIGH_PASS_HEIGHTS:
                mask = masks[0] if x.shape[2] == HIGH_PASS_HEIGHTS[0] else masks[1]
                mask = F.interpolate(mask, size=x.shape[2:], mode="bilinear")
                x = x + self.high_pass(mask * kept[x.shape[2]])
        image: Tensor = self.head(x)
        return image


class StarGANv2Mapping(nn.Module):
    """Noise to a style of each domain, that of `y` taken: F(z, y) (Choi et al. 2020, appendix C).

    (z (N, in_features), y (N,), whole numbers below num_domains) to (N, out_features).

    dim: width. shared_layers: linear layers that all domains share; layers: those of each domain's
    head, 1 or more.

    Raises ContractError for settings out of range.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        num_domains: int,
        *,
        dim: Width = 512,
        shared_layers: Count = 4,
        layers: Depth = 4,
        activation: Slot[Activation] = slot("relu"),
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, layers=layers)
        at_least(0, shared_layers=shared_layers)
        make = ACTIVATIONS.factory(activation)
        widths = [in_features, *[dim] * shared_layers]
        self.shared = nn.Sequential()
        for narrow, wide in itertools.pairwise(widths):
            self.shared.extend([nn.Linear(narrow, wide), make()])
        self.heads = nn.ModuleList()
        for _ in range(num_domains):
            head = nn.Sequential()
            for index in range(layers - 1):
                head.extend([nn.Linear(dim if index else widths[-1], dim), make()])
            head.append(nn.Linear(dim if layers > 1 else widths[-1], out_features))
            self.heads.append(head)
        initialise(self, init)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return _of_domain(self.heads, self.shared(z), y)


class _Trunk(nn.Module):
    """Image of one size to (N, out_channels, 1, 1), by default without norms."""

    def __init__(
        self,
        in_channels: int,
        size: int,
        channel_budget: int,
        max_dim: int,
        activation: Make,
        *,
        norm: Make | None = None,
        weight_norm: WeightNorm = "none",
        minibatch_std: int = 0,
    ) -> None:
        super().__init__()
        halvings = _log2(size) - 2
        if halvings < 1:
            raise ContractError(f"SIZE is {size}: this network takes images of 8 and more")
        widths = _widths(size, halvings, channel_budget, max_dim)
        self.size, self.out_channels = size, widths[-1]
        self.stem = conv2d(in_channels, widths[0], 3, padding=1, weight_norm=weight_norm)
        self.down = nn.ModuleList(
            PreActivationDown(narrow, wide, norm, activation, halve=True, weight_norm=weight_norm)
            for narrow, wide in itertools.pairwise(widths)
        )
        seen = widths[-1] + (minibatch_std > 0)
        self.last = nn.Sequential(
            activation(),
            *compared(minibatch_std),
            conv2d(seen, widths[-1], 4, weight_norm=weight_norm),
            activation(),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self._stem(x)
        for down in self.down:
            x = down(x)
        vector: Tensor = self.last(x)
        return vector

    def outputs(self, x: Tensor) -> list[Tensor]:
        """What each halving gives, and the whole."""
        return outputs(self._stem(x), [*self.down, self.last])

    def _stem(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) != (self.size, self.size):
            raise GraphError(
                f"images of {x.shape[2]}×{x.shape[3]}: this network takes {self.size}×{self.size} "
                "alone; set its SIZE, or the images'"
            )
        found: Tensor = self.stem(x)
        return found


class StarGANv2StyleEncoder(nn.Module):
    """Image to its style as one of each domain, that of `y` taken: E(x, y).

    (x (N, in_channels, size, size), y (N,), whole numbers below num_domains) to (N, style_dim)
    (Choi et al. 2020, appendix C). `input_size`: the side of its images.

    size, channel_budget, max_dim: as those of the generator `starganv2`; size from 8 on.

    Raises ContractError for settings out of range; the forward, GraphError for images of another
    size.
    """

    def __init__(
        self,
        in_channels: int,
        style_dim: int,
        num_domains: int,
        *,
        size: Positive = 256,
        channel_budget: Positive = 2**14,
        max_dim: Width = 512,
        activation: Slot[Activation] = slot("lrelu"),
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        make = ACTIVATIONS.factory(activation)
        self.trunk = _Trunk(in_channels, size, channel_budget, max_dim, make)
        self.heads = nn.ModuleList(
            nn.Linear(self.trunk.out_channels, style_dim) for _ in range(num_domains)
        )
        self.input_size = size
        initialise(self, init)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return _of_domain(self.heads, self.trunk(x).flatten(1), y)


class StarGANv2Discriminator(nn.Module):
    """Image to a logit for each domain, that of `y` taken: D(x, y).

    (x (N, in_channels, size, size), y (N,), whole numbers below num_domains) to a list of one
    tensor (N, 1) (Choi et al. 2020, appendix C). Settings, `input_size` and errors as those of the
    style encoder `starganv2`.

    norm: of the blocks. weight_norm: of all convolutions. minibatch_std: so many samples are
    compared at a time (`MinibatchStd`); 0 for none.
    """

    def __init__(
        self,
        in_channels: int,
        num_domains: int,
        *,
        size: Positive = 256,
        channel_budget: Positive = 2**14,
        max_dim: Width = 512,
        norm: Slot[Norm] = slot("none"),
        activation: Slot[Activation] = slot("lrelu"),
        weight_norm: WeightNorm = "none",
        minibatch_std: Count = 0,
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        self.trunk = _Trunk(
            in_channels,
            size,
            channel_budget,
            max_dim,
            ACTIVATIONS.factory(activation),
            norm=unsteered(NORMS.factory(norm), "a discriminator"),
            weight_norm=weight_norm,
            minibatch_std=minibatch_std,
        )
        self.head = conv2d(
            self.trunk.out_channels, num_domains, 1, weight_norm=weight_norm, full_precision=True
        )
        self.input_size = size
        initialise(self, init)

    def forward(self, x: Tensor, y: Tensor) -> list[Tensor]:
        return [self._logits(self.trunk(x), y)]

    def activations(self, x: Tensor, y: Tensor) -> list[list[Tensor]]:
        """What each halving of the map gives, and the last layer; the logits last."""
        found = self.trunk.outputs(x)
        return [[*found, self._logits(found[-1], y)]]

    def _logits(self, features: Tensor, y: Tensor) -> Tensor:
        found: Tensor = self.head(features).flatten(1).gather(1, y[:, None])
        return found


def _of_domain(heads: nn.ModuleList, x: Tensor, y: Tensor) -> Tensor:
    """What the head of each sample's domain makes of it.

    All heads are computed, so that those of domains that a batch lacks have a gradient: zero.
    """
    rows = torch.stack([head(x) for head in heads], dim=1)
    return rows.gather(1, y[:, None, None].expand(-1, 1, rows.shape[2])).squeeze(1)


def _log2(size: int) -> int:
    """The exponent of a power of two. Raises ContractError for other numbers."""
    if size < 1 or size & (size - 1):
        raise ContractError(f"SIZE is {size}, expected a power of two, such as 128 or 256")
    return size.bit_length() - 1


def _widths(size: int, halvings: int, channel_budget: int, max_dim: int) -> list[int]:
    """Channels after the first convolution and after each halving."""
    at_least(1, channel_budget=channel_budget, max_dim=max_dim)
    widths = [channel_budget // size]
    if not widths[0]:
        raise ContractError(f"CHANNEL_BUDGET {channel_budget} is below SIZE {size}")
    for _ in range(halvings):
        widths.append(min(2 * widths[-1], max_dim))
    return widths
