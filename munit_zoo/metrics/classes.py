"""(Conditional) inception score: are the target domain's classes reached, for each input."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from munit_zoo.errors import UsageError
from munit_zoo.metrics.protocol import Translator
from munit_zoo.metrics.report import COPIED, MODEL, REAL, UNRELATED, Column, Report, tabulated
from munit_zoo.metrics.sampling import Progress, Sampler, Ticker, as_rgb, chosen_ways
from munit_zoo.metrics.timm_networks import Classifier
from munit_zoo.registry.ranges import Positive
from munit_zoo.weights import Found

__all__ = ["ClassScores", "ClassSums"]

COLUMNS = (
    Column("cis", "CIS (nats)", "higher"),
    Column("cis_fraction", "CIS ÷ ln K", "higher"),
    Column("is", "IS (nats)", "higher"),
    Column("is_fraction", "IS ÷ ln K", "higher"),
    Column("is_exp", "IS (exp)", "higher"),
)


class ClassSums:
    """CIS and IS of class probabilities, streaming, an input's samples at a time."""

    def __init__(self, classes: int) -> None:
        self.classes, self.inputs, self.samples = classes, 0, 0
        self.sharp, self.within = 0.0, 0.0  # Σ Σ p ln p over samples; Σ p̄ ln p̄ over inputs
        self.conditional = 0.0
        self.total = torch.zeros(classes, dtype=torch.float64)

    def add(self, probabilities: Tensor) -> None:
        """Probabilities (samples, K) of one input's translations."""
        p = probabilities.detach().double().cpu()
        sharp = torch.special.xlogy(p, p).sum(1)
        mean = p.mean(0)
        self.conditional += float(sharp.mean() - torch.special.xlogy(mean, mean).sum())
        self.sharp += float(sharp.sum())
        self.total += p.sum(0)
        self.inputs += 1
        self.samples += len(p)

    def scores(self) -> dict[str, float]:
        """In nats, as shares of ln K, and IS as its exponential."""
        ceiling = math.log(self.classes)
        mean = self.total / self.samples
        cis = self.conditional / self.inputs
        inception = self.sharp / self.samples - float(torch.special.xlogy(mean, mean).sum())
        return {
            "cis": cis,
            "cis_fraction": cis / ceiling,
            "is": inception,
            "is_fraction": inception / ceiling,
            "is_exp": math.exp(inception),
        }


_UNNAMED = (
    "the metric cis needs a classifier of the target domain's classes: train one with "
    "`munit-zoo classifier train FOLDER-PER-CLASS --out classes.safetensors` and give "
    "METRICS.CIS.CLASSIFIER=classes.safetensors, or {B: classes.safetensors}"
)


