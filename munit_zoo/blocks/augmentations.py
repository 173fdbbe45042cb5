"""Differentiable augmentation: what discriminators see of real images and of translations alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least
from munit_zoo.errors import ContractError
from munit_zoo.registry.ranges import Fraction, NonEmpty, Positive

__all__ = [
    "AdaptiveDiffAugment",
    "DiffAugment",
    "NoAugmentation",
    "Policy",
    "augmented",
    "numbers_of",
]

Policy = Literal["color", "translation", "cutout"]


class NoAugmentation(nn.Module):
    """Discriminators see images as they are."""

    numbers = 0

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        return x


class _Policies(nn.Module):
    """DiffAugment's policies, each applied with a probability that a subclass keeps."""

    probability: float | Tensor

    def __init__(self, policies: tuple[Policy, ...], shift: float, cut: float) -> None:
        super().__init__()
        if len(set(policies)) != len(policies):
            raise ContractError(f"POLICIES names one twice: {', '.join(policies)}")
        self.policies = tuple(policies)
        self.shares = {"translation": (shift,), "cutout": (cut,)}
        # one more for each: whether it is applied
        self.numbers = len(policies) + numbers_of(policies)

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        first = 0
        for policy in self.policies:
            last = first + 1 + numbers_of([policy])
            chance, *u = numbers[:, first:last, None, None, None].unbind(1)
            changed = _CHANGES[policy](x, *u, *self.shares.get(policy, ()))
            x = torch.where(chance < self.probability, changed.to(x.dtype), x)
            first = last
        return x

    def extra_repr(self) -> str:
        return f"{', '.join(self.policies)}"


class DiffAugment(_Policies):
    """DiffAugment (Zhao et al. 2020): colour, translation and cutout, each with a probability.

    Images (N, C, H, W) in [-1, 1] and uniform numbers (N, `numbers`) in [0, 1) to images of that
    size; colours may leave [-1, 1]. Gradients reach the images. Of what a conditional discriminator
    sees stacked, all is moved and cut alike.

    policies, applied in their order: `color`: brightness x + u - ½, then saturation, a factor 2u on
        the distance from a pixel's mean channel, then contrast, a factor u + ½ on that from the
        image's mean; `translation`: by up to `shift` of each side, zeros where nothing comes from;
        `cutout`: a rectangle of `cut` of each side becomes zeros.
    probability: that a policy is applied to an image; 1 as published. shift, cut: shares of a side.

    Raises ContractError for a policy that is named twice.
    """

    def __init__(
        self,
        *,
        policies: NonEmpty[tuple[Policy, ...]] = ("color", "translation", "cutout"),
        probability: Fraction = 1.0,
        shift: Fraction = 0.125,
        cut: Fraction = 0.5,
    ) -> None:
        super().__init__(policies, shift, cut)
        self.probability = probability


