"""Evaluation: metrics of runs, with everything that is needed to trust and to compare them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from munit_zoo._version import __version__
from munit_zoo.config import Config, bind, domains_of, engine_settings
from munit_zoo.data import Dataset
from munit_zoo.engine.devices import choose_device
from munit_zoo.engine.files import write_text
from munit_zoo.engine.loading import Loaded, load_newest
from munit_zoo.engine.page import write_page
from munit_zoo.engine.results import Record, add_to_results, read_results, titled
from munit_zoo.engine.runs import Run, find_snapshot
from munit_zoo.errors import ConfigError, Problem, UsageError, suggest
from munit_zoo.metrics import Report, averaged
from munit_zoo.registry import METRICS
from munit_zoo.weights import looking_in

__all__ = ["EvaluationChoice", "evaluate"]

_LIBRARIES = ("torch", "torchvision", "timm", "numpy", "torch-fidelity", "torchmetrics")


@dataclass(frozen=True)
class EvaluationChoice:
    """What to compute.

    metrics: names in the runs' METRICS, or of the registry (then with their defaults); none for all
    of METRICS. overrides: `METRICS.LPIPS.NET=vgg`, `DATA.ROOT=…`: how to measure, and where the
    images are by now. inputs, styles: INPUTS and STYLES of every metric that has them.
    seeds: SEED of every metric that has one, in turn; none for the config's.
    ema: the averaged weights where they were kept, else those of the last iteration.
    """

    metrics: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    inputs: int | None = None
    styles: int | None = None
    seeds: tuple[int, ...] = ()
    ema: bool = True


def evaluate(
    paths: Path | Sequence[Path],
    choice: EvaluationChoice | None = None,
    *,
    weights: Sequence[Path] = (),
    download: bool = False,
    device: str = "auto",
    out: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Report]:
    """Reports of metrics of runs (newest snapshots) or snapshots, a run and a metric each.

    weights: folders in which trained weights are looked for first; download: fetch what is in none.
    out: a results file, to which every finished score is added at once; what it holds already is
    not computed again, so that an interrupted evaluation goes on. Every run also keeps its newest
    reports under `evaluation/`, and its page is made anew.

    Every run is read and every choice checked before the first score.
    Raises UsageError or ConfigError for what cannot be chosen, and whatever a metric raises.
    """
    choice = choice or EvaluationChoice()
    known = {} if out is None else {record.key: record for record in read_results(out)}
    jobs = [
        _Job.of(path, choice, device)
        for path in ([paths] if isinstance(paths, Path) else list(paths))
    ]
    reports = []
    with looking_in(*weights, download=download):
        for job in jobs:
            reports += job.run_all(known, out, progress)
    return reports


@dataclass(frozen=True)
class _Job:
    """One run with the metrics to compute. nodes: per metric one node a seed."""

    path: Path
    run: Run
    own: Config
    config: Config
    nodes: Mapping[str, tuple[Config, ...]]
    device: str
    ema: bool

    @classmethod
    def of(cls, path: Path, choice: EvaluationChoice, device: str) -> _Job:
        run, _ = find_snapshot(path)
        own = run.resolved().config
        words = _overrides(own, choice)
        config = run.resolved(words).config
        chosen = [name.upper() for name in choice.metrics] or list(config.METRICS)
        nodes: dict[str, tuple[Config, ...]] = {}
        for name in chosen:
            settings = {
                key: value
                for key, value in (("INPUTS", choice.inputs), ("STYLES", choice.styles))
                if value is not None and key in config.METRICS[name]
            }
            seeds = choice.seeds if "SEED" in config.METRICS[name] else ()
            variants = [{**settings, "SEED": seed} for seed in seeds] or [settings]
            nodes[name] = tuple(
                run.resolved(
                    [*words, *(f"METRICS.{name}.{key}={value}" for key, value in variant.items())]
                ).config.METRICS[name]
                for variant in variants
            )
        return cls(path, run, own, config, nodes, choose_device(device), choice.ema)

    def run_all(
        self,
        known: dict[str, Record],
        out: Path | None,
        progress: Callable[[str], None] | None,
    ) -> list[Report]:
        loaded = load_newest(self.path, device=self.device, ema=self.ema)
        model, datasets = loaded.model, self._datasets("test")
        about = self._about(loaded, datasets)
        found = []
        for name, nodes in self.nodes.items():
            several = []
            for node in nodes:
                key = _digest({**about, "metric": name, "settings": node.plain()})
                record = known.get(key)
                if record is None:
                    started = time.perf_counter()
                    metric = bind("metric", node, f"METRICS.{name}")()
                    more = {}
                    if getattr(metric, "needs_training_images", False):
                        more = {"training": self._datasets("train")}
                    report: Report = metric.evaluate(
                        model, datasets, device=self.device, progress=progress, **more
                    )
                    record = Record(
                        key=key,
                        metric=name.lower(),
                        component=str(node.NAME),
                        settings=node.plain(),
                        seed=node.get("SEED"),
                        report=report,
                        seconds=round(time.perf_counter() - started, 2),
                        versions=_versions(),
                        **about,
                    )
                    known[key] = record
                    if out is not None:
                        add_to_results(out, record)
                elif progress is not None:
                    seed = "" if record.seed is None else f", seed {record.seed}"
                    progress(f"{name.lower()} of {self.run.folder}{seed}: in {out} already")
                several.append(record.report)
            report = self._noted(averaged(several), about, name, str(nodes[0].NAME))
            self._keep(name, report, about["iteration"])
            found.append(report)
        write_page(self.run.folder)
        return found

    def _datasets(self, split: str) -> dict[str, Dataset]:
        """The images of a split by domain."""
        found = {
            domain.name: bind("dataset", self.config.DATA)(domain, split)
            for domain in domains_of(self.config)
        }
        for dataset in found.values():
            dataset.prepare()
        return found

    def _about(self, loaded: Loaded, datasets: Mapping[str, Dataset]) -> dict[str, Any]:
        """What is scored: the run, its weights and its images."""
        without = self.own.plain()
        without.pop("METRICS", None)
        without.get("ENGINE", {}).pop("SEED", None)
        return {
            "run": str(self.run.folder),
            "recipe": str(self.own.MODEL.NAME),
            "iteration": loaded.iteration,
            "weights": loaded.weights,
            "model_sha256": _weights_digest(loaded.model),
            "config_sha256": self.own.digest(),
            "variant_sha256": _digest(without),
            "training_seed": engine_settings(self.own).seed,
            "data": {name: _fingerprint(dataset) for name, dataset in datasets.items()},
            "device": self.device,
        }

    def _noted(self, report: Report, about: Mapping[str, object], name: str, own: str) -> Report:
        note = f"iteration {about['iteration']:,}, {about['weights']} weights."
        details = {**report.details, **about, **_versions()}
        title = titled(report.title, name, own)
        return replace(report, title=title, notes=(*report.notes, note), details=details)

    def _keep(self, name: str, report: Report, iteration: int) -> None:
        folder = self.run.folder / "evaluation"
        folder.mkdir(exist_ok=True)
        stem = f"{name.lower()}_{iteration:08d}"
        write_text(folder / f"{stem}.json", report.to_json())
        write_text(folder / f"{stem}.md", report.markdown())


def _overrides(own: Config, choice: EvaluationChoice) -> list[str]:
    """Overrides of the run's config: metrics that it lacks, then the user's."""
    problems = [
        Problem(word.partition("=")[0], "evaluation changes METRICS and DATA alone", "command line")
        for word in choice.overrides
        if word.partition("=")[0].strip().split(".")[0] not in ("METRICS", "DATA")
    ]
    if problems:
        raise ConfigError(problems, source="of the run")
    words = []
    added = {word.partition("=")[0].strip() for word in choice.overrides}
    for name in choice.metrics:
        if name.upper() in own.METRICS or f"METRICS.{name.upper()}" in added:
            continue
        if name.lower() not in METRICS:
            names = dict.fromkeys([*(key.lower() for key in own.METRICS), *METRICS.list()])
            hint = suggest(name.lower(), names)
            raise UsageError(
                f"there is no metric {name!r}; the run's METRICS and the registry have "
                f"{', '.join(names)}. {hint}".rstrip()
            )
        words.append(f"METRICS.{name.upper()}={{NAME: {name.lower()}}}")
    if not choice.metrics and not own.METRICS and not choice.overrides:
        raise UsageError(
            f"the run's config has no METRICS; say which with --metrics: {', '.join(METRICS)}"
        )
    return [*words, *choice.overrides]


def _digest(data: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 of a model's weights, however they are stored."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _fingerprint(dataset: Any) -> dict[str, object]:
    """What tells these test images from others: names, number, size, the first and the last."""
    digest = hashlib.sha256()
    count = len(dataset)
    for index in range(count):
        digest.update(dataset.name(index).encode() + b"\0")
    first = dataset.test(0)
    for image in (first, dataset.test(count - 1)):
        digest.update(image.contiguous().numpy())
    return {"images": count, "shape": list(first.shape), "sha256": digest.hexdigest()}


def _versions() -> dict[str, str]:
    found = {"munit_zoo": __version__, "python": platform.python_version()}
    return found | {name: version for name in _LIBRARIES if (version := _version(name))}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
