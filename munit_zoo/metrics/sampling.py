"""Which images are translated, into which styles, and how they are shown to a network.

Chance is a function of the seed and of what it is for, never of batches or of what ran before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from munit_zoo.errors import UsageError, suggest
from munit_zoo.metrics.protocol import Translator

__all__ = [
    "Progress",
    "Sampler",
    "Ticker",
    "as_rgb",
    "chosen_ways",
    "draws",
    "large_enough",
    "seeded",
    "spread",
]

Progress = Callable[[str], None]


def seeded(*keys: int | str) -> torch.Generator:
    """A generator on the CPU that is a function of its keys."""
    text = "\0".join(f"{type(key).__name__}:{key}" for key in keys)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def spread(count: int, total: int) -> list[int]:
    """`count` indices (fewer where there are fewer), evenly over `total`: all classes of a sorted
    folder have their share."""
    count = min(count, total)
    return [index * total // count for index in range(count)]


def draws(count: int, total: int, *keys: int | str) -> list[int]:
    """`count` indices below `total`: a permutation, repeated where more are asked for."""
    generator = seeded(*keys)
    found: list[int] = []
    while len(found) < count:
        found += torch.randperm(total, generator=generator).tolist()
    return found[:count]


def chosen_ways(
    translator: Translator, datasets: Mapping[str, object], ways: Sequence[str] | None = None
) -> list[tuple[str, str]]:
    """The (source, target) domains to score: all that the translator knows, or those of `a2b`.

    Raises UsageError for one that it does not know.
    """
    every = [(s, t) for s in datasets for t in datasets]
    others = [(s, t) for s, t in every if s != t]
    known = [way for way in every if way in getattr(translator, "ways", others)]
    if ways is None:
        return known
    by_name = {f"{source}2{target}": (source, target) for source, target in known}
    for way in ways:
        if way.lower() not in by_name:
            hint = suggest(way.lower(), by_name)
            raise UsageError(
                f"WAYS: there is no {way!r}; the model translates {', '.join(by_name)}. {hint}"
            )
    return [by_name[way.lower()] for way in ways]


def as_rgb(images: Tensor, channels: Sequence[int] | None, what: str) -> Tensor:
    """Images (N, C, H, W) with three channels: one is repeated, others are chosen.

    channels: one or three to show of images of neither 1 nor 3. Raises UsageError where there are
    others and none is chosen.
    """
    count = images.shape[1]
    if count == 3:
        return images
    if count == 1:
        return images.expand(-1, 3, -1, -1)
    if channels is None:
        raise UsageError(
            f"{what} have {count} channels, and the network sees red, green and blue: say which "
            "channels to show it, as in METRICS.NAME.CHANNELS=[2,1,0]"
        )
    if len(channels) not in (1, 3) or not all(0 <= index < count for index in channels):
        raise UsageError(
            f"CHANNELS selects one or three of the channels 0 to {count - 1}, got {list(channels)}"
        )
    return images[:, list(channels) * (3 // len(channels))]


_SMALLEST = {
    "alex": 31,
    "vgg": 16,
}  # sides of which LPIPS' network leaves a pixel at its last layer


def large_enough(images: Tensor, net: str, hint: str) -> Tensor:
    """The images (N, C, H, W), where LPIPS' network `net` can see them.

    hint: what to do where they are too small, for the UsageError that is raised then.
    """
    height, width = images.shape[2:]
    if min(height, width) < _SMALLEST[net]:
        raise UsageError(
            f"LPIPS ({net}) needs images of {_SMALLEST[net]}×{_SMALLEST[net]} pixels at least, "
            f"these have {height}×{width}: {hint}"
        )
    return images


@dataclass(frozen=True)
class Sampler:
    """One direction of a translator: its inputs and what it makes of them.

    indices: of the source's images that are translated.
    """

    translator: Translator
    datasets: Mapping[str, Any]
    source: str
    target: str
    inputs: int | None
    seed: int
    device: str

    @property
    def key(self) -> str:
        """`a2b`."""
        return f"{self.source}2{self.target}"

    @property
    def name(self) -> str:
        """`A → B`."""
        return f"{self.source.upper()} → {self.target.upper()}"

    @property
    def indices(self) -> list[int]:
        total = len(self.datasets[self.source])
        return spread(total if self.inputs is None else self.inputs, total)

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        """Index and image (1, C, H, W) of each input, one at a time."""
        for index in self.indices:
            yield index, self.datasets[self.source].test(index)[None].to(self.device)

    def real(self, indices: Sequence[int]) -> Tensor:
        """Real images (N, C, H, W) of the target domain."""
        target = self.datasets[self.target]
        return torch.stack([target.test(index) for index in indices]).to(self.device)

    def reals(self, purpose: str, index: int, count: int) -> list[int]:
        """Indices of real target images, drawn for an input."""
        total = len(self.datasets[self.target])
        return draws(count, total, self.seed, purpose, self.key, index)

    def drawn(self, x: Tensor, index: int, count: int, purpose: str) -> Tensor:
        """`count` translations (count, C, H, W) of one image into fresh styles: of the prior or,
        where there is none, of real target images."""
        if getattr(self.translator, "style_dim", 0) and not getattr(
            self.translator, "draws_styles", True
        ):
            return self.guided(x, self.real(self.reals(purpose, index, count)))
        generator = seeded(self.seed, purpose, self.key, index)
        return self._whole(self._translate(x, count, generator), count)

    def guided(self, x: Tensor, examples: Tensor) -> Tensor:
        """Translations (K, C, H, W) of one image, one an example image (K, C, H, W); of a
        translator that cannot encode examples, in as many styles of its prior."""
        if not getattr(self.translator, "encodes_styles", True):
            generator = seeded(self.seed, "unguided", self.key)
            return self._whole(self._translate(x, len(examples), generator), len(examples))
        return self._whole(self._translate(x, examples, None), len(examples))

    def _translate(
        self, x: Tensor, styles: int | Tensor, generator: torch.Generator | None
    ) -> Tensor:
        ways = getattr(self.translator, "ways", ())
        several = sum(1 for _, target in ways if target == self.target) > 1
        named: dict[str, Any] = {"source": self.source} if several else {}
        if not getattr(self.translator, "style_dim", 1):
            styles = 1  # it has but one translation, and refuses to be given styles or examples
        elif generator is not None:
            named["generator"] = generator
        with torch.no_grad():
            images = self.translator.translate(x, self.target, styles, **named)
        return images[0].float().clamp(-1, 1)

    @staticmethod
    def _whole(images: Tensor, count: int) -> Tensor:
        """A model without styles has one translation, however many were asked for."""
        return images.expand(count, *images.shape[1:]) if len(images) == 1 else images


class Ticker:
    """Tells of progress about ten times: `LPIPS A → B: 30 of 100`."""

    def __init__(self, progress: Progress | None, label: str, total: int) -> None:
        self.progress, self.label, self.total, self.done = progress, label, total, 0

    def __call__(self) -> None:
        """One more is done."""
        self.done += 1
        step = max(1, self.total // 10)
        if self.progress is not None and (self.done % step == 0 or self.done == self.total):
            self.progress(f"{self.label}: {self.done} of {self.total}")
