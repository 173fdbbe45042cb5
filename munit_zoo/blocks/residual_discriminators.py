"""Discriminators of residual blocks: of the whole image, of a class, of each pixel."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, unsteered
from munit_zoo.blocks.conv import Make, WeightNorm, conv2d
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.minibatch import compared
from munit_zoo.blocks.preactivation import PreActivationDown
from munit_zoo.blocks.upsampling import Upsampling, doubling_conv2d, enlarged
from munit_zoo.errors import ContractError, GraphError
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot
from munit_zoo.registry.ranges import Count, Scales, Width

__all__ = [
    "ResidualClassDiscriminator",
    "ResidualDiscriminator",
    "UnetDiscriminator",
]


class _Trunk(nn.Module):
    """Image to maps of features, each half the one before: a convolution, then residual blocks."""

    def __init__(
        self,
        in_channels: int,
        dim: int,
        layers: int,
        max_dim: int,
        norm: Make,
        activation: Make,
        weight_norm: WeightNorm,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, layers=layers, max_dim=max_dim)
        widths = [min(dim * 2**index, max(dim, max_dim)) for index in range(layers + 1)]
        self.stem = conv2d(in_channels, dim, 3, padding=1, weight_norm=weight_norm)
        self.downs = nn.ModuleList(
            PreActivationDown(
                widths[index],
                widths[index + 1],
                norm,
                activation,
                halve=True,
                weight_norm=weight_norm,
            )
            for index in range(layers)
        )
        self.widths = widths

    def smallest_input(self) -> int:
        """Side of the smallest image that leaves a pixel."""
        return 1 << len(self.downs)

    def forward(self, x: Tensor) -> list[Tensor]:
        if min(x.shape[2:]) < self.smallest_input():
            raise GraphError(
                f"images of {x.shape[2]}×{x.shape[3]} are too small for a discriminator of "
                f"{len(self.downs)} LAYERS, which needs {self.smallest_input()}×"
                f"{self.smallest_input()}: use larger images or fewer LAYERS"
            )
        maps = [self.stem(x)]
        for down in self.downs:
            maps.append(down(maps[-1]))
        return maps


class _Summary(nn.Module):
    """Features (N, C, h, w) to features of the whole image (N, C, h, w), still a map: activated,
    convolved with what tells the batch's variety, activated."""

    def __init__(
        self, channels: int, activation: Make, minibatch_std: int, weight_norm: WeightNorm
    ) -> None:
        super().__init__()
        seen = channels + (minibatch_std > 0)
        self.layers = nn.Sequential(
            activation(),
            *compared(minibatch_std),
            conv2d(seen, channels, 3, padding=1, weight_norm=weight_norm),
            activation(),
        )

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features


def _verdict(channels: int, outputs: int, weight_norm: WeightNorm) -> nn.Conv2d:
    """The last linear layer, as a convolution of what is averaged over the image."""
    return conv2d(channels, outputs, 1, weight_norm=weight_norm, full_precision=True)


class ResidualDiscriminator(nn.Module):
    """The whole image judged, by residual blocks (Miyato et al. 2018, appendix B.4).

    Image (N, in_channels, H, W) to a list of logits: maps (N, 1, h, w) of `heads` - 1 levels, the
    finest first, and one logit (N, 1) of the image. A convolution, `layers` blocks that average the
    map down by 2, a convolution, the mean over the image, a linear layer.

    dim: channels of the first convolution; they double at each block, up to max_dim.
    heads: levels that are judged, the deepest as a whole, those above it place by place.
    weight_norm: of all convolutions (published: spectral). norm: of the blocks (published: none).
    minibatch_std: so many samples are compared at a time (`MinibatchStd`); 0 for none.

    Raises ContractError for settings out of range and for a norm that a style steers; the forward,
    GraphError for images smaller than `smallest_input()`.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: Width = 64,
        layers: Scales = 4,
        max_dim: Width = 512,
        heads: Scales = 1,
        norm: Slot[Norm] = slot("none"),
        activation: Slot[Activation] = slot("lrelu"),
        weight_norm: WeightNorm = "none",
        minibatch_std: Count = 0,
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        if heads > layers + 1:
            raise ContractError(f"HEADS is {heads}: there are {layers + 1} levels (LAYERS + 1)")
        make_norm = unsteered(NORMS.factory(norm), "a discriminator")
        make = ACTIVATIONS.factory(activation)
        self.trunk = _Trunk(in_channels, dim, layers, max_dim, make_norm, make, weight_norm)
        *above, deepest = self.trunk.widths[layers + 1 - heads :]
        self.heads = nn.ModuleList(
            nn.Sequential(make(), _verdict(width, 1, weight_norm)) for width in above
        )
        self.summary = _Summary(deepest, make, minibatch_std, weight_norm)
        self.verdict = _verdict(deepest, 1, weight_norm)
        initialise(self, init)

    def smallest_input(self) -> int:
        """Side of the smallest image that it can judge."""
        return self.trunk.smallest_input()

    def forward(self, x: Tensor) -> list[Tensor]:
        return [layers[-1] for layers in self.activations(x)]

    def activations(self, x: Tensor) -> list[list[Tensor]]:
        """Of each head the maps that it sees, the logits last; those above all are the last's."""
        maps = self.trunk(x)
        count = len(maps) - 1 - len(self.heads)
        judged = zip(self.heads, maps[count:-1], strict=True)
        summary = self.summary(maps[-1])
        logits = self.verdict(summary.mean(dim=(2, 3), keepdim=True)).flatten(1)
        return [
            *([found, head(found)] for head, found in judged),
            [*maps[:count], maps[-1], summary, logits],
        ]


