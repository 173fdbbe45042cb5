"""CycleGAN*: CycleGAN whose generators take noise, a baseline of MUNIT's (Huang et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from munit_zoo.domains import Domain
from munit_zoo.inputs import Draw
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.cyclegan import CycleGan
from munit_zoo.models.recipe import Translation, tensor
from munit_zoo.registry import Discriminator, Generator, Slot, slot
from munit_zoo.registry.ranges import Count, Positive

__all__ = ["CycleGanNoise"]


class CycleGanNoise(CycleGan):
    """CycleGAN with noise beside the image, drawn anew at each call of a generator.

    The CycleGAN* of MUNIT's tables 1 and 2 (ECCV 2018, arXiv 1804.04732). No code of it was
    published, and sizes and weights are not given: this is our reading. Nothing in the objective
    asks that the noise be used, and hardly any variety results: that is what it is there to show.

    style_dim: numbers of the noise, spread over the image as so many further channels.
    pool_size: as CycleGAN's. Terms: CycleGAN's.
    """

    inputs = {
        **CycleGan.inputs,
        "z_b": Draw("normal", ("style_dim",)),
        "z_aba": Draw("normal", ("style_dim",)),
        "z_aa": Draw("normal", ("style_dim",)),
    }
    translations = {("a", "b"): Translation(source="x_a", output="x_ab", style="z_b", latent="z_b")}

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        style_dim: Positive = 8,
        generator: Slot[Generator] = slot(
            "unet", norm=slot("instance"), dropout=0.5, dropout_in_tests=True
        ),
        discriminator: Slot[Discriminator] = slot("patch"),
        pool_size: Count = 50,
    ) -> None:
        TranslationModel.__init__(self, domains)  # the networks are others than CycleGAN's
        self.style_dim = style_dim
        self.make_networks(generator, discriminator, pool_size, beside=style_dim)

    # CycleGAN's tensors, each with a noise of its own among what it is computed from

    @tensor
    def x_ab(self, x_a: Tensor, z_b: Tensor) -> Tensor:  # type: ignore[override]
        """Translation."""
        return self.b.generator(self.noisy(x_a, z_b))

    @tensor
    def x_aba(self, x_ab: Tensor, z_aba: Tensor) -> Tensor:  # type: ignore[override]
        """Cycle: the translation brought back."""
        return self.a.generator(self.noisy(x_ab, z_aba))

    @tensor
    def x_ba(self, x_b: Tensor, z_a: Tensor) -> Tensor:  # type: ignore[override]
        """Translation, the other way; written out as CycleGAN's is."""
        return self.a.generator(self.noisy(x_b, z_a))

    @tensor
    def x_aa(self, x_a: Tensor, z_aa: Tensor) -> Tensor:  # type: ignore[override]
        """Identity: an image given to the generator that makes such images."""
        self.check_identity()
        return self.a.generator(self.noisy(x_a, z_aa))

    def noisy(self, x: Tensor, z: Tensor) -> Tensor:
        """An image with its noise, each number a channel of its own."""
        maps = z.to(x).reshape(len(z), -1, 1, 1).expand(-1, -1, *x.shape[2:])
        return torch.cat([x, maps], dim=1)
