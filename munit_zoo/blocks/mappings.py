"""Mappings of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least
from munit_zoo.blocks.conv import Make
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.registry import ACTIVATIONS, Activation, Slot, slot
from munit_zoo.registry.ranges import Depth, PositiveFloat, Width

__all__ = ["MLP", "PerLayer", "Projection", "style_mapping"]

Projection = Literal["shared", "per_layer"]
"""Whether one mapping makes the parameters of all layers, or each layer has its own."""


class MLP(nn.Module):
    """Linear layers with activations between them: (N, in) to (N, out).

    dim: width of the hidden layers. layers: number of linear layers, 1 or more (ContractError
    otherwise). activate_last: whether one follows the last layer, too. init_gain: of `init`; of
    `gaussian`, the deviation.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        dim: Width = 256,
        layers: Depth = 3,
        activation: Slot[Activation] = slot("relu"),
        activate_last: bool = False,
        init: Init = "kaiming",
        init_gain: PositiveFloat | None = None,
    ) -> None:
        super().__init__()
        at_least(1, layers=layers, dim=dim)
        make = ACTIVATIONS.factory(activation)
        widths = [in_features, *[dim] * (layers - 1), out_features]
        self.linears = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))
        self.activations = nn.ModuleList(make() for _ in range(layers - 1 + activate_last))
        initialise(self, init, gain=init_gain)

    def forward(self, x: Tensor) -> Tensor:
        for index, linear in enumerate(self.linears):
            x = linear(x)
            if index < len(self.activations):
                x = self.activations[index](x)
        return x


class PerLayer(nn.Module):
    """A mapping for each layer: (N, in) to (N, sum of sizes), the layers' parameters in order."""

    def __init__(self, mappings: Sequence[nn.Module]) -> None:
        super().__init__()
        self.mappings = nn.ModuleList(mappings)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([mapping(x) for mapping in self.mappings], dim=1)


def style_mapping(
    factory: Make, style_dim: int, sizes: Sequence[int], projection: Projection
) -> nn.Module:
    """From a style to all layers' parameters, `sizes` of each; layers of none are left out."""
    if projection == "shared":
        mapping: nn.Module = factory(style_dim, sum(sizes))
        return mapping
    return PerLayer([factory(style_dim, size) for size in sizes if size])
