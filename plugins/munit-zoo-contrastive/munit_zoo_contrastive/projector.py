"""Projection of feature maps, at some places, to vectors that are compared."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from munit_zoo.blocks import initialise
from munit_zoo.blocks.init import Init

__all__ = ["PatchProjector"]


class PatchProjector(nn.Module):
    """A two-layer perceptron for each layer of features (Park et al. 2020, section 3: H_l).

    (features: one map (N, C_l, h_l, w_l) a layer, places: numbers y·w_l + x, (P_l,), a layer) to
    vectors of length 1, (N, P_l, dim) a layer. Lengths are divided out as v / (‖v‖ + 1e-7).

    channels: C_l of each layer. dim: width and output of the perceptrons.
    """

    def __init__(
        self, channels: Sequence[int], dim: int, *, init: Init = "xavier", init_gain: float = 0.02
    ) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(count, dim), nn.ReLU(), nn.Linear(dim, dim))
            for count in channels
        )
        initialise(self, init, gain=init_gain)

    def forward(self, features: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
        found = []
        for head, feature, chosen in zip(self.heads, features, places, strict=True):
            vectors = head(feature.flatten(2).index_select(2, chosen).transpose(1, 2))
            length = torch.linalg.vector_norm(vectors, dim=2, keepdim=True)
            found.append(vectors / (length + 1e-7))
        return found
