"""LPIPS (Zhang et al. 2018): a distance of images, in features of a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from munit_zoo.pretrained.backbones import backbone
from munit_zoo.state_dicts import read_state_dict
from munit_zoo.weights import find_weights

__all__ = ["LPIPS", "Net"]

Net = Literal["alex", "vgg"]
_BACKBONES: dict[str, Literal["alexnet", "vgg16"]] = {"alex": "alexnet", "vgg": "vgg16"}
# indices of the ReLUs of torchvision's `features` that are compared
_TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of images in [-1, 1]


class LPIPS(nn.Module):
    """Learned perceptual distance, version 0.1: x, y (N, 3, H, W) in [-1, 1] to (N,).

    Features of five layers, each position's scaled to unit length; squared differences, weighted
    by channel, averaged over positions, summed over layers.

    net: `alex` or `vgg`; download: fetch its weights where they are not on disk. `files` are the
    weights that it was made of. Gradients reach the images, none the network.
    Raises WeightsError where AlexNet's, VGG-16's or LPIPS' own are not on disk.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Net = "alex", *, download: bool = False) -> None:
        super().__init__()
        self.net = net
        self.network, trained = backbone(_BACKBONES[net], download=download)
        heads = find_weights(f"lpips_{net}")
        self.files = (trained, heads)
        state = read_state_dict(heads.path)
        self.heads = nn.ParameterList(
            nn.Parameter(state[f"lin{level}.model.1.weight"].float(), requires_grad=False)
            for level in range(len(_TAPS[net]))
        )
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None])
        self.requires_grad_(False).eval()

    def features(self, x: Tensor) -> list[Tensor]:
        """What is compared: of each layer (N, C, h, w), of unit length at each position."""
        x = (x - self.shift) / self.scale
        found = []
        taps = _TAPS[self.net]
        for index, layer in enumerate(self.network[: taps[-1] + 1]):
            x = layer(x)
            if index in taps:
                wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
                found.append(wide / (torch.linalg.vector_norm(wide, dim=1, keepdim=True) + 1e-10))
        return found

    def distance(self, ones: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
        """Distances (N,) of images whose features these are."""
        parts = [
            # 1×1 convolutions, written so that autocast leaves them in full precision
            ((one - other).square() * head).sum(1).mean((1, 2))
            for one, other, head in zip(ones, others, self.heads, strict=True)
        ]
        return torch.stack(parts).sum(0)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.distance(self.features(x), self.features(y))
