"""A recipe."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from munit_zoo.domains import Domain
from munit_zoo.models import Critic, Fool, Image, Translation, TranslationModel, Update, tensor
from munit_zoo.registry import (
    CONTENT_ENCODERS,
    DECODERS,
    DISCRIMINATORS,
    ContentEncoder,
    Decoder,
    Discriminator,
    Slot,
    slot,
)

__all__ = ["Cycle"]


class Cycle(TranslationModel):
    """Translation there and back: x_ab = G_b(E_a(x_a)), x_aba = G_a(E_b(x_ab)).

    Terms: `adversarial`, `cycle_recon`, and `image_recon` of an image passed through its own
    domain's networks.
    """

    a: Any  # the networks of a domain, as tensor methods see them
    b: Any

    inputs = {"x_a": Image("a"), "x_b": Image("b")}  # what it is fed
    mirror = ("a", "b")  # all that follows also exists with the domains exchanged
    updates = (  # what an iteration does, in turn
        Update(
            "discriminators",
            trains=("discriminator",),
            terms={"adversarial": [Critic(fake="d_ab", real="d_b")]},
        ),
        Update(
            "generators",
            trains=("content_encoder", "decoder"),
            terms={
                "adversarial": [Fool(fake="d_ab")],
                "cycle_recon": [("x_aba", "x_a")],
                "image_recon": [("x_aa", "x_a")],
            },
        ),
    )
    translations = {("a", "b"): Translation(source="x_a", output="x_ab")}

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        content_encoder: Slot[ContentEncoder] = slot("resnet", dim=32),
        decoder: Slot[Decoder] = slot("resnet"),
        discriminator: Slot[Discriminator] = slot("multiscale_patch", dim=32),
    ) -> None:
        super().__init__(domains)
        for letter, domain in self.letters.items():
            content = CONTENT_ENCODERS.factory(content_encoder)(domain.channels)
            decode = DECODERS.factory(decoder)(
                content.out_channels, domain.channels, content.stride
            )
            judge = DISCRIMINATORS.factory(discriminator)(domain.channels)
            networks = {"content_encoder": content, "decoder": decode, "discriminator": judge}
            setattr(self, letter, nn.ModuleDict(networks))
            self.stride = content.stride

    @tensor
    def c_a(self, x_a: Tensor) -> Tensor:
        """Content code."""
        return self.a.content_encoder(x_a)

    @tensor
    def x_aa(self, c_a: Tensor) -> Tensor:
        """Reconstruction."""
        return self.a.decoder(c_a)

    @tensor
    def x_ab(self, c_a: Tensor) -> Tensor:
        """Translation."""
        return self.b.decoder(c_a)

    @tensor
    def x_aba(self, x_ab: Tensor) -> Tensor:
        """The translation brought back."""
        return self.a.decoder(self.b.content_encoder(x_ab))

    @tensor
    def d_ab(self, x_ab: Tensor) -> list[Tensor]:
        """What the target's discriminator says of the translation."""
        return self.b.discriminator(x_ab)

    @tensor
    def d_b(self, x_b: Tensor) -> list[Tensor]:
        """What it says of a real image."""
        return self.b.discriminator(x_b)
