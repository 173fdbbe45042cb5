"""Discriminators: image to a list of logits."""

from __future__ import annotations

from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, unsteered
from munit_zoo.blocks.conv import ConvBlock, PadType, WeightNorm, conv2d
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.errors import GraphError
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot
from munit_zoo.registry.ranges import Positive

__all__ = ["MultiscalePatchDiscriminator"]


class MultiscalePatchDiscriminator(nn.Module):
    """Patch discriminators (Isola et al. 2017) on an image pyramid (Wang et al. 2018).

    Image (N, in_channels, H, W) to a list of logits, one map (N, 1, h, w) a scale, the finest
    first. Between scales the image is averaged down by 2 (3×3 windows, borders not counted).

    layers: strided convolutions a scale; each after the first doubles the channels.
    norm, weight_norm: of all convolutions but the first and the last (1×1) of a scale;
        weight_norm_ends: of these too (as spectral normalisation is published).

    Raises ContractError for settings out of range and for a norm that a style steers; the forward,
    GraphError for images smaller than `smallest_input()`.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: Positive = 64,
        layers: Positive = 4,
        scales: Positive = 3,
        kernel_size: Positive = 4,
        norm: Slot[Norm] = slot("none"),
        activation: Slot[Activation] = slot("lrelu"),
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        weight_norm_ends: bool = False,
        init: Init = "gaussian",
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, layers=layers, scales=scales, kernel_size=kernel_size)
        make_norm = unsteered(NORMS.factory(norm), "a discriminator")
        make_activation = ACTIVATIONS.factory(activation)
        ends: WeightNorm = weight_norm if weight_norm_ends else "none"
        self.scales = nn.ModuleList()
        for _ in range(scales):
            convolutions: list[nn.Module] = []
            channels, wider = in_channels, dim
            for index in range(layers):
                convolutions.append(
                    ConvBlock(
                        channels,
                        wider,
                        kernel_size,
                        stride=2,
                        padding=(kernel_size - 1) // 2,
                        norm=make_norm if index else None,
                        activation=make_activation,
                        pad_type=pad_type,
                        weight_norm=weight_norm if index else ends,
                    )
                )
                channels, wider = wider, 2 * wider
            convolutions.append(conv2d(channels, 1, 1, weight_norm=ends))
            self.scales.append(nn.Sequential(*convolutions))
        self.pool = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self._layers, self._kernel_size, self._pad_type = layers, kernel_size, pad_type
        self._smallest = self.smallest_input()
        initialise(self, init)

    def smallest_input(self) -> int:
        """Side of the smallest square image that leaves something to convolve at every scale."""
        side = 1
        while not self._takes(side):
            side += 1
        return side

    def _takes(self, side: int) -> bool:
        amount = (self._kernel_size - 1) // 2
        for index in range(len(self.scales)):
            if index:
                side = (side + 1) // 2  # the pooling
            map_side = side
            for _ in range(self._layers):
                if self._pad_type == "reflect" and map_side <= amount:
                    return False
                map_side = (map_side + 2 * amount - self._kernel_size) // 2 + 1
                if map_side < 1:
                    return False
        return True

    def forward(self, x: Tensor) -> list[Tensor]:
        if min(x.shape[2:]) < self._smallest:
            raise GraphError(
                f"images of {x.shape[2]}×{x.shape[3]} are too small for a discriminator of "
                f"{len(self.scales)} SCALES and {self._layers} LAYERS, which needs "
                f"{self._smallest}×{self._smallest}: use larger images, or fewer of either"
            )
        logits = []
        for index, scale in enumerate(self.scales):
            if index:
                x = self.pool(x)
            logits.append(scale(x))
        return logits
