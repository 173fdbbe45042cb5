"""The improved UNIT of its authors (NVIDIA's Imaginaire, 2020-2021; there is no paper of it)."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from munit_zoo.domains import Domain
from munit_zoo.errors import ContractError
from munit_zoo.inputs import Image
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

__all__ = ["ImaginaireUnit"]

_DRAWN: dict[str, Any] = {"init": "gaussian", "init_gain": 0.02}
_NORM: Any = slot("instance", affine=True)


class _Domain(Protocol):
    """The networks of a domain."""

    content_encoder: Network
    decoder: Network
    discriminator: Judge


class ImaginaireUnit(TranslationModel):
    """UNIT without noise, one discriminator for all scales (after NeurIPS 2017, arXiv 1703.00848).

    h_i = E_i(x_i) is the latent of an image of domain i, x_ab = G_b(h_a); each discriminator is one
    network for all scales. Tensors stand in the order in which the original computes them, which
    matters where weights are spectrally normalised.

    Terms: `adversarial`, `image_recon`, `cycle_recon` and `perceptual` (the translation against its
    input).
    """

    a: _Domain
    b: _Domain

    inputs = {"x_a": Image("a"), "x_b": Image("b")}
    mirror = ("a", "b")
    updates = (
        Update(
            "discriminators",
            trains=("discriminator",),
            terms={"adversarial": [Critic("d_ba", "d_a")]},
        ),
        Update(
            "generators",
            trains=("content_encoder", "decoder"),
            terms={
                "adversarial": [Fool("d_ba")],
                "image_recon": [("x_aa", "x_a")],
                "cycle_recon": [("x_aba", "x_a")],
                "perceptual": [("x_ab", "x_a")],
            },
            also=("x_aa", "x_aba"),
        ),
    )
    translations = {("a", "b"): Translation(source="x_a", output="x_ab", reconstruction="x_aa")}

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        content_encoder: Slot[ContentEncoder] = slot(
            "resnet", max_dim=256, block="pre_activation", norm=_NORM, **_DRAWN
        ),
        decoder: Slot[Decoder] = slot(
            "resnet",
            block="pre_activation",
            norm=_NORM,
            upsample_norm=_NORM,
            output_activation=slot("none"),
            weight_norm_last=False,
            **_DRAWN,
        ),
        discriminator: Slot[Discriminator] = slot(
            "pyramid_patch", dim=48, shared=True, init="gaussian", init_gain=0.02
        ),
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
            judge = DISCRIMINATORS.factory(discriminator)(domain.channels)
            networks = {"content_encoder": content, "decoder": decode, "discriminator": judge}
            setattr(self, letter, nn.ModuleDict(networks))
            self.stride = content.stride

    @tensor
    def h_a(self, x_a: Tensor) -> Tensor:
        """Latent."""
        return self.a.content_encoder(x_a)

    @tensor
    def x_aa(self, h_a: Tensor) -> Tensor:
        """Reconstruction."""
        return self.a.decoder(h_a)

    @tensor
    def x_ba(self, h_b: Tensor) -> Tensor:
        """Translation of the other domain's image."""
        return self.a.decoder(h_b)

    @tensor
    def h_ba(self, x_ba: Tensor) -> Tensor:
        """Latent of the translation."""
        return self.a.content_encoder(x_ba)

    @tensor
    def x_aba(self, h_ab: Tensor) -> Tensor:
        """Cycle: the translation brought back."""
        return self.a.decoder(h_ab)

    @tensor
    def d_ba(self, x_ba: Tensor) -> list[Tensor]:
        """What a's discriminator says of the translation."""
        return self.a.discriminator(x_ba)

    @tensor
    def d_a(self, x_a: Tensor) -> list[Tensor]:
        """What it says of a real image."""
        return self.a.discriminator(x_a)
