"""UNIT: Unsupervised Image-to-Image Translation Networks (Liu, Breuel, Kautz 2017)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from munit_zoo.domains import Domain
from munit_zoo.errors import ContractError
from munit_zoo.inputs import Draw, Image
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.recipe import Critic, Fool, Judge, Network, Translation, Update, tensor
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

__all__ = ["Unit"]


class _Domain(Protocol):
    """The networks of a domain."""

    content_encoder: Network
    decoder: Network
    discriminator: Judge


class Unit(TranslationModel):
    """One latent space shared by both domains, no style: one image, one translation.

    A latent is z_i = h_i + n_i with h_i = E_i(x_i) and unit Gaussian noise n_i, which is left out
    when translating (Liu et al., NeurIPS 2017, arXiv 1703.00848; as in MUNIT's reference, without
    its weight sharing).

    Terms: `image_recon`, `cycle_recon`, `kl` and `cycle_kl` (one tensor each: the means h_i of the
    images and of their translations), `perceptual` and `adversarial`.
    """

    a: _Domain
    b: _Domain

    inputs = {
        "x_a": Image("a"),
        "x_b": Image("b"),
        "n_a": Draw("normal", like="h_a"),
        "n_b": Draw("normal", like="h_b"),
        "n_ab": Draw("normal", like="h_ab"),
        "n_ba": Draw("normal", like="h_ba"),
    }
    mirror = ("a", "b")
    updates = (
        Update(
            "discriminators",
            trains=("discriminator",),
            terms={"adversarial": [Critic("d_ab", "d_b")]},
        ),
        Update(
            "generators",
            trains=("content_encoder", "decoder"),
            redraw=("n_a",),
            terms={
                "adversarial": [Fool("d_ab")],
                "image_recon": [("x_aa", "x_a")],
                "cycle_recon": [("x_aba", "x_a")],
                "kl": [("h_a",)],
                "cycle_kl": [("h_ab",)],
                "perceptual": [("x_ab", "x_a")],
            },
        ),
    )
    translations = {("a", "b"): Translation(source="x_a", output="x_ab", reconstruction="x_aa")}

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        content_encoder: Slot[ContentEncoder] = slot("resnet"),
        decoder: Slot[Decoder] = slot("resnet"),
        discriminator: Slot[Discriminator] = slot("multiscale_patch"),
    ) -> None:
        super().__init__(domains)
        for letter, domain in self.letters.items():
            content = CONTENT_ENCODERS.factory(content_encoder)(domain.channels)
            decode = DECODERS.factory(decoder)(
                content.out_channels, domain.channels, content.stride
            )
            if getattr(decode, "takes_style", False):
                raise ContractError(
                    f"UNIT decodes without a style; the decoder {type(decode).__name__} takes one"
                )
            discriminate = DISCRIMINATORS.factory(discriminator)(domain.channels)
            networks = {"content_encoder": content, "decoder": decode}
            setattr(self, letter, nn.ModuleDict(networks | {"discriminator": discriminate}))
            self.stride = content.stride

    @tensor
    def h_a(self, x_a: Tensor) -> Tensor:
        """Mean of the latent."""
        return self.a.content_encoder(x_a)

    @tensor
    def z_a(self, h_a: Tensor, n_a: Tensor) -> Tensor:
        """Latent."""
        return h_a + n_a

    @tensor
    def x_aa(self, z_a: Tensor) -> Tensor:
        """Reconstruction."""
        return self.a.decoder(z_a)

    @tensor
    def x_ab(self, z_a: Tensor) -> Tensor:
        """Translation."""
        return self.b.decoder(z_a)

    @tensor
    def h_ab(self, x_ab: Tensor) -> Tensor:
        """Mean of the translation's latent."""
        return self.b.content_encoder(x_ab)

    @tensor
    def z_ab(self, h_ab: Tensor, n_ab: Tensor) -> Tensor:
        """Latent of the translation."""
        return h_ab + n_ab

    @tensor
    def x_aba(self, z_ab: Tensor) -> Tensor:
        """Cycle: the translation brought back."""
        return self.a.decoder(z_ab)

    @tensor
    def d_ab(self, x_ab: Tensor) -> list[Tensor]:
        """What the target's discriminator says of the translation."""
        return self.b.discriminator(x_ab)

    @tensor
    def d_b(self, x_b: Tensor) -> list[Tensor]:
        """What it says of a real image."""
        return self.b.discriminator(x_b)
