"""DRIT and DRIT++: content of no domain, attributes that are exchanged (Lee et al. 2018, 2020)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from munit_zoo.domains import Domain
from munit_zoo.errors import ContractError, GraphError
from munit_zoo.inputs import Draw, Image
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.recipe import Critic, Entry, Fool, Judge, Network, Translation, Update, tensor
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
from munit_zoo.registry.ranges import Count, Positive

__all__ = ["Drit"]

CONTENT_AND_DECODERS = ("content_encoder", "shared_encoder", "decoder", "shared_decoder")


def _updates(seeking: bool = True, again: bool = True) -> tuple[Update, ...]:
    """The updates of an iteration.

    seeking: whether there is a second sample, which is to differ from the first. again: whether
    discriminators are shown their reals again beside it, which those with state notice.
    """
    samples = {"d2_ab_z": "d2_b"}
    differing: dict[str, list[Entry]] = {}
    if seeking:
        samples["d2_ab_z2"] = "d2_b_again" if again else "d2_b"
        differing["mode_seeking"] = [("x_ab_z2", "x_ab_z", "z2", "z")]
    return (
        Update(
            "discriminators",
            trains=("discriminator", "discriminator2"),
            terms={
                "adversarial": [Critic("d_ab", "d_b")],
                "adversarial2": [Critic(fake, real) for fake, real in samples.items()],
            },
            every="full",
        ),
        Update(
            "content_discriminator",
            trains=("content_discriminator",),
            terms={"content_adversarial": [Critic("dc_a", "dc_b")]},
            clip=5.0,
            mirrored=False,
        ),
        Update(
            "generators",
            trains=(*CONTENT_AND_DECODERS, "style_encoder"),
            terms={
                "adversarial": [Fool("d_ab")],
                "content_adversarial": [Fool("dc_a")],
                "cycle_recon": [("x_aba", "x_a")],
                "image_recon": [("x_aa", "x_a")],
                "content_kl": [("c_a",)],
                "kl": [("mu_a", "logvar_a")],
                "style_kl": [("s_a",)],
            },
            every="full",
        ),
        Update(
            "latent",
            trains=CONTENT_AND_DECODERS,
            terms={
                "adversarial2": [Fool(fake) for fake in samples],
                "style_recon": [("mu_ab_z", "z")],
                **differing,
            },
            every="full",
        ),
    )


class _Domain(Protocol):
    content_encoder: Network
    style_encoder: Network
    decoder: Network
    discriminator: Judge
    discriminator2: Judge


class Drit(TranslationModel):
    """Two domains, many translations, from unpaired images (ECCV 2018, arXiv 1808.00948).

    A content code, a map that a discriminator cannot tell the domain of, and an attribute code.
    Two images exchange attributes, and the results exchange them back: each must be itself again
    (cross-cycle, section 3.3). Attributes are drawn as well, of N(0, I), must be found again, and,
    in DRIT++ (IJCV 2020, arXiv 1905.01270), two draws must make two images. What is decoded from
    attributes of images, and from drawn ones, is judged by a discriminator each.

    style_dim: length of the attribute code. sampled: it is drawn from N(mu, σ²), of which the
    encoder makes mean and log-variance; otherwise it makes the code itself. mode_seeking: DRIT++'s.
    every: all networks are trained in each so-many-th iteration, the content's discriminator in
    every one. epoch: iterations of an epoch, of which the last two train all networks, too, as in
    the original; 0 for no such rule.

    Terms: `content_adversarial` (eq. 1-2), `cycle_recon` (eq. 3), `image_recon`, `adversarial`,
    `kl` (`style_kl` where not `sampled`), `style_recon` (section 3.4), and, in code alone,
    `adversarial2` and `content_kl`; `mode_seeking`.
    """

    a: _Domain
    b: _Domain
    shared_encoder: Network
    shared_decoder: Network
    content_discriminator: Judge
    sampled: bool

    inputs = {
        "x_a": Image("a"),
        "r_a": Image("a"),
        "x_b": Image("b"),
        "n_a": Draw("normal", like="h_a"),
        "n_ab": Draw("normal", like="h_a"),
        "e_a": Draw("normal", ("style_dim",)),
        "e_ab": Draw("normal", ("style_dim",)),
        "z": Draw("normal", ("style_dim",)),
        "z2": Draw("normal", ("style_dim",)),
    }
    mirror = ("a", "b")
    updates = _updates()
    translations = {
        ("a", "b"): Translation(
            source="x_a",
            output="x_ab_z",
            style="z",
            latent="z",
            example="x_b",
            encoded="s_b",
            reconstruction="x_aa",
        )
    }

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        style_dim: Positive = 8,
        sampled: bool = True,
        mode_seeking: bool = True,
        every: Positive = 3,
        epoch: Count = 0,
        content_encoder: Slot[ContentEncoder] = slot("drit"),
        shared_encoder: Slot[ContentEncoder] = slot("residual"),
        style_encoder: Slot[StyleEncoder] = slot(
            "bicyclegan_resnet",
            halvings=4,
            parts=2,
            mean="all",
            norm=slot("none"),
            pad_type="reflect",
            init="gaussian_convs",
        ),
        shared_decoder: Slot[ContentEncoder] = slot("residual"),
        decoder: Slot[Decoder] = slot("drit"),
        discriminator: Slot[Discriminator] = slot(
            "multiscale_patch", activation=slot("lrelu", negative_slope=0.01), init="gaussian_convs"
        ),
        content_discriminator: Slot[Discriminator] = slot("content"),
    ) -> None:
        super().__init__(domains)
        self.style_dim, self.sampled = style_dim, sampled
        self.every, self.epoch = every, epoch
        for letter, domain in zip("ab", domains, strict=True):
            content = CONTENT_ENCODERS.factory(content_encoder)(domain.channels)
            channels, self.stride = content.out_channels, content.stride
            networks = {
                "content_encoder": content,
                "style_encoder": STYLE_ENCODERS.factory(style_encoder)(
                    domain.channels, style_dim * (2 if sampled else 1)
                ),
                "decoder": DECODERS.factory(decoder)(
                    channels, domain.channels, content.stride, style_dim
                ),
                "discriminator": DISCRIMINATORS.factory(discriminator)(domain.channels),
                "discriminator2": DISCRIMINATORS.factory(discriminator)(domain.channels),
            }
            setattr(self, letter, nn.ModuleDict(networks))
        shared_parts = [
            CONTENT_ENCODERS.factory(part)(channels) for part in (shared_encoder, shared_decoder)
        ]
        self.shared_encoder, self.shared_decoder = shared_parts
        for shared in shared_parts:
            if (shared.out_channels, shared.stride) != (channels, 1):
                raise ContractError(
                    f"what the domains share takes content codes and hands them on in their shape; "
                    f"{type(shared).__name__} does not; `residual` does"
                )
        self.content_discriminator = DISCRIMINATORS.factory(content_discriminator)(channels)
        self.trains_from = self.stride * getattr(self.content_discriminator, "smallest", 0)
        stateful = any(True for _ in networks["discriminator2"].buffers())
        self.updates = _updates(mode_seeking, stateful)

    def full(self, iteration: int) -> bool:
        """Whether an iteration trains all networks."""
        place = iteration % self.epoch if self.epoch else iteration
        last = self.epoch and place >= self.epoch - 2
        return bool(last) or (place + 1) % self.every == 0

    # Content and attributes

    @tensor
    def h_a(self, x_a: Tensor) -> Tensor:
        """Content code, its last layers shared by the domains."""
        return self.shared_encoder(self.a.content_encoder(x_a))

    @tensor
    def c_a(self, h_a: Tensor, n_a: Tensor) -> Tensor:
        """Content code with noise, as training has it."""
        return h_a + n_a

    @tensor
    def q_a(self, x_a: Tensor) -> list[Tensor]:
        """Mean and log-variance of the attribute code; or the code."""
        return self.parts(self.a.style_encoder(x_a))

    @tensor
    def mu_a(self, q_a: list[Tensor]) -> Tensor:
        """Mean of the attribute code."""
        return q_a[0]

    @tensor
    def logvar_a(self, q_a: list[Tensor]) -> Tensor:
        """Its log-variance."""
        if not self.sampled:
            raise GraphError(
                "attributes that are not SAMPLED have no variance: set LOSSES.KL=null, and "
                "LOSSES.STYLE_KL={NAME: gaussian_kl, WEIGHT: 0.01} instead"
            )
        return q_a[1]

    @tensor
    def s_a(self, q_a: list[Tensor], e_a: Tensor) -> Tensor:
        """Attribute code, drawn."""
        return self.drawn(q_a, e_a)

    # Exchanged

    @tensor
    def g_a(self, c_a: Tensor) -> Tensor:
        """The content as the decoders' first layers, shared by the domains, hand it on."""
        return self.shared_decoder(c_a)

    @tensor
    def x_ab(self, g_a: Tensor, s_b: Tensor) -> Tensor:
        """Translation with the attributes of an image of the target."""
        return self.b.decoder(g_a, s_b)

    @tensor
    def x_aa(self, g_a: Tensor, s_a: Tensor) -> Tensor:
        """Reconstruction."""
        return self.a.decoder(g_a, s_a)

    @tensor
    def c_ab(self, x_ab: Tensor, n_ab: Tensor) -> Tensor:
        """Content code of the translation, with noise."""
        return self.shared_encoder(self.b.content_encoder(x_ab)) + n_ab

    @tensor
    def s_ab(self, x_ab: Tensor, e_ab: Tensor) -> Tensor:
        """Attribute code of the translation, drawn."""
        return self.drawn(self.parts(self.b.style_encoder(x_ab)), e_ab)

    @tensor
    def x_aba(self, c_ab: Tensor, s_ba: Tensor) -> Tensor:
        """Cross-cycle: the attributes exchanged back."""
        return self.a.decoder(self.shared_decoder(c_ab), s_ba)

    # Drawn

    @tensor
    def x_ab_z(self, g_a: Tensor, z: Tensor) -> Tensor:
        """Translation with drawn attributes."""
        return self.b.decoder(g_a, z)

    @tensor
    def x_ab_z2(self, g_a: Tensor, z2: Tensor) -> Tensor:
        """Another one, with others."""
        return self.b.decoder(g_a, z2)

    @tensor
    def mu_ab_z(self, x_ab_z: Tensor) -> Tensor:
        """The mean attributes found in it."""
        return self.parts(self.b.style_encoder(x_ab_z))[0]

    def parts(self, code: Tensor) -> list[Tensor]:
        """What a style encoder makes: mean and log-variance, or the code."""
        return list(code.chunk(2, dim=1)) if self.sampled else [code]

    def drawn(self, parts: list[Tensor], noise: Tensor) -> Tensor:
        """A code of that mean and log-variance; or the code."""
        return parts[0] + noise * (parts[1] / 2).exp() if self.sampled else parts[0]

    # Judgements

    @tensor
    def d_ab(self, x_ab: Tensor) -> list[Tensor]:
        """What the target's first discriminator says of the translation."""
        return self.b.discriminator(x_ab)

    @tensor
    def d_b(self, x_b: Tensor) -> list[Tensor]:
        """What it says of a real image."""
        return self.b.discriminator(x_b)

    @tensor
    def d2_ab_z(self, x_ab_z: Tensor) -> list[Tensor]:
        """What the second says of the translation with drawn attributes."""
        return self.b.discriminator2(x_ab_z)

    @tensor
    def d2_b(self, r_b: Tensor) -> list[Tensor]:
        """What it says of another real image."""
        return self.b.discriminator2(r_b)

    @tensor
    def d2_ab_z2(self, x_ab_z2: Tensor) -> list[Tensor]:
        """What it says of the other translation."""
        return self.b.discriminator2(x_ab_z2)

    @tensor
    def d2_b_again(self, r_b: Tensor) -> list[Tensor]:
        """The same real image, asked again."""
        return self.b.discriminator2(r_b)

    @tensor
    def dc_a(self, c_a: Tensor) -> list[Tensor]:
        """Which domain the content code is thought to be of: 1 for B."""
        return self.content_discriminator(c_a)
