"""CUT and FastCUT: contrastive learning for unpaired translation (Park, Efros, Zhang, Zhu 2020)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from munit_zoo.blocks.init import Init
from munit_zoo.domains import Domain
from munit_zoo.errors import ContractError
from munit_zoo.models import (
    Critic,
    Draw,
    Fool,
    Image,
    Translation,
    TranslationModel,
    Update,
    tensor,
)
from munit_zoo.registry import DISCRIMINATORS, GENERATORS, Discriminator, Generator, Slot, slot
from munit_zoo.registry.ranges import Count, Positive, PositiveFloat
from munit_zoo_contrastive.projector import PatchProjector

__all__ = ["Cut"]


class Cut(TranslationModel):
    """One way, A to B, without a cycle (ECCV 2020, arXiv 2007.15651).

    A place of the translation x_ab = G(x_a) is to be recognised, among places of the original, as
    the one it came from: by features of the generator's own first half, projected by an MLP a
    layer. The keys (of the original) are computed by frozen networks: only the queries teach them.
    One image passed through G together with the other, x_bb = G(x_b), is asked the same.

    layers: the generator's layers that are compared, as its `features` numbers them.
    patches: places a layer and image; all where a layer has fewer. projector_dim: width of the
        projector. projector_init, projector_gain: its initialisation.
    identity: compute x_bb, in one call with x_ab (which batch norms see).
    flip: mirror the generator's input by chance, one chance a batch; what it makes is mirrored back
        to be compared (FastCUT).

    Terms: `adversarial`, `nce` (eq. 5, with the places of x_a) and `nce_identity` (with those of
    x_b). FastCUT: `identity: false`, `flip: true`, ten times the weight of `nce`.
    """

    generator: Any
    discriminator: Any
    projector: Any

    inputs = {
        "x_a": Image("a"),
        "x_b": Image("b"),
        "flip": Draw("uniform", shared=True),
        "keys_a": Draw("uniform", like="all_places", shared=True),
        "keys_b": Draw("uniform", like="all_places", shared=True),
    }
    once = ("both",)
    updates = (
        Update(
            "discriminator",
            trains=("discriminator",),
            terms={"adversarial": [Critic("d_ab", "d_b")]},
        ),
        Update(
            "generator",
            trains=("generator", "projector"),
            terms={
                "adversarial": [Fool("d_ab")],
                "nce": [("q_ab", "k_a")],
                "nce_identity": [("q_bb", "k_b")],
            },
        ),
    )
    translations = {("a", "b"): Translation(source="x_a", output="x_ab_alone")}

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        generator: Slot[Generator] = slot(
            "resnet", downsample="blur", upsample="bilinear", init="xavier"
        ),
        discriminator: Slot[Discriminator] = slot("patch", downsample="blur", init="xavier"),
        layers: tuple[Count, ...] = (0, 4, 8, 12, 16),
        patches: Positive = 256,
        projector_dim: Positive = 256,
        projector_init: Init = "xavier",
        projector_gain: PositiveFloat = 0.02,
        identity: bool = True,
        flip: bool = False,
    ) -> None:
        super().__init__(domains)
        a, b = domains
        self.generator = GENERATORS.factory(generator)(a.channels, b.channels)
        self.discriminator = DISCRIMINATORS.factory(discriminator)(b.channels)
        self.stride = self.generator.stride
        self.layers, self.patches = tuple(sorted(layers)), patches
        self.identity, self.flips = identity, flip
        if a.channels != b.channels:
            raise ContractError(
                f"CUT passes images and translations through one network: {a.name.upper()} has "
                f"{a.channels} channels, {b.name.upper()} {b.channels}"
            )
        if not hasattr(self.generator, "features"):
            raise ContractError(
                f"CUT compares features of several depths; the generator "
                f"{type(self.generator).__name__} has no method features(x, layers)"
            )
        shadow: Any = copy.deepcopy(self.generator).to("meta")
        self._shadow = [shadow]  # in a list: no network of the model's
        self._areas: dict[tuple[int, int], list[int]] = {}
        channels = [int(f.shape[1]) for f in self.shapes(a.channels, 16 * self.stride)]
        self.projector = PatchProjector(
            channels, projector_dim, init=projector_init, init_gain=projector_gain
        )

    @torch.no_grad()
    def shapes(self, channels: int, *sides: int) -> list[Tensor]:
        """Features on `meta`: their shapes, without a call that a network's state would count."""
        x = torch.empty(1, channels, sides[0], sides[-1], device="meta")
        found: list[Tensor] = self._shadow[0].features(x, self.layers)
        return found

    def areas(self, x: Tensor) -> list[int]:
        """Number of places in each compared layer."""
        size = (x.shape[2], x.shape[3])
        if size not in self._areas:
            features = self.shapes(x.shape[1], *size)
            self._areas[size] = [f.shape[2] * f.shape[3] for f in features]
        return self._areas[size]

    # Images

    @tensor
    def both(self, x_a: Tensor, x_b: Tensor, flip: Tensor) -> Tensor:
        """The translation, and a target image passed through the generator, from one call."""
        x = torch.cat([x_a, x_b]) if self.identity else x_a
        return self.generator(self.mirrored(x, flip))

    @tensor
    def x_ab(self, both: Tensor, x_a: Tensor) -> Tensor:
        """Translation."""
        return both[: len(x_a)]

    @tensor
    def x_bb(self, both: Tensor, x_a: Tensor) -> Tensor:
        """A target image passed through the generator."""
        if not self.identity:
            raise ContractError("x_bb is computed with MODEL.IDENTITY=true alone")
        return both[len(x_a) :]

    @tensor
    def x_ab_alone(self, x_a: Tensor) -> Tensor:
        """Translation of an image by itself, never mirrored."""
        return self.generator(x_a)

    def mirrored(self, x: Tensor, flip: Tensor) -> Tensor:
        """Maps mirrored left to right, where the batch's draw is below ½."""
        return torch.where(flip.reshape(-1)[0] < 0.5, x.flip(3), x) if self.flips else x

    # Places, and what is projected of them: the translation first, as published

    @tensor
    def all_places(self, x_a: Tensor) -> Tensor:
        """One number for each place of each layer: the shape of what places are drawn by."""
        return x_a.new_zeros(len(x_a), sum(self.areas(x_a)))

    @tensor
    def places_a(self, x_a: Tensor, keys_a: Tensor) -> list[Tensor]:
        """Places y·w + x to compare, drawn without repetition, a layer apart, the same in all
        images of a batch."""
        return self.places(x_a, keys_a)

    @tensor
    def places_b(self, x_b: Tensor, keys_b: Tensor) -> list[Tensor]:
        """The same for target images."""
        return self.places(x_b, keys_b)

    def places(self, x: Tensor, keys: Tensor) -> list[Tensor]:
        """The places of each layer that have the smallest keys."""
        return [part.argsort()[: self.patches] for part in keys.flatten().split(self.areas(x))]

    @tensor
    def q_ab(self, x_ab: Tensor, places_a: list[Tensor], flip: Tensor) -> list[Tensor]:
        """Queries: those places of the translation."""
        return self.queries(x_ab, places_a, flip)

    @tensor
    def k_a(self, x_a: Tensor, places_a: list[Tensor]) -> list[Tensor]:
        """Keys: those places of the original."""
        return self.frozen.projector(self.frozen.generator.features(x_a, self.layers), places_a)

    @tensor
    def q_bb(self, x_bb: Tensor, places_b: list[Tensor], flip: Tensor) -> list[Tensor]:
        """Queries: places of the target image passed through the generator."""
        return self.queries(x_bb, places_b, flip)

    @tensor
    def k_b(self, x_b: Tensor, places_b: list[Tensor]) -> list[Tensor]:
        """Keys: those places of the target image."""
        return self.frozen.projector(self.frozen.generator.features(x_b, self.layers), places_b)

    def queries(self, x: Tensor, places: list[Tensor], flip: Tensor) -> list[Tensor]:
        """Features of a generated image, mirrored back, projected."""
        features = self.generator.features(x, self.layers)
        return self.projector([self.mirrored(f, flip) for f in features], places)

    # Judgements

    @tensor
    def d_ab(self, x_ab: Tensor) -> list[Tensor]:
        """What the discriminator says of the translation."""
        return self.discriminator(x_ab)

    @tensor
    def d_b(self, x_b: Tensor) -> list[Tensor]:
        """What it says of a real image."""
        return self.discriminator(x_b)
