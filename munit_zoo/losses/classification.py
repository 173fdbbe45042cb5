"""Losses of a classifier's logits against labels."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from munit_zoo.losses.base import NamesLoss

__all__ = ["AttributeBCE", "CrossEntropy"]


class AttributeBCE(NamesLoss):
    """Binary cross-entropy of attributes: logits (N, K) against 0 or 1 (N, K).

    Summed over the attributes, averaged over the batch (StarGAN, Choi et al. 2018, eq. 2-3).
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        entropies = F.binary_cross_entropy_with_logits(
            logits, labels.to(logits.dtype), reduction="none"
        )
        return entropies.flatten(1).sum(dim=1).mean()


class CrossEntropy(NamesLoss):
    """Cross-entropy of classes: logits (N, K) against numbers of classes (N,)."""

    same_shape: ClassVar[bool] = False

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels)
