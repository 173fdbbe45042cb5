"""A mapping."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["LinearMapping"]


class LinearMapping(nn.Module):
    """One linear layer: (N, in_features) to (N, out_features)."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)
