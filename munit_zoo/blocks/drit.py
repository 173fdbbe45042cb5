"""DRIT's content encoder, what domains share, and the content's judge (Lee et al. 2018, 2020)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, odd, unsteered
from munit_zoo.blocks.conv import ConvBlock, PadType, conv2d
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.norms import NoNorm
from munit_zoo.blocks.residual import ResidualTrunk
from munit_zoo.errors import GraphError
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot
from munit_zoo.registry.ranges import Halvings, Kernel, Layers, Odd, Width

__all__ = ["ContentDiscriminator", "DritContentEncoder", "ResidualEncoder"]


class DritContentEncoder(nn.Module):
    """A wide convolution without a norm, strided ones that double the channels, residual blocks.

    Image (N, in_channels, H, W) to content code (N, dim·2^downsamples, H/2^downsamples, …) (Lee et
    al. 2020, section 3); what domains share comes after it, in a network of its own. H and W are
    multiples of 2^downsamples.

    dim: channels after the first convolution. kernel_size, down_kernel_size, block_kernel_size: of
    the first convolution, the strided ones, the residual blocks; all odd. stem_activation: after
    the first convolution.

    Raises ContractError for settings out of range and for a norm that a style steers.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: Width = 64,
        downsamples: Halvings = 2,
        blocks: Layers = 3,
        kernel_size: Odd = 7,
        down_kernel_size: Odd = 3,
        block_kernel_size: Odd = 3,
        norm: Slot[Norm] = slot("instance"),
        stem_activation: Slot[Activation] = slot("lrelu", negative_slope=0.01),
        activation: Slot[Activation] = slot("relu"),
        pad_type: PadType = "reflect",
        init: Init = "gaussian_convs",
    ) -> None:
        super().__init__()
        at_least(1, dim=dim)
        at_least(0, downsamples=downsamples, blocks=blocks)
        odd(
            kernel_size=kernel_size,
            down_kernel_size=down_kernel_size,
            block_kernel_size=block_kernel_size,
        )
        make: dict[str, Any] = {
            "norm": unsteered(NORMS.factory(norm), "a content encoder"),
            "activation": ACTIVATIONS.factory(activation),
            "pad_type": pad_type,
        }
        self.stem = ConvBlock(
            in_channels,
            dim,
            kernel_size,
            activation=ACTIVATIONS.factory(stem_activation),
            pad_type=pad_type,
        )
        self.downs = nn.ModuleList()
        for _ in range(downsamples):
            self.downs.append(ConvBlock(dim, 2 * dim, down_kernel_size, stride=2, **make))
            dim *= 2
        self.trunk = ResidualTrunk(dim, blocks, block_kernel_size, **make)
        self.out_channels, self.stride = dim, 2**downsamples
        initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for down in self.downs:
            x = down(x)
        content: Tensor = self.trunk(x)
        return content


class ResidualEncoder(nn.Module):
    """Residual blocks alone, of as many channels as they are given: (N, C, H, W) to the same shape.

    What domains share of their encoders, or of their decoders (Liu et al. 2017; Lee et al. 2018).
    blocks: 0 for nothing shared.

    Raises ContractError for settings out of range and for a norm that a style steers.
    """

    stride = 1

    def __init__(
        self,
        in_channels: int,
        *,
        blocks: Layers = 1,
        kernel_size: Odd = 3,
        norm: Slot[Norm] = slot("instance"),
        activation: Slot[Activation] = slot("relu"),
        pad_type: PadType = "reflect",
        init: Init = "gaussian_convs",
    ) -> None:
        super().__init__()
        self.out_channels = in_channels
        self.trunk = ResidualTrunk(
            in_channels,
            blocks,
            kernel_size,
            norm=unsteered(NORMS.factory(norm), "shared residual blocks"),
            activation=ACTIVATIONS.factory(activation),
            pad_type=pad_type,
        )
        initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        shared: Tensor = self.trunk(x)
        return shared


class ContentDiscriminator(nn.Module):
    """Which domain a content code is of (Lee et al. 2018, section 3.2).

    Content code (N, in_channels, h, w) to one map of logits, a list of one (N, 1, h', w').
    Convolutions k×k at stride 2, padded by one, a convolution over what is left, one 1×1.

    dim: channels, of all layers; null for as many as the code has, as published. layers: strided
        convolutions. final_kernel_size: of the convolution after them, not padded. `smallest`: the
        least side of codes that these leave a logit of.
    norm: of the strided convolutions. legacy: without it, as the original computes them: there, it
        is asked for by a name that is not understood. Its trained weights rely on that.

    Raises ContractError for settings out of range and for a norm that a style steers; the forward,
    GraphError for codes that are too small.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: Width | None = None,
        layers: Layers = 3,
        kernel_size: Odd = 7,
        final_kernel_size: Kernel = 4,
        norm: Slot[Norm] = slot("instance"),
        activation: Slot[Activation] = slot("lrelu", negative_slope=0.01),
        pad_type: PadType = "reflect",
        legacy: bool = False,
        init: Init = "gaussian_convs",
    ) -> None:
        super().__init__()
        width = in_channels if dim is None else dim
        at_least(1, dim=width, final_kernel_size=final_kernel_size)
        at_least(0, layers=layers)
        odd(kernel_size=kernel_size)
        make_norm = unsteered(NORMS.factory(norm), "a discriminator")
        make: dict[str, Any] = {
            "activation": ACTIVATIONS.factory(activation),
            "pad_type": pad_type,
        }
        self.layers = nn.ModuleList()
        channels = in_channels
        for _ in range(layers):
            self.layers.append(
                ConvBlock(
                    channels,
                    width,
                    kernel_size,
                    stride=2,
                    padding=1,
                    norm=NoNorm if legacy else make_norm,
                    **make,
                )
            )
            channels = width
        self.final = ConvBlock(channels, width, final_kernel_size, padding=0, **make)
        self.head = conv2d(width, 1, 1, full_precision=True)
        self.smallest = self._least(layers, kernel_size, final_kernel_size)
        initialise(self, init)

    @staticmethod
    def _least(layers: int, kernel_size: int, final_kernel_size: int) -> int:
        """Side of the smallest code that leaves a logit."""
        side = final_kernel_size
        for _ in range(layers):
            side = max(2 * (side - 1) + kernel_size - 2, 2)
        return side

    def forward(self, content: Tensor) -> list[Tensor]:
        height, width = content.shape[2:]
        if min(height, width) < self.smallest:
            raise GraphError(
                f"content codes of {height}×{width} are too small for this discriminator of "
                f"{len(self.layers)} LAYERS, which needs {self.smallest}×{self.smallest}: use "
                "larger images, or a smaller KERNEL_SIZE, FINAL_KERNEL_SIZE or fewer LAYERS"
            )
        x = content
        for layer in self.layers:
            x = layer(x)
        return [self.head(self.final(x))]
