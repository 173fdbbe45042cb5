"""What a dataset promises: the contract of kind `dataset` as a type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["Dataset", "Labelled", "Paired"]


@runtime_checkable
class Dataset(Protocol):
    """The images of one domain in one split (`train` or `test`).

    Built with `(domain, split, *, settings)`. The constructor checks settings and touches no file;
    files are looked at by `prepare()`, or by the first use of anything that needs them.
    """

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of each training image, known without touching the disk."""
        ...

    def prepare(self) -> None:
        """Find the images. Raises DataError where they are missing or not as declared."""
        ...

    def __len__(self) -> int:
        """Number of images."""
        ...

    def train(self, index: int, rng: np.random.Generator) -> torch.Tensor:
        """Image `index`, augmented by `rng` alone: float32 (C, h, w) in [-1, 1], of `size`."""
        ...

    def test(self, index: int) -> torch.Tensor:
        """Image `index` without augmentation: float32 (C, H, W) in [-1, 1]."""
        ...

    def name(self, index: int) -> str:
        """What image `index` is called: for a file its path relative to the data's folder."""
        ...

    def describe(self) -> Mapping[str, object]:
        """What was read and how, as JSON: written into the run."""
        ...


@runtime_checkable
class Labelled(Protocol):
    """A dataset that knows more of its images than their domain. What a recipe's `Label` reads."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes or attributes, after `prepare()`; empty where none are known, and
        then an image's label is its domain's number.
        """
        ...

    def label(self, index: int) -> int | torch.Tensor:
        """Image `index`'s class, 0 to K - 1, or its attributes, float32 (K,)."""
        ...


@runtime_checkable
class Paired(Protocol):
    """A dataset that knows which scene an image shows. What `Image(paired_with=…)` needs."""

    def scene(self, index: int) -> str:
        """Equal for images of two domains that show the same scene, once in each domain.

        Raises DataError where the images are of no such pairs.
        """
        ...
