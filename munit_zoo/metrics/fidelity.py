"""Fidelity: how near translations come to the real images of the target domain, as a set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from munit_zoo.errors import UsageError
from munit_zoo.metrics.features import (
    FeatureStore,
    frechet_distance,
    kernel_distance,
    neighbourhoods,
)
from munit_zoo.metrics.protocol import Translator
from munit_zoo.metrics.report import COPIED, MODEL, REAL, UNRELATED, Column, Report, tabulated
from munit_zoo.metrics.sampling import (
    Progress,
    Sampler,
    Ticker,
    as_rgb,
    chosen_ways,
    draws,
    seeded,
)
from munit_zoo.registry import EXTRACTORS, FeatureExtractor, Slot, slot
from munit_zoo.registry.ranges import Positive

__all__ = ["Fidelity"]

COLUMNS = (
    Column("fid", "FID", "lower", 2),
    Column("kid", "KID × 1000", "lower", 3),
    Column("precision", "precision", "higher"),
    Column("recall", "recall", "higher"),
    Column("density", "density", "higher"),
    Column("coverage", "coverage", "higher"),
)


class Fidelity:
    """FID, KID, precision, recall, density and coverage on a network's features.

    The real images are all test images of the target domain. FID is biased upwards with few images
    and not to be compared across their number; below 2,000 read KID (Bińkowski et al. 2018), which
    is not. Precision (Kynkäänniemi et al. 2019) and density are of translations, recall and
    coverage (Naeem et al. 2020) of real images.

    real: the real images: those of the `test` split, or of `train`, as StarGAN v2 takes them.
    styled: translations into styles that are `drawn`, or those of `example` images of the target
        domain's test split.
    extractor: the network: `inception` (on which FID is defined), `torchvision`, `timm` or a
        plug-in's. inputs: test images a direction, spread evenly; null for all. styles: drawn
        styles of each.
    keep: features of a set that are kept for KID and the neighbourhoods, which are computed on
        those; FID's moments are of all. subset, subsets: of KID; with no more features than a
        subset has, one estimate over all. neighbours: of precision and recall; dense: of density
        and coverage.
    channels: one or three to show of images of neither 1 nor 3. ways: directions, as [a2b]; null
        for all. batch: images the network sees at once. seed: of styles and of what is kept.

    The ceiling compares one half of the real images with the other; the unrelated real image is
    drawn from one half as often as there are translations, and compared with the other.
    """

    def __init__(
        self,
        *,
        extractor: Slot[FeatureExtractor] = slot("inception"),
        real: Literal["test", "train"] = "test",
        styled: Literal["drawn", "example"] = "drawn",
        inputs: Positive | None = None,
        styles: Positive = 10,
        keep: Positive = 10_000,
        subset: Positive = 1000,
        subsets: Positive = 100,
        neighbours: Positive = 3,
        dense: Positive = 5,
        channels: tuple[int, ...] | None = None,
        ways: tuple[str, ...] | None = None,
        batch: Positive = 32,
        seed: int = 0,
    ) -> None:
        self.extractor = EXTRACTORS.factory(extractor)
        self.needs_training_images = real == "train"
        self.styled = styled
        self.inputs, self.styles, self.keep = inputs, styles, keep
        self.subset, self.subsets = subset, subsets
        self.neighbours, self.dense = neighbours, dense
        self.channels, self.ways, self.batch, self.seed = channels, ways, batch, seed

    @property
    def _real(self) -> str:
        return "train" if self.needs_training_images else "test"

    @property
    def _styled(self) -> str:
        return "drawn" if self.styled == "drawn" else "of example images"

    def check(self) -> None:
        """Raises WeightsError where the extractor's weights are absent."""
        self.extractor().load("cpu")

    def evaluate(
        self,
        translator: Translator,
        datasets: Mapping[str, object],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
        training: Mapping[str, object] | None = None,
    ) -> Report:
        """Fidelity in each direction. training: the training images by domain, for REAL: train.

        Raises WeightsError, before translating, where the extractor's weights are absent;
        UsageError where training images are asked for and not given.
        """
        if self.needs_training_images and training is None:
            raise UsageError("REAL: train compares with training images, and none were given")
        extractor = self.extractor()
        extractor.load(device)
        scores: dict[str, dict[str, dict[str, float]]] = {}
        used: dict[str, dict[str, int]] = {}
        for source, target in chosen_ways(translator, datasets, self.ways):
            sampler = Sampler(translator, datasets, source, target, self.inputs, self.seed, device)
            against = (training or datasets)[target] if self.needs_training_images else None
            found, counts = self._direction(sampler, extractor, progress, against)
            scores[sampler.key], used[sampler.key] = found, counts
        described = extractor.describe()
        weights = ", ".join(f["file"] for f in described["weights"]) or "none on disk"
        return tabulated(
            "Fidelity",
            COLUMNS,
            scores,
            notes=(
                f"{described['extractor']}, resize {described['resize']}; weights {weights}.",
                *[
                    f"{way}: {n['fake']} translations ({n['inputs']} inputs × "
                    f"{n['fake'] // max(n['inputs'], 1)} styles, {self._styled}) against "
                    f"{n['real']} real images ({self._real}); the ceiling and the unrelated image "
                    "against half of them."
                    for way, n in used.items()
                ],
                *(
                    ["FID is biased with fewer than 2,000 images: compare KID."]
                    if any(min(n["fake"], n["real"]) < 2000 for n in used.values())
                    else []
                ),
            ),
            details={"metric": "fidelity", "seed": self.seed, "n": used},
            protocol={
                **described,
                "n": used,
                "styles": self.styles,
                "styled": self.styled,
                "real": self._real,
                "keep": self.keep,
                "kid": {"subset": self.subset, "subsets": self.subsets},
                "neighbours": [self.neighbours, self.dense],
                "channels": list(self.channels or ()),
            },
        )

    def _direction(
        self, sampler: Sampler, extractor: Any, progress: Progress | None, training: Any
    ) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
        """training: the images that are the real ones; None for the target's test images."""
        source = sampler.datasets[sampler.target] if training is None else training
        total = len(source)
        order = draws(total, total, self.seed, "fidelity halves", sampler.key)
        half = set(order[: total // 2])
        real = self._store(sampler, "real", total)
        sizes = {True: len(half), False: total - len(half)}
        halves = {side: self._store(sampler, f"half {side}", n) for side, n in sizes.items()}
        features: list[Tensor] = []  # of the first half, from which unrelated images are drawn
        tick = Ticker(progress, f"features of {sampler.target.upper()}", total)
        for start in range(0, total, self.batch):
            indices = list(range(start, min(start + self.batch, total)))
            images = torch.stack([source.test(i) for i in indices]).to(sampler.device)
            found = self._features(extractor, images).cpu()
            real.add(found)
            mask = torch.tensor([index in half for index in indices])
            for side, store in halves.items():
                if (mask == side).any():
                    store.add(found[mask == side])
            features.append(found[mask][: max(self.keep - sum(map(len, features)), 0)])
            for _ in indices:
                tick()
        inputs = sampler.indices
        fake = self._store(sampler, "fake", len(inputs) * self.styles)
        copied = self._store(sampler, "copied", len(inputs))
        tick = Ticker(progress, f"fidelity {sampler.name}", len(inputs))
        for index, x in sampler:
            if self.styled == "drawn":
                images = sampler.drawn(x, index, self.styles, "fidelity")
            else:
                examples = sampler.reals("fidelity examples", index, self.styles)
                images = sampler.guided(x, sampler.real(examples))
            fake.add(self._features(extractor, images))
            copied.add(self._features(extractor, x))
            tick()
        pool = torch.cat(features)
        unrelated = self._store(sampler, "unrelated", len(inputs) * self.styles)
        if len(pool):
            picks = draws(
                len(inputs) * self.styles, len(pool), self.seed, "fidelity unrelated", sampler.key
            )
            for part in torch.tensor(picks).split(1024):
                unrelated.add(pool[part])
        rows = {
            MODEL: self._scores(sampler, real, fake),
            COPIED: self._scores(sampler, real, copied),
            UNRELATED: self._scores(sampler, halves[False], unrelated),
            REAL: self._scores(sampler, halves[False], halves[True]),
        }
        counts = {"inputs": len(inputs), "fake": fake.moments.count, "real": total}
        return rows, counts

    def _features(self, extractor: Any, images: Tensor) -> Tensor:
        return torch.cat(
            [
                extractor.features(as_rgb(part, self.channels, "the images"))
                for part in images.split(self.batch)
            ]
        )

    def _store(self, sampler: Sampler, what: str, total: int) -> FeatureStore:
        generator = seeded(self.seed, "fidelity kept", what, sampler.key)
        return FeatureStore(self.keep, total, generator)

    def _scores(self, sampler: Sampler, real: FeatureStore, fake: FeatureStore) -> dict[str, float]:
        if min(real.moments.count, fake.moments.count) < 2:
            return {column.key: float("nan") for column in COLUMNS}
        generator = seeded(self.seed, "fidelity subsets", sampler.key)
        kid, spread = kernel_distance(
            real.kept, fake.kept, subset=self.subset, subsets=self.subsets, generator=generator
        )
        return {
            "fid": frechet_distance(real.moments, fake.moments),
            "kid": 1000 * kid,
            "kid_deviation": 1000 * spread,
            **neighbourhoods(real.kept, fake.kept, neighbours=self.neighbours, dense=self.dense),
        }
