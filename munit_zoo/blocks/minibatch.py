"""What a discriminator sees of a batch as a whole."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["MinibatchStd", "compared"]


class MinibatchStd(nn.Module):
    """How much samples differ, as a further channel (Karras et al. 2018, section 3).

    (N, C, H, W) to (N, C + 1, H, W): the standard deviation of each feature at each place over the
    samples of a group, averaged over features and places. What is judged so depends on the batch,
    and on how it is split over processes or accumulated parts; a batch of one has no deviation.

    group: samples in a group; the largest divisor of N up to it is used.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        count, _, height, width = x.shape
        size = next(s for s in range(min(self.group, count), 0, -1) if count % s == 0)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        groups = wide.reshape(count // size, size, -1)
        variance = (groups - groups.mean(dim=1, keepdim=True)).square().mean(dim=1)
        # the root's slope is infinite at 0, where samples agree
        deviation = (variance + 1e-8).sqrt().mean(dim=1)
        channel = deviation.repeat_interleave(size).to(x.dtype)[:, None, None, None]
        return torch.cat([x, channel.expand(-1, 1, height, width)], dim=1)

    def extra_repr(self) -> str:
        return f"group={self.group}"


def compared(group: int) -> list[nn.Module]:
    """The layer for a setting `minibatch_std`: none for 0."""
    return [MinibatchStd(group)] if group else []
