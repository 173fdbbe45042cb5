"""Fixed filters: resampling without aliases, and what a high pass keeps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.blocks.conv import Padding

__all__ = ["BlurDownsample", "HighPass"]


class BlurDownsample(nn.Module):
    """Every second pixel of a map blurred by [1 2 1] ⊗ [1 2 1] / 16 (Zhang 2019).

    (N, C, H, W) to (N, C, ⌈H/2⌉, ⌈W/2⌉), borders reflected. Raises GraphError for maps one pixel
    wide.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.pad = Padding(1, "reflect")
        line = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("kernel", line[:, None] * line / 16, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.expand(channels, 1, 3, 3)
        return F.conv2d(self.pad(x), kernel, stride=2, groups=channels)


class HighPass(nn.Module):
    """Each pixel against its eight neighbours: ([8] − [1]s around it) / `scale`, zeros outside."""

    kernel: Tensor

    def __init__(self, scale: float) -> None:
        super().__init__()
        kernel = torch.full((3, 3), -1.0)
        kernel[1, 1] = 8.0
        self.register_buffer("kernel", kernel / scale, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        return F.conv2d(x, self.kernel.expand(channels, 1, 3, 3), padding=1, groups=channels)
