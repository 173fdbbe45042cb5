"""Projected GAN's discriminator: heads on the features of a frozen network."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.blocks._checks import at_least, unsteered
from munit_zoo.blocks._layers import outputs
from munit_zoo.blocks.conv import Make, WeightNorm, conv2d
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.minibatch import compared
from munit_zoo.blocks.timm_backbones import TimmBackbone
from munit_zoo.errors import ContractError, GraphError
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot
from munit_zoo.registry.ranges import Count, Halvings, NonEmpty, Width

__all__ = ["ProjectedDiscriminator"]

Mixing = Literal["scales", "channels", "none"]


class ProjectedDiscriminator(nn.Module):
    """Several heads on randomly mixed features of a frozen network (Sauer et al. 2021).

    Image (N, in_channels, H, W) in [-1, 1] to a list of logits, one map (N, 1, h, w) a feature map
    of the network, the finest first, all of one size. A fixed random 1×1 convolution mixes the
    channels of each map (cross-channel mixing); from the deepest up, a fixed random 3×3 convolution
    takes what was mixed so far, enlarged, into the next (cross-scale mixing). Each head halves its
    map, by convolutions 4×4 at stride 2, until all are as small as the deepest; only the heads are
    trained.

    model, pretrained, weights, normalise: timm's network, as those of the content encoder `timm`.
        Without trained weights its features are random ones.
    levels: feature maps as timm counts them, negative ones from the deepest. Strides are powers of
        two of each other; those of a ViT are all alike.
    size: images are resized to this side for the network (published: 224); 0: as they are.
    mix_dim: channels after the mixing, doubled at each level down. mixing: `scales` mixes both
        ways, `channels` leaves the scales apart, `none` hands the features on as they are.
    dim: channels of the heads' first convolution, doubled at each up to 8·dim. layers: halvings of
        the deepest head.
    norm: of the heads' convolutions but the first and last; weight_norm: of all of them.
    minibatch_std: so many samples are compared at a time (`MinibatchStd`); 0 for none.

    Raises ContractError for settings out of range, for a norm that a style steers and for a
    network that timm does not have or cannot build so; WeightsError where weights cannot be had;
    the forward, GraphError for images that are too small.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        model: str = "tf_efficientnet_lite0",
        pretrained: bool = False,
        weights: str | None = None,
        normalise: bool | None = None,
        levels: NonEmpty[tuple[int, ...]] = (-4, -3, -2, -1),
        size: Count = 0,
        mixing: Mixing = "scales",
        mix_dim: Width = 64,
        dim: Width = 64,
        layers: Halvings = 0,
        norm: Slot[Norm] = slot("none"),
        activation: Slot[Activation] = slot("lrelu"),
        weight_norm: WeightNorm = "spectral",
        minibatch_std: Count = 0,
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, mix_dim=mix_dim)
        at_least(0, layers=layers, size=size)
        self.backbone = TimmBackbone(
            in_channels,
            model,
            levels,
            pretrained=pretrained,
            weights=weights,
            normalise=normalise,
            frozen=True,
            key="LEVELS",
        )
        widths, strides = self.backbone.out_channels, self.backbone.strides
        halvings = [_halvings(strides[-1], stride, model) for stride in strides]
        self.mixing = None
        if mixing != "none":
            mixed = [mix_dim * 2**level for level in range(len(widths))]
            self.mixing = _Mixing(widths, mixed, across=mixing == "scales").requires_grad_(False)
            widths = mixed
        self.heads = nn.ModuleList(
            _head(
                channels,
                dim,
                halved + layers,
                unsteered(NORMS.factory(norm), "a discriminator"),
                ACTIVATIONS.factory(activation),
                weight_norm,
                minibatch_std,
            )
            for channels, halved in zip(widths, halvings, strict=True)
        )
        self.detaches = "spectral" in weight_norm  # the vectors that estimate a weight's norm
        self.size, self._smallest = size, strides[-1] * 2**layers
        initialise(self.heads, init)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = self._features(x)
        return [head(found) for head, found in zip(self.heads, features, strict=True)]

    def activations(self, x: Tensor) -> list[list[Tensor]]:
        """Of each level the map that its head sees, and what the head's layers give."""
        pairs = zip(self.heads, self._features(x), strict=True)
        return [[found, *outputs(found, cast(nn.Sequential, head))] for head, found in pairs]

    def _features(self, x: Tensor) -> list[Tensor]:
        """The maps that the heads see."""
        if self.size and tuple(x.shape[2:]) != (self.size, self.size):
            x = F.interpolate(x, size=(self.size, self.size), mode="bilinear")
        if min(x.shape[2:]) < self._smallest:
            raise GraphError(
                f"images of {x.shape[2]}×{x.shape[3]} leave nothing of the network's deepest map, "
                f"which needs {self._smallest}×{self._smallest}: use larger images, SIZE, fewer "
                "LAYERS or other LEVELS"
            )
        features: list[Tensor] = self.backbone(x)
        if self.mixing is not None:
            features = self.mixing(features)
        return features


class _Mixing(nn.Module):
    """Feature maps, finest first, mixed by random convolutions; across: over the scales, too."""

    def __init__(self, widths: Sequence[int], mixed: Sequence[int], *, across: bool) -> None:
        super().__init__()
        self.channels = nn.ModuleList(
            conv2d(width, wide, 1) for width, wide in zip(widths, mixed, strict=True)
        )
        self.scales = nn.ModuleList(
            conv2d(wide, narrow, 3, padding=1)
            for narrow, wide in (itertools.pairwise(mixed) if across else ())
        )
        initialise(self, "kaiming")

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        mixed = [mix(found) for mix, found in zip(self.channels, features, strict=True)]
        for level in reversed(range(len(self.scales))):
            coarser = self.scales[level](mixed[level + 1])
            if coarser.shape[2:] != mixed[level].shape[2:]:
                coarser = F.interpolate(coarser, size=mixed[level].shape[2:], mode="bilinear")
            mixed[level] = mixed[level] + coarser
        return mixed


def _head(
    channels: int,
    dim: int,
    halvings: int,
    norm: Make,
    activation: Make,
    weight_norm: WeightNorm,
    minibatch_std: int,
) -> nn.Sequential:
    """Convolutions that halve, one that does not, and one to logits."""
    layers: list[nn.Module] = []
    for index in range(halvings + 1):
        wide = dim * min(2**index, 8)
        kernel, stride = (4, 2) if index < halvings else (3, 1)
        layers += [
            conv2d(channels, wide, kernel, stride=stride, padding=1, weight_norm=weight_norm)
        ]
        layers += [norm(wide)] if index else []
        layers += [activation()]
        channels = wide
    layers += compared(minibatch_std)
    channels += minibatch_std > 0
    return nn.Sequential(
        *layers, conv2d(channels, 1, 1, weight_norm=weight_norm, full_precision=True)
    )


def _halvings(deepest: int, stride: int, model: str) -> int:
    """How often a map at a stride is halved to be at the deepest one's."""
    ratio = deepest // stride
    if deepest % stride or ratio & (ratio - 1):
        raise ContractError(
            f"timm's {model} has feature maps at strides {stride} and {deepest}: the discriminator "
            "projected halves one to the other; choose other LEVELS"
        )
    return ratio.bit_length() - 1
