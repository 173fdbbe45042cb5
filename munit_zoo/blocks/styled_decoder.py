"""A decoder whose every norm has a layer of its own for the style."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from munit_zoo.blocks._checks import unsteered
from munit_zoo.blocks.conv import PadType, WeightNorm
from munit_zoo.blocks.heads import ImageHead
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.preactivation import StyledNorm
from munit_zoo.blocks.residual import BlockForm, ResidualTrunk
from munit_zoo.blocks.upsampling import Upsampling
from munit_zoo.registry import (
    ACTIVATIONS,
    MAPPINGS,
    NORMS,
    Activation,
    Norm,
    Slot,
    StyleMapping,
    slot,
)
from munit_zoo.registry.ranges import Layers, Odd, PositiveFloat, Width

__all__ = ["StyledResnetDecoder"]


class StyledResnetDecoder(nn.Module):
    """Residual blocks and upsampling convolutions, each norm with a layer of its own for the style.

    (content (N, content_channels, h, w), style (N, style_dim)) to image (N, out_channels,
    h·scale_factor, w·scale_factor), as `adain_resnet`, but `mapping` makes one vector w of the
    style, and at every norm a linear layer makes of that γ and β of x̂·(1 + γ) + β (Karras et al.
    2019, eq. 1, with the one): the upsampling convolutions' norms, too.

    dim: length of w. norm: of x̂, without weights of its own. block, noise, weight_norm_last,
    init_gain and other keys as those of `resnet`.

    Raises ContractError as `adain_resnet` does, and for a norm that a style steers.
    """

    takes_style = True

    def __init__(
        self,
        content_channels: int,
        out_channels: int,
        scale_factor: int,
        style_dim: int,
        *,
        dim: Width = 256,
        blocks: Layers = 4,
        block: BlockForm = "resnet",
        kernel_size: Odd = 7,
        upsample_kernel_size: Odd = 5,
        block_kernel_size: Odd = 3,
        upsample: Upsampling = "nearest",
        norm: Slot[Norm] = slot("instance"),
        activation: Slot[Activation] = slot("relu"),
        output_activation: Slot[Activation] = slot("tanh"),
        mapping: Slot[StyleMapping] = slot("mlp", layers=2, activate_last=True),
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        weight_norm_last: bool = True,
        noise: bool = False,
        fold: bool = True,
        init: Init = "kaiming",
        init_gain: PositiveFloat | None = None,
    ) -> None:
        super().__init__()
        plain = unsteered(NORMS.factory(norm), "the NORM of the decoder styled_resnet")

        def styled(channels: int) -> StyledNorm:
            return StyledNorm(channels, dim, plain)

        make: dict[str, Any] = {
            "norm": styled,
            "activation": ACTIVATIONS.factory(activation),
            "pad_type": pad_type,
            "weight_norm": weight_norm,
            "noise": noise,
        }
        self.trunk = ResidualTrunk(content_channels, blocks, block_kernel_size, form=block, **make)
        self.head = ImageHead(
            content_channels,
            out_channels,
            scale_factor,
            kernel_size,
            upsample_kernel_size,
            upsample,
            output_activation=ACTIVATIONS.factory(output_activation),
            weight_norm_last=weight_norm_last,
            fold=fold,
            **make,
        )
        initialise(self, init, gain=init_gain)
        self.mapping = MAPPINGS.factory(mapping)(style_dim, dim)
        self._uses = [part.num_parameters // dim for part in (self.trunk, self.head)]

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        w = self.mapping(style)
        trunk, head = (w.repeat(1, uses) for uses in self._uses)  # the same at every norm
        image: Tensor = self.head(self.trunk(content, trunk), head)
        return image
