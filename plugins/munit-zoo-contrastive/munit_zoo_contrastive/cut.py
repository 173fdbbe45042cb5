"""CUT and FastCUT: contrastive learning for unpaired translation (Park et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from munit_zoo.domains import Domain
from munit_zoo.errors import ContractError
from munit_zoo.models import Critic, Translation, TranslationModel, tensor
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

__all__ = ["Cut", "FastCut"]


class Cut(TranslationModel):
    """One way, A to B: x_ab = G(E(x_a)), kept close to its input by contrast between patches.

    f_a, f_ab, f_b, f_bb are lists of the encoder's feature maps, for the loss `patch_nce`; x_bb, a
    target image passed through the generator, is what its identity part compares (Park, Efros,
    Zhang, Zhu, ECCV 2020, eq. 5-6; arXiv 2007.15651). Both domains have the same channels, and the
    content encoder has `stages` (the core's `resnet` does).
    """

    a: Any  # the one encoder and decoder

    inputs = ("x_a", "x_b")
    terms = {"identity": [("x_bb", "x_b")]}
    critics = {"b": Critic(fake="x_ab", real="x_b")}
    translations = {("a", "b"): Translation(source="x_a", output="x_ab")}

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        content_encoder: Slot[ContentEncoder] = slot("resnet"),
        decoder: Slot[Decoder] = slot("resnet"),
        discriminator: Slot[Discriminator] = slot("multiscale_patch", scales=1),
    ) -> None:
        super().__init__(domains)
        by_name = {domain.name: domain for domain in domains}
        channels = by_name["a"].channels
        if by_name["b"].channels != channels:
            raise ContractError(
                f"CUT encodes both domains with one network: A has {channels} channels, "
                f"B {by_name['b'].channels}"
            )
        content = CONTENT_ENCODERS.factory(content_encoder)(channels)
        if not hasattr(content, "stages"):
            raise ContractError(
                f"CUT reads features of several depths; the content encoder "
                f"{type(content).__name__} has no method stages(x)"
            )
        decode = DECODERS.factory(decoder)(content.out_channels, channels, content.stride)
        self.generators["a"] = nn.ModuleDict({"content_encoder": content, "decoder": decode})
        self.discriminators["b"] = DISCRIMINATORS.factory(discriminator)(channels)
        self.stride = content.stride

    @tensor
    def f_a(self, x_a: Tensor) -> list[Tensor]:
        """Features of the input."""
        return self.a.content_encoder.stages(x_a)

    @tensor
    def x_ab(self, f_a: list[Tensor]) -> Tensor:
        """Translation."""
        return self.a.decoder(f_a[-1])

    @tensor
    def f_ab(self, x_ab: Tensor) -> list[Tensor]:
        """Features of the translation."""
        return self.a.content_encoder.stages(x_ab)

    @tensor
    def f_b(self, x_b: Tensor) -> list[Tensor]:
        """Features of a target image."""
        return self.a.content_encoder.stages(x_b)

    @tensor
    def x_bb(self, f_b: list[Tensor]) -> Tensor:
        """A target image passed through the generator."""
        return self.a.decoder(f_b[-1])

    @tensor
    def f_bb(self, x_bb: Tensor) -> list[Tensor]:
        """Features of that."""
        return self.a.content_encoder.stages(x_bb)


class FastCut(Cut):
    """CUT without identity part, its inputs mirrored by chance (Park et al. 2020, section 4).

    r_a, standard normal, mirrors an input where it is positive; the features of its translation
    are mirrored back. In translation it is 0: nothing is mirrored.
    """

    inputs = ("x_a", "x_b", "r_a")
    redrawn = ("r_a",)

    @tensor
    def x_ab(self, x_a: Tensor, r_a: Tensor) -> Tensor:
        """Translation of the input, mirrored by chance."""
        return self.a.decoder(self.a.content_encoder(_mirrored(x_a, r_a)))

    @tensor
    def f_ab(self, x_ab: Tensor, r_a: Tensor) -> list[Tensor]:
        """Features of the translation, mirrored back."""
        return [_mirrored(f, r_a) for f in self.a.content_encoder.stages(x_ab)]

    def noise_shape(self, name: str, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, ...]:
        """One number an image."""
        return (1,)


def _mirrored(x: Tensor, r: Tensor) -> Tensor:
    """The images of which r is positive, mirrored; r is (N, 1), or a single number for all."""
    return torch.where((r > 0).reshape(-1, 1, 1, 1), x.flip(3), x)
