"""CUT and FastCUT: contrastive learning for unpaired translation (Park et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from munit_zoo.domains import Domain
from munit_zoo.errors import ContractError, GraphError
from munit_zoo.inputs import Draw, Image
from munit_zoo.models import Critic, Fool, Translation, TranslationModel, Update, tensor
from munit_zoo.registry import DISCRIMINATORS, GENERATORS, Discriminator, Generator, Slot, slot
from munit_zoo.registry.ranges import Count, Positive
from munit_zoo_contrastive.projector import PatchProjector

__all__ = ["Cut"]


class Cut(TranslationModel):
    """One way, A to B, kept close to its input by contrast between patches (ECCV 2020).

    x_ab = G(x_a); features of G's own first layers are projected, at some places, to q_ab (of the
    translation) and k_a (of the input), for the loss `patch_nce`: a place is to be recognised (Park,
    Efros, Zhang, Zhu, arXiv 2007.15651, eq. 5). The same for target images that pass through the
    generator, q_bb and k_b (eq. 6). Both domains have the same channels.

    generator: one that has `features` and `feature_channels`, as `resnet`. layers: those whose
        features are compared, by its numbers.
    patches: places a layer; all where a layer has fewer. projector_dim: length of the vectors.
    identity: whether target images pass through the generator, in one batch with the others.
    flip: whether, by the throw of a coin an iteration, inputs are mirrored (FastCUT).

    Terms: `adversarial`; `nce` and, with `identity`, `nce_identity`: losses of weight ½ each for
    CUT's mean of the two.
    """

    generator: Any
    projector: Any
    discriminator: Any

    inputs = {
        "x_a": Image("a"),
        "x_b": Image("b"),
        "coin": Draw("uniform", shared=True),
        "ranks_a": Draw("uniform", like="all_places", shared=True),
        "ranks_b": Draw("uniform", like="all_places", shared=True),
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
    translations = {("a", "b"): Translation(source="x_a", output="translated")}

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
        identity: bool = True,
        flip: bool = False,
    ) -> None:
        super().__init__(domains)
        a, b = domains
        if a.channels != b.channels:
            raise ContractError(
                "CUT encodes both domains with one network: "
                f"{a.name.upper()} has {a.channels} channels, {b.name.upper()} {b.channels}"
            )
        self.generator = GENERATORS.factory(generator)(a.channels, b.channels)
        if not hasattr(self.generator, "feature_channels"):
            raise ContractError(
                f"CUT compares features of the generator; {type(self.generator).__name__} has no "
                "methods features(x, layers) and feature_channels(layers)"
            )
        self.layers, self.patches = tuple(sorted(layers)), patches
        self.identity, self.flip = identity, flip
        channels = self.generator.feature_channels(self.layers)
        self.projector = PatchProjector(channels, projector_dim)
        self.discriminator = DISCRIMINATORS.factory(discriminator)(b.channels)
        self.stride = self.generator.stride

    def _flipped(self, x: Tensor, coin: Tensor) -> Tensor:
        """Mirrored left to right, where the coin says so."""
        return torch.where(coin.reshape(-1, 1, 1, 1) < 0.5, x.flip(3), x) if self.flip else x

    def _places(self, features: Sequence[Tensor], ranks: Tensor) -> list[Tensor]:
        """The places of each layer: those of the lowest ranks, which are drawn for all of them."""
        areas = [feature[0, 0].numel() for feature in features]
        found = []
        for part in ranks[0].split(areas):
            found.append(part.topk(min(self.patches, len(part)), largest=False).indices)
        return found

    def _queries(self, x: Tensor, ranks: Tensor, coin: Tensor) -> list[Tensor]:
        found = self.generator.features(x, self.layers)
        features = [self._flipped(feature, coin) for feature in found]
        vectors: list[Tensor] = self.projector(features, self._places(features, ranks))
        return vectors

    def _keys(self, x: Tensor, ranks: Tensor) -> list[Tensor]:
        features = self.frozen.generator.features(x, self.layers)
        vectors: list[Tensor] = self.frozen.projector(features, self._places(features, ranks))
        return vectors

    @tensor
    def all_places(self, x_a: Tensor) -> Tensor:
        """Nothing, with a number for each place of each layer: the shape of what is drawn."""
        features = self.frozen.generator.features(x_a, self.layers)
        return torch.cat([feature[:, 0].flatten(1) for feature in features], dim=1)

    @tensor
    def both(self, x_a: Tensor, x_b: Tensor, coin: Tensor) -> Tensor:
        """Translations and, behind them, target images passed through: in one call, which batch
        statistics see."""
        x = torch.cat([x_a, x_b]) if self.identity else x_a
        return self.generator(self._flipped(x, coin))

    @tensor
    def x_ab(self, both: Tensor, x_a: Tensor) -> Tensor:
        """Translation (mirrored, where inputs are)."""
        return both[: len(x_a)]

    @tensor
    def x_bb(self, both: Tensor, x_a: Tensor) -> Tensor:
        """Target images passed through the generator."""
        if not self.identity:
            raise GraphError(
                "no target images pass through the generator without MODEL.IDENTITY: set it to "
                "true, or LOSSES.NCE_IDENTITY=null"
            )
        return both[len(x_a) :]

    @tensor
    def d_ab(self, x_ab: Tensor) -> list[Tensor]:
        """What the discriminator says of the translation."""
        return self.discriminator(x_ab)

    @tensor
    def d_b(self, x_b: Tensor) -> list[Tensor]:
        """What it says of a real image."""
        return self.discriminator(x_b)

    @tensor
    def q_ab(self, x_ab: Tensor, ranks_a: Tensor, coin: Tensor) -> list[Tensor]:
        """Projected features of the translation, mirrored back."""
        return self._queries(x_ab, ranks_a, coin)

    @tensor
    def k_a(self, x_a: Tensor, ranks_a: Tensor) -> list[Tensor]:
        """Those of the input at the same places."""
        return self._keys(x_a, ranks_a)

    @tensor
    def q_bb(self, x_bb: Tensor, ranks_b: Tensor, coin: Tensor) -> list[Tensor]:
        """Projected features of target images that passed through the generator."""
        return self._queries(x_bb, ranks_b, coin)

    @tensor
    def k_b(self, x_b: Tensor, ranks_b: Tensor) -> list[Tensor]:
        """Those of target images at the same places."""
        return self._keys(x_b, ranks_b)

    @tensor
    def translated(self, x_a: Tensor) -> Tensor:
        """Translation of an input alone."""
        return self.generator(x_a)
