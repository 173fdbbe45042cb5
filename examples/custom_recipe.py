"""A recipe of one's own, in one file: autoencoders of two domains with exchanged decoders.

    munit-zoo describe model swap --plugin examples/custom_recipe.py
    munit-zoo train munit/shapes "MODEL={NAME: swap}" LOSSES.STYLE_RECON=null \
        LOSSES.CONTENT_RECON=null --plugin examples/custom_recipe.py --run runs/swap
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from munit_zoo.domains import Domain
from munit_zoo.models import (
    Critic,
    Fool,
    Image,
    Translation,
    TranslationModel,
    Update,
    tensor,
)
from munit_zoo.registry import (
    DISCRIMINATORS,
    GENERATORS,
    MODELS,
    Discriminator,
    Generator,
    Slot,
    slot,
)


@MODELS.register("swap")
class Swap(TranslationModel):
    """x_aa = G_a(x_a) is to be x_a again; x_ab = G_b(x_a) is to look like an image of B.

    Terms: `image_recon` and `adversarial`.
    """

    a: Any  # the networks of a domain, as tensor methods see them
    b: Any

    inputs = {"x_a": Image("a"), "x_b": Image("b")}
    mirror = ("a", "b")
    updates = (
        Update("discriminators", ("discriminator",), {"adversarial": [Critic("d_ab", "d_b")]}),
        Update(
            "generators",
            ("generator",),
            {"adversarial": [Fool("d_ab")], "image_recon": [("x_aa", "x_a")]},
        ),
    )
    translations = {("a", "b"): Translation(source="x_a", output="x_ab", reconstruction="x_aa")}

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        generator: Slot[Generator] = slot("resnet", dim=16, blocks=2, downsamples=1),
        discriminator: Slot[Discriminator] = slot("patch", dim=16, layers=2),
    ) -> None:
        super().__init__(domains)
        for letter, domain in self.letters.items():
            make = GENERATORS.factory(generator)(domain.channels, domain.channels)
            judge = DISCRIMINATORS.factory(discriminator)(domain.channels)
            setattr(self, letter, nn.ModuleDict({"generator": make, "discriminator": judge}))
            self.stride = make.stride

    @tensor
    def x_aa(self, x_a: Tensor) -> Tensor:
        """Reconstruction."""
        return self.a.generator(x_a)

    @tensor
    def x_ab(self, x_a: Tensor) -> Tensor:
        """Translation."""
        return self.b.generator(x_a)

    @tensor
    def d_ab(self, x_ab: Tensor) -> list[Tensor]:
        """What the target's discriminator says of the translation."""
        return self.b.discriminator(x_ab)

    @tensor
    def d_b(self, x_b: Tensor) -> list[Tensor]:
        """What it says of a real image."""
        return self.b.discriminator(x_b)
