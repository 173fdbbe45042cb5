"""Discriminators of the improved MUNIT and UNIT: patches on a pyramid, or one logit an image."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.blocks._checks import at_least, unsteered
from munit_zoo.blocks.conv import ConvBlock, WeightNorm, conv2d
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.residual import BlockForm, ResidualBlock
from munit_zoo.errors import GraphError
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot
from munit_zoo.registry.ranges import Kernel, PositiveFloat, Scales, Width

__all__ = [
    "ImaginaireResidualDiscriminator",
    "PyramidPatchDiscriminator",
    "shifted",
]


class PyramidPatchDiscriminator(nn.Module):
    """Patch discriminators on an image pyramid whose steps are bilinear (NVIDIA's later MUNIT).

    Image (N, in_channels, H, W) to a list of logits, one map (N, 1, h, w) a scale, the finest
    first. A strided convolution, `layers` further ones of which the last keeps the size, one to a
    single channel; all padded with zeros. Between scales the image is halved bilinearly.

    dim: channels of the first convolution, doubled at each further one up to max_dim.
    shared: one network for all scales. norm: of all convolutions but the last; weight_norm: of all.
    init_gain: of `init`; of `gaussian`, the deviation.

    Raises ContractError for settings out of range and for a norm that a style steers; the forward,
    GraphError for images of which a scale leaves nothing.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: Width = 64,
        max_dim: Width = 512,
        layers: Scales = 4,
        scales: Scales = 3,
        kernel_size: Kernel = 3,
        shared: bool = False,
        norm: Slot[Norm] = slot("none"),
        activation: Slot[Activation] = slot("lrelu"),
        weight_norm: WeightNorm = "spectral_hook",
        init: Init = "orthogonal",
        init_gain: PositiveFloat | None = 1.0,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, max_dim=max_dim, layers=layers, scales=scales, kernel_size=kernel_size)
        padding = (kernel_size - 1) // 2
        make: dict[str, Any] = {
            "norm": unsteered(NORMS.factory(norm), "a discriminator"),
            "activation": ACTIVATIONS.factory(activation),
            "weight_norm": weight_norm,
            "pad_type": "zero",
            "padding": padding,
        }
        self.count = scales
        self.detaches = weight_norm == "spectral_hook"  # its vectors
        self.scales = nn.ModuleList()
        for _ in range(1 if shared else scales):
            parts: list[nn.Module] = []
            channels, wider = in_channels, dim
            for index in range(layers + 1):
                stride = 1 if index == layers else 2
                parts.append(ConvBlock(channels, wider, kernel_size, stride=stride, **make))
                channels, wider = wider, min(2 * wider, max_dim)
            last: dict[str, Any] = {"padding": padding, "weight_norm": weight_norm}
            parts.append(conv2d(channels, 1, 3, full_precision=True, **last))
            self.scales.append(nn.Sequential(*parts))
        self._kernels = [(kernel_size, 2)] * layers + [(kernel_size, 1), (3, 1)]
        self._padding = padding
        initialise(self, init, gain=init_gain)

    def smallest_input(self) -> int:
        """Side of the smallest square image that leaves something to convolve at every scale."""
        side = 1
        while not self._takes(side):
            side += 1
        return side

    def _takes(self, side: int) -> bool:
        side //= 2 ** (self.count - 1)
        for kernel, stride in self._kernels:
            side = (side + 2 * self._padding - kernel) // stride + 1
            if side < 1:
                return False
        return True

    def forward(self, x: Tensor) -> list[Tensor]:
        if not self._takes(min(x.shape[2:])):
            raise GraphError(
                f"images of {x.shape[2]}×{x.shape[3]} are too small for a discriminator of "
                f"{self.count} SCALES and {len(self._kernels) - 2} LAYERS, which needs "
                f"{self.smallest_input()}: use larger images, or fewer of either"
            )
        logits = []
        for index in range(self.count):
            if index:
                x = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=True)
            logits.append(self.scales[index % len(self.scales)](x))
        return logits