class ResidualClassDiscriminator(nn.Module):
    """`residual` with a logit for each class, that of `y` taken: D(x, y).

    (x (N, in_channels, H, W), y (N,), whole numbers below num_domains) to a list of one tensor
    (N, 1). `features(x)` gives the last map, and `logits(features, y)` what is made of it.

    Keys and errors as those of `residual`.
    """

    def __init__(
        self,
        in_channels: int,
        num_domains: int,
        *,
        dim: Width = 64,
        layers: Scales = 4,
        max_dim: Width = 512,
        norm: Slot[Norm] = slot("none"),
        activation: Slot[Activation] = slot("lrelu"),
        weight_norm: WeightNorm = "none",
        minibatch_std: Count = 0,
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        make_norm = unsteered(NORMS.factory(norm), "a discriminator")
        make = ACTIVATIONS.factory(activation)
        self.trunk = _Trunk(in_channels, dim, layers, max_dim, make_norm, make, weight_norm)
        self.summary = _Summary(self.trunk.widths[-1], make, minibatch_std, weight_norm)
        self.verdict = _verdict(self.trunk.widths[-1], num_domains, weight_norm)
        initialise(self, init)

    def features(self, x: Tensor) -> Tensor:
        """The last map (N, C, h, w), activated."""
        found: Tensor = self.summary(self.trunk(x)[-1])
        return found

    def logits(self, features: Tensor, y: Tensor) -> list[Tensor]:
        """Those of each sample's class."""
        every = self.verdict(features.mean(dim=(2, 3), keepdim=True)).flatten(1)
        return [every.gather(1, y[:, None])]

    def forward(self, x: Tensor, y: Tensor) -> list[Tensor]:
        return self.logits(self.features(x), y)

    def activations(self, x: Tensor, y: Tensor) -> list[list[Tensor]]:
        """The map of each block, and the last one activated; the logits of its class last."""
        maps = self.trunk(x)
        summary = self.summary(maps[-1])
        return [[*maps, summary, *self.logits(summary, y)]]


class UnetDiscriminator(nn.Module):
    """A U-Net that judges the image and each of its pixels (Schönfeld et al. 2020).

    Image (N, in_channels, H, W), H and W multiples of 2^layers (`stride`), to a list of two: logits
    of the pixels (N, 1, H, W) and of the image (N, 1). Downward it is `residual`; upward residual
    blocks double the map, each seeing the features of its size. The paper's CutMix consistency is a
    term of its own and not part of this.

    upsample, fold: of the way up, as those of the decoders.
    Other keys and errors as those of `residual`; the forward, GraphError for images of other sides.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: Width = 64,
        layers: Scales = 4,
        max_dim: Width = 512,
        upsample: Upsampling = "nearest",
        norm: Slot[Norm] = slot("none"),
        activation: Slot[Activation] = slot("lrelu"),
        weight_norm: WeightNorm = "none",
        minibatch_std: Count = 0,
        fold: bool = True,
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        make_norm = unsteered(NORMS.factory(norm), "a discriminator")
        make = ACTIVATIONS.factory(activation)
        self.trunk = _Trunk(in_channels, dim, layers, max_dim, make_norm, make, weight_norm)
        widths = self.trunk.widths
        self.summary = _Summary(widths[-1], make, minibatch_std, weight_norm)
        self.verdict = _verdict(widths[-1], 1, weight_norm)
        make_up: dict[str, Any] = {"upsample": upsample, "fold": fold, "weight_norm": weight_norm}
        self.ups = nn.ModuleList(
            _Up(
                widths[level] if level == layers else 2 * widths[level],
                widths[level - 1],
                make_norm,
                make,
                **make_up,
            )
            for level in range(layers, 0, -1)
        )
        self.pixels = nn.Sequential(make(), _verdict(2 * dim, 1, weight_norm))
        self.stride = 2**layers
        initialise(self, init)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [layers[-1] for layers in self.activations(x)]

    def activations(self, x: Tensor) -> list[list[Tensor]]:
        """The maps on the way up, then those on the way down, each with its logits last."""
        if x.shape[2] % self.stride or x.shape[3] % self.stride:
            raise GraphError(
                f"images of {x.shape[2]}×{x.shape[3]}: a U-Net of {len(self.ups)} LAYERS judges "
                f"multiples of {self.stride}: use images of such sides, or fewer LAYERS"
            )
        *across, y = maps = self.trunk(x)
        summary = self.summary(y)
        rising = []
        for up, found in zip(self.ups, across[::-1], strict=True):
            y = torch.cat([up(y), found], dim=1)
            rising.append(y)
        whole = self.verdict(summary.mean(dim=(2, 3), keepdim=True)).flatten(1)
        return [[*rising, self.pixels(y)], [*maps, summary, whole]]


class _Up(nn.Module):
    """(shortcut + residual) / √2 at twice the size, each convolution behind norm and activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Make,
        activation: Make,
        *,
        upsample: Upsampling,
        fold: bool,
        weight_norm: WeightNorm,
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.residual = nn.Sequential(
            norm(in_channels),
            activation(),
            doubling_conv2d(
                in_channels,
                out_channels,
                3,
                upsample=upsample,
                weight_norm=weight_norm,
                fold=fold,
            ),
            norm(out_channels),
            activation(),
            conv2d(out_channels, out_channels, 3, padding=1, weight_norm=weight_norm),
        )
        self.shortcut = conv2d(in_channels, out_channels, 1, bias=False, weight_norm=weight_norm)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = enlarged(self.shortcut(x), self.upsample)
        total: Tensor = (shortcut + self.residual(x)) / math.sqrt(2)
        return total
