"""Content encoders: image to content code."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, odd, unsteered
from munit_zoo.blocks.conv import ConvBlock, PadType, WeightNorm
from munit_zoo.blocks.downsampling import Downsampling, halving_block
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.preactivation import PreActivationDown
from munit_zoo.blocks.residual import BlockForm, ResidualTrunk
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot
from munit_zoo.registry.ranges import Halvings, Kernel, Layers, Odd, PositiveFloat, Width

__all__ = ["PreActivationContentEncoder", "ResnetContentEncoder"]


class ResnetContentEncoder(nn.Module):
    """A wide convolution, strided convolutions that double the channels, residual blocks.

    Image (N, in_channels, H, W) to content code (N, dim·2^downsamples, H/2^downsamples, …), without
    an activation after the last sum (Huang et al. 2018, appendix B.1). H and W are multiples of
    2^downsamples.

    dim: channels after the first convolution; max_dim: up to which they double, null for any.
    block: form of the residual blocks: `resnet`, whose second convolution is not activated,
    `activated`, where it is, before the sum, or `pre_activation` (He et al. 2016). init_gain: of
    `init`; of `gaussian`, the deviation. kernel_size, down_kernel_size, block_kernel_size: of
    the first convolution, the strided ones, the residual blocks; the first and last are odd.
    downsample: `strided` convolutions, or convolutions and then a `blur` that halves without
    aliases (Zhang 2019).

    Raises ContractError for settings out of range and for a norm that a style steers.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: Width = 64,
        downsamples: Halvings = 2,
        max_dim: Width | None = None,
        blocks: Layers = 4,
        block: BlockForm = "resnet",
        kernel_size: Odd = 7,
        down_kernel_size: Kernel = 4,
        block_kernel_size: Odd = 3,
        downsample: Downsampling = "strided",
        norm: Slot[Norm] = slot("instance"),
        activation: Slot[Activation] = slot("relu"),
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        init: Init = "kaiming",
        init_gain: PositiveFloat | None = None,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, down_kernel_size=down_kernel_size)
        at_least(0, downsamples=downsamples, blocks=blocks)
        odd(kernel_size=kernel_size, block_kernel_size=block_kernel_size)
        make: dict[str, Any] = {
            "norm": unsteered(NORMS.factory(norm), "a content encoder"),
            "activation": ACTIVATIONS.factory(activation),
            "pad_type": pad_type,
            "weight_norm": weight_norm,
        }
        self.stem = ConvBlock(in_channels, dim, kernel_size, **make)
        self.downs = nn.ModuleList()
        for _ in range(downsamples):
            wider = 2 * dim if max_dim is None else min(2 * dim, max_dim)
            self.downs.append(halving_block(dim, wider, down_kernel_size, downsample, **make))
            dim = wider
        self.trunk = ResidualTrunk(dim, blocks, block_kernel_size, form=block, **make)
        self.out_channels, self.stride = dim, 2**downsamples
        initialise(self, init, gain=init_gain)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Feature maps after the first convolution, each strided one, and the residual blocks."""
        found = [self.stem(x)]
        for down in self.downs:
            found.append(down(found[-1]))
        return [*found, self.trunk(found[-1])]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for down in self.downs:
            x = down(x)
        content: Tensor = self.trunk(x)
        return content


class PreActivationContentEncoder(nn.Module):
    """Residual blocks that normalise and activate before they convolve (He et al. 2016b).

    Image (N, in_channels, H, W) to content code (N, dim·2^downsamples, H/2^downsamples, …), by a
    convolution, `downsamples` blocks that double the channels and average the map down by 2,
    `blocks` that keep both, and a last norm (the way down of StarGAN v2's generator, Choi et al.
    2020, with a code that may be compared). H and W are multiples of 2^downsamples.

    dim: channels after the first convolution, of kernel_size, which is odd.

    Raises ContractError for settings out of range and for a norm that a style steers.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: Width = 64,
        downsamples: Halvings = 2,
        blocks: Layers = 2,
        kernel_size: Odd = 3,
        norm: Slot[Norm] = slot("instance", affine=True),
        activation: Slot[Activation] = slot("lrelu"),
        pad_type: PadType = "zero",
        weight_norm: WeightNorm = "none",
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        at_least(1, dim=dim)
        at_least(0, downsamples=downsamples, blocks=blocks)
        odd(kernel_size=kernel_size)
        make_norm = unsteered(NORMS.factory(norm), "a content encoder")
        make_activation = ACTIVATIONS.factory(activation)
        self.stem = ConvBlock(
            in_channels, dim, kernel_size, pad_type=pad_type, weight_norm=weight_norm
        )
        layers: list[nn.Module] = []
        for index in range(downsamples + blocks):
            halves = index < downsamples
            wider = 2 * dim if halves else dim
            layers += [
                PreActivationDown(
                    dim, wider, make_norm, make_activation, halve=halves, weight_norm=weight_norm
                )
            ]
            dim = wider
        self.layers = nn.Sequential(*layers, make_norm(dim))
        self.out_channels, self.stride = dim, 2**downsamples
        initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        content: Tensor = self.layers(self.stem(x))
        return content
