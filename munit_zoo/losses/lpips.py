"""LPIPS as a loss: the distance of two images as a trained network sees them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from munit_zoo.errors import ContractError
from munit_zoo.losses.base import NamesLoss
from munit_zoo.pretrained.lpips import LPIPS, Net

__all__ = ["LPIPSLoss"]


class LPIPSLoss(NamesLoss):
    """LPIPS, version 0.1, averaged over the batch (Zhang et al. 2018, eq. 1).

    x, y: (N, C, H, W) in [-1, 1], C 1 (repeated) or 3. The network is frozen; gradients reach both
    images. A distance is 0 for equal images, and about 1 at most.

    net: `alex` or `vgg`, whose layers are compared. download: fetch the network's weights where
    they are not on disk; those of its layers come with `munit-zoo[metrics]`.
    channels: which to show of images of neither 1 nor 3 channels, counted from 0: one or three.

    Raises WeightsError where weights are absent, ContractError for CHANNELS that do not fit.
    """

    same_shape: ClassVar[bool] = False  # one channel against three is fine

    def __init__(
        self,
        *,
        net: Net = "vgg",
        download: bool = False,
        channels: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        if channels is not None and (len(channels) not in (1, 3) or min(channels) < 0):
            raise ContractError(
                f"CHANNELS selects 1 channel, or 3, counted from 0; got {list(channels)}"
            )
        device, dtype = torch.empty(0).device, torch.get_default_dtype()
        self.distance = LPIPS(net, download=download).to(device, dtype)
        self.channels = channels

    def train(self, mode: bool = True) -> LPIPSLoss:
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        distance: Tensor = self.distance(self._seen(x), self._seen(y))
        return distance.mean()

    def _seen(self, x: Tensor) -> Tensor:
        """Three channels of an image."""
        count = x.shape[1]
        if count in (1, 3):
            return x.expand(-1, 3, -1, -1)
        if self.channels is None or max(self.channels) >= count:
            raise ContractError(
                f"LPIPS sees 1 or 3 channels, the image has {count}: say which to show it, as in "
                "CHANNELS: [2, 1, 0]"
            )
        return x[:, list(self.channels)].expand(-1, 3, -1, -1)
