"""Adversarial losses on a discriminator's logits, summed or averaged over its scales."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from munit_zoo.losses.base import AdversarialLoss

__all__ = ["LSGAN", "NSGAN", "WGAN", "Hinge"]


Scales = Literal["sum", "mean"]


class _Scaled(AdversarialLoss):
    """An adversarial loss, `sum` or `mean` over the scales."""

    def __init__(self, *, scales: Scales = "sum") -> None:
        super().__init__()
        self.scales = scales

    def over_scales(self, parts: Iterable[Tensor]) -> Tensor:
        """The losses of the scales in one."""
        stacked = torch.stack(list(parts))
        return stacked.mean() if self.scales == "mean" else stacked.sum()


class LSGAN(_Scaled):
    """Least squares (Mao et al. 2017): fakes towards 0 and reals towards 1; generator towards 1.

    scales: `sum` or `mean` over the discriminator's scales.
    """

    def generator(self, fakes: Sequence[Tensor]) -> Tensor:
        return self.over_scales((fake - 1).square().mean() for fake in fakes)

    def discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
        return self.over_scales(
            fake.square().mean() + (real - 1).square().mean()
            for fake, real in zip(fakes, reals, strict=True)
        )


class NSGAN(_Scaled):
    """Non-saturating (Goodfellow et al. 2014): binary cross-entropy on logits.

    Others call it vanilla (CycleGAN, pix2pix), bce (StarGAN v2) or nonsaturating (CUT).

    scales: `sum` or `mean` over the discriminator's scales.
    """

    def generator(self, fakes: Sequence[Tensor]) -> Tensor:
        return self.over_scales(F.softplus(-fake).mean() for fake in fakes)

    def discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
        return self.over_scales(
            F.softplus(fake).mean() + F.softplus(-real).mean()
            for fake, real in zip(fakes, reals, strict=True)
        )


class Hinge(_Scaled):
    """Hinge (Lim & Ye 2017): max(0, 1 + fake) + max(0, 1 - real); generator -fake.

    scales: `sum` or `mean` over the discriminator's scales.
    """

    def generator(self, fakes: Sequence[Tensor]) -> Tensor:
        return self.over_scales(-fake.mean() for fake in fakes)

    def discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
        return self.over_scales(
            F.relu(1 + fake).mean() + F.relu(1 - real).mean()
            for fake, real in zip(fakes, reals, strict=True)
        )


class WGAN(_Scaled):
    """Wasserstein (Arjovsky et al. 2017): fake - real; generator -fake.

    It needs a discriminator of bounded slope: see the penalty `wgan_gp`.

    scales: `sum` or `mean` over the discriminator's scales.
    """

    def generator(self, fakes: Sequence[Tensor]) -> Tensor:
        return self.over_scales(-fake.mean() for fake in fakes)

    def discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
        return self.over_scales(
            fake.mean() - real.mean() for fake, real in zip(fakes, reals, strict=True)
        )
