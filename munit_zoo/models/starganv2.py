"""StarGAN v2: diverse image synthesis for multiple domains (Choi, Uh, Yoo, Ha 2020)."""

from __future__ import annotations

from torch import Tensor

from munit_zoo.domains import Domain
from munit_zoo.errors import ContractError
from munit_zoo.inputs import Draw, Image, Label
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.recipe import (
    ANY,
    Critic,
    Entry,
    Fool,
    Judge,
    Network,
    Translation,
    Update,
    tensor,
)
from munit_zoo.registry import (
    DISCRIMINATORS,
    GENERATORS,
    MAPPINGS,
    STYLE_ENCODERS,
    Discriminator,
    Generator,
    Slot,
    StyleEncoder,
    StyleMapping,
    slot,
)
from munit_zoo.registry.ranges import Width

__all__ = ["StarGanV2", "StarGanV2HighPass"]


def _judge(way: str) -> Update:
    """The discriminator's update on translations of one way, `z` (drawn) or `ref` (by example)."""
    return Update(
        f"discriminator_{way}",
        trains=("discriminator",),
        terms={"adversarial": [Critic(f"d_{way}", "d_real")], "r1": [("d_real", "x")]},
        mirrored=False,
    )


def _make(way: str, *trains: str) -> Update:
    """The generator's update on translations of one way."""
    terms: dict[str, list[Entry]] = {
        "adversarial": [Fool(f"d_{way}")],
        "style_recon": [(f"s_fake_{way}", f"s_{way}")],
        "diversity": [(f"fake_{way}", f"fake2_{way}")],
        "cycle_recon": [(f"cycle_{way}", "x")],
    }
    return Update(f"generator_{way}", trains=trains, terms=terms, mirrored=False)


