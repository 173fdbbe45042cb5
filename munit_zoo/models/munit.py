"""MUNIT: Multimodal Unsupervised Image-to-Image Translation (Huang, Liu, Belongie, Kautz 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from munit_zoo.domains import Domain
from munit_zoo.errors import ContractError
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.graph import Critic, Translation, tensor
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
from munit_zoo.registry.ranges import Positive

__all__ = ["Munit"]


class Munit(TranslationModel):
    """Content code shared, style code each domain's own: one image, many translations.

    An image of domain i splits into a content code c_i = E^c_i(x_i) and a style code
    s_i = E^s_i(x_i), of prior N(0, I). Decoding a content code with a style drawn from the other
    domain's prior translates (Huang et al., ECCV 2018, eq. 1-6; arXiv 1804.04732).

    style_dim: length S of a style code.

    Terms: `image_recon` (eq. 1), `content_recon` (eq. 2), `style_recon` (eq. 3), `cycle_recon`
    (section 5.1; decoded with the style of the original) and `perceptual` (the translation against
    its input); adversarial terms (eq. 4) act on every critic.
    """

    a: Any  # the networks of a domain, as tensor methods see them
    b: Any

    inputs = ("x_a", "x_b", "z_a", "z_b")
    redrawn = ("z_a", "z_b")
    mirror = ("a", "b")

    terms = {
        "image_recon": [("x_aa", "x_a")],
        "style_recon": [("s_ab", "z_b")],
        "content_recon": [("c_ab", "c_a")],
        "cycle_recon": [("x_aba", "x_a")],
        "perceptual": [("x_ab", "x_a")],
    }
    critics = {"b": Critic(fake="x_ab", real="x_b")}
    translations = {
        ("a", "b"): Translation(
            source="x_a", output="x_ab", style="z_b", example="x_b", encoded="s_b"
        )
    }

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        style_dim: Positive = 8,
        content_encoder: Slot[ContentEncoder] = slot("resnet"),
        style_encoder: Slot[StyleEncoder] = slot("conv"),
        decoder: Slot[Decoder] = slot("adain_resnet"),
        discriminator: Slot[Discriminator] = slot("multiscale_patch"),
    ) -> None:
        super().__init__(domains)
        self.style_dim = style_dim
        for domain in domains:
            content = CONTENT_ENCODERS.factory(content_encoder)(domain.channels)
            style = STYLE_ENCODERS.factory(style_encoder)(domain.channels, style_dim)
            decode = DECODERS.factory(decoder)(
                content.out_channels, domain.channels, content.stride, style_dim
            )
            if not getattr(decode, "takes_style", True):
                raise ContractError(
                    f"MUNIT decodes with a style; the decoder {type(decode).__name__} takes none"
                )
            self.generators[domain.name] = nn.ModuleDict(
                {"content_encoder": content, "style_encoder": style, "decoder": decode}
            )
            self.discriminators[domain.name] = DISCRIMINATORS.factory(discriminator)(
                domain.channels
            )
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

    def noise_shape(self, name: str, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, ...]:
        """Style codes (style_dim,)."""
        return (self.style_dim,)
