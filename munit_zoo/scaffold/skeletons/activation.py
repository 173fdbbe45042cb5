"""An activation."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Softsign"]


class Softsign(nn.Module):
    """x / (1 + |x|), times `gain`."""

    def __init__(self, *, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * F.softsign(x)
