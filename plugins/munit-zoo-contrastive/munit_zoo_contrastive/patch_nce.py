"""The patch-wise contrastive loss (Park et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from munit_zoo.losses import NamesLoss
from munit_zoo.registry.ranges import PositiveFloat

__all__ = ["PatchNCE"]

OWN = -10.0
"""What a patch's similarity to itself is among its negatives: as good as leaving it out."""


class PatchNCE(NamesLoss):
    """Multilayer, patch-wise InfoNCE (Park et al. 2020, eq. 3-5).

    Of a pair (queries, keys): lists with one tensor (N, P, dim) of unit vectors a layer, of the
    translation and of the original. Each query is to be told apart, by its cosine similarity over
    `temperature`, as belonging to the key at its place among the keys at the other places of the
    same image. The mean over places, images and layers. Keys are meant to be without a gradient:
    it is the recipe that computes them so.

    all_negatives: the keys of all images of the batch are the others, not those of the same image.
    """

    same_shape: ClassVar[bool] = False

    def __init__(self, *, temperature: PositiveFloat = 0.07, all_negatives: bool = False) -> None:
        super().__init__()
        self.temperature, self.all_negatives = temperature, all_negatives

    def forward(self, queries: Sequence[Tensor], keys: Sequence[Tensor]) -> Tensor:
        layers = [self.entropies(q, k).mean() for q, k in zip(queries, keys, strict=True)]
        return torch.stack(layers).mean()

    def entropies(self, query: Tensor, key: Tensor) -> Tensor:
        """The cross-entropy of each place of one layer, (N·P,), image by image."""
        if self.all_negatives:
            query, key = query.flatten(0, 1)[None], key.flatten(0, 1)[None]
        own = (query * key).sum(dim=2, keepdim=True)
        same = torch.eye(query.shape[1], dtype=torch.bool, device=query.device)
        others = torch.bmm(query, key.transpose(1, 2)).masked_fill(same, OWN)
        logits = torch.cat([own, others], dim=2).flatten(0, 1) / self.temperature
        target = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        return F.cross_entropy(logits, target, reduction="none")
