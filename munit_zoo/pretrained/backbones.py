"""torchvision's ImageNet networks with weights from files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from munit_zoo.errors import WeightsError
from munit_zoo.state_dicts import read_state_dict
from munit_zoo.weights import Found, find_weights

__all__ = ["Backbone", "backbone", "load_exactly"]

Backbone = Literal["alexnet", "vgg16"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in 0..1


def backbone(
    name: Backbone, weights: str | None = None, *, download: bool = False
) -> tuple[nn.Sequential, Found]:
    """The convolutions of AlexNet or VGG-16, frozen, and the file their weights came from.

    weights: a known name or a file; None for ImageNet's. download: fetch known ones that are not
    on disk. Raises WeightsError.
    """
    from torchvision import models

    found = find_weights(weights or name, download=download)
    state = read_state_dict(found.path)
    with torch.device("meta"):
        network: nn.Sequential = getattr(models, name)(weights=None).features
    wanted = {
        key.removeprefix("features."): value
        for key, value in state.items()
        if not key.startswith("classifier.")
    }
    load_exactly(network, wanted, f"{found.path} as {name}")
    return network.eval().requires_grad_(False), found


def load_exactly(network: nn.Module, state: Mapping[str, Tensor], label: str) -> None:
    """Load weights that must all be there and fit. Raises WeightsError that says what does not."""
    own = network.state_dict()
    wrong = [key for key in own if key not in state or state[key].shape != own[key].shape]
    wrong += [key for key in state if key not in own]
    if wrong:
        shown = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        raise WeightsError(
            f"{label}: the weights do not fit (absent, of other shape or left over: {shown})"
        )
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, assign=True
    )