class ClassScores:
    """CIS and IS (Huang et al. 2018; Salimans et al. 2016) by a classifier of the target domain.

    CIS = E_x KL(p(y|x_ab) ‖ p(y|x)), with p(y|x) the mean over the samples of one input: high
    where each input is translated into many classes. IS has the mean over all samples in its
    place: high where the classes are many and clear, even if an input has but one. Both are mean
    divergences in nats, as the paper's numbers are, at most ln K for K classes; IS also as its
    exponential, as it is usually given.

    classifier: the file that `munit-zoo classifier train` writes, for all directions, or by target
        domain ({B: animals.safetensors}); a direction without one is left out.
    inputs: test images a direction, spread evenly. styles: samples of each; the paper takes 100 and
    100. channels: one or three to show of images of neither 1 nor 3. ways: directions, as [a2b];
    null for all. batch: images the network sees at once. seed: of styles.

    The ceiling has random real images of the target domain for translations, as an unrelated image
    has.
    """

    def __init__(
        self,
        *,
        classifier: dict[str, str] | str | None = None,
        inputs: Positive = 100,
        styles: Positive = 100,
        channels: tuple[int, ...] | None = None,
        ways: tuple[str, ...] | None = None,
        batch: Positive = 32,
        seed: int = 0,
    ) -> None:
        self.classifier, self.inputs, self.styles = classifier, inputs, styles
        self.channels, self.ways, self.batch, self.seed = channels, ways, batch, seed

    def check(self) -> None:
        """Raises UsageError where no classifier is named, or WeightsError where one is absent."""
        named = self.classifier if isinstance(self.classifier, Mapping) else {"": self.classifier}
        files = [file for file in named.values() if file is not None]
        if not files:
            raise UsageError(_UNNAMED)
        for file in files:
            Classifier.open(file)

    def evaluate(
        self,
        translator: Translator,
        datasets: Mapping[str, object],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> Report:
        """Scores in each direction that has a classifier. Raises UsageError where none has."""
        opened: dict[str, tuple[Classifier, Found]] = {}
        scores: dict[str, dict[str, dict[str, float]]] = {}
        used: dict[str, int] = {}
        for source, target in chosen_ways(translator, datasets, self.ways):
            name = self._file(target)
            if name is None:
                continue
            if name not in opened:
                classifier, found = Classifier.open(name)
                opened[name] = classifier.to(device), found
            sampler = Sampler(translator, datasets, source, target, self.inputs, self.seed, device)
            used[sampler.key] = len(sampler.indices)
            scores[sampler.key] = self._direction(sampler, opened[name][0], progress)
        if not scores:
            raise UsageError(_UNNAMED)
        files = [{**found.record(), "name": "classifier"} for _, found in opened.values()]
        cards = {found.path.name: classifier.card for classifier, found in opened.values()}
        return tabulated(
            "Classes",
            COLUMNS,
            scores,
            notes=(
                f"{self.inputs} inputs × {self.styles} samples at most, seed {self.seed}; mean "
                "divergences in nats.",
                *[
                    f"{name}: {card.model}, {len(card.classes)} classes (ln K "
                    f"{math.log(len(card.classes)):.3f}), accuracy {card.accuracy:.3f} held out."
                    for name, card in cards.items()
                ],
            ),
            details={
                "metric": "cis",
                "seed": self.seed,
                "n": used,
                "classifiers": {
                    name: {"classes": list(card.classes), "accuracy": card.accuracy}
                    for name, card in cards.items()
                },
            },
            protocol={
                "inputs": used,
                "styles": self.styles,
                "extractor": ", ".join(card.model for card in cards.values()),
                "weights": files,
                "resize": ", ".join(f"clean {card.size}" for card in cards.values()),
                "channels": list(self.channels or ()),
            },
        )

    def _file(self, target: str) -> str | None:
        if isinstance(self.classifier, Mapping):
            return {k.lower(): v for k, v in self.classifier.items()}.get(target)
        return self.classifier

    def _direction(
        self, sampler: Sampler, classifier: Classifier, progress: Progress | None
    ) -> dict[str, dict[str, float]]:
        rows = (MODEL, COPIED, UNRELATED)
        sums = {row: ClassSums(len(classifier.card.classes)) for row in rows}
        tick = Ticker(progress, f"classes {sampler.name}", len(sampler.indices))
        for index, x in sampler:
            real = sampler.reals("classes unrelated", index, self.styles)
            for row, images in (
                (MODEL, sampler.drawn(x, index, self.styles, "classes")),
                (COPIED, x),
                (UNRELATED, None),
            ):
                parts = (
                    images.split(self.batch)
                    if images is not None
                    else (
                        sampler.real(real[start : start + self.batch])
                        for start in range(0, len(real), self.batch)
                    )
                )
                sums[row].add(torch.cat([self._seen(classifier, part) for part in parts]))
            tick()
        scores = {row: found.scores() for row, found in sums.items()}
        return {**scores, REAL: scores[UNRELATED]}

    def _seen(self, classifier: Classifier, images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = classifier(as_rgb(images, self.channels, "the images"))
            return logits.softmax(1)
