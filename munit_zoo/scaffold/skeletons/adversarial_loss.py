"""An adversarial loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from munit_zoo.losses import AdversarialLoss

__all__ = ["Wasserstein"]


class Wasserstein(AdversarialLoss):
    """The difference of the mean logits of fakes and reals (Arjovsky et al. 2017).

    Logits are lists, a tensor a scale, over which the loss is summed.
    """

    def generator(self, fakes: Sequence[Tensor]) -> Tensor:
        return torch.stack([-fake.mean() for fake in fakes]).sum()

    def discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
        pairs = zip(fakes, reals, strict=True)
        return torch.stack([fake.mean() - real.mean() for fake, real in pairs]).sum()
