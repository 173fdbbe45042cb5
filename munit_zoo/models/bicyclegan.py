"""BicycleGAN: many translations from true pairs (Zhu, Zhang, Pathak, Darrell et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from munit_zoo.domains import Domain
from munit_zoo.inputs import Draw, Image
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.recipe import (
    Critic,
    Entry,
    Fool,
    Judge,
    Network,
    Translation,
    Update,
    tensor,
)
from munit_zoo.registry import (
    DISCRIMINATORS,
    GENERATORS,
    STYLE_ENCODERS,
    Discriminator,
    Generator,
    Slot,
    StyleEncoder,
    slot,
)
from munit_zoo.registry.ranges import Positive

__all__ = ["BicycleGan"]


def _updates(judges: tuple[str, ...], two_steps: bool) -> tuple[Update, ...]:
    """The updates of an iteration.

    judges: the discriminators. two_steps: whether the drawn code's loss is a step of its own.
    """
    latent: dict[str, list[Entry]] = {"style_recon": [("mu_ab", "z")]}
    generator = Update(
        "generator",
        trains=("generator", "style_encoder"),
        terms={
            "adversarial": [Fool("d_bb")],
            "adversarial2": [Fool("d2_ab")],
            "kl": [("mu", "logvar")],
            "image_recon": [("x_bb", "x_b")],
            **({} if two_steps else latent),
        },
    )
    discriminators = Update(
        "discriminators",
        trains=judges,
        takes=("x_bb", "x_ab"),
        terms={"adversarial": [Critic("d_bb", "d_b")], "adversarial2": [Critic("d2_ab", "d2_b")]},
    )
    if not two_steps:
        return generator, discriminators
    return generator, discriminators, Update("latent", trains=("generator",), terms=latent)


class BicycleGan(TranslationModel):
    """One way, A to B, from true pairs; a code says which of many Bs (NIPS 2017, arXiv 1711.11586).

    Two cycles share generator and encoder. cVAE-GAN, B to z to B: the true B's code, drawn from
    N(mu, σ²), decoded with A must return B. cLR-GAN, z to B to z: a code of the prior N(0, I),
    decoded with A, must be found again in the result. What is decoded from either is judged by a
    discriminator of its own; the second faces images of another pair.

    Generator and encoder are stepped first; the discriminators then judge those same images.

    style_dim: length of the code. conditional: discriminators see A, too. same_discriminator: one
    discriminator judges both. two_steps: the drawn code's loss, which is the generator's alone, is
    a step of its own, after the others (as the original did until June 2020).

    Terms: `adversarial`, `image_recon` and `kl` (cVAE-GAN, section 3.2), `adversarial2` and
    `style_recon` (cLR-GAN, section 3.3; the latter through the encoder, and not for it).
    """

    generator: Network
    style_encoder: Network
    discriminator: Judge
    discriminator2: Judge

    inputs = {
        "x_a": Image("a"),
        "x_b": Image("b", paired_with="x_a"),
        "x_a2": Image("a"),
        "x_b2": Image("b", paired_with="x_a2"),
        "noise": Draw("normal", ("style_dim",)),
        "z": Draw("normal", ("style_dim",)),
    }
    updates = _updates(("discriminator", "discriminator2"), two_steps=False)
    translations = {
        ("a", "b"): Translation(
            source="x_a", output="x_ab", style="z", latent="z", example="x_b", encoded="mu"
        )
    }

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        style_dim: Positive = 8,
        generator: Slot[Generator] = slot("styled_unet", dropout=0.5),
        style_encoder: Slot[StyleEncoder] = slot("bicyclegan_resnet", parts=2),
        discriminator: Slot[Discriminator] = slot("multiscale_patchgan"),
        discriminator2: Slot[Discriminator] = slot("multiscale_patchgan"),
        conditional: bool = False,
        same_discriminator: bool = False,
        two_steps: bool = False,
    ) -> None:
        super().__init__(domains)
        a, b = domains
        self.style_dim, self.conditional = style_dim, conditional
        generate = GENERATORS.factory(generator)(a.channels, b.channels, style_dim)
        self.generator, self.stride = generate, generate.stride
        self.smallest = getattr(generate, "smallest", 0)
        self.style_encoder = STYLE_ENCODERS.factory(style_encoder)(b.channels, 2 * style_dim)
        judged = b.channels + (a.channels if conditional else 0)
        self.discriminator = DISCRIMINATORS.factory(discriminator)(judged)
        self.same_discriminator = same_discriminator
        if not same_discriminator:
            self.discriminator2 = DISCRIMINATORS.factory(discriminator2)(judged)
        judges = ("discriminator",) if same_discriminator else ("discriminator", "discriminator2")
        self.updates = _updates(judges, two_steps)

    # B to z to B

    @tensor
    def code(self, x_b: Tensor) -> list[Tensor]:
        """Mean and log-variance of the codes that B may have had."""
        return list(self.style_encoder(x_b).chunk(2, dim=1))

    @tensor
    def mu(self, code: list[Tensor]) -> Tensor:
        """Their mean."""
        return code[0]

    @tensor
    def logvar(self, code: list[Tensor]) -> Tensor:
        """Their log-variance."""
        return code[1]

    @tensor
    def z_b(self, mu: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
        """A code of B, drawn."""
        return mu + noise * (logvar / 2).exp()

    @tensor
    def x_bb(self, x_a: Tensor, z_b: Tensor) -> Tensor:
        """B again: A translated with the code of its own B."""
        return self.generator(x_a, z_b)

    # z to B to z

    @tensor
    def x_ab(self, x_a: Tensor, z: Tensor) -> Tensor:
        """Translation with a code drawn from the prior."""
        return self.generator(x_a, z)

    @tensor
    def mu_ab(self, x_ab: Tensor) -> Tensor:
        """The code found in it; this teaches the generator alone."""
        return self.frozen.style_encoder(x_ab).chunk(2, dim=1)[0]

    # Judgements

    @tensor
    def d_bb(self, x_a: Tensor, x_bb: Tensor) -> list[Tensor]:
        """What the first discriminator says of B again."""
        return self.discriminator(self.seen(x_a, x_bb))

    @tensor
    def d_b(self, x_a: Tensor, x_b: Tensor) -> list[Tensor]:
        """What it says of the true B."""
        return self.discriminator(self.seen(x_a, x_b))

    @tensor
    def d2_ab(self, x_a: Tensor, x_ab: Tensor) -> list[Tensor]:
        """What the second says of the translation."""
        return self.second(self.seen(x_a, x_ab))

    @tensor
    def d2_b(self, x_a2: Tensor, x_b2: Tensor) -> list[Tensor]:
        """What it says of the B of another pair."""
        return self.second(self.seen(x_a2, x_b2))

    def seen(self, x_a: Tensor, x_b: Tensor) -> Tensor:
        """What a discriminator is shown of a pair."""
        return torch.cat([x_a, x_b], dim=1) if self.conditional else x_b

    def second(self, x: Tensor) -> list[Tensor]:
        """The second discriminator, where there are two."""
        return self.discriminator(x) if self.same_discriminator else self.discriminator2(x)
