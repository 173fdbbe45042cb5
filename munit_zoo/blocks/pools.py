"""Pools of images made earlier, which discriminators judge in place of the newest ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least
from munit_zoo.errors import GraphError

__all__ = ["ImagePool"]


class ImagePool(nn.Module):
    """The last images of a generator, mixed with earlier ones (Shrivastava et al. 2017).

    `pool(images, swap, slot)`: images (N, C, H, W), swap (N,) in [0, 1), slot (N,) whole numbers in
    [0, size), to images (N, C, H, W), detached. Image by image: while the pool is not full, the
    image is stored and returned; then, where `swap` is above ½, the stored image number `slot` is
    returned and the new one takes its place; elsewhere the new one is returned. Numbers that are
    not needed are not looked at. Size 0: the images themselves.

    In several processes (torch.distributed) there is one pool, of which each holds a copy: it is
    filled with the images of all, in the order of their ranks, and each gets those that stand for
    its own. All call it together, with equally many images.

    State: `images` (size, C, H, W) and `count`, how many are stored. `images` is empty until the
    first call, which tells the shape; it is saved as it is, and loading takes the saved shape over.
    The images of a pool are of one shape (GraphError otherwise).
    """

    images: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        at_least(0, pool_size=size)
        self.size = size
        self.register_buffer("images", torch.zeros(size, 0, 0, 0))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, images: Tensor, swap: Tensor, slot: Tensor) -> Tensor:
        if not self.size:
            return images.detach()
        if not self.images.numel():
            self._shape(images.shape[1:])
        if self.images.shape[1:] != images.shape[1:]:
            raise GraphError(
                f"a pool of images {tuple(self.images.shape[1:])} is given "
                f"{tuple(images.shape[1:])}: the images of a pool are of one size; crop them "
                "alike, or use POOL_SIZE 0"
            )
        dtype, first, count = images.dtype, 0, len(images)
        images = images.to(self.images.dtype)
        if _several() and not images.is_meta:
            first = torch.distributed.get_rank() * count
            images, swap, slot = _gathered(images), _gathered(swap), _gathered(slot)
        found = []
        for image, chance, number in zip(
            images.unsqueeze(1), swap.reshape(-1, 1), slot.reshape(-1, 1), strict=True
        ):
            full = self.count >= self.size
            place = torch.where(full, number.long(), self.count).clamp(0, self.size - 1)
            swapped = full & (chance > 0.5)
            older = self.images.index_select(0, place)
            found.append(torch.where(swapped, older, image))
            self.images.index_copy_(0, place, torch.where(swapped | ~full, image, older))
            self.count.add_(~full)
        return torch.cat(found[first : first + count]).to(dtype)

    def _shape(self, shape: Any) -> None:
        """Take the images' shape over. In place: a frozen twin holds the same tensor."""
        self.images.resize_(self.size, *shape).zero_()

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: object) -> None:
        saved = state.get(f"{prefix}images")
        if saved is not None and saved.shape[:1] == self.images.shape[:1]:
            self._shape(saved.shape[1:])
        super()._load_from_state_dict(state, prefix, *rest)

    def extra_repr(self) -> str:
        return f"{self.size}"


def _several() -> bool:
    distributed = torch.distributed
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


def _gathered(mine: Tensor) -> Tensor:
    """A tensor of all processes, one after another."""
    parts = [torch.empty_like(mine) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, mine.contiguous())
    return torch.cat(parts)
