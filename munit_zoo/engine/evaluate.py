"""Evaluation: a run's metrics, written into the run."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from munit_zoo._version import __version__
from munit_zoo.config import bind, domains_of
from munit_zoo.engine.devices import choose_device
from munit_zoo.engine.page import write_page
from munit_zoo.engine.runs import find_snapshot, load_model, write_text
from munit_zoo.errors import UsageError
from munit_zoo.metrics import Report

__all__ = ["evaluate"]


def evaluate(
    path: Path,
    *,
    metrics: tuple[str, ...] = (),
    device: str = "auto",
    progress: Callable[[str], None] | None = None,
) -> list[Report]:
    """Reports of the metrics of a run's config on its newest snapshot, or on one that is given.

    metrics: which of the config's METRICS, all by default. Each report is written to
    `evaluation/<metric>_<iteration>.json` in the run, and its page made anew.
    Raises UsageError where the config has no such metric, and whatever a metric raises.
    """
    run, snapshot = find_snapshot(path)
    config = run.resolved().config
    chosen = {
        name: node
        for name, node in config.METRICS.items()
        if not metrics or name.lower() in metrics
    }
    if not chosen:
        known = ", ".join(config.METRICS).lower() or "none"
        raise UsageError(f"the run's config has no such metric; it has {known} (METRICS)")
    where = choose_device(device)
    model = load_model(path, device=where)
    datasets = {d.name: bind("dataset", config.DATA)(d, "test") for d in domains_of(config)}
    for dataset in datasets.values():
        dataset.prepare()
    reports = []
    for name, node in chosen.items():
        report: Report = bind("metric", node)().evaluate(
            model, datasets, device=where, progress=progress
        )
        iteration = snapshot.iteration
        note = (
            f"iteration {iteration:,}, {'averaged' if snapshot.has('average') else 'last'} weights."
        )
        details = {
            **report.details,
            "iteration": iteration,
            "config_sha256": config.digest(),
            "munit_zoo": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": where,
        }
        report = replace(report, notes=(*report.notes, note), details=details)
        folder = run.folder / "evaluation"
        folder.mkdir(exist_ok=True)
        write_text(folder / f"{name.lower()}_{iteration:08d}.json", report.to_json())
        write_text(folder / f"{name.lower()}_{iteration:08d}.md", report.markdown())
        reports.append(report)
    write_page(run.folder)
    return reports
