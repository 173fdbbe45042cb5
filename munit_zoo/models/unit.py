"""UNIT: Unsupervised Image-to-Image Translation Networks (Liu, Breuel, Kautz 2017)."""

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
    ContentEncoder,
    Decoder,
    Discriminator,
    Slot,
    slot,
)

__all__ = ["Unit"]


class Unit(TranslationModel):
    """One latent space shared by both domains, no style: one image, one translation.

    A latent is z_i = h_i + n_i with h_i = E_i(x_i) and unit Gaussian noise n_i, which is left out
    when translating (Liu et al., NeurIPS 2017, arXiv 1703.00848; as in MUNIT's reference, without
    its weight sharing).

    Terms: `image_recon`, `cycle_recon`, `kl` and `cycle_kl` (one tensor each: the means h_i of the
    images and of their translations) and `perceptual`; adversarial terms act on every critic.
    """

    a: Any  # the networks of a domain, as tensor methods see them
    b: Any

    inputs = ("x_a", "x_b", "n_a", "n_b", "n_ab", "n_ba")
    redrawn = ("n_a", "n_b")
    mirror = ("a", "b")

    terms = {
        "image_recon": [("x_aa", "x_a")],
        "cycle_recon": [("x_aba", "x_a")],
        "kl": [("h_a",)],
        "cycle_kl": [("h_ab",)],
        "perceptual": [("x_ab", "x_a")],
    }
    critics = {"b": Critic(fake="x_ab", real="x_b")}
    translations = {("a", "b"): Translation(source="x_a", output="x_ab")}

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        content_encoder: Slot[ContentEncoder] = slot("resnet"),
        decoder: Slot[Decoder] = slot("resnet"),
        discriminator: Slot[Discriminator] = slot("multiscale_patch"),
    ) -> None:
        super().__init__(domains)
        for domain in domains:
            content = CONTENT_ENCODERS.factory(content_encoder)(domain.channels)
            decode = DECODERS.factory(decoder)(
                content.out_channels, domain.channels, content.stride
            )
            if getattr(decode, "takes_style", False):
                raise ContractError(
                    f"UNIT decodes without a style; the decoder {type(decode).__name__} takes one"
                )
            self.generators[domain.name] = nn.ModuleDict(
                {"content_encoder": content, "decoder": decode}
            )
            self.discriminators[domain.name] = DISCRIMINATORS.factory(discriminator)(
                domain.channels
            )
            self.stride, self.latent_channels = content.stride, content.out_channels

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

    def noise_shape(self, name: str, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, ...]:
        """Latent noise (channels, h/stride, w/stride)."""
        height, width = sizes[name.rstrip("'").rpartition("_")[2][0]]
        return (self.latent_channels, height // self.stride, width // self.stride)
