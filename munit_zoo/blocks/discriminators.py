"""Discriminators: image to a list of logits."""

from __future__ import annotations

from torch import Tensor, nn

from munit_zoo.blocks.conv import ConvBlock, PadType, WeightNorm, conv2d
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot

__all__ = ["MultiscalePatchDiscriminator"]


class MultiscalePatchDiscriminator(nn.Module):
    """Patch discriminators (Isola et al. 2017) on an image pyramid (Wang et al. 2018).

    Image (N, in_channels, H, W) to a list of logits, one map (N, 1, h, w) a scale, the finest
    first. Between scales the image is averaged down by 2 (3×3 windows, borders not counted).

    layers: strided convolutions a scale; each after the first doubles the channels.
    norm, weight_norm: of all convolutions but the first and the last (1×1) of a scale;
        weight_norm_ends: of these too (as spectral normalisation is published).
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: int = 64,
        layers: int = 4,
        scales: int = 3,
        kernel_size: int = 4,
        norm: Slot[Norm] = slot("none"),
        activation: Slot[Activation] = slot("lrelu"),
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        weight_norm_ends: bool = False,
        init: Init = "gaussian",
    ) -> None:
        super().__init__()
        make_norm, make_activation = NORMS.factory(norm), ACTIVATIONS.factory(activation)
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
        initialise(self, init)

    def forward(self, x: Tensor) -> list[Tensor]:
        logits = []
        for index, scale in enumerate(self.scales):
            if index:
                x = self.pool(x)
            logits.append(scale(x))
        return logits
