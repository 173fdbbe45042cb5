"""Distance to the truth, where test images of two domains are pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from munit_zoo.errors import UsageError
from munit_zoo.metrics.protocol import Translator
from munit_zoo.metrics.report import COPIED, MODEL, UNRELATED, Column, Report, tabulated
from munit_zoo.metrics.sampling import (
    Progress,
    Sampler,
    Ticker,
    as_rgb,
    chosen_ways,
    large_enough,
    spread,
)
from munit_zoo.pretrained.lpips import LPIPS, Net
from munit_zoo.registry.ranges import Positive

__all__ = ["Pairs", "ssim"]

TRUTH = "ceiling: the truth itself"
_WINDOW, _DEVIATION = 11, 1.5  # Wang et al. 2004
_BETTER: dict[str, Literal["higher", "lower"]] = {"lpips": "lower", "l1": "lower", "ssim": "higher"}


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of images (N, C, H, W) in [-1, 1]: (N,).

    A Gaussian window of 11 pixels and deviation 1.5, where it fits in whole; K1 .01, K2 .03.
    Raises UsageError for images smaller than the window.
    """
    if min(x.shape[2:]) < _WINDOW:
        raise UsageError(f"SSIM needs images of {_WINDOW} pixels, got {tuple(x.shape[2:])}")
    x, y = ((z.double() + 1) / 2 for z in (x, y))  # of a range from 0, as it is defined
    place = torch.arange(_WINDOW, device=x.device, dtype=x.dtype) - _WINDOW // 2
    bell = torch.exp(-place.square() / (2 * _DEVIATION**2))
    bell = bell / bell.sum()

    def blurred(z: Tensor) -> Tensor:
        flat = z.flatten(0, 1)[:, None]
        flat = F.conv2d(F.conv2d(flat, bell[None, None, :, None]), bell[None, None, None])
        each: Tensor = flat.unflatten(0, z.shape[:2])

        return each[:, :, 0]

    means = blurred(x), blurred(y)
    squares = blurred(x * x) - means[0] ** 2, blurred(y * y) - means[1] ** 2
    shared = blurred(x * y) - means[0] * means[1]
    small, smaller = 0.01**2, 0.03**2
    light = (2 * means[0] * means[1] + small) / (means[0] ** 2 + means[1] ** 2 + small)
    structure = (2 * shared + smaller) / (squares[0] + squares[1] + smaller)
    return (light * structure).mean((1, 2, 3))


