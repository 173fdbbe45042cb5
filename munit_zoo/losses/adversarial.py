"""Adversarial losses, summed over the scales of a discriminator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from munit_zoo.losses.base import AdversarialLoss
from munit_zoo.registry.ranges import Fraction

__all__ = ["LSGAN", "NSGAN", "WGAN", "Hinge"]


class LSGAN(AdversarialLoss):
    """Least squares (Mao et al. 2017): fakes towards 0 and reals towards 1; generator towards 1."""

    def generator(self, fakes: Sequence[Tensor]) -> Tensor:
        return _total((fake - 1).square().mean() for fake in fakes)

    def discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
        return _total(
            fake.square().mean() + (real - 1).square().mean()
            for fake, real in zip(fakes, reals, strict=True)
        )


class NSGAN(AdversarialLoss):
    """Non-saturating (Goodfellow et al. 2014): binary cross-entropy on logits.

    Others call it vanilla (CycleGAN, pix2pix), bce (StarGAN v2) or nonsaturating (CUT).

    target: what the generator wants said of its own: 1, real, or 0.5, undecided (DRIT's content).
    """

    def __init__(self, *, target: Fraction = 1.0) -> None:
        super().__init__()
        self.target = target

    def generator(self, fakes: Sequence[Tensor]) -> Tensor:
        if self.target == 1:
            return _total(F.softplus(-fake).mean() for fake in fakes)
        return _total((F.softplus(fake) - self.target * fake).mean() for fake in fakes)

    def discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
        return _total(
            F.softplus(fake).mean() + F.softplus(-real).mean()
            for fake, real in zip(fakes, reals, strict=True)
        )


class Hinge(AdversarialLoss):
    """Hinge (Lim & Ye 2017): max(0, 1 + fake) + max(0, 1 - real); generator -fake."""

    def generator(self, fakes: Sequence[Tensor]) -> Tensor:
        return _total(-fake.mean() for fake in fakes)

    def discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
        return _total(
            F.relu(1 + fake).mean() + F.relu(1 - real).mean()
            for fake, real in zip(fakes, reals, strict=True)
        )


class WGAN(AdversarialLoss):
    """Wasserstein (Arjovsky et al. 2017): fake - real; generator -fake.

    It needs a discriminator of bounded slope: see the penalty `wgan_gp`.
    """

    def generator(self, fakes: Sequence[Tensor]) -> Tensor:
        return _total(-fake.mean() for fake in fakes)

    def discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
        return _total(fake.mean() - real.mean() for fake, real in zip(fakes, reals, strict=True))


def _total(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum()
