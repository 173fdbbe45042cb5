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
from munit_zoo.registry.ranges import Depth, Width

__all__ = ["MLP", "PerLayer", "Projection", "style_mapping"]

Projection = Literal["shared", "per_layer"]
"""Whether one mapping makes the parameters of all layers, or each layer has its own."""


class MLP(nn.Module):
    """Linear layers with activations between them and none after the last: (N, in) to (N, out).

    dim: width of the hidden layers. layers: number of linear layers, 1 or more (ContractError
    otherwise).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        dim: Width = 256,
        layers: Depth = 3,
        activation: Slot[Activation] = slot("relu"),
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        at_least(1, layers=layers, dim=dim)
        make = ACTIVATIONS.factory(activation)
        widths = [in_features, *[dim] * (layers - 1), out_features]
        self.linears = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))
        self.activations = nn.ModuleList(make() for _ in range(layers - 1))
        initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        for linear, activation in zip(self.linears, self.activations, strict=False):
            x = activation(linear(x))
        output: Tensor = self.linears[-1](x)
        return output


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
