"""MUNIT: Multimodal Unsupervised Image-to-Image Translation (Huang, Liu, Belongie, Kautz 2018)."""

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
    STYLE_ENCODERS,
    ContentEncoder,
    Decoder,
    Discriminator,
    Slot,
    StyleEncoder,
    slot,
)
from munit_zoo.registry.ranges import Width

__all__ = ["Munit"]


class _Domain(Protocol):
    """The networks of a domain."""

    content_encoder: Network
    style_encoder: Network
    decoder: Network
    discriminator: Judge


class Munit(TranslationModel):
    """Content code shared, style code each domain's own: one image, many translations.

    An image of domain i splits into a content code c_i = E^c_i(x_i) and a style code
    s_i = E^s_i(x_i), of prior N(0, I). Decoding a content code with a style drawn from the other
    domain's prior translates (Huang et al., ECCV 2018, eq. 1-6; arXiv 1804.04732).

    style_dim: length S of a style code.

    Terms: `image_recon` (eq. 1), `content_recon` (eq. 2), `style_recon` (eq. 3), `adversarial`
    (eq. 4), `cycle_recon` (section 5.1; decoded with the style of the original) and `perceptual`
    (the translation against its input).
    """

    a: _Domain
    b: _Domain

    inputs = {
        "x_a": Image("a"),
        "x_b": Image("b"),
        "z_a": Draw("normal", ("style_dim",)),
        "z_b": Draw("normal", ("style_dim",)),
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
            trains=("content_encoder", "style_encoder", "decoder"),
            redraw=("z_b",),
            terms={
                "adversarial": [Fool("d_ab")],
                "image_recon": [("x_aa", "x_a")],
                "style_recon": [("s_ab", "z_b")],
                "content_recon": [("c_ab", "c_a")],
                "cycle_recon": [("x_aba", "x_a")],
                "perceptual": [("x_ab", "x_a")],
            },
        ),
    )
    translations = {
        ("a", "b"): Translation(
            source="x_a",
            output="x_ab",
            style="z_b",
            latent="z_b",
            example="x_b",
            encoded="s_b",
            reconstruction="x_aa",
        )
    }

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        style_dim: Width = 8,
        content_encoder: Slot[ContentEncoder] = slot("resnet"),
        style_encoder: Slot[StyleEncoder] = slot("conv"),
        decoder: Slot[Decoder] = slot("adain_resnet"),
        discriminator: Slot[Discriminator] = slot("multiscale_patch"),
    ) -> None:
        super().__init__(domains)
        self.style_dim = style_dim
        for letter, domain in self.letters.items():
            content = CONTENT_ENCODERS.factory(content_encoder)(domain.channels)
            style = STYLE_ENCODERS.factory(style_encoder)(domain.channels, style_dim)
            decode = DECODERS.factory(decoder)(
                content.out_channels, domain.channels, content.stride, style_dim
            )
            if not getattr(decode, "takes_style", True):
                raise ContractError(
                    f"MUNIT decodes with a style; the decoder {type(decode).__name__} takes none"
                )
            networks = {"content_encoder": content, "style_encoder": style, "decoder": decode}
            networks["discriminator"] = DISCRIMINATORS.factory(discriminator)(domain.channels)
            setattr(self, letter, nn.ModuleDict(networks))
            self.stride = content.stride

    @tensor
    def c_a(self, x_a: Tensor) -> Tensor:
        """Content code."""
        return self.a.content_encoder(x_a)

    @tensor
    def s_a(self, x_a: Tensor) -> Tensor:
        """Style code."""
        return self.a.style_encoder(x_a)

    @tensor
    def x_aa(self, c_a: Tensor, s_a: Tensor) -> Tensor:
        """Reconstruction."""
        return self.a.decoder(c_a, s_a)

    @tensor
    def x_ab(self, c_a: Tensor, z_b: Tensor) -> Tensor:
        """Translation in a style drawn from the prior."""
        return self.b.decoder(c_a, z_b)

    @tensor
    def c_ab(self, x_ab: Tensor) -> Tensor:
        """Content code of the translation."""
        return self.b.content_encoder(x_ab)

    @tensor
    def s_ab(self, x_ab: Tensor) -> Tensor:
        """Style code of the translation."""
        return self.b.style_encoder(x_ab)

    @tensor
    def x_aba(self, c_ab: Tensor, s_a: Tensor) -> Tensor:
        """Cycle: the translation brought back in the original's style."""
        return self.a.decoder(c_ab, s_a)

    @tensor
    def d_ab(self, x_ab: Tensor) -> list[Tensor]:
        """What the target's discriminator says of the translation."""
        return self.b.discriminator(x_ab)

    @tensor
    def d_b(self, x_b: Tensor) -> list[Tensor]:
        """What it says of a real image."""
        return self.b.discriminator(x_b)
