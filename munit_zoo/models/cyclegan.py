"""CycleGAN: unpaired translation with cycle-consistent networks (Zhu, Park, Isola, Efros 2017)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from munit_zoo.blocks.pools import ImagePool
from munit_zoo.domains import Domain
from munit_zoo.errors import GraphError
from munit_zoo.inputs import Draw, Image
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.recipe import Critic, Fool, Judge, Network, Translation, Update, tensor
from munit_zoo.registry import DISCRIMINATORS, GENERATORS, Discriminator, Generator, Slot, slot
from munit_zoo.registry.ranges import Count

__all__ = ["CycleGan"]


class _Domain(Protocol):
    """Of a domain: the generator that makes its images, its discriminator, its pool."""

    generator: Network
    discriminator: Judge
    pool: Network


class CycleGan(TranslationModel):
    """Two generators, there and back: one image, one translation (ICCV 2017, arXiv 1703.10593).

    With G_b: A → B and G_a: B → A, x_ab = G_b(x_a) shall look like B (eq. 1) and
    x_aba = G_a(G_b(x_a)) be x_a again (eq. 2). The generators are stepped first; the discriminators
    then judge those same translations, by now older, through a pool of earlier ones (section 4).

    pool_size: translations kept in each domain's pool; 0: discriminators judge the newest.

    Terms: `adversarial` (eq. 1), `cycle_a` and `cycle_b` (eq. 2: images of A, of B, returned) and
    `identity_a`, `identity_b` (section 5.2: an image of A, given to the generator that makes A, is
    to stay; both domains have the same channels then).
    """

    a: _Domain
    b: _Domain

    inputs = {
        "x_a": Image("a"),
        "x_b": Image("b"),
        "swap_a": Draw("uniform"),
        "slot_a": Draw("integer", below="pool_slots"),
    }
    mirror = ("a", "b")
    updates = (
        Update(
            "generators",
            trains=("generator",),
            terms={
                "adversarial": [Fool("d_ab", real="d_b")],
                "cycle_a": [("x_aba", "x_a")],
                "identity_a": [("x_aa", "x_a")],
            },
        ),
        Update(
            "discriminators",
            trains=("discriminator",),
            takes=("x_ab",),
            terms={"adversarial": [Critic("d_pool_ab", "d_b")]},
        ),
    )
    translations = {("a", "b"): Translation(source="x_a", output="x_ab")}

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        generator: Slot[Generator] = slot("resnet"),
        discriminator: Slot[Discriminator] = slot("patch"),
        pool_size: Count = 50,
    ) -> None:
        super().__init__(domains)
        self.make_networks(generator, discriminator, pool_size)

    def make_networks(
        self,
        generator: Slot[Generator],
        discriminator: Slot[Discriminator],
        pool_size: int,
        *,
        beside: int = 0,
    ) -> None:
        """The networks, of generators that take so many channels `beside` the image."""
        self.pool_slots = max(1, pool_size)
        for letter, domain in self.letters.items():
            (source,) = (other for other in self.letters.values() if other != domain)
            generate = GENERATORS.factory(generator)(source.channels + beside, domain.channels)
            discriminate = DISCRIMINATORS.factory(discriminator)(domain.channels)
            networks = {"generator": generate, "discriminator": discriminate}
            setattr(self, letter, nn.ModuleDict({**networks, "pool": ImagePool(pool_size)}))
            self.stride, self.smallest = generate.stride, getattr(generate, "smallest", 0)

    @tensor
    def x_ab(self, x_a: Tensor) -> Tensor:
        """Translation."""
        return self.b.generator(x_a)

    @tensor
    def x_aba(self, x_ab: Tensor) -> Tensor:
        """Cycle: the translation brought back."""
        return self.a.generator(x_ab)

    @tensor
    def x_ba(self, x_b: Tensor) -> Tensor:
        """Translation; written out for the published order of calls, there and back and then the
        other way, which batch statistics see."""
        return self.a.generator(x_b)

    @tensor
    def x_aa(self, x_a: Tensor) -> Tensor:
        """Identity: an image given to the generator that makes such images."""
        self.check_identity()
        return self.a.generator(x_a)

    def check_identity(self) -> None:
        """Raises GraphError where a generator cannot take an image of the domain that it makes."""
        a, b = self.domains
        if a.channels != b.channels:
            raise GraphError(
                f"an identity term passes an image through the generator of its own domain; "
                f"{a.name.upper()} has {a.channels} channels, {b.name.upper()} {b.channels}: set "
                "LOSSES.IDENTITY_A=null and LOSSES.IDENTITY_B=null"
            )

    @tensor
    def pool_ab(self, x_ab: Tensor, swap_b: Tensor, slot_b: Tensor) -> Tensor:
        """Translations, some of them exchanged for earlier ones."""
        return self.b.pool(x_ab, swap_b, slot_b)

    @tensor
    def d_ab(self, x_ab: Tensor) -> list[Tensor]:
        """What the target's discriminator says of the translation."""
        return self.b.discriminator(x_ab)

    @tensor
    def d_b(self, x_b: Tensor) -> list[Tensor]:
        """What it says of a real image."""
        return self.b.discriminator(x_b)

    @tensor
    def d_pool_ab(self, pool_ab: Tensor) -> list[Tensor]:
        """What it says of the pool's images."""
        return self.b.discriminator(pool_ab)
