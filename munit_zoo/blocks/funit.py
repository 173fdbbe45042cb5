"""FUNIT's discriminator: one map of logits for each class, and features to match."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, unsteered
from munit_zoo.blocks.conv import ConvBlock, Make, Padding, PadType, WeightNorm, conv2d
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.errors import ContractError
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot
from munit_zoo.registry.ranges import Positive

__all__ = ["FunitDiscriminator"]


class FunitDiscriminator(nn.Module):
    """Patch logits of a class, by residual blocks (Liu et al. 2019, appendix A).

    (x (N, in_channels, H, W), y (N,), whole numbers below num_domains) to a list of one map of
    logits (N, 1, h, w). A convolution 7×7, then stages of two blocks, of which the second widens;
    between stages the map is averaged down by 2. `features(x)` gives what the last convolution,
    1×1, sees, and `logits(features, y)` what it makes of that.

    dim: channels of the first convolution, doubled at each stage up to max_dim. blocks: in all, an
    even number.
    legacy: where a block keeps the channels, its shortcut is the *activated* input, not the input:
        the original activates in place, and its trained weights rely on it.
    norm: of the convolutions of the blocks (published: none). weight_norm: of all convolutions.

    Raises ContractError for settings out of range.
    """

    def __init__(
        self,
        in_channels: int,
        num_domains: int,
        *,
        dim: Positive = 64,
        blocks: Positive = 10,
        max_dim: Positive = 1024,
        legacy: bool = False,
        norm: Slot[Norm] = slot("none"),
        activation: Slot[Activation] = slot("lrelu"),
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, max_dim=max_dim)
        at_least(2, blocks=blocks)
        if blocks % 2:
            raise ContractError(f"BLOCKS is {blocks}: a stage has two, so their number is even")
        make = ACTIVATIONS.factory(activation)
        convs: dict[str, Any] = {"pad_type": pad_type, "weight_norm": weight_norm}
        blocks_of: dict[str, Any] = {
            **convs,
            "norm": unsteered(NORMS.factory(norm), "a discriminator"),
        }
        self.stem = ConvBlock(in_channels, dim, 7, **convs)
        self.stages = nn.ModuleList()
        for _ in range(blocks // 2):
            wider = min(2 * dim, max_dim)
            keeps, widens = (_Block(dim, out, make, legacy, **blocks_of) for out in (dim, wider))
            self.stages.append(nn.Sequential(keeps, widens))
            dim = wider
        self.pool = nn.Sequential(Padding(1, pad_type), nn.AvgPool2d(3, stride=2))
        self.activation = make()
        self.head = conv2d(dim, num_domains, 1, weight_norm=weight_norm, full_precision=True)
        initialise(self, init)

    def features(self, x: Tensor) -> Tensor:
        """The last map (N, C, h, w), activated."""
        x = self.stem(x)
        for index, stage in enumerate(self.stages):
            x = stage(self.pool(x) if index else x)
        found: Tensor = self.activation(x)
        return found

    def logits(self, features: Tensor, y: Tensor) -> list[Tensor]:
        """Those of each sample's class."""
        maps = self.head(features)
        return [maps.gather(1, y[:, None, None, None].expand(-1, 1, *maps.shape[2:]))]

    def forward(self, x: Tensor, y: Tensor) -> list[Tensor]:
        return self.logits(self.features(x), y)


class _Block(nn.Module):
    """Two convolutions, each behind an activation, and a shortcut: the input or, where channels
    change, a 1×1 convolution of it. legacy: the activated input instead of the input."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        activation: Make,
        legacy: bool,
        **make: Any,
    ) -> None:
        super().__init__()
        hidden = min(in_channels, out_channels)
        self.activation, self.legacy = activation(), legacy
        self.first = ConvBlock(in_channels, hidden, 3, activation=activation, **make)
        self.second = ConvBlock(hidden, out_channels, 3, **make)
        widens = in_channels != out_channels
        self.shortcut = (
            conv2d(in_channels, out_channels, 1, bias=False, weight_norm=make["weight_norm"])
            if widens
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        activated = self.activation(x)
        residual = self.second(self.first(activated))
        kept = activated if self.legacy else x
        total: Tensor = residual + (kept if self.shortcut is None else self.shortcut(x))
        return total
