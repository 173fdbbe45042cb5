"""StarGAN: one generator for many domains, or for many attributes (Choi et al. 2018)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from munit_zoo.domains import Domain
from munit_zoo.errors import ContractError
from munit_zoo.inputs import Draw, Image, Label
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.recipe import ANY, Critic, Fool, Network, Translation, Update, tensor
from munit_zoo.registry import DISCRIMINATORS, GENERATORS, Discriminator, Generator, Slot, slot
from munit_zoo.registry.ranges import Positive

__all__ = ["StarGan", "StarGanAttributes", "StarGanJoint", "targets"]

HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
"""Attributes of which a face has one."""


def _updates(of: str = "") -> tuple[Update, Update]:
    """The updates on one set of images: of the discriminator, and now and then of the generator."""
    return (
        Update(
            f"discriminator{of}",
            trains=("discriminator",),
            terms={
                "adversarial": [Critic(f"d_fake{of}", f"d_real{of}")],
                f"labels{of}": [(f"y_real{of}", f"y{of}")],
                "gradient_penalty": [(f"d_between{of}", f"between{of}")],
            },
            mirrored=False,
        ),
        Update(
            f"generator{of}",
            trains=("generator",),
            terms={
                "adversarial": [Fool(f"d_fake{of}")],
                f"labels{of}": [(f"y_fake{of}", f"y_trg{of}")],
                "cycle_recon": [(f"x_cycle{of}", f"x{of}")],
            },
            every="critics",
            mirrored=False,
        ),
    )


class _Told(TranslationModel):
    """What all forms have in common: a generator that is told the target, c, and a discriminator
    that says of an image whether it is real, by patches, and which labels it has."""

    generator: Network
    discriminator: Network

    def build(
        self,
        length: int,
        labels: int,
        critics: int,
        generator: Slot[Generator],
        discriminator: Slot[Discriminator],
    ) -> None:
        """Make the networks.

        length: of the target c. labels: that the discriminator tells.
        """
        channels = {domain.channels for domain in self.domains}
        if len(channels) > 1:
            listed = ", ".join(f"{d.name.upper()} {d.channels}" for d in self.domains)
            raise ContractError(
                f"one generator makes all domains: they have the same channels, not {listed}"
            )
        (count,) = channels
        self.critics = critics
        generate = GENERATORS.factory(generator)(count, count, length)
        judge = DISCRIMINATORS.factory(discriminator)(count)
        told = getattr(judge, "num_labels", 0)
        if told != labels:
            raise ContractError(
                f"the discriminator {type(judge).__name__} tells {told} labels, and there are "
                f"{labels}"
                + (f": set MODEL.DISCRIMINATOR.LABELS={labels}" if told else "; `stargan` does")
            )
        self.generator, self.stride = generate, generate.stride
        self.discriminator = judge


class StarGan(_Told):
    """One generator, told the target domain; a discriminator that also tells the domain of an image
    (CVPR 2018, arXiv 1711.09020). One image, one translation a domain.

    fake = G(x, c), with c the target's one-hot code. Targets are the domains of other images.

    critics: steps of the discriminator for each of the generator. DISCRIMINATOR.LABELS: the number
    of domains.

    Terms: `adversarial` (eq. 8), `gradient_penalty` (its last part, between real and fake),
    `labels` (eq. 2 and 3: of real images for D, of translations for G) and `cycle_recon` (eq. 4).
    """

    inputs = {
        "x": Image(),
        "y": Label(of="x"),
        "x_trg": Image(),
        "y_trg": Label(of="x_trg"),
        "alpha": Draw("uniform", (1, 1, 1)),
    }
    updates = _updates()
    translations = {(ANY, ANY): Translation(source="x", output="fake", label="y_trg")}

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        critics: Positive = 5,
        generator: Slot[Generator] = slot("stargan"),
        discriminator: Slot[Discriminator] = slot("stargan", labels=3),
    ) -> None:
        super().__init__(domains)
        count = len(domains)
        self.build(count, count, critics, generator, discriminator)

    def code(self, y: Tensor, like: Tensor) -> Tensor:
        """What the generator is told of a label: (N,) to one-hot (N, K). like: says the dtype."""
        return F.one_hot(y, len(self.domains)).to(like.dtype)

    @tensor
    def fake(self, x: Tensor, y_trg: Tensor) -> Tensor:
        """Translation."""
        return self.generator(x, self.code(y_trg, x))

    @tensor
    def x_cycle(self, fake: Tensor, y: Tensor) -> Tensor:
        """The translation brought back."""
        return self.generator(fake, self.code(y, fake))

    @tensor
    def between(self, x: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
        """Somewhere between an image and its translation."""
        return alpha * x + (1 - alpha) * fake

    @tensor
    def heads_real(self, x: Tensor) -> list[Tensor]:
        """What the discriminator says of a real image: logits of patches, and of labels."""
        return list(self.discriminator(x))

    @tensor
    def d_real(self, heads_real: list[Tensor]) -> list[Tensor]:
        """Whether it is real."""
        return heads_real[:1]

    @tensor
    def y_real(self, heads_real: list[Tensor]) -> Tensor:
        """Which labels it has."""
        return heads_real[1]

    @tensor
    def heads_fake(self, fake: Tensor) -> list[Tensor]:
        """What the discriminator says of the translation."""
        return list(self.discriminator(fake))

    @tensor
    def d_fake(self, heads_fake: list[Tensor]) -> list[Tensor]:
        """Whether it is real."""
        return heads_fake[:1]

    @tensor
    def y_fake(self, heads_fake: list[Tensor]) -> Tensor:
        """Which labels it has."""
        return heads_fake[1]

    @tensor
    def d_between(self, between: Tensor) -> list[Tensor]:
        """Whether what lies between is real."""
        return list(self.discriminator(between))[:1]


class StarGanAttributes(StarGan):
    """StarGAN on images of one domain with attributes, each there or not (CelebA's).

    c holds an attribute a number, 0 or 1: it is the style code of a translation, so that
    `translate` takes the wanted attributes as codes, those of example images as the discriminator
    sees them, or draws them. `targets` has the published protocol.

    attributes: their names, as DATA.ATTRIBUTES. DISCRIMINATOR.LABELS: their number.
    exclusive: those of which an image has one.
    """

    inputs = {
        "x": Image("a"),
        "y": Label(of="x", attributes="style_dim"),
        "x_trg": Image("a"),
        "y_trg": Label(of="x_trg", attributes="style_dim"),
        "alpha": Draw("uniform", (1, 1, 1)),
        "coin": Draw("normal", ("style_dim",)),
    }
    translations = {
        ("a", "a"): Translation(
            source="x",
            output="x_styled",
            style="c",
            latent="coin",
            example="x_trg",
            encoded="c_trg",
        )
    }
    averaged = ("generator",)

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        critics: Positive = 5,
        attributes: tuple[str, ...] = (*HAIR[:3], "Male", "Young"),
        exclusive: tuple[str, ...] = HAIR,
        generator: Slot[Generator] = slot("stargan"),
        discriminator: Slot[Discriminator] = slot("stargan"),
    ) -> None:
        super(StarGan, self).__init__(domains)
        self.attributes, self.exclusive = attributes, exclusive
        self.style_dim = len(attributes)
        self.build(self.style_dim, self.style_dim, critics, generator, discriminator)

    def code(self, y: Tensor, like: Tensor) -> Tensor:
        """What the generator is told of labels: they themselves, (N, K)."""
        return y

    @tensor
    def c(self, coin: Tensor) -> Tensor:
        """Attributes drawn, each with an even chance."""
        return (coin > 0).to(coin.dtype)

    @tensor
    def c_trg(self, x_trg: Tensor) -> Tensor:
        """Attributes of an example image, as the discriminator sees them."""
        seen = self.discriminator(x_trg)[1]
        return (seen > 0).to(seen.dtype)

    @tensor
    def x_styled(self, x: Tensor, c: Tensor) -> Tensor:
        """Translation to attributes."""
        return self.generator(x, c)

    def targets(self, y: Tensor) -> list[Tensor]:
        """The labels that images of labels y (N, K) are translated to, in turn (`targets`)."""
        return targets(y, self.attributes, self.exclusive)


class StarGanJoint(_Told):
    """StarGAN on two sets of images at once: A with attributes, B with classes (section 3.2).

    c holds the attributes, the class one-hot, and a mask that says which of the two is meant; what
    is not is 0. An iteration is that of `stargan`, on A and then on B. Images of A can so be
    translated to the classes of B, which nobody told of them.

    attributes: names of A's. classes: number of B's. DISCRIMINATOR.LABELS: of both together.
    """

    inputs = {
        "x_a": Image("a"),
        "y_a": Label(of="x_a", attributes="num_attributes"),
        "x_trg_a": Image("a"),
        "y_trg_a": Label(of="x_trg_a", attributes="num_attributes"),
        "x_b": Image("b"),
        "y_b": Label(of="x_b"),
        "x_trg_b": Image("b"),
        "y_trg_b": Label(of="x_trg_b"),
        "alpha_a": Draw("uniform", (1, 1, 1)),
        "coin_a": Draw("normal", ("num_attributes",)),
        "coin_b": Draw("normal", ("classes",)),
    }
    mirror = ("a", "b")
    updates = (*_updates("_a"), *_updates("_b"))
    translations = {
        ("a", target): Translation(
            source="x_a",
            output=f"x_a{target}",
            style=f"c_drawn_{target}",
            latent=f"coin_{target}",
            example=f"x_trg_{target}",
            encoded=f"c_seen_{target}",
        )
        for target in "ab"
    }
    averaged = ("generator",)

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        critics: Positive = 5,
        attributes: tuple[str, ...] = (*HAIR[:3], "Male", "Young"),
        classes: Positive = 8,
        generator: Slot[Generator] = slot("stargan"),
        discriminator: Slot[Discriminator] = slot("stargan", labels=13),
    ) -> None:
        super().__init__(domains)
        self.attributes, self.classes = attributes, classes
        self.num_attributes = len(attributes)
        labels = self.num_attributes + classes
        self.style_dim = labels + 2
        self.build(self.style_dim, labels, critics, generator, discriminator)

    # What the generator is told

    def of_attributes(self, y: Tensor) -> Tensor:
        """Attributes (N, K), no class, and the mask of A."""
        return torch.cat([y, y.new_zeros(len(y), self.classes), _mask(y, 0)], dim=1)

    def of_class(self, y: Tensor, like: Tensor) -> Tensor:
        """No attributes, a class (N,) one-hot, and the mask of B. like: says the dtype."""
        one_hot = F.one_hot(y, self.classes).to(like.dtype)
        nothing = one_hot.new_zeros(len(y), self.num_attributes)
        return torch.cat([nothing, one_hot, _mask(one_hot, 1)], dim=1)

    @tensor
    def c_a(self, y_a: Tensor) -> Tensor:
        """Code of the image's own attributes."""
        return self.of_attributes(y_a)

    @tensor
    def c_b(self, y_b: Tensor, x_b: Tensor) -> Tensor:
        """Code of the image's own class."""
        return self.of_class(y_b, x_b)

    @tensor
    def c_trg_a(self, y_trg_a: Tensor) -> Tensor:
        """Code of the target's attributes."""
        return self.of_attributes(y_trg_a)

    @tensor
    def c_trg_b(self, y_trg_b: Tensor, x_b: Tensor) -> Tensor:
        """Code of the target's class."""
        return self.of_class(y_trg_b, x_b)

    @tensor
    def c_drawn_a(self, coin_a: Tensor) -> Tensor:
        """Code of attributes drawn, each with an even chance."""
        return self.of_attributes((coin_a > 0).to(coin_a.dtype))

    @tensor
    def c_drawn_b(self, coin_b: Tensor) -> Tensor:
        """Code of a class drawn."""
        return self.of_class(coin_b.argmax(dim=1), coin_b)

    @tensor
    def c_seen_a(self, x_trg_a: Tensor) -> Tensor:
        """Code of an example's attributes, as the discriminator sees them."""
        seen = self.discriminator(x_trg_a)[1][:, : self.num_attributes]
        return self.of_attributes((seen > 0).to(x_trg_a.dtype))

    @tensor
    def c_seen_b(self, x_trg_b: Tensor) -> Tensor:
        """Code of an example's class, as the discriminator sees it."""
        seen = self.discriminator(x_trg_b)[1][:, self.num_attributes :]
        return self.of_class(seen.argmax(dim=1), x_trg_b)

    # Translations

    @tensor
    def fake_a(self, x_a: Tensor, c_trg_a: Tensor) -> Tensor:
        """Translation."""
        return self.generator(x_a, c_trg_a)

    @tensor
    def x_cycle_a(self, fake_a: Tensor, c_a: Tensor) -> Tensor:
        """The translation brought back."""
        return self.generator(fake_a, c_a)

    @tensor
    def x_aa(self, x_a: Tensor, c_drawn_a: Tensor) -> Tensor:
        """Translation to labels of its own set."""
        return self.generator(x_a, c_drawn_a)

    @tensor
    def x_ab(self, x_a: Tensor, c_drawn_b: Tensor) -> Tensor:
        """Translation to labels of the other set."""
        return self.generator(x_a, c_drawn_b)

    @tensor
    def between_a(self, x_a: Tensor, fake_a: Tensor, alpha_a: Tensor) -> Tensor:
        """Somewhere between an image and its translation."""
        return alpha_a * x_a + (1 - alpha_a) * fake_a

    # Judgements

    @tensor
    def heads_real_a(self, x_a: Tensor) -> list[Tensor]:
        """What the discriminator says of a real image: logits of patches, and of labels."""
        return list(self.discriminator(x_a))

    @tensor
    def heads_fake_a(self, fake_a: Tensor) -> list[Tensor]:
        """What it says of the translation."""
        return list(self.discriminator(fake_a))

    @tensor
    def d_real_a(self, heads_real_a: list[Tensor]) -> list[Tensor]:
        """Whether the image is real."""
        return heads_real_a[:1]

    @tensor
    def d_fake_a(self, heads_fake_a: list[Tensor]) -> list[Tensor]:
        """Whether the translation is."""
        return heads_fake_a[:1]

    @tensor
    def d_between_a(self, between_a: Tensor) -> list[Tensor]:
        """Whether what lies between is."""
        return list(self.discriminator(between_a))[:1]

    @tensor
    def y_real_a(self, heads_real_a: list[Tensor]) -> Tensor:
        """Attributes of the image."""
        return heads_real_a[1][:, : self.num_attributes]

    @tensor
    def y_real_b(self, heads_real_b: list[Tensor]) -> Tensor:
        """Class of the image."""
        return heads_real_b[1][:, self.num_attributes :]

    @tensor
    def y_fake_a(self, heads_fake_a: list[Tensor]) -> Tensor:
        """Attributes of the translation."""
        return heads_fake_a[1][:, : self.num_attributes]

    @tensor
    def y_fake_b(self, heads_fake_b: list[Tensor]) -> Tensor:
        """Class of the translation."""
        return heads_fake_b[1][:, self.num_attributes :]


def _mask(like: Tensor, which: int) -> Tensor:
    """Which of two sets of labels is meant: (N, 2)."""
    mask = like.new_zeros(len(like), 2)
    mask[:, which] = 1
    return mask


def targets(y: Tensor, names: Sequence[str], exclusive: Collection[str] = HAIR) -> list[Tensor]:
    """The published protocol: of labels y (N, K), those with one attribute turned, one list entry
    an attribute. One of `exclusive` is set instead, and the others of them are not."""
    alike = [k for k, name in enumerate(names) if name in exclusive]
    found = []
    for index in range(len(names)):
        target = y.clone()
        if index in alike:
            target[:, alike] = 0
            target[:, index] = 1
        else:
            target[:, index] = 1 - target[:, index]
        found.append(target)
    return found
