"""Mappings of vectors."""

from __future__ import annotations

from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.registry import ACTIVATIONS, Activation, Slot, slot
from munit_zoo.registry.ranges import Depth, PositiveFloat, Width

__all__ = ["MLP"]


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
