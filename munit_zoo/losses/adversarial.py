"""Adversarial losses on a discriminator's logits, summed or averaged over its scales."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from munit_zoo.errors import GraphError
from munit_zoo.losses.base import AdversarialLoss
from munit_zoo.registry.ranges import Fraction

__all__ = ["LSGAN", "NSGAN", "WGAN", "Hinge", "RaGAN", "RpGAN", "Scales"]

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

    middle: ClassVar[float] = 0.5

    def generator(self, fakes: Sequence[Tensor]) -> Tensor:
        return self.over_scales((fake - 1).square().mean() for fake in fakes)

    def discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
        return self.over_scales(
            fake.square().mean() + (real - 1).square().mean()
            for fake, real in zip(fakes, reals, strict=True)
        )


class NSGAN(_Scaled):
    """Non-saturating (Goodfellow et al. 2014): binary cross-entropy on logits.

    softplus(fake) + softplus(-real); generator softplus(-fake). Others call it vanilla (CycleGAN,
    pix2pix), bce (StarGAN v2), nonsaturating (CUT), logistic or softplus (StyleGAN, which adds
    `r1`).

    scales: `sum` or `mean` over the discriminator's scales.
    target: what the generator wants said of its own: 1, real, or 0.5, undecided (DRIT's content).
    """

    def __init__(self, *, scales: Scales = "sum", target: Fraction = 1.0) -> None:
        super().__init__(scales=scales)
        self.target = target

    def generator(self, fakes: Sequence[Tensor]) -> Tensor:
        if self.target == 1:
            return self.over_scales(F.softplus(-fake).mean() for fake in fakes)
        return self.over_scales((F.softplus(fake) - self.target * fake).mean() for fake in fakes)

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


Form = Literal["nsgan", "lsgan", "hinge"]


def _short_of(difference: Tensor, form: Form) -> Tensor:
    """How far differences fall short of what they should be: well above 0."""
    if form == "nsgan":
        return F.softplus(-difference)
    return (difference - 1).square() if form == "lsgan" else F.relu(1 - difference)


class RaGAN(_Scaled):
    """Relativistic average (Jolicoeur-Martineau 2018): reals above the mean fake, and vice versa.

    With f(d) = softplus(-d) (`nsgan`), (d - 1)² (`lsgan`) or max(0, 1 - d) (`hinge`):
    f(real - mean fake) + f(mean real - fake); generator the same with the two exchanged. The means
    are over all logits of a scale in the batch: of several processes, or parts of a batch
    (ENGINE.ACCUMULATE), each takes those of its own share.

    scales: `sum` or `mean` over the discriminator's scales. form: f.
    """

    relative: ClassVar[bool] = True

    def __init__(self, *, form: Form = "nsgan", scales: Scales = "sum") -> None:
        super().__init__(scales=scales)
        self.form = form

    def generator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor] | None = None) -> Tensor:
        return self.discriminator(_given(reals), fakes)

    def discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
        return self.over_scales(
            _short_of(real - fake.mean(), self.form).mean()
            + _short_of(real.mean() - fake, self.form).mean()
            for fake, real in zip(fakes, reals, strict=True)
        )

    def verdicts(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> list[Tensor]:
        """Per scale how far reals are above the mean fake."""
        return [real - fake.mean() for fake, real in zip(fakes, reals, strict=True)]


class RpGAN(_Scaled):
    """Relativistic, in pairs (Jolicoeur-Martineau 2018): each real above its fake.

    f(real - fake), f as in `ragan`; generator f(fake - real). A pair are the logits of one place of
    a sample of the batch. With `r1` and `r2` on it, the loss of R3GAN (Huang et al. 2024).

    scales: `sum` or `mean` over the discriminator's scales. form: f.

    Raises GraphError for logits of fakes and reals of different shapes.
    """

    relative: ClassVar[bool] = True

    def __init__(self, *, form: Form = "nsgan", scales: Scales = "sum") -> None:
        super().__init__(scales=scales)
        self.form = form

    def generator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor] | None = None) -> Tensor:
        return self.discriminator(_given(reals), fakes)

    def discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
        return self.over_scales(
            _short_of(difference, self.form).mean() for difference in _differences(fakes, reals)
        )

    def verdicts(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> list[Tensor]:
        """Per scale how far each real is above its fake."""
        return _differences(fakes, reals)


def _given(reals: Sequence[Tensor] | None) -> Sequence[Tensor]:
    if reals is None:
        raise GraphError("a relativistic loss needs the logits of reals for the generator, too")
    return reals


def _differences(fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> list[Tensor]:
    found = []
    for fake, real in zip(fakes, reals, strict=True):
        if fake.shape != real.shape:
            raise GraphError(
                f"logits of fakes {tuple(fake.shape)} and of reals {tuple(real.shape)} do not pair "
                "up: crop both domains' images to one size, or use `ragan`"
            )
        found.append(real - fake)
    return found
