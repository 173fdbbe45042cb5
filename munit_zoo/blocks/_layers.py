"""What each layer of a sequence gives."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

__all__ = ["outputs"]


def outputs(x: Tensor, layers: Iterable[nn.Module]) -> list[Tensor]:
    """The outputs of layers that follow each other: the first sees x."""
    found = []
    for layer in layers:
        x = layer(x)
        found.append(x)
    return found
