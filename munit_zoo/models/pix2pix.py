"""pix2pix: paired translation with a conditional discriminator (Isola, Zhu, Zhou, Efros 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from munit_zoo.domains import Domain
from munit_zoo.inputs import Image
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.recipe import Critic, Fool, Judge, Network, Translation, Update, tensor
from munit_zoo.registry import DISCRIMINATORS, GENERATORS, Discriminator, Generator, Slot, slot

__all__ = ["Pix2Pix"]


class Pix2Pix(TranslationModel):
    """One way, A to B, from true pairs (CVPR 2017, arXiv 1611.07004, eq. 1-4).

    The discriminator sees input and output together, and steps first; the generator then faces it
    with the very image that was judged. The generator's dropout is its only noise.

    Terms: `adversarial` (eq. 1) and `image_recon` (eq. 3: the translation against the pair's B).
    """

    generator: Network
    discriminator: Judge

    inputs = {"x_a": Image("a"), "x_b": Image("b", paired_with="x_a")}
    once = ("x_ab",)
    updates = (
        Update(
            "discriminator",
            trains=("discriminator",),
            terms={"adversarial": [Critic("d_ab", "d_b")]},
        ),
        Update(
            "generator",
            trains=("generator",),
            terms={"adversarial": [Fool("d_ab")], "image_recon": [("x_ab", "x_b")]},
        ),
    )
    translations = {("a", "b"): Translation(source="x_a", output="x_ab")}

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        generator: Slot[Generator] = slot("unet", dropout=0.5),
        discriminator: Slot[Discriminator] = slot("patch", norm=slot("batch")),
    ) -> None:
        super().__init__(domains)
        a, b = domains
        generate = GENERATORS.factory(generator)(a.channels, b.channels)
        self.generator, self.stride = generate, generate.stride
        self.smallest = getattr(generate, "smallest", 0)
        self.discriminator = DISCRIMINATORS.factory(discriminator)(a.channels + b.channels)

    @tensor
    def x_ab(self, x_a: Tensor) -> Tensor:
        """Translation."""
        return self.generator(x_a)

    @tensor
    def d_ab(self, x_a: Tensor, x_ab: Tensor) -> list[Tensor]:
        """What the discriminator says of input and translation."""
        return self.discriminator(torch.cat([x_a, x_ab], dim=1))

    @tensor
    def d_b(self, x_a: Tensor, x_b: Tensor) -> list[Tensor]:
        """What it says of a true pair."""
        return self.discriminator(torch.cat([x_a, x_b], dim=1))
