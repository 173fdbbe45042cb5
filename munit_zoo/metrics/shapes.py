"""Scores on the synthetic shapes: content kept, styles reached, a style taken over."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from munit_zoo.errors import MunitZooError, UsageError
from munit_zoo.metrics.classes import ClassSums
from munit_zoo.metrics.judges import (
    Judge,
    JudgeSettings,
    Realism,
    Verdict,
    cache_folder,
    position_errors,
    train_judge,
    train_realism,
)
from munit_zoo.metrics.probes import probe_accuracy
from munit_zoo.metrics.protocol import FactoredDataset, Translator
from munit_zoo.metrics.report import (
    COPIED,
    MEAN,
    MODEL,
    UNRELATED,
    Column,
    Report,
    Row,
    shown,
    way_title,
    with_mean,
)
from munit_zoo.metrics.sampling import Sampler, seeded

__all__ = ["ShapesMetric"]

Progress = Callable[[str], None]

ORACLE = "ceiling: oracle renderer"


class ShapesMetric:
    """Content, styles and their independence, in both directions, against known factors.

    Judges (small networks trained on real renders) read the factors of each translation:
    content: share of translations that show the input's shape and look like the target domain (a
        copy keeps the shape, and is no translation); distance of centres and error of sizes in
        pixels. `<factor>_seen` is the share whatever the domain;
    real: share that looks like the target domain, and not like the source, copied or blended in;
    coverage: entropy of the judged style factors over many samples, divided by that of as many
        real images: over all samples, and over the samples of one input (mean over inputs); joint
        over the factors that vary in real images;
    CIS: mean over inputs of KL(p(style | sample) ‖ p(style | input)), as a share of ln K;
    swap: share of translations, guided by an example image, that have the example's style;
    bias: share that differs though nothing asked for it: a content factor among the styles of one
        input, a style factor among the inputs under one example;
    leakage: how much better than the commonest class a probe tells content factors from the style
        code, and style factors of the input from the content code;
    hidden code (Chu et al. 2017): mean absolute error of input → translation → input, the input's
        own style given back, in 0..1, and its ratio once noise of one of 255 levels was added to
        the translation: far above 1 where the translation hides its input.

    Beside the model stand two floors, the input copied and an unrelated real image of the target
    domain, and a ceiling, the renderer itself with the input's content.

    inputs: test images translated a direction. styles: samples of each. examples: real images of
    the target domain, each the example for every input. judge_images, judge_epochs, judge_seed: how
    the judges are trained. cache: folder for trained judges (default MUNIT_ZOO_CACHE, else
    ~/.cache/munit_zoo). seed: of styles and examples.
    """

    def __init__(
        self,
        *,
        inputs: Annotated[int, Field(ge=2)] = 200,
        styles: Annotated[int, Field(ge=2)] = 16,
        examples: Annotated[int, Field(ge=2)] = 8,
        judge_images: Annotated[int, Field(ge=64)] = 12_000,
        judge_epochs: Annotated[int, Field(ge=1)] = 4,
        judge_seed: int = 0,
        cache: str | None = None,
        seed: int = 0,
    ) -> None:
        self.inputs, self.styles, self.examples, self.seed = inputs, styles, examples, seed
        self.judge = JudgeSettings(images=judge_images, epochs=judge_epochs, seed=judge_seed)
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
        realism: dict[str, Realism] = {}
        for name, dataset in datasets.items():
            others = [other for key, other in datasets.items() if key != name]
            how: dict[str, Any] = {"cache": folder, "device": device, "progress": progress}
            judges[name], accuracies[name] = train_judge(dataset, self.judge, **how)
            realism[name], known = train_realism(dataset, others, self.judge, **how)
            accuracies[name] |= known
            judges[name].to(device)
            realism[name].to(device)
        rows: list[Row] = []
        scores: dict[str, dict[str, dict[str, float]]] = {}
        confusion: dict[str, object] = {}
        notes: list[str] = []
        ways = [(s, t) for s in datasets for t in datasets if s != t]
        ways = [way for way in ways if way in getattr(translator, "ways", ways)]
        for source, target in ways:
            say(f"judging {source.upper()} → {target.upper()}")
            sampler = Sampler(translator, datasets, source, target, self.inputs, self.seed, device)
            direction = _Direction(sampler, judges[target], realism[target], self)
            styles = ", ".join(datasets[target].style_factors)
            rows.append(Row(f"{sampler.name} (style: {styles})", heading=True))
            scores[sampler.key] = {}
            for label, found in direction.rows().items():
                scores[sampler.key][label] = found
                rows.append(Row(label, direction.cells(found), model=label == MODEL))
            confusion[sampler.key] = direction.confusion
            notes.append(f"{sampler.name}: {direction.apart(scores[sampler.key][MODEL])}.")
        averaged = with_mean(scores)
        if MEAN in averaged:
            rows.append(Row(way_title(MEAN), heading=True))
            for label, mean in averaged[MEAN].items():
                rows.append(Row(label, _mean_cells(mean, datasets), model=label == MODEL))
        return Report(
            title="Shapes",
            columns=_TABLE,
            rows=tuple(rows),
            notes=(
                "shape: share that shows the input's shape in an image of the target domain "
                "(chance .20). real: looks like the target domain. position, size: mean error in "
                "pixels.",
                "coverage: entropy of the judged style ÷ that of real images, a figure a factor; "
                "per input: over the samples of one input. CIS: of each factor, ÷ ln K.",
                "swap: share of example-guided translations that have the example's style. bias: "
                "share that changes though nothing asked for it, content then style.",
                *notes,
                f"{min(self.inputs, *map(len, datasets.values()))} test images, {self.styles} "
                f"styles and {self.examples} examples each, seed {self.seed}.",
                *[
                    f"judge of {name.upper()} on {self.judge.held_out} held-out real renders: "
                    + ", ".join(_accuracy_text(k, v) for k, v in accuracies[name].items())
                    for name in datasets
                ],
            ),
            scores=averaged,
            details={
                "metric": "shapes",
                "inputs": self.inputs,
                "styles": self.styles,
                "seed": self.seed,
                "judges": accuracies,
                "confusion": confusion,
                "columns": [asdict(column) for column in _columns(datasets)],
                "torch": torch.__version__,
            },
            protocol={
                "extractor": "judges",
                "resize": "none",
                "inputs": self.inputs,
                "styles": self.styles,
                "examples": self.examples,
                "judges": asdict(self.judge),
            },
        )


_TABLE = (
    "shape",
    "real",
    "position",
    "size",
    "coverage",
    "per input",
    "CIS",
    "swap",
    "bias",
)


def _columns(datasets: Mapping[str, FactoredDataset]) -> list[Column]:
    """All scores, for tables of results."""
    content = list(dict.fromkeys(f for d in datasets.values() for f in d.content_factors))
    style = list(dict.fromkeys(f for d in datasets.values() for f in d.style_factors))
    found = [Column(name, name, "higher", 2) for name in (*content, "real")]
    found += [Column(f"{name}_seen", f"{name}, any domain", "higher", 2) for name in content]
    found += [Column(name, f"{name} (px)", "lower", 2) for name in ("position", "size")]
    for prefix, label in (
        ("coverage_", "coverage"),
        ("coverage_per_input_", "per input"),
        ("cis_fraction_", "CIS ÷ ln K"),
        ("swap_", "swap"),
    ):
        factors = [*style, "joint"] if prefix.startswith("coverage") else style
        found += [Column(prefix + name, f"{label} {name}", "higher", 2) for name in factors]
    found += [Column(f"bias_{name}", f"bias {name}", "lower", 2) for name in (*content, *style)]
    found += [Column(f"leak_style_{n}", f"{n} in style code", "lower", 2) for n in content]
    found += [Column(f"leak_content_{n}", f"{n} in content code", "lower", 2) for n in style]
    found += [
        Column("cycle", "cycle error", "lower"),
        Column("hidden_code", "cycle error after noise ÷ before", "lower", 2),
    ]
    return found


@dataclass(frozen=True)
class _Seen(Verdict):
    """A verdict, and whether each image looks like the target domain: (N,) of bool."""

    real: Tensor


class _Direction:
    """One direction: its images, its judge, and what is scored."""

    def __init__(
        self, sampler: Sampler, judge: Judge, realism: Realism, metric: ShapesMetric
    ) -> None:
        self.sampler, self.judge, self.realism = sampler, judge, realism
        self.source: FactoredDataset = sampler.datasets[sampler.source]
        self.target: FactoredDataset = sampler.datasets[sampler.target]
        self.count, self.kinds = min(metric.inputs, len(self.source)), metric.styles
        generator = seeded(metric.seed, "shapes", sampler.key)
        self.indices = sampler.indices
        self.factors = self.source.factors(self.indices)
        self.images = self.source.render(self.factors)
        self.side = self.images.shape[-1]
        # real images of the target: each stands for a sample, and for an example
        self.real = self.target.factors(range(len(self.target)))
        self.real_images = self.target.render(self.real)
        self.real_seen = self._seen(self.real_images)
        total = len(self.target)
        self.pick = torch.randint(total, (self.count, self.kinds), generator=generator)
        self.examples = torch.randperm(total, generator=generator)[: metric.examples]
        self.confusion: list[list[int]] = []
        self.joint = _varying(self.real_seen, self.target)

    def rows(self) -> dict[str, dict[str, float]]:
        """Model, floors and ceiling."""
        free, guided = [], []
        for place, index in enumerate(self.indices):
            x = self.images[place][None].to(self.sampler.device)
            free.append(self._seen(self.sampler.drawn(x, index, self.kinds, "shapes")))
            examples = self.real_images[self.examples].to(self.sampler.device)
            guided.append(self._seen(self.sampler.guided(x, examples)))
        verdict, by_example = _joined(free), _joined(guided)
        self.confusion = _confusion(verdict, self.factors, self.target, self.kinds)
        copied, shown = self._seen(self.images), len(self.examples)
        unrelated = self._seen(self.real_images[self.pick].flatten(0, 1))
        others = _taken(unrelated, torch.arange(self.count * self.kinds), self.count * shown)
        return {
            MODEL: {**self._scores(verdict, by_example), **self._leaks(), **self._hidden()},
            COPIED: self._scores(_repeated(copied, self.kinds), _repeated(copied, shown)),
            UNRELATED: self._scores(unrelated, others),
            ORACLE: self._oracle(),
        }

    def _seen(self, images: Tensor) -> _Seen:
        found = self.judge.judge(images.float())
        return _Seen(
            found.classes, found.probabilities, found.positions, self.realism.real(images.float())
        )

    def _oracle(self) -> dict[str, float]:
        names = self.target.style_factors

        def drawn(styles: Any, kinds: int) -> _Seen:
            rows = torch.arange(self.count).repeat_interleave(kinds).numpy()
            return self._seen(self.target.render(self.factors[rows].with_style_of(styles, names)))

        free = drawn(self.real[self.pick.flatten().numpy()], self.kinds)
        examples = self.examples.repeat(self.count)
        return self._scores(free, drawn(self.real[examples.numpy()], len(self.examples)))

    def _scores(self, verdict: _Seen, guided: _Seen) -> dict[str, float]:
        """verdict: of (count · kinds) samples; guided: of (count · examples), every input under
        every example."""
        found: dict[str, float] = {"real": float(verdict.real.double().mean())}
        for name in self.target.content_factors:
            kept = verdict.classes[name] == self._truth(name, self.kinds)
            found[name] = float((kept & verdict.real).double().mean())
            found[f"{name}_seen"] = float(kept.double().mean())
            found[f"bias_{name}"] = _disagreement(verdict.classes[name].view(self.count, -1))
        where = [self._truth(name, self.kinds) for name in ("x", "y", "size")]
        truth = torch.stack([value.float() for value in where], dim=1)
        found |= position_errors(verdict.positions, truth, self.side)
        for name in self.target.style_factors:
            levels = self.target.levels(name)
            found |= self._coverage(name, verdict.classes[name], self.real_seen.classes[name])
            wanted = torch.as_tensor(getattr(self.real, name))[self.examples]
            table = guided.classes[name].view(self.count, -1)
            found[f"swap_{name}"] = float((table == wanted).double().mean())
            found[f"bias_{name}"] = _disagreement(table.T)
            sums = ClassSums(levels)
            for part in verdict.probabilities[name].view(self.count, -1, levels):
                sums.add(part)
            found[f"cis_fraction_{name}"] = sums.scores()["cis_fraction"]
        if len(self.joint) > 1:
            codes = [_coded(v, self.joint, self.target) for v in (verdict, self.real_seen)]
            found |= self._coverage("joint", *codes)
        return found

    def _truth(self, name: str, kinds: int) -> Tensor:
        return torch.as_tensor(getattr(self.factors, name)).repeat_interleave(kinds)

    def _coverage(self, name: str, classes: Tensor, real: Tensor) -> dict[str, float]:
        samples = classes.view(self.count, -1)
        # as many real images as there are samples of an input: few samples have less entropy
        grouped = real[self.pick]
        return {
            f"coverage_{name}": _ratio(_entropy(samples.flatten()[None]), _entropy(real[None])),
            f"coverage_per_input_{name}": _ratio(_entropy(samples), _entropy(grouped)),
        }

    def _leaks(self) -> dict[str, float]:
        """What the codes of real images know that they should not, above the commonest class."""
        found: dict[str, float] = {}
        translator: Any = self.sampler.translator
        try:
            codes = translator.encode_style(
                self.real_images.to(self.sampler.device), self.sampler.target
            )
        except (AttributeError, MunitZooError):  # a recipe without styles
            codes = None
        if codes is not None:
            for name in self.target.content_factors:
                found[f"leak_style_{name}"] = self._leak(codes, self.real, name)
        encoder = _content_encoder(translator, self.sampler.source)
        if encoder is not None:
            with torch.no_grad():
                content = torch.cat(
                    [encoder(part.to(self.sampler.device)) for part in self.images.split(64)]
                )
            pooled = torch.nn.functional.adaptive_avg_pool2d(content.float(), 4).flatten(1)
            for name in self.source.style_factors:
                found[f"leak_content_{name}"] = self._leak(pooled, self.factors, name)
        return found

    def _leak(self, codes: Tensor, factors: object, name: str) -> float:
        classes = torch.as_tensor(getattr(factors, name))
        levels = self.target.levels(name)
        commonest = torch.bincount(classes[0::2], minlength=levels).argmax()
        chance = float((classes[1::2] == commonest).double().mean())
        return probe_accuracy(codes, classes, levels) - chance

    def _hidden(self) -> dict[str, float]:
        """Cycle error, and what becomes of it when a level of noise is added to the translation."""
        back = Sampler(
            self.sampler.translator,
            self.sampler.datasets,
            self.sampler.target,
            self.sampler.source,
            None,
            self.sampler.seed,
            self.sampler.device,
        )
        ways = getattr(self.sampler.translator, "ways", None)
        if ways is not None and (back.source, back.target) not in ways:
            return {}
        plain = noisy = 0.0
        for place, index in enumerate(self.indices):
            x = self.images[place][None].to(self.sampler.device)
            y = self.sampler.drawn(x, index, 1, "shapes")
            generator = seeded(self.sampler.seed, "shapes noise", self.sampler.key, index)
            signs = torch.randint(0, 2, y.shape, generator=generator).to(y) * 2 - 1
            for name, image in (("plain", y), ("noisy", (y + signs * 2 / 255).clamp(-1, 1))):
                error = float((back.guided(image, x) - x).abs().mean()) / 2
                plain, noisy = (plain + error, noisy) if name == "plain" else (plain, noisy + error)
        return {"cycle": plain / self.count, "hidden_code": _ratio(noisy, plain)}

    def cells(self, found: Mapping[str, float]) -> tuple[str, ...]:
        """A row's cells; several factors' figures side by side."""
        return _cells(found, self.target.content_factors, self.target.style_factors)

    def apart(self, found: Mapping[str, float]) -> str:
        """Leakage and hidden code, in words."""
        parts = []
        for prefix, code in (("leak_style_", "style"), ("leak_content_", "content")):
            leaks = [
                f"{key.removeprefix(prefix)} {value:+.2f}"
                for key, value in found.items()
                if key.startswith(prefix)
            ]
            if leaks:
                parts.append(
                    f"a probe reads from the {code} code, above chance, {', '.join(leaks)}"
                )
        if "cycle" in found:
            parts.append(
                f"cycle error {found['cycle']:.3f}, × {found['hidden_code']:.2f} after noise of a "
                "level"
            )
        return "; ".join(parts) or "no codes to probe"


def _cells(
    found: Mapping[str, float], content: Sequence[str], styles: Sequence[str]
) -> tuple[str, ...]:
    """A row's cells; figures of several factors side by side, of those that all directions have."""

    def joined(prefix: str, names: Sequence[str]) -> str:
        return " ".join(shown(found.get(f"{prefix}{name}"), 2) for name in names) or "–"

    return (
        joined("", content),
        shown(found["real"], 2),
        shown(found["position"], 2),
        shown(found["size"], 2),
        joined("coverage_", styles),
        joined("coverage_per_input_", styles),
        joined("cis_fraction_", styles),
        joined("swap_", styles),
        joined("bias_", (*content, *styles)),
    )