class StarGanV2(TranslationModel):
    """One generator for K domains: many translations into each (CVPR 2020, arXiv 1912.01865).

    A style of the target domain y_trg is made of noise, s_z = F(z, y_trg), or taken from an example
    image, s_ref = E(x_trg, y_trg); fake = G(x, s). All that follows exists once for each of the
    two. E is trained with drawn styles only, F never with examples, as published.

    latent_dim: length of the noise z. style_dim: of a style code.

    Terms: `adversarial` (eq. 1), `style_recon` (eq. 2), `diversity` (eq. 3: of weight below 0, and
    falling), `cycle_recon` (eq. 4), `r1` (Mescheder et al. 2018).
    """

    generator: Network
    mapping: Network
    style_encoder: Network
    discriminator: Judge

    inputs = {
        "x": Image(),
        "y": Label(of="x"),
        "x_trg": Image(),
        "x_trg2": Image(like="x_trg"),
        "y_trg": Label(of="x_trg"),
        "z": Draw("normal", ("latent_dim",)),
        "z2": Draw("normal", ("latent_dim",)),
    }
    mirror = ("z", "ref")
    updates = (
        _judge("z"),
        _judge("ref"),
        _make("z", "generator", "mapping", "style_encoder"),
        _make("ref", "generator"),
    )
    translations = {
        (ANY, ANY): Translation(
            source="x",
            output="fake_z",
            style="s_z",
            latent="z",
            example="x_trg",
            encoded="s_ref",
            label="y_trg",
        )
    }
    averaged = ("generator", "mapping", "style_encoder")

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        latent_dim: Width = 16,
        style_dim: Width = 64,
        generator: Slot[Generator] = slot("starganv2"),
        mapping: Slot[StyleMapping] = slot("starganv2"),
        style_encoder: Slot[StyleEncoder] = slot("starganv2"),
        discriminator: Slot[Discriminator] = slot("starganv2"),
    ) -> None:
        super().__init__(domains)
        channels = {domain.channels for domain in domains}
        if len(channels) > 1:
            listed = ", ".join(f"{d.name.upper()} {d.channels}" for d in domains)
            raise ContractError(
                f"one generator makes all domains: they have the same channels, not {listed}"
            )
        (count,) = channels
        self.latent_dim, self.style_dim = latent_dim, style_dim
        generate = GENERATORS.factory(generator)(count, count, style_dim)
        self.generator, self.stride = generate, generate.stride
        self.mapping = MAPPINGS.factory(mapping)(latent_dim, style_dim, len(domains))
        self.style_encoder = STYLE_ENCODERS.factory(style_encoder)(count, style_dim, len(domains))
        self.discriminator = DISCRIMINATORS.factory(discriminator)(count, len(domains))

    # Styles

    @tensor
    def s_z(self, z: Tensor, y_trg: Tensor) -> Tensor:
        """Style of the target domain, made of noise."""
        return self.mapping(z, y_trg)

    @tensor
    def s_ref(self, x_trg: Tensor, y_trg: Tensor) -> Tensor:
        """Style of an example image."""
        return self.style_encoder(x_trg, y_trg)

    @tensor
    def s2_z(self, z2: Tensor, y_trg: Tensor) -> Tensor:
        """A second style made of noise, to differ from."""
        return self.frozen.mapping(z2, y_trg)

    @tensor
    def s2_ref(self, x_trg2: Tensor, y_trg: Tensor) -> Tensor:
        """Style of a second example."""
        return self.frozen.style_encoder(x_trg2, y_trg)

    @tensor
    def s_x(self, x: Tensor, y: Tensor) -> Tensor:
        """Style of the source image in its own domain."""
        return self.style_encoder(x, y)

    # Translations

    @tensor
    def fake_z(self, x: Tensor, s_z: Tensor) -> Tensor:
        """Translation."""
        return self.generator(x, s_z)

    @tensor
    def fake2_z(self, x: Tensor, s2_z: Tensor) -> Tensor:
        """The same image in the second style."""
        return self.frozen.generator(x, s2_z)

    @tensor
    def s_fake_z(self, fake_z: Tensor, y_trg: Tensor) -> Tensor:
        """Style of the translation."""
        return self.style_encoder(fake_z, y_trg)

    @tensor
    def cycle_z(self, fake_z: Tensor, s_x: Tensor) -> Tensor:
        """The translation brought back in the source's own style."""
        return self.generator(fake_z, s_x)

    # Judgements

    @tensor
    def d_real(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """What the discriminator says of a real image of its domain."""
        return self.discriminator(x, y)

    @tensor
    def d_z(self, fake_z: Tensor, y_trg: Tensor) -> list[Tensor]:
        """What it says of the translation, as an image of the target domain."""
        return self.discriminator(fake_z, y_trg)


class StarGanV2HighPass(StarGanV2):
    """StarGAN v2 that keeps the fine structure of masked places (its setting for faces).

    What the encoder saw there passes a high-pass filter into the decoder. The generator takes masks
    [m_0, m_1], each (N, 1, h, w) in [0, 1]; `masker`, an image (N, C, H, W) to (N, 2, h, w), is
    fixed: a network of one's own, with weights of its own.
    """

    masker: Network
    fixed = ("masker",)

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        latent_dim: Width = 16,
        style_dim: Width = 64,
        generator: Slot[Generator] = slot("starganv2", high_pass=1.0),
        mapping: Slot[StyleMapping] = slot("starganv2"),
        style_encoder: Slot[StyleEncoder] = slot("starganv2"),
        discriminator: Slot[Discriminator] = slot("starganv2"),
        masker: Slot[Generator] = slot("ones"),
    ) -> None:
        super().__init__(
            domains,
            latent_dim=latent_dim,
            style_dim=style_dim,
            generator=generator,
            mapping=mapping,
            style_encoder=style_encoder,
            discriminator=discriminator,
        )
        self.masker = GENERATORS.factory(masker)(domains[0].channels, 2)

    @tensor
    def masks(self, x: Tensor) -> list[Tensor]:
        """Where the source's fine structure is kept, at the coarse and at the finer scales."""
        return self._masks(x)

    @tensor
    def masks_z(self, fake_z: Tensor) -> list[Tensor]:
        """The same of the translation."""
        return self._masks(fake_z.detach())

    def _masks(self, x: Tensor) -> list[Tensor]:
        found = self.frozen.masker(x)
        return [found[:, :1], found[:, 1:]]

    @tensor
    def fake_z(  # type: ignore[override]  # its arguments say what it is computed from
        self, x: Tensor, s_z: Tensor, masks: list[Tensor]
    ) -> Tensor:
        """Translation."""
        return self.generator(x, s_z, masks)

    @tensor
    def fake2_z(  # type: ignore[override]  # its arguments say what it is computed from
        self, x: Tensor, s2_z: Tensor, masks: list[Tensor]
    ) -> Tensor:
        """The same image in the second style."""
        return self.frozen.generator(x, s2_z, masks)

    @tensor
    def cycle_z(  # type: ignore[override]  # its arguments say what it is computed from
        self, fake_z: Tensor, s_x: Tensor, masks_z: list[Tensor]
    ) -> Tensor:
        """The translation brought back in the source's own style."""
        return self.generator(fake_z, s_x, masks_z)
