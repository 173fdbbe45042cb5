"""What a metric is handed: a translator, and data with known factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["FactoredDataset", "Translator"]


class Translator(Protocol):
    """Translates images, as `TranslationModel.translate` does."""

    style_dim: int

    def translate(
        self,
        x: Tensor,
        to: str,
        styles: int | Tensor = 1,
        *,
        paired: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """(N, C, H, W) to (N, K, C, H, W), in [-1, 1]."""
        ...


@runtime_checkable
class FactoredDataset(Protocol):
    """Images of one domain of which every factor is known, and a renderer of more of them.

    Factors are an opaque batch (the dataset `shapes` has arrays by name): indexable, with a length.
    """

    @property
    def style_factors(self) -> tuple[str, ...]:
        """Names of the categorical factors that are this domain's style."""
        ...

    @property
    def content_factors(self) -> tuple[str, ...]:
        """Names of the categorical factors that a translation keeps."""
        ...

    def __len__(self) -> int: ...

    def factors(self, indices: Sequence[int]) -> Any:
        """Factors of images of the split."""
        ...

    def fresh(self, purpose: str, count: int) -> Any:
        """Factors of images outside any split."""
        ...

    def render(self, factors: Any) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] with these factors, in this domain's style."""
        ...

    def levels(self, factor: str) -> int:
        """Number of values of a categorical factor."""
        ...

    def describe(self) -> Mapping[str, object]:
        """What the dataset is, as JSON."""
        ...