class AdaptiveDiffAugment(_Policies):
    """DiffAugment's policies with ADA's adaptive probability (Karras et al. 2020, section 3).

    The probability p begins at `start`. In every `every`-th iteration it grows by n / `images`, n
    the real images that the discriminator judged since, where r = E sign(D(x)) of these exceeds
    `target`, and falls as much where r is below: more of it the more certain the discriminator is
    of what it was trained on. D(x) counts from the loss's middle (½ with `lsgan`), and with the
    relativistic losses from the fakes. Each discriminator has a p of its own, in every process the
    same; it is saved with the networks.

    policies, shift, cut: as those of `diffaugment`. start, most: of p. images: real images in which
    p would go from 0 to 1.

    Raises ContractError for a `start` above `most`, and as `diffaugment`.
    """

    probability: Tensor
    signs: Tensor
    judged: Tensor
    iterations: Tensor

    def __init__(
        self,
        *,
        policies: NonEmpty[tuple[Policy, ...]] = ("color", "translation", "cutout"),
        start: Fraction = 0.0,
        most: Fraction = 1.0,
        target: Fraction = 0.6,
        every: Positive = 4,
        images: Positive = 500_000,
        shift: Fraction = 0.125,
        cut: Fraction = 0.5,
    ) -> None:
        super().__init__(policies, shift, cut)
        at_least(1, every=every, images=images)
        if start > most:
            raise ContractError(f"START is {start:g}, above MOST, {most:g}")
        self.most, self.target, self.every, self.images = most, target, every, images
        self.register_buffer("probability", torch.tensor(float(start)))
        self.register_buffer("signs", torch.zeros(()))
        self.register_buffer("judged", torch.zeros(()))
        self.register_buffer("iterations", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def observe(self, verdicts: Sequence[Tensor]) -> None:
        """Note what was said of real images: per scale (N, …), above 0 where they pass for real. In
        several processes all call it together."""
        signs = torch.stack([v.detach().float().sign().flatten(1).mean(dim=1) for v in verdicts])
        found = torch.stack([signs.mean(dim=0).sum(), torch.ones_like(signs[0]).sum()])
        if _several() and not found.is_meta:
            torch.distributed.all_reduce(found)
        self.signs.add_(found[0])
        self.judged.add_(found[1])

    @torch.no_grad()
    def adapt(self) -> None:
        """An iteration is done: adjust p where it is time."""
        self.iterations.add_(1)
        due = (self.iterations % self.every == 0) & (self.judged > 0)
        certain = torch.sign(self.signs / self.judged.clamp_min(1) - self.target)
        moved = (self.probability + certain * self.judged / self.images).clamp(0, self.most)
        self.probability.copy_(torch.where(due, moved, self.probability))
        for counter in (self.signs, self.judged):
            counter.copy_(torch.where(due, torch.zeros_like(counter), counter))


# The policies, of uniform numbers (N, 1, 1, 1) in [0, 1)


def numbers_of(policies: Iterable[str]) -> int:
    """How many uniform numbers an image takes in `augmented`."""
    return sum({"color": 3, "translation": 2, "cutout": 2}[name] for name in policies)


def augmented(x: Tensor, numbers: Tensor, policies: Sequence[str]) -> Tensor:
    """Images changed by DiffAugment's policies in turn, as published: each applied, always.

    x: (N, C, H, W). numbers: (N, `numbers_of(policies)`) in [0, 1), used from the left.
    """
    first = 0
    for name in policies:
        last = first + numbers_of([name])
        x = _CHANGES[name](x, *numbers[:, first:last, None, None, None].unbind(1)).to(x.dtype)
        first = last
    return x


def _color(x: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    y = x.to(brightness.dtype) + (brightness - 0.5)
    mean = y.mean(dim=1, keepdim=True)
    y = (y - mean) * (2 * saturation) + mean
    mean = y.mean(dim=(1, 2, 3), keepdim=True)
    return (y - mean) * (contrast + 0.5) + mean


def _translation(x: Tensor, down: Tensor, right: Tensor, shift: float = 0.125) -> Tensor:
    for dim, number in ((2, down), (3, right)):
        size = x.shape[dim]
        most = int(size * shift + 0.5)
        origin = _along(dim, size, x.device) + _whole(number, 2 * most + 1) - most
        inside = (origin >= 0) & (origin < size)
        index = origin.clamp(0, size - 1).expand(x.shape)
        x = torch.gather(x, dim, index) * inside.to(x.dtype)
    return x


def _cutout(x: Tensor, down: Tensor, right: Tensor, cut: float = 0.5) -> Tensor:
    inside = torch.ones_like(down, dtype=torch.bool)
    for dim, number in ((2, down), (3, right)):
        size = x.shape[dim]
        side = int(size * cut + 0.5)
        start = _whole(number, size + 1 - side % 2) - side // 2
        places = _along(dim, size, x.device)
        inside = inside & (places >= start) & (places < start + side)
    return x * (~inside).to(x.dtype)


_CHANGES: Mapping[str, Callable[..., Tensor]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}


def _whole(number: Tensor, below: int) -> Tensor:
    """A uniform number as a whole one, 0 to below - 1."""
    return (number * below).floor().clamp_max(below - 1).long()


def _along(dim: int, size: int, device: torch.device) -> Tensor:
    """The places of a side, to be broadcast over images."""
    shape = [1, 1, 1, 1]
    shape[dim] = size
    return torch.arange(size, device=device).view(shape)


def _several() -> bool:
    distributed = torch.distributed
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )
