"""FUNIT: translation into classes known by a few examples (Liu, Huang, Mallya et al. 2019)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from munit_zoo.domains import Domain
from munit_zoo.errors import ContractError
from munit_zoo.inputs import Image, Label
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
from munit_zoo.registry.ranges import Positive

__all__ = ["Funit"]


class Funit(TranslationModel):
    """The pose of one image, the class of others (ICCV 2019, arXiv 1905.01723).

    MUNIT with one generator for all classes: the content code is that of an image x, the style,
    here a class code, that of an image x_cls of the class y_cls, or the mean of several. Trained on
    many classes, one example at a time, it translates into classes that it has never seen. All
    classes are one domain; a discriminator has a map of logits for each.

    style_dim: length of a class code. classes: number of those in training.

    Terms: `adversarial` (eq. 2; in the original's code of reconstructions, too), `image_recon`
    (eq. 3), `feature_matching` (eq. 4) and `r1` (Mescheder et al. 2018).
    """

    content_encoder: Network
    style_encoder: Network
    decoder: Network
    discriminator: Any

    inputs = {
        "x": Image("a"),
        "y": Label(of="x"),
        "x_cls": Image("a"),
        "y_cls": Label(of="x_cls"),
    }
    updates = (
        Update(
            "discriminator",
            trains=("discriminator",),
            terms={"adversarial": [Critic("d_trans", "d_cls")], "r1": [("d_cls", "x_cls")]},
        ),
        Update(
            "generator",
            trains=("content_encoder", "style_encoder", "decoder"),
            terms={
                "adversarial": [Fool("d_trans"), Fool("d_recon", real="d_cls")],
                "image_recon": [("x_recon", "x")],
                "feature_matching": [("m_recon", "m_x"), ("m_trans", "m_cls")],
            },
        ),
    )
    translations = {
        ("a", "a"): Translation(
            source="x",
            output="x_trans",
            style="s_cls",
            example="x_cls",
            encoded="s_cls",
            reconstruction="x_recon",
        )
    }

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        style_dim: Positive = 64,
        classes: Positive = 119,
        content_encoder: Slot[ContentEncoder] = slot(
            "resnet", downsamples=3, blocks=2, init="kaiming"
        ),
        style_encoder: Slot[StyleEncoder] = slot("conv", downsamples=4, doublings=2),
        decoder: Slot[Decoder] = slot(
            "adain_resnet", blocks=2, upsample_norm=slot("instance"), mapping=slot("mlp", dim=256)
        ),
        discriminator: Slot[Discriminator] = slot("funit"),
    ) -> None:
        super().__init__(domains)
        (domain,) = domains
        self.style_dim, self.classes = style_dim, classes
        content = CONTENT_ENCODERS.factory(content_encoder)(domain.channels)
        self.content_encoder, self.stride = content, content.stride
        self.style_encoder = STYLE_ENCODERS.factory(style_encoder)(domain.channels, style_dim)
        self.decoder = DECODERS.factory(decoder)(
            content.out_channels, domain.channels, content.stride, style_dim
        )
        self.discriminator = DISCRIMINATORS.factory(discriminator)(domain.channels, classes)
        for method in ("features", "logits"):
            if not hasattr(self.discriminator, method):
                raise ContractError(
                    f"FUNIT compares features of its discriminator; "
                    f"{type(self.discriminator).__name__} has no method {method}; `funit` has"
                )

    @tensor
    def c(self, x: Tensor) -> Tensor:
        """Content code."""
        return self.content_encoder(x)

    @tensor
    def s_x(self, x: Tensor) -> Tensor:
        """Class code of the content image itself."""
        return self.style_encoder(x)

    @tensor
    def s_cls(self, x_cls: Tensor) -> Tensor:
        """Class code of an example."""
        return self.style_encoder(x_cls)

    @tensor
    def x_trans(self, c: Tensor, s_cls: Tensor) -> Tensor:
        """Translation into the example's class."""
        return self.decoder(c, s_cls)

    @tensor
    def x_recon(self, c: Tensor, s_x: Tensor) -> Tensor:
        """Reconstruction."""
        return self.decoder(c, s_x)

    # Judgements, by way of features

    @tensor
    def f_trans(self, x_trans: Tensor) -> Tensor:
        """The discriminator's features of the translation."""
        return self.discriminator.features(x_trans)  # type: ignore[no-any-return]

    @tensor
    def f_recon(self, x_recon: Tensor) -> Tensor:
        """Of the reconstruction."""
        return self.discriminator.features(x_recon)  # type: ignore[no-any-return]

    @tensor
    def f_cls(self, x_cls: Tensor) -> Tensor:
        """Of the example."""
        return self.discriminator.features(x_cls)  # type: ignore[no-any-return]

    @tensor
    def f_x(self, x: Tensor) -> Tensor:
        """Of the content image."""
        return self.discriminator.features(x)  # type: ignore[no-any-return]

    @tensor
    def d_trans(self, f_trans: Tensor, y_cls: Tensor) -> list[Tensor]:
        """What it says of the translation, as one of the example's class."""
        return self.discriminator.logits(f_trans, y_cls)  # type: ignore[no-any-return]

    @tensor
    def d_recon(self, f_recon: Tensor, y: Tensor) -> list[Tensor]:
        """What it says of the reconstruction, as one of the image's class."""
        return self.discriminator.logits(f_recon, y)  # type: ignore[no-any-return]

    @tensor
    def d_cls(self, f_cls: Tensor, y_cls: Tensor) -> list[Tensor]:
        """What it says of the example."""
        return self.discriminator.logits(f_cls, y_cls)  # type: ignore[no-any-return]

    @tensor
    def m_trans(self, f_trans: Tensor) -> Tensor:
        """Mean features of the translation."""
        return f_trans.mean(dim=(2, 3))

    @tensor
    def m_recon(self, f_recon: Tensor) -> Tensor:
        """Of the reconstruction."""
        return f_recon.mean(dim=(2, 3))

    @tensor
    def m_cls(self, f_cls: Tensor) -> Tensor:
        """Of the example."""
        return f_cls.mean(dim=(2, 3))

    @tensor
    def m_x(self, f_x: Tensor) -> Tensor:
        """Of the content image."""
        return f_x.mean(dim=(2, 3))
