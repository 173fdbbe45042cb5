"""Reading other projects' checkpoints: tensors only, and their names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from munit_zoo.errors import CheckpointError

__all__ = [
    "ReadNetworks",
    "Shapes",
    "load",
    "number",
    "renamed",
    "shapes_of",
    "tensors_of",
    "whole",
]

Shapes = Mapping[str, tuple[int, ...]]
"""Names of a network's parameters and buffers to their shapes."""

_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")


@dataclass(frozen=True)
class ReadNetworks:
    """What an original's checkpoint holds, in our terms.

    settings: nodes of MODEL, as a config has them (`GENERATOR: {NAME: resnet, …}`). weights: our
    names to tensors, for each network by the original's name (`G_A`). channels: of a network's
    input and output, where it has images at that end. averages: as weights, of moving averages.
    moments: of the optimizers, per network and parameter (our name); None where they are not kept.
    iteration: updates made, 0 where the files do not say.
    """

    settings: dict[str, Any]
    weights: dict[str, dict[str, Tensor]]
    channels: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    averages: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    moments: dict[str, dict[str, dict[str, Tensor]]] | None = None
    iteration: int = 0


def load(path: Path) -> Any:
    """What a file of `torch.save` holds: only tensors and plain containers are read, never code.

    Raises CheckpointError for a file that is absent or unreadable.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}") from error


def tensors_of(content: object, label: str) -> dict[str, Tensor]:
    """A state_dict that is one network's, as its names were before data parallelism.

    Left out are `module.` in front of names, and the running statistics that instance norms of
    torch 0.3 carried along and never read. Raises CheckpointError where it is no state_dict.
    """
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{label} holds no state_dict of one network")
    tensors = {str(name).removeprefix("module."): value for name, value in content.items()}
    return {
        name: value
        for name, value in tensors.items()
        if not name.endswith(_STATISTICS) or f"{name.rpartition('.')[0]}.weight" in tensors
    }


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shapes of tensors by their names."""
    return {name: tuple(value.shape) for name, value in tensors.items()}


def renamed(
    tensors: Mapping[str, Tensor], names: Callable[[Iterable[str]], Mapping[str, str]]
) -> dict[str, Tensor]:
    """Tensors by our names. Batch norms younger than a file count from 0.

    names: of the original's names, ours; those it leaves out are dropped.
    """
    found = {ours: tensors[name] for name, ours in names(tensors).items()}
    for name in list(found):
        if name.endswith(".running_var"):
            counter = name.replace(".running_var", ".num_batches_tracked")
            found.setdefault(counter, torch.zeros((), dtype=torch.long))
    return found


def number(options: Mapping[str, object], key: str) -> float:
    """An option that is a number. Raises CheckpointError where it is none."""
    value = options.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise CheckpointError(f"the option {key} is {value!r}, not a number")
    return float(value)


def whole(options: Mapping[str, object], key: str) -> int:
    """An option that is a whole number of 0 or more. Raises CheckpointError where it is none."""
    value = number(options, key)
    if value < 0 or value != int(value):
        raise CheckpointError(f"the option {key} is {value!r}, not a whole number of 0 or more")
    return int(value)
