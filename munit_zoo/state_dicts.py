"""Reading files of tensors that others wrote: never executed, only read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from munit_zoo.errors import WeightsError

__all__ = ["read_state_dict"]


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, or of a state dict that torch saved.

    Raises WeightsError for a file that is neither; nothing in it is executed.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path} cannot be read as weights: {error}") from error
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path} holds {type(state).__name__}, not a state dict")
    if isinstance(state.get("state_dict"), Mapping):  # as training scripts save it
        state = state["state_dict"]
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}
