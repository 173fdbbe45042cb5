"""Feature matching: a discriminator's own features as what is compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from munit_zoo.errors import GraphError
from munit_zoo.losses.base import NamesLoss

__all__ = ["FeatureMatching"]


class FeatureMatching(NamesLoss):
    """Σ mean |D_i(x) - D_i(y)| over the layers of a discriminator (Wang et al. 2018, eq. 4).

    Of two names: features of a translation and of a real image, each a tensor, or a list of the
    layers' (of several scales, of all of them). For any recipe whose discriminators show theirs:
    `[features_d_ab, features_d_b]`. Nothing is learned by way of y, the real's.

    over: `sum` (as published) or `mean` over the layers.
    compare: `samples`, each with the one at its place, as published: x and y are of one scene; or
        `means` over batch and places, where they are not (Salimans et al. 2016).

    Raises GraphError where x and y have not the same layers.
    """

    same_shape: ClassVar[bool] = False

    def __init__(
        self,
        *,
        over: Literal["sum", "mean"] = "sum",
        compare: Literal["samples", "means"] = "samples",
    ) -> None:
        super().__init__()
        self.over, self.compare = over, compare

    def forward(self, x: Tensor | Sequence[Any], y: Tensor | Sequence[Any]) -> Tensor:
        ones, others = _layers(x), [layer.detach() for layer in _layers(y)]
        if self.compare == "means":
            ones, others = (
                [layer.transpose(0, 1).flatten(1).mean(dim=1) for layer in layers]
                for layers in (ones, others)
            )
        if [one.shape for one in ones] != [other.shape for other in others]:
            raise GraphError(
                f"features of {_shown(ones)} and of {_shown(others)} do not compare: name those of "
                "one discriminator, of images of one size"
            )
        parts = [(one - other).abs().mean() for one, other in zip(ones, others, strict=True)]
        total = torch.stack(parts)
        return total.mean() if self.over == "mean" else total.sum()


def _layers(value: Tensor | Sequence[Any]) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [layer for part in value for layer in _layers(part)]


def _shown(layers: Sequence[Tensor]) -> str:
    return ", ".join(str(tuple(layer.shape[1:])) for layer in layers)
