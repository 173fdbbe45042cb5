"""Scores on the synthetic shapes: content kept, styles reached, a style taken over."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from munit_zoo.errors import UsageError
from munit_zoo.metrics.judges import (
    Judge,
    JudgeSettings,
    Verdict,
    cache_folder,
    position_errors,
    train_judge,
)
from munit_zoo.metrics.protocol import FactoredDataset, Translator
from munit_zoo.metrics.report import Report, Row

__all__ = ["ShapesMetric"]

Progress = Callable[[str], None]


class ShapesMetric:
    """Content accuracy, style coverage and example-guided swap accuracy, in both directions.

    Judges (small networks trained on real renders) read the factors of each translation:
    content: share of translations that show the input's shape; distance of centres and error of
        sizes in pixels;
    coverage: entropy of the judged style factors over many samples, divided by that of as many
        real images: over all samples, and over the samples of one input (mean over inputs);
    swap: share of translations, guided by one example image each, with the example's style.

    Beside the model stand two floors, the input copied and an unrelated real image of the target
    domain, and a ceiling, the renderer itself with the input's content.

    inputs: test images translated a direction. styles: samples of each. judge_images,
    judge_epochs: how the judges are trained. cache: folder for trained judges (default
    MUNIT_ZOO_CACHE, else ~/.cache/munit_zoo). seed: of styles, examples and judges.
    """

    def __init__(
        self,
        *,
        inputs: Annotated[int, Field(ge=2)] = 200,
        styles: Annotated[int, Field(ge=2)] = 16,
        judge_images: Annotated[int, Field(ge=64)] = 12_000,
        judge_epochs: Annotated[int, Field(ge=1)] = 4,
        cache: str | None = None,
        seed: int = 0,
    ) -> None:
        self.inputs, self.styles, self.seed = inputs, styles, seed
        self.judge = JudgeSettings(images=judge_images, epochs=judge_epochs, seed=seed)
        self.cache = cache

    def evaluate(
        self,
        translator: Translator,
        datasets: Mapping[str, Any],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> Report:
        """Scores of a translator on the test splits of two domains.

        Raises UsageError where the datasets' factors are not known.
        """
        for name, dataset in datasets.items():
            if not isinstance(dataset, FactoredDataset):
                raise UsageError(
                    f"the metric shapes needs data with known factors (DATA.NAME: shapes); domain "
                    f"{name.upper()} is {type(dataset).__name__}"
                )
        say = progress or (lambda text: None)
        folder = cache_folder(self.cache)
        judges: dict[str, Judge] = {}
        accuracies: dict[str, dict[str, float]] = {}
        for name, dataset in datasets.items():
            judges[name], accuracies[name] = train_judge(
                dataset, self.judge, cache=folder, device=device, progress=progress
            )
        rows: list[Row] = []
        scores: dict[str, dict[str, dict[str, float]]] = {}
        confusion: dict[str, Any] = {}
        ways = [(s, t) for s in datasets for t in datasets if s != t]
        ways = [way for way in ways if way in getattr(translator, "ways", ways)]
        for source, target in ways:
            say(f"judging {source.upper()} → {target.upper()}")
            direction = _Direction(datasets[source], datasets[target], judges[target], self)
            styles = ", ".join(datasets[target].style_factors)
            rows.append(Row(f"{source.upper()} → {target.upper()} (style: {styles})", heading=True))
            key = f"{source}2{target}"
            scores[key] = {}
            for label, found, is_model in direction.rows(translator, target):
                scores[key][label] = found
                rows.append(Row(label, direction.cells(found), model=is_model))
            confusion[key] = direction.confusion
        notes = [
            "shape: share that shows the input's shape (chance .20). position, size: mean error "
            "in pixels.",
            "coverage: entropy of the judged style ÷ that of real images, a figure a factor; per "
            "input: over the samples of one input.",
            "swap: share of example-guided translations that have the example's style.",
            f"{min(self.inputs, *map(len, datasets.values()))} test images, {self.styles} styles "
            f"each, seed {self.seed}.",
            *[
                f"judge of {name.upper()} on {self.judge.held_out} held-out real renders: "
                + ", ".join(_accuracy_text(k, v) for k, v in accuracies[name].items())
                for name in datasets
            ],
        ]
        return Report(
            title="Shapes",
            columns=("shape", "position", "size", "coverage", "per input", "swap"),
            rows=tuple(rows),
            notes=tuple(notes),
            scores=scores,
            details={
                "metric": "shapes",
                "inputs": self.inputs,
                "styles": self.styles,
                "seed": self.seed,
                "judges": accuracies,
                "confusion": confusion,
                "torch": torch.__version__,
            },
        )


class _Direction:
    """One direction: its images, its judge, and what is scored."""

    def __init__(
        self,
        source: FactoredDataset,
        target: FactoredDataset,
        judge: Judge,
        metric: ShapesMetric,
    ) -> None:
        self.source, self.target, self.judge = source, target, judge
        self.count, self.kinds = min(metric.inputs, len(source)), metric.styles
        self.generator = torch.Generator().manual_seed(metric.seed)
        self.factors = source.factors(range(self.count))
        self.images = source.render(self.factors)
        self.side = self.images.shape[-1]
        # real images of the target: each stands for a sample, and for an example
        self.real = target.factors(range(len(target)))
        self.real_images = target.render(self.real)
        self.real_verdict = judge.judge(self.real_images)
        self.pick = torch.randint(len(target), (self.count, self.kinds), generator=self.generator)
        self.examples = torch.randint(len(target), (self.count,), generator=self.generator)
        self.confusion: list[list[int]] = []

    def rows(self, translator: Translator, target: str) -> list[tuple[str, dict[str, float], bool]]:
        """Model, floors and ceiling."""
        model = translator.translate(self.images, target, self.kinds, generator=self.generator)
        guided = translator.translate(
            self.images, target, self.real_images[self.examples], paired=True
        )[:, 0]
        verdict = self._judged(model)
        self.confusion = _confusion(verdict, self.factors, self.target, self.kinds_of(model))
        scored = self._scores(verdict, self.kinds_of(model), self.judge.judge(guided))
        copied = self.judge.judge(self.images)
        copies = self._scores(_repeated(copied, self.kinds), self.kinds, copied)
        unrelated = self.real_images[self.pick]
        others = self._scores(
            self._judged(unrelated), self.kinds, self.judge.judge(unrelated[:, 0])
        )
        return [
            ("model", scored, True),
            ("floor: input copied", copies, False),
            ("floor: unrelated real image", others, False),
            ("ceiling: oracle renderer", self._oracle(), False),
        ]

    @staticmethod
    def kinds_of(images: Tensor) -> int:
        return int(images.shape[1])

    def _judged(self, images: Tensor) -> Verdict:
        return self.judge.judge(images.flatten(0, 1).float().cpu())

    def _oracle(self) -> dict[str, float]:
        names = self.target.style_factors
        rows = torch.arange(self.count).repeat_interleave(self.kinds).numpy()
        styles = self.real[self.pick.flatten().numpy()]
        free = self.target.render(self.factors[rows].with_style_of(styles, names))
        example = self.real[self.examples.numpy()]
        guided = self.target.render(self.factors.with_style_of(example, names))
        return self._scores(self.judge.judge(free), self.kinds, self.judge.judge(guided))

    def _scores(self, verdict: Verdict, kinds: int, guided: Verdict) -> dict[str, float]:
        """verdict: of (count · kinds) samples; guided: of one example-guided sample an input."""
        found: dict[str, float] = {}
        for name in self.target.content_factors:
            truth = torch.as_tensor(getattr(self.factors, name)).repeat_interleave(kinds)
            found[name] = float((verdict.classes[name] == truth).float().mean())
        truth = torch.stack(
            [torch.as_tensor(getattr(self.factors, n)).float() for n in ("x", "y", "size")], dim=1
        )
        found |= position_errors(verdict.positions, truth.repeat_interleave(kinds, 0), self.side)
        for name in self.target.style_factors:
            levels = self.target.levels(name)
            samples = verdict.classes[name].view(self.count, kinds)
            reference = self.real_verdict.classes[name]
            found[f"coverage_{name}"] = _ratio(
                _entropy(samples[None].flatten(1), levels), _entropy(reference[None], levels)
            )
            # as many real images as there are samples of an input: few samples have less entropy
            grouped = reference[self.pick[:, : max(kinds, 2)]]
            found[f"coverage_per_input_{name}"] = _ratio(
                _entropy(samples, levels), _entropy(grouped, levels)
            )
            wanted = torch.as_tensor(getattr(self.real, name))[self.examples]
            found[f"swap_{name}"] = float((guided.classes[name] == wanted).float().mean())
        return found

    def cells(self, found: Mapping[str, float]) -> tuple[str, ...]:
        """A row's cells; several factors' figures side by side."""
        styles = self.target.style_factors

        def joined(prefix: str) -> str:
            return " ".join(_short(found[f"{prefix}{name}"]) for name in styles)

        content = " ".join(_short(found[name]) for name in self.target.content_factors)
        return (
            content,
            f"{found['position']:.2f}",
            f"{found['size']:.2f}",
            joined("coverage_"),
            joined("coverage_per_input_"),
            joined("swap_"),
        )


def _entropy(classes: Tensor, levels: int) -> float:
    """Mean entropy in nats of the classes in each row (rows, samples)."""
    counts = torch.nn.functional.one_hot(classes, levels).sum(1).double()
    share = counts / counts.sum(1, keepdim=True)
    return abs(float((share * share.clamp_min(1e-12).log()).sum(1).mean()))


def _ratio(value: float, reference: float) -> float:
    return value / reference if reference > 0 else math.nan


def _repeated(verdict: Verdict, kinds: int) -> Verdict:
    return Verdict(
        {name: value.repeat_interleave(kinds) for name, value in verdict.classes.items()},
        {name: value.repeat_interleave(kinds, 0) for name, value in verdict.probabilities.items()},
        verdict.positions.repeat_interleave(kinds, 0),
    )


def _confusion(
    verdict: Verdict, factors: Any, target: FactoredDataset, kinds: int
) -> list[list[int]]:
    """Rows: the input's shape; columns: the translation's."""
    name = target.content_factors[0]
    levels = target.levels(name)
    truth = torch.as_tensor(getattr(factors, name)).repeat_interleave(kinds)
    pairs = truth * levels + verdict.classes[name]
    table: list[list[int]] = torch.bincount(pairs, minlength=levels**2).view(levels, -1).tolist()
    return table


def _short(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _accuracy_text(name: str, value: float) -> str:
    return f"{name} ±{value:.2f} px" if name in ("position", "size") else f"{name} {value:.3f}"
