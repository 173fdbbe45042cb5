"""The improved MUNIT of its authors (NVIDIA's Imaginaire, 2020-2021; there is no paper of it)."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from munit_zoo.blocks.augmentations import Policy, augmented, numbers_of
from munit_zoo.blocks.imaginaire import shifted
from munit_zoo.domains import Domain
from munit_zoo.errors import ContractError
from munit_zoo.inputs import Draw, Image
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.recipe import Critic, Fool, Network, Translation, Update, tensor
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

__all__ = ["ImaginaireMunit"]

_DRAWN: dict[str, Any] = {"init": "orthogonal", "init_gain": 1.0}
_MADE: dict[str, Any] = {"weight_norm": "spectral_hook", **_DRAWN}


class _Domain(Protocol):
    """The networks of a domain."""

    content_encoder: Network
    style_encoder: Network
    decoder: Network
    discriminator: Any


def _updates(gan_recon: bool) -> tuple[Update, ...]:
    """The updates; gan_recon: whether reconstructions, too, are to pass for real."""
    return (
        Update(
            "discriminators",
            trains=("discriminator",),
            terms={
                "adversarial": [Critic("d_ba", "d_a")],
                "consistency": [("g_a", "f_a"), ("g_ba", "f_ba")],
            },
            also=("s_a", "d_aa") if gan_recon else ("s_a",),
        ),
        Update(
            "generators",
            trains=("content_encoder", "style_encoder", "decoder"),
            redraw=("z_a", "u_ba", "u_aa"),
            terms={
                "adversarial": [Fool("d_made_a" if gan_recon else "d_ba")],
                "image_recon": [("x_aa", "x_a")],
                "style_recon": [("s_ba", "z_a")],
                "content_recon": [("c_ab", "c_held_a")],
                "cycle_recon": [("x_aba", "x_a")],
                "style_recon_within": [("s_aa", "s_held_a")],
                "content_recon_within": [("c_aa", "c_held_a")],
                "kl": [("s_a",)],
                "perceptual": [("x_ab", "x_a")],
            },
            also=("c_ba", "s_ba"),
        ),
    )


class ImaginaireMunit(TranslationModel):
    """MUNIT with spectral norms and a style at every norm (after ECCV 2018, arXiv 1804.04732).

    Images have no bounds. As in `munit`, c_i and s_i are content and style code of an image of
    domain i, z_i a drawn style; x_ba = G_a(c_b, z_a). Tensors stand in the order in which the
    original computes them: where weights are spectrally normalised, each call moves their vectors,
    so that order, and calls whose result nothing reads (`also`), are part of the result.

    style_dim: length of a style code. gan_recon: reconstructions are to pass for real, too.
    augment: changes of what discriminators see (DiffAugment, Zhao et al. 2020), in turn.

    Terms: those of `munit`, with content codes held fixed where they are the aim; `kl`; the codes
    of a reconstruction against those of its image, `style_recon_within`, `content_recon_within`;
    `consistency`, the discriminator's features of an image mirrored and moved against those of the
    image (Zhang et al. 2020), for discriminators that tell features, as `imaginaire_residual` does.
    """

    a: _Domain
    b: _Domain

    inputs = {
        "x_a": Image("a"),
        "x_b": Image("b"),
        "z_a": Draw("normal", ("style_dim",)),
        "u_a": Draw("uniform", ("numbers",)),
        "u_aa": Draw("uniform", ("numbers",)),
        "u_ba": Draw("uniform", ("numbers",)),
        "t_a": Draw("uniform", (2,)),
        "t_ba": Draw("uniform", (2,)),
    }
    mirror = ("a", "b")
    updates = _updates(gan_recon=False)
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
        content_encoder: Slot[ContentEncoder] = slot(
            "resnet",
            max_dim=256,
            block="pre_activation",
            norm=slot("instance", affine=True),
            **_MADE,
        ),
        style_encoder: Slot[StyleEncoder] = slot("conv", **_MADE),
        decoder: Slot[Decoder] = slot(
            "styled_resnet",
            block="pre_activation",
            output_activation=slot("none"),
            mapping=slot("mlp", layers=2, activate_last=True, **_DRAWN),
            weight_norm_last=False,
            **_MADE,
        ),
        discriminator: Slot[Discriminator] = slot("imaginaire_residual", dim=32, layers=6),
        gan_recon: bool = False,
        augment: tuple[Policy, ...] = (),
    ) -> None:
        super().__init__(domains)
        self.style_dim, self.augment, self.numbers = style_dim, augment, numbers_of(augment)
        self.updates = _updates(gan_recon)
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
            judge = DISCRIMINATORS.factory(discriminator)(domain.channels)
            setattr(self, letter, nn.ModuleDict({**networks, "discriminator": judge}))
            self.stride, self.tells = content.stride, hasattr(judge, "features")

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
    def x_ba(self, c_b: Tensor, z_a: Tensor) -> Tensor:
        """Translation of the other domain's image, in a style drawn from the prior."""
        return self.a.decoder(c_b, z_a)

    @tensor
    def c_ba(self, x_ba: Tensor) -> Tensor:
        """Content code of the translation."""
        return self.a.content_encoder(x_ba)

    @tensor
    def s_ba(self, x_ba: Tensor) -> Tensor:
        """Style code of the translation."""
        return self.a.style_encoder(x_ba)

    @tensor
    def codes_aa(self, x_aa: Tensor) -> list[Tensor]:
        """Content and style code of the reconstruction."""
        return [self.a.content_encoder(x_aa), self.a.style_encoder(x_aa)]

    @tensor
    def c_aa(self, codes_aa: list[Tensor]) -> Tensor:
        """The former."""
        return codes_aa[0]

    @tensor
    def s_aa(self, codes_aa: list[Tensor]) -> Tensor:
        """The latter."""
        return codes_aa[1]

    @tensor
    def x_aba(self, c_ab: Tensor, s_a: Tensor) -> Tensor:
        """Cycle: the translation brought back in the original's style."""
        return self.a.decoder(c_ab, s_a)

    @tensor
    def c_held_a(self, c_a: Tensor) -> Tensor:
        """Content code as an aim, held fixed."""
        return c_a.detach()

    @tensor
    def s_held_a(self, s_a: Tensor) -> Tensor:
        """Style code as an aim, held fixed."""
        return s_a.detach()

    # Judgements: by way of features, where the discriminator tells them

    @tensor
    def f_ba(self, x_ba: Tensor, u_ba: Tensor) -> Tensor:
        """What a's discriminator sees in the translation: an augmented image, or its features."""
        return self.seen(self.a.discriminator, x_ba, u_ba)

    @tensor
    def f_a(self, x_a: Tensor, u_a: Tensor) -> Tensor:
        """In a real image."""
        return self.seen(self.a.discriminator, x_a, u_a)

    @tensor
    def f_aa(self, x_aa: Tensor, u_aa: Tensor) -> Tensor:
        """In the reconstruction."""
        return self.seen(self.a.discriminator, x_aa, u_aa)

    @tensor
    def d_ba(self, f_ba: Tensor) -> list[Tensor]:
        """What it says of the translation."""
        return self.said(self.a.discriminator, f_ba)

    @tensor
    def d_a(self, f_a: Tensor) -> list[Tensor]:
        """Of a real image."""
        return self.said(self.a.discriminator, f_a)

    @tensor
    def d_aa(self, f_aa: Tensor) -> list[Tensor]:
        """Of the reconstruction."""
        return self.said(self.a.discriminator, f_aa)

    @tensor
    def d_made_a(self, d_ba: list[Tensor], d_aa: list[Tensor]) -> list[Tensor]:
        """Of both that a's decoder made."""
        return [*d_ba, *d_aa]

    @tensor
    def g_ba(self, x_ba: Tensor, t_ba: Tensor) -> Tensor:
        """Features of the translation, mirrored and moved."""
        return self.features(self.a.discriminator, shifted(x_ba, t_ba))

    @tensor
    def g_a(self, x_a: Tensor, t_a: Tensor) -> Tensor:
        """Features of a real image, mirrored and moved."""
        return self.features(self.a.discriminator, shifted(x_a, t_a))

    def seen(self, judge: Any, x: Tensor, numbers: Tensor) -> Tensor:
        """An image as a discriminator sees it."""
        x = augmented(x, numbers, self.augment)
        return self.features(judge, x) if self.tells else x

    def said(self, judge: Any, seen: Tensor) -> list[Tensor]:
        """Its logits of what it sees."""
        logits: list[Tensor] = judge.logits(seen) if self.tells else judge(seen)
        return logits

    def features(self, judge: Any, x: Tensor) -> Tensor:
        """Its features. Raises ContractError where it tells none."""
        if not self.tells:
            raise ContractError(
                "the term CONSISTENCY compares features of the discriminator, and this one tells "
                "none: set MODEL.DISCRIMINATOR.NAME=imaginaire_residual, or leave the term out"
            )
        found: Tensor = judge.features(x)
        return found