class Pairs:
    """LPIPS, L1 and SSIM between translations and the true counterpart of their input.

    Test images of two domains with one name are a pair. `best` is the best of an input's samples
    (of each score by itself), as a multimodal model is to *cover* the truth; `mean` is over them
    all. L1 is in 0..1.

    inputs: pairs a direction, spread evenly; null for all. styles: samples of each. net: of LPIPS,
    `alex` or `vgg`, or `none` to leave it out. channels: one or three to show LPIPS of images of
    neither 1 nor 3. ways: directions, as [a2b]; null for all. batch: images the network sees at
    once. seed: of styles.
    """

    def __init__(
        self,
        *,
        inputs: Positive | None = None,
        styles: Positive = 10,
        net: Literal["alex", "vgg", "none"] = "alex",
        channels: tuple[int, ...] | None = None,
        ways: tuple[str, ...] | None = None,
        batch: Positive = 32,
        seed: int = 0,
    ) -> None:
        self.inputs, self.styles, self.channels, self.ways = inputs, styles, channels, ways
        self.net: Net | None = None if net == "none" else net
        self.batch, self.seed = batch, seed

    def check(self) -> None:
        """Raises WeightsError where weights are absent."""
        if self.net is not None:
            LPIPS(self.net)

    def evaluate(
        self,
        translator: Translator,
        datasets: Mapping[str, Any],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> Report:
        """Scores in each direction that has pairs.

        Raises UsageError where no direction has any, WeightsError for absent weights.
        """
        distance = None if self.net is None else LPIPS(self.net).to(device)
        scores: dict[str, dict[str, dict[str, float]]] = {}
        used: dict[str, int] = {}
        for source, target in chosen_ways(translator, datasets, self.ways):
            sampler = Sampler(translator, datasets, source, target, None, self.seed, device)
            pairs = self._pairs(datasets[source], datasets[target])
            if pairs:
                used[sampler.key] = len(pairs)
                scores[sampler.key] = self._direction(sampler, pairs, distance, progress)
        if not scores:
            first, second = list(datasets.values())[:2]
            raise UsageError(
                "the metric pairs compares images of two domains with the same name, and no test "
                f"images share one (the first are {first.name(0)} and {second.name(0)})"
            )
        names = [name for name in _BETTER if name != "lpips" or distance is not None]
        files = [] if distance is None else [file.record() for file in distance.files]
        return tabulated(
            "Pairs",
            [
                Column(f"{name}_{kind}", f"{name.upper()} {kind}", _BETTER[name], 4)
                for name in names
                for kind in ("best", "mean")
            ],
            scores,
            notes=(
                f"{', '.join(f'{way}: {n} pairs' for way, n in used.items())}; best and mean of "
                f"{self.styles} styles, seed {self.seed}.",
            ),
            details={"metric": "pairs", "seed": self.seed, "n": used},
            protocol={
                "pairs": used,
                "styles": self.styles,
                "extractor": f"lpips-{self.net}-v0.1" if self.net else "none",
                "weights": files,
                "resize": "none",
                "channels": list(self.channels or ()),
            },
        )

    def _pairs(self, source: Any, target: Any) -> list[tuple[int, int]]:
        """Indices of images that share a name; the suffix does not count."""
        there = {_stem(target.name(index)): index for index in range(len(target))}
        every = [
            (index, there[name])
            for index in range(len(source))
            if (name := _stem(source.name(index))) in there
        ]
        return every if self.inputs is None else [every[i] for i in spread(self.inputs, len(every))]

    def _direction(
        self,
        sampler: Sampler,
        pairs: list[tuple[int, int]],
        distance: LPIPS | None,
        progress: Progress | None,
    ) -> dict[str, dict[str, float]]:
        sums: dict[str, dict[str, float]] = {MODEL: {}, COPIED: {}, UNRELATED: {}, TRUTH: {}}
        tick = Ticker(progress, f"pairs {sampler.name}", len(pairs))
        for index, partner in pairs:
            x = sampler.datasets[sampler.source].test(index)[None].to(sampler.device)
            truth = sampler.real([partner])
            images = {
                MODEL: sampler.drawn(x, index, self.styles, "pairs"),
                COPIED: x,
                UNRELATED: sampler.real(self._others(sampler, index, partner)),
                TRUTH: truth,
            }
            for row, those in images.items():
                for name, found in self._distances(those, truth, distance).items():
                    best = found.max() if _BETTER[name] == "higher" else found.min()
                    for kind, value in (("best", best), ("mean", found.mean())):
                        key = f"{name}_{kind}"
                        sums[row][key] = sums[row].get(key, 0.0) + float(value)
            tick()
        return {
            row: {key: value / len(pairs) for key, value in found.items()}
            for row, found in sums.items()
        }

    def _others(self, sampler: Sampler, index: int, partner: int) -> list[int]:
        """Real images of the target domain that are not the truth."""
        drawn = sampler.reals("pairs unrelated", index, self.styles + 1)
        others = [other for other in drawn if other != partner]
        return (others or drawn)[: self.styles]

    def _distances(
        self, images: Tensor, truth: Tensor, distance: LPIPS | None
    ) -> dict[str, Tensor]:
        if images.shape[1] != truth.shape[1]:  # a copy of a drawing of one channel, in colour
            images, truth = (as_rgb(z, self.channels, "the images") for z in (images, truth))
        if images.shape[2:] != truth.shape[2:]:
            images = F.interpolate(images, truth.shape[2:], mode="bicubic", antialias=True)
        found: dict[str, Tensor] = {}
        if distance is not None:
            with torch.no_grad():
                target = distance.features(self._seen(truth))
                parts = [
                    distance.distance(
                        distance.features(self._seen(part)),
                        [level.expand(len(part), -1, -1, -1) for level in target],
                    )
                    for part in images.split(self.batch)
                ]
            found["lpips"] = torch.cat(parts)
        found["l1"] = (images - truth).abs().mean((1, 2, 3)) / 2
        found["ssim"] = ssim(images, truth.expand_as(images))
        return found

    def _seen(self, images: Tensor) -> Tensor:
        """Images as LPIPS' network sees them, (N, 3, H, W)."""
        large_enough(images, self.net or "alex", "METRICS.PAIRS.NET=none leaves LPIPS out")
        return as_rgb(images, self.channels, "the images")


def _stem(name: str) -> str:
    head, dot, _ = name.rpartition(".")
    return head if dot else name
