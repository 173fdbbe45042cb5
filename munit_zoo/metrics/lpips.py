"""Diversity: LPIPS (Zhang et al. 2018) between translations of one input."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from munit_zoo.metrics.protocol import Translator
from munit_zoo.metrics.report import COPIED, MODEL, REAL, UNRELATED, Column, Report, tabulated
from munit_zoo.metrics.sampling import (
    Progress,
    Sampler,
    Ticker,
    as_rgb,
    chosen_ways,
    large_enough,
    seeded,
)
from munit_zoo.pretrained.lpips import LPIPS, Net
from munit_zoo.registry.ranges import Positive

__all__ = ["LPIPSDiversity"]

Protocol = Literal["munit", "starganv2_latent", "starganv2_example"]
_LABELS = {
    "munit": "LPIPS (MUNIT)",
    "starganv2_latent": "LPIPS (StarGAN v2, latent)",
    "starganv2_example": "LPIPS (StarGAN v2, example)",
}


class LPIPSDiversity:
    """Diversity: mean LPIPS distance between translations of one input.

    Higher is more diverse, not better: broken models are diverse too. Read it beside fidelity and
    content.

    protocols: `munit`: `inputs` images, `styles` pairs each, both styles of a pair fresh (Huang et
        al. 2018: 100 and 19); `starganv2_latent`: all pairs of `outputs` translations of an input
        into drawn styles (Choi et al. 2020: 45 pairs of 10); `starganv2_example`: the same with
        the styles of real target images. The published numbers have 256×256 images.
    inputs: test images a direction, spread evenly. net: `alex` (what both papers use) or `vgg`.
    resize: side to which images are resized first (bicubic, antialiased); null for as they are.
    channels: one or three to show of images of neither 1 nor 3. ways: directions, as [a2b]; null
        for all. batch: images the network sees at once. seed: of styles, examples and pairs.

    The ceiling is the distance of random pairs of real images of the target domain; an unrelated
    real image for a translation is as diverse.
    """

    def __init__(
        self,
        *,
        protocols: tuple[Protocol, ...] = ("munit", "starganv2_latent", "starganv2_example"),
        inputs: Positive = 100,
        styles: Positive = 19,
        outputs: Annotated[int, Field(ge=2)] = 10,
        net: Net = "alex",
        resize: Positive | None = None,
        channels: tuple[int, ...] | None = None,
        ways: tuple[str, ...] | None = None,
        batch: Positive = 32,
        seed: int = 0,
    ) -> None:
        self.protocols, self.inputs, self.styles, self.outputs = protocols, inputs, styles, outputs
        self.net, self.resize, self.channels, self.ways = net, resize, channels, ways
        self.batch, self.seed = batch, seed

    def check(self) -> None:
        """Raises WeightsError where weights are absent."""
        LPIPS(self.net)

    def evaluate(
        self,
        translator: Translator,
        datasets: Mapping[str, object],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> Report:
        """Diversity in each direction. Raises WeightsError, before translating, where weights are
        absent."""
        distance = LPIPS(self.net).to(device)
        scores: dict[str, dict[str, dict[str, float]]] = {}
        used: dict[str, int] = {}
        for source, target in chosen_ways(translator, datasets, self.ways):
            sampler = Sampler(translator, datasets, source, target, self.inputs, self.seed, device)
            used[sampler.key] = len(sampler.indices)
            found = self._model(sampler, distance, progress)
            real = self._real(sampler, distance)
            scores[sampler.key] = {
                MODEL: found,
                COPIED: dict.fromkeys(found, 0.0),
                UNRELATED: dict.fromkeys(found, real),
                REAL: dict.fromkeys(found, real),
            }
        files = [file.record() for file in distance.files]
        return tabulated(
            "LPIPS diversity",
            [Column(f"lpips_{name}", _LABELS[name], "", 4) for name in self.protocols],
            scores,
            notes=(
                f"MUNIT's protocol: {self.inputs} inputs, {self.styles} pairs of fresh styles "
                f"each; StarGAN v2's: all pairs of {self.outputs} outputs of an input.",
                "Diversity alone is no quality: broken models have more of it than good ones.",
                f"{self.net} v0.1, images "
                f"{f'resized to {self.resize}' if self.resize else 'as they are'}, seed "
                f"{self.seed}; weights {', '.join(f['file'] for f in files)}.",
            ),
            details={"metric": "lpips", "seed": self.seed, "n": used},
            protocol={
                "protocols": list(self.protocols),
                "inputs": used,
                "styles": self.styles,
                "outputs": self.outputs,
                "extractor": f"lpips-{self.net}-v0.1",
                "weights": files,
                "resize": f"bicubic antialiased {self.resize}" if self.resize else "none",
                "channels": list(self.channels or ()),
            },
        )

    def _features(self, distance: LPIPS, images: Tensor) -> list[Tensor]:
        parts = []
        for part in images.split(self.batch):
            x = as_rgb(part, self.channels, "the images")
            if self.resize and x.shape[2:] != (self.resize, self.resize):
                x = F.interpolate(x, (self.resize,) * 2, mode="bicubic", antialias=True)
                x = x.clamp(-1, 1)
            x = large_enough(x, self.net, "METRICS.LPIPS.RESIZE=64 enlarges them first")
            with torch.no_grad():
                parts.append(distance.features(x))
        return [torch.cat(levels) for levels in zip(*parts, strict=True)]

    def _model(
        self, sampler: Sampler, distance: LPIPS, progress: Progress | None
    ) -> dict[str, float]:
        sums = dict.fromkeys(self.protocols, 0.0)
        counts = dict.fromkeys(self.protocols, 0)
        tick = Ticker(progress, f"LPIPS {sampler.name}", len(sampler.indices))
        for index, x in sampler:
            for name in self.protocols:
                if name == "munit":
                    images = sampler.drawn(x, index, 2 * self.styles, "lpips munit")
                    found = self._pairwise(distance, images[0::2], images[1::2])
                else:
                    if name == "starganv2_latent":
                        images = sampler.drawn(x, index, self.outputs, "lpips latent")
                    else:
                        examples = sampler.reals("lpips examples", index, self.outputs)
                        images = sampler.guided(x, sampler.real(examples))
                    found = self._all_pairs(distance, images)
                sums[name] += float(found.double().sum())
                counts[name] += len(found)
            tick()
        return {f"lpips_{name}": sums[name] / max(counts[name], 1) for name in self.protocols}

    def _pairwise(self, distance: LPIPS, ones: Tensor, others: Tensor) -> Tensor:
        """Distances (N,) of N pairs of images, a batch at a time."""
        parts = zip(ones.split(self.batch), others.split(self.batch), strict=True)
        return torch.cat(
            [distance.distance(*(self._features(distance, x) for x in pair)) for pair in parts]
        )

    def _all_pairs(self, distance: LPIPS, images: Tensor) -> Tensor:
        """Distances of all pairs among a few images, each seen once by the network."""
        features = self._features(distance, images)
        pairs = torch.tensor(list(combinations(range(len(images)), 2)), device=images.device)
        return torch.cat(
            [
                distance.distance(
                    [level[part[:, 0]] for level in features],
                    [level[part[:, 1]] for level in features],
                )
                for part in pairs.split(self.batch)
            ]
        )

    def _real(self, sampler: Sampler, distance: LPIPS) -> float:
        """Mean distance of random pairs of different real images of the target domain."""
        total = len(sampler.datasets[sampler.target])
        count = len(sampler.indices) * self.styles
        if total < 2:
            return float("nan")
        generator = seeded(self.seed, "lpips real", sampler.key)
        first = torch.randint(total, (count,), generator=generator)
        second = (first + 1 + torch.randint(total - 1, (count,), generator=generator)) % total
        summed = 0.0
        for one, other in zip(first.split(self.batch), second.split(self.batch), strict=True):
            real = [sampler.real(part.tolist()) for part in (one, other)]
            summed += float(self._pairwise(distance, *real).double().sum())
        return summed / count
