"""A dataset."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from munit_zoo.domains import Domain

__all__ = ["Gradients"]


class Gradients:
    """Linear ramps between two grey values: horizontal in domain A, vertical in every other.

    size: side of the images. count: images a split.
    """

    def __init__(
        self, domain: Domain, split: Literal["train", "test"], *, size: int = 32, count: int = 100
    ) -> None:
        self.domain, self.split, self.side, self.count = domain, split, size, count

    @property
    def size(self) -> tuple[int, int]:
        """(h, w), known without looking at any file."""
        return (self.side, self.side)

    def prepare(self) -> None:
        """Find the images; there is nothing to find."""

    def __len__(self) -> int:
        return self.count

    def train(self, index: int, rng: np.random.Generator) -> torch.Tensor:
        """Image `index`, flipped by chance; all chance comes from `rng`."""
        image = self.test(index)
        return image.flip(-1) if rng.random() < 0.5 else image

    def test(self, index: int) -> torch.Tensor:
        """Image `index`: float32 (C, h, w) in [-1, 1]."""
        end = -1 + 2 * (index + 1) / self.count
        ramp = torch.linspace(-1, end, self.side).expand(self.side, self.side)
        image = ramp if self.domain.name == "a" else ramp.T
        return image.expand(self.domain.channels, -1, -1).clone()

    def name(self, index: int) -> str:
        """What an image is called."""
        return f"gradient_{index:04d}"

    def describe(self) -> dict[str, Any]:
        """What the images are, as JSON: written into the run."""
        return {"images": self.count, "mapping": "drawn in [-1, 1]"}
