"""Style encoders: image to style code."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, odd, unsteered
from munit_zoo.blocks.conv import ConvBlock, PadType, WeightNorm, conv2d
from munit_zoo.blocks.downsampling import Downsampling, halving_block
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot
from munit_zoo.registry.ranges import Halvings, Kernel, Odd, PositiveFloat, Width

__all__ = ["ConvStyleEncoder"]


class ConvStyleEncoder(nn.Module):
    """Strided convolutions, global average pooling, a 1×1 convolution: (N, C, H, W) to (N, S).

    No norm by default: instance norm would remove the very statistics that make the style (Huang et
    al. 2018, appendix B.1).

    downsamples: strided convolutions; the first `doublings` of them double the channels.
    kernel_size, down_kernel_size: of the first convolution (odd), of the strided ones.
    downsample: `strided` convolutions, or convolutions and then a `blur` that halves without
    aliases (Zhang 2019).
    init_gain: of `init`; of `gaussian`, the deviation.

    Raises ContractError for settings out of range and for a norm that a style steers.
    """

    def __init__(
        self,
        in_channels: int,
        style_dim: int,
        *,
        dim: Width = 64,
        downsamples: Halvings = 4,
        doublings: Halvings = 2,
        kernel_size: Odd = 7,
        down_kernel_size: Kernel = 4,
        downsample: Downsampling = "strided",
        norm: Slot[Norm] = slot("none"),
        activation: Slot[Activation] = slot("relu"),
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        init: Init = "kaiming",
        init_gain: PositiveFloat | None = None,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, down_kernel_size=down_kernel_size)
        at_least(0, downsamples=downsamples, doublings=doublings)
        odd(kernel_size=kernel_size)
        make: dict[str, Any] = {
            "norm": unsteered(NORMS.factory(norm), "a style encoder"),
            "activation": ACTIVATIONS.factory(activation),
            "pad_type": pad_type,
            "weight_norm": weight_norm,
        }
        self.stem = ConvBlock(in_channels, dim, kernel_size, **make)
        self.downs = nn.ModuleList()
        for index in range(downsamples):
            wider = 2 * dim if index < doublings else dim
            self.downs.append(halving_block(dim, wider, down_kernel_size, downsample, **make))
            dim = wider
        self.head = conv2d(dim, style_dim, 1)
        initialise(self, init, gain=init_gain)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for down in self.downs:
            x = down(x)
        style: Tensor = self.head(x.mean(dim=(2, 3), keepdim=True))
        return style.flatten(1)
