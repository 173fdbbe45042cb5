"""A loss of one's own, in one file: an ordinary class, named in a config.

    munit-zoo train munit/shapes "LOSSES.EDGES={NAME: edges, WEIGHT: 2, PAIRS: [[x_aa, x_a]]}" \
        --plugin examples/custom_loss.py --run runs/edges
"""

from __future__ import annotations

from torch import Tensor

from munit_zoo.losses import NamesLoss
from munit_zoo.registry import LOSSES


@LOSSES.register("edges")
class Edges(NamesLoss):
    """The mean absolute difference of two images' differences between neighbours.

    x, y: (N, C, H, W).
    """

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """A scalar."""
        difference = x - y
        across = difference.diff(dim=3).abs().mean()
        down = difference.diff(dim=2).abs().mean()
        return across + down
