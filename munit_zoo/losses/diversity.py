"""Terms that keep translations of one image in different styles apart."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from munit_zoo.losses.base import NamesLoss
from munit_zoo.registry.ranges import PositiveFloat

__all__ = ["DiversitySensitive", "ModeSeeking"]


class ModeSeeking(NamesLoss):
    """d(z, z') / d(x, x'): translations as far apart as their codes (Mao et al. 2019).

    Of four names: two translations x, x' of one image, and the codes z, z' that they were made of.
    d is the mean absolute difference over all of a batch. MSGAN maximises d(x, x') / d(z, z'); this
    is its inverse, to be minimised, and never negative. In a recipe of one translation write
    `[x_ab, again_x_ab, z_b, again_z_b]`.

    eps: added to d(x, x') / d(z, z') before it is inverted.
    """

    arity: ClassVar[int | None] = 4
    same_shape: ClassVar[bool] = False

    def __init__(self, *, eps: PositiveFloat = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor, other_x: Tensor, z: Tensor, other_z: Tensor) -> Tensor:
        # of equal codes, which a test may give, nothing is divided by
        codes = (z - other_z).abs().mean().clamp_min(1e-12)
        return 1 / ((x - other_x).abs().mean() / codes + self.eps)


class DiversitySensitive(NamesLoss):
    """-min(d(x, x') / d(z, z'), limit) (Yang et al. 2019).

    Of four names as `mode_seeking`: translations and their codes. d is the mean absolute difference
    within a sample; the minimum is of each sample, and the batch's mean is taken. Never above 0:
    minimised, it drives translations apart until they differ `limit` times as much as their codes.

    limit: above which nothing is gained (the paper's τ).
    """

    arity: ClassVar[int | None] = 4
    same_shape: ClassVar[bool] = False

    def __init__(self, *, limit: PositiveFloat = 1.0) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor, other_x: Tensor, z: Tensor, other_z: Tensor) -> Tensor:
        images, codes = (
            (one - other).abs().flatten(1).mean(dim=1)
            for one, other in ((x, other_x), (z, other_z))
        )
        return -(images / codes.clamp_min(1e-12)).clamp_max(self.limit).mean()
