"""StarGAN's networks: a generator told the wanted label, a discriminator that also classifies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, odd, unsteered
from munit_zoo.blocks._layers import outputs
from munit_zoo.blocks.conv import WeightNorm, conv2d
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.norms import NoNorm
from munit_zoo.blocks.residual import ResidualBlock
from munit_zoo.blocks.upsampling import Upsampling, doubling_conv2d
from munit_zoo.errors import ContractError, GraphError
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot
from munit_zoo.registry.ranges import Count, Odd, Positive

__all__ = ["StarGANDiscriminator", "StarGANGenerator"]


class StarGANGenerator(nn.Module):
    """Image and label to image: G(x, c) (Choi et al. 2018, table 4).

    (x (N, in_channels, H, W), label (N, style_dim)) to (N, out_channels, H, W) in [-1, 1], H and W
    multiples of 2^downsamples. The label, tiled over the image, is appended to it; then a wide
    convolution, 4×4 ones that halve, residual blocks, ones that double, a wide one.
    All are padded with zeros and without bias: after instance norm, a tiled label shows only where
    zeros break it, at the borders.

    dim: channels after the first convolution, doubled at each halving. kernel_size: of the first
    and the last convolution. upsample: `transposed` convolutions 4×4 or, 3×3, behind `nearest` or
    `bilinear` interpolation, `blur` or `pixel_shuffle`. fold: upsampling and convolution in one:
    the same result for less work.

    Raises ContractError for settings out of range and for a norm that a style steers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        style_dim: int,
        *,
        dim: Positive = 64,
        blocks: Count = 6,
        downsamples: Count = 2,
        kernel_size: Odd = 7,
        upsample: Upsampling = "transposed",
        norm: Slot[Norm] = slot("instance", affine=True),
        activation: Slot[Activation] = slot("relu"),
        output_activation: Slot[Activation] = slot("tanh"),
        fold: bool = True,
        init: Init = "default",
    ) -> None:
        super().__init__()
        at_least(1, dim=dim)
        at_least(0, blocks=blocks, downsamples=downsamples)
        odd(kernel_size=kernel_size)
        make_norm = unsteered(NORMS.factory(norm), "the generator stargan")
        make_activation = ACTIVATIONS.factory(activation)
        border = kernel_size // 2
        layers: list[nn.Module] = [
            conv2d(in_channels + style_dim, dim, kernel_size, padding=border, bias=False)
        ]
        layers += [make_norm(dim), make_activation()]
        for _ in range(downsamples):
            layers += [conv2d(dim, 2 * dim, 4, stride=2, padding=1, bias=False)]
            dim *= 2
            layers += [make_norm(dim), make_activation()]
        for _ in range(blocks):
            layers += [
                ResidualBlock(
                    dim, norm=make_norm, activation=make_activation, pad_type="zero", bias=False
                )
            ]
        for _ in range(downsamples):
            size = 4 if upsample == "transposed" else 3
            layers += [
                doubling_conv2d(dim, dim // 2, size, upsample=upsample, bias=False, fold=fold)
            ]
            dim //= 2
            layers += [make_norm(dim), make_activation()]
        layers += [conv2d(dim, out_channels, kernel_size, padding=border, bias=False)]
        layers += [ACTIVATIONS.factory(output_activation)()]
        self.layers = nn.Sequential(*layers)
        self.stride = 2**downsamples
        initialise(self, init)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        tiled = style.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        image: Tensor = self.layers(torch.cat([x, tiled], dim=1))
        return image


class StarGANDiscriminator(nn.Module):
    """Whether an image is real, by patches, and which labels it has (Choi et al. 2018, table 5).

    Image (N, in_channels, size, size) to a list of two: logits of the patches (N, 1, h, w) and of
    the labels (N, labels). `input_size`: the side of its images; `num_labels`: of the labels.

    size: of the images, 2^layers or more. labels: attributes or classes to tell. dim:
    channels after the first of `layers` convolutions 4×4, doubled at each.
    norm: of those but the first (published: none). weight_norm: of all convolutions.

    Raises ContractError for settings out of range; the forward, GraphError for images of another
    size.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        size: Positive = 128,
        labels: Positive = 5,
        dim: Positive = 64,
        layers: Positive = 6,
        norm: Slot[Norm] = slot("none"),
        activation: Slot[Activation] = slot("lrelu", negative_slope=0.01),
        weight_norm: WeightNorm = "none",
        init: Init = "default",
    ) -> None:
        super().__init__()
        at_least(1, labels=labels, dim=dim, layers=layers)
        if size < 2**layers:
            raise ContractError(
                f"SIZE {size} is below 2^LAYERS = {2**layers}: nothing is left to classify"
            )
        make_activation = ACTIVATIONS.factory(activation)
        make_norm = unsteered(NORMS.factory(norm), "a discriminator")
        found: list[nn.Module] = []
        channels, wider = in_channels, dim
        for index in range(layers):
            found += [conv2d(channels, wider, 4, stride=2, padding=1, weight_norm=weight_norm)]
            normed = make_norm(wider)
            if index and not isinstance(normed, NoNorm):
                found += [normed]
            found += [make_activation()]
            channels, wider = wider, 2 * wider
        self.layers = nn.Sequential(*found)
        heads: dict[str, Any] = {"bias": False, "weight_norm": weight_norm, "full_precision": True}
        self.patches = conv2d(channels, 1, 3, padding=1, **heads)
        self.labels = conv2d(channels, labels, size // 2**layers, **heads)
        self.input_size, self.num_labels = size, labels
        initialise(self, init)

    def forward(self, x: Tensor) -> list[Tensor]:
        self._check(x)
        features = self.layers(x)
        return [self.patches(features), self.labels(features).flatten(1)]

    def activations(self, x: Tensor) -> list[list[Tensor]]:
        """What each convolution gives, activated, and the patches' logits; then the labels'."""
        self._check(x)
        found = outputs(x, self.layers)
        patches, labels = self.patches(found[-1]), self.labels(found[-1]).flatten(1)
        return [[*found[1::2], patches], [labels]]

    def _check(self, x: Tensor) -> None:
        size = self.input_size
        if tuple(x.shape[2:]) != (size, size):
            raise GraphError(
                f"images of {x.shape[2]}×{x.shape[3]}: this discriminator takes {size}×{size} "
                "alone; set its SIZE, or the images'"
            )