def _mean_cells(
    found: Mapping[str, float], datasets: Mapping[str, FactoredDataset]
) -> tuple[str, ...]:
    """The cells of a mean over directions, whose targets have some factors in common."""
    first, *others = datasets.values()
    content = [f for f in first.content_factors if all(f in d.content_factors for d in others)]
    styles = [f for f in first.style_factors if all(f in d.style_factors for d in others)]
    return _cells(found, content, styles)


def _content_encoder(translator: object, source: str) -> Callable[[Tensor], Tensor] | None:
    """The network that makes content codes of a domain's images, where there is one."""
    networks = getattr(translator, "networks", None)
    if not callable(networks):
        return None
    found, letters = networks(), getattr(translator, "letters", {})
    own = [f"{letter}.content_encoder" for letter, d in letters.items() if d.name == source]
    path = next((path for path in (*own, "content_encoder") if path in found), None)
    if path is None:
        return None
    encoder: Callable[[Tensor], Tensor] = found[path]
    shared: Callable[[Tensor], Tensor] | None = found.get("shared_encoder")
    return encoder if shared is None else lambda x: shared(encoder(x))


def _varying(verdict: Verdict, target: FactoredDataset) -> list[str]:
    """Style factors that have more than one value in real images."""
    return [name for name in target.style_factors if len(verdict.classes[name].unique()) > 1]