class ImaginaireResidualDiscriminator(nn.Module):
    """One logit for the whole image, by residual blocks between which the map is halved.

    Image (N, in_channels, H, W) to a list of one (N, 1). A convolution at full size, then `layers`
    residual blocks, each followed by a halving, then an aggregation to one pixel and a linear
    layer. `features(x)` gives what that layer sees, (N, C, 1, 1), and `logits(features)` what it
    makes of it.

    dim: channels of the first convolution, of kernel_size; doubled at each block up to max_dim.
    block: form of the residual blocks, as the content encoder `resnet` has it.
    anti_aliased: halve by a blur of [1 3 3 1] ⊗ [1 3 3 1] / 64 (Zhang 2019), not by 2×2 averages.
    aggregation: `conv`, a convolution 4×4 of the map that is left, which has to be of that size:
        images are squares of `input_size` = 4·2^layers; or `pool`, its mean, for images of any
        size.
    norm: of the first convolution and the blocks; weight_norm: of these, too.
    init_gain: of `init`; of `gaussian`, the deviation.

    Raises ContractError for settings out of range and for a norm that a style steers; the forward,
    GraphError for images of a size that does not fit.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: Width = 64,
        max_dim: Width = 512,
        layers: Scales = 4,
        kernel_size: Kernel = 1,
        block: BlockForm = "pre_activation",
        anti_aliased: bool = False,
        aggregation: Literal["conv", "pool"] = "conv",
        norm: Slot[Norm] = slot("none"),
        activation: Slot[Activation] = slot("lrelu"),
        weight_norm: WeightNorm = "spectral_hook",
        init: Init = "orthogonal",
        init_gain: PositiveFloat | None = 1.0,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, max_dim=max_dim, layers=layers, kernel_size=kernel_size)
        make: dict[str, Any] = {
            "norm": unsteered(NORMS.factory(norm), "a discriminator"),
            "activation": ACTIVATIONS.factory(activation),
            "weight_norm": weight_norm,
            "pad_type": "zero",
        }
        self.detaches = weight_norm == "spectral_hook"  # its vectors
        self.stem = ConvBlock(in_channels, dim, kernel_size, **make)
        self.blocks = nn.ModuleList()
        for _ in range(layers):
            wider = min(2 * dim, max_dim)
            self.blocks.append(ResidualBlock(dim, out_channels=wider, form=block, **make))
            dim = wider
        self.halve = _Blur() if anti_aliased else nn.AvgPool2d(2)
        self.last: nn.Module | None = None
        if aggregation == "conv":
            self.last = ConvBlock(dim, dim, 4, padding=0, **{**make, "norm": None, **_PLAIN})
            self.input_size = 4 * 2**layers
        self.head = _Logit(dim, 1)
        self.side = 4 * 2**layers if aggregation == "conv" else 2**layers
        initialise(self, init, gain=init_gain)

    def features(self, x: Tensor) -> Tensor:
        """What the last layer sees, (N, C, 1, 1)."""
        size = tuple(x.shape[2:])
        if self.last is not None and size != (self.side, self.side):
            raise GraphError(
                f"images of {size[0]}×{size[1]}: the discriminator `imaginaire_residual` of "
                f"{len(self.blocks)} LAYERS takes {self.side}×{self.side}; set DATA so, LAYERS "
                "otherwise, or AGGREGATION: pool, which takes any size"
            )
        if min(size) < self.side:
            raise GraphError(
                f"images of {size[0]}×{size[1]} are too small for the discriminator "
                f"`imaginaire_residual` of {len(self.blocks)} LAYERS, which needs "
                f"{self.side}×{self.side}"
            )
        x = self.stem(x)
        for block in self.blocks:
            x = self.halve(block(x))
        found: Tensor = x.mean(dim=(2, 3), keepdim=True) if self.last is None else self.last(x)
        return found

    def logits(self, features: Tensor) -> list[Tensor]:
        """One for each sample."""
        return [self.head(features.flatten(1))]

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.logits(self.features(x))


_PLAIN: dict[str, Any] = {"weight_norm": "none"}


class _Logit(nn.Linear):
    """A linear layer in full precision whatever is around it."""

    def forward(self, input: Tensor) -> Tensor:
        if input.is_meta or not torch.is_autocast_enabled(input.device.type):
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


class _Blur(nn.Module):
    """Every second pixel of a map blurred by [1 3 3 1] ⊗ [1 3 3 1] / 64, zeros around it."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", line[:, None] * line / 64, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        return F.conv2d(x, kernel, stride=2, padding=1, groups=channels)


# What discriminators are shown


def shifted(x: Tensor, numbers: Tensor, most: float = 0.05) -> Tensor:
    """Images (N, C, H, W) mirrored and moved by up to `most` of the half width and height, borders
    reflected. numbers: (N, 2) in [0, 1), of x and y."""
    shift = (2 * most * numbers - most).to(x.dtype)
    theta = torch.eye(2, dtype=x.dtype, device=x.device).expand(len(x), 2, 2)
    theta = torch.cat([theta, shift[:, :, None]], dim=2)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(
        x.flip(3), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