def _coded(verdict: Verdict, names: Sequence[str], target: FactoredDataset) -> Tensor:
    """Several factors as one class."""
    code = torch.zeros_like(verdict.classes[names[0]])
    for name in names:
        code = code * target.levels(name) + verdict.classes[name]
    return code


def _entropy(classes: Tensor) -> float:
    """Mean entropy in nats of the classes in each row (rows, samples)."""
    counts = torch.nn.functional.one_hot(classes).sum(1).double()
    share = counts / counts.sum(1, keepdim=True)
    return abs(float(torch.special.xlogy(share, share).sum(1).mean()))


def _disagreement(classes: Tensor) -> float:
    """Mean share of a row (rows, samples) that is not its commonest class."""
    counts = torch.nn.functional.one_hot(classes).sum(1)
    return float(1 - (counts.amax(1) / classes.shape[1]).double().mean())


def _ratio(value: float, reference: float) -> float:
    return value / reference if reference > 0 else math.nan


def _repeated(verdict: _Seen, kinds: int) -> _Seen:
    return _taken(verdict, torch.arange(len(verdict.real)).repeat_interleave(kinds))


def _taken(verdict: _Seen, rows: Tensor, count: int | None = None) -> _Seen:
    """Some of a verdict's images, again from the first where more are asked for than there are."""
    if count is not None:
        rows = rows.repeat(-(-count // len(rows)))[:count]
    return _Seen(
        {name: value[rows] for name, value in verdict.classes.items()},
        {name: value[rows] for name, value in verdict.probabilities.items()},
        verdict.positions[rows],
        verdict.real[rows],
    )


def _joined(verdicts: Sequence[_Seen]) -> _Seen:
    names = verdicts[0].classes
    return _Seen(
        {name: torch.cat([v.classes[name] for v in verdicts]) for name in names},
        {name: torch.cat([v.probabilities[name] for v in verdicts]) for name in names},
        torch.cat([v.positions for v in verdicts]),
        torch.cat([v.real for v in verdicts]),
    )


def _confusion(
    verdict: Verdict, factors: object, target: FactoredDataset, kinds: int
) -> list[list[int]]:
    """Rows: the input's shape; columns: the translation's."""
    name = target.content_factors[0]
    levels = target.levels(name)
    truth = torch.as_tensor(getattr(factors, name)).repeat_interleave(kinds)
    pairs = truth * levels + verdict.classes[name]
    table: list[list[int]] = torch.bincount(pairs, minlength=levels**2).view(levels, -1).tolist()
    return table


def _accuracy_text(name: str, value: float) -> str:
    return f"{name} ±{value:.2f} px" if name in ("position", "size") else f"{name} {value:.3f}"
