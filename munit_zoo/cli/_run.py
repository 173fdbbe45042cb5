"""Commands that work: train, translate, evaluate, import."""

from __future__ import annotations

import argparse
import math
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from munit_zoo.cli._told import told
from munit_zoo.errors import counted, duration, sized

if TYPE_CHECKING:
    from munit_zoo.engine.importing import Imported


class _Bar:
    """Training's progress in the terminal; lines, where there is no terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}", markup=False),
            console=self.console,
            transient=False,
        )
        self.live = self.console.is_terminal
        self.task: Any = None
        self.iterations, self.told = 0, 0

    def started(self, start: int, iterations: int, device: str, notes: Sequence[str]) -> None:
        self.iterations = iterations
        what = f"training on {device}, iteration {start} to {iterations}"
        if start >= iterations:
            what = f"nothing to train: {start} iterations are done, of {iterations}"
        self._print(what)
        for note in notes:
            self._print(f"  {note}", style="dim")
        if self.live:
            self.bar.start()
            self.task = self.bar.add_task("", total=iterations, completed=start, losses="")

    def advanced(self, iteration: int) -> None:
        if self.live:
            self.bar.update(self.task, completed=iteration)

    def logged(
        self, iteration: int, losses: Mapping[str, float], speed: float, left: float
    ) -> None:
        text = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        text += f" · {speed:.1f} img/s" if math.isfinite(speed) else ""
        if self.live:
            self.bar.update(self.task, losses=text)
        elif iteration - self.told >= max(1, self.iterations // 20):
            self.told = iteration
            if math.isfinite(left) and iteration < self.iterations:
                text += f" · {duration(left)} left"
            self._print(f"{iteration}/{self.iterations} {text}")

    def saved(self, snapshot: Path) -> None:
        if not self.live:
            self._print(f"saved {snapshot}")

    def stop(self) -> None:
        if self.live:
            self.bar.stop()

    def _print(self, text: str, style: str | None = None) -> None:
        # names of files may look like markup
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def train(chosen: argparse.Namespace) -> int:
    """`munit-zoo train`."""
    from munit_zoo.engine.runs import resolve_config

    name, overrides = chosen.config, list(chosen.overrides)
    if name is not None and "=" in name and not name.endswith((".yaml", ".yml")):
        overrides.insert(0, name)
        name = None
    if name is None and overrides and (chosen.resume or chosen.resume_from):
        name = _own_config(chosen.resume_from or chosen.folder)  # the run's own, varied
    resolved = None if name is None else resolve_config(name, overrides)
    from munit_zoo.engine.signals import RESUME_ME
    from munit_zoo.engine.train import train as run_training

    bar = _Bar()
    try:
        end = run_training(
            resolved,
            chosen.folder,
            resume=chosen.resume,
            resume_from=chosen.resume_from,
            init_from=chosen.init_from,
            device=chosen.device,
            devices=chosen.devices,
            nodes=chosen.nodes,
            plugins=chosen.plugin or (),
            progress=bar,
            force=chosen.force,
        )
    finally:
        bar.stop()
    if not end.leader:
        return 0
    state = "stopped and saved at" if end.interrupted else "done:"
    print(f"{state} iteration {end.iteration}, {duration(end.seconds)}")
    if end.interrupted:
        print(f"go on with: munit-zoo train --run {shlex.quote(str(chosen.folder))} --resume")
    print(f"page: {end.run.folder / 'index.html'}")
    return RESUME_ME if end.interrupted else 0


def _own_config(path: Path) -> str:
    """The config of the run that a run's or snapshot's folder belongs to."""
    from munit_zoo.engine.runs import Run

    snapshot = (path / "snapshot.json").is_file()
    return str(Run.open(path.resolve().parent.parent if snapshot else path).folder / "config.yaml")


def translate(chosen: argparse.Namespace) -> None:
    """`munit-zoo translate`."""
    from munit_zoo.engine.translate import StyleChoice, translate_files

    styles = StyleChoice(
        count=chosen.styles,
        images=tuple(chosen.style_image),
        mean=chosen.mean_style,
        interpolate=chosen.interpolate,
        same=chosen.same_styles,
        seed=chosen.seed,
    )
    console = Console(stderr=True)
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=None)
        done = translate_files(
            chosen.path,
            chosen.inputs,
            chosen.to,
            source=chosen.source,
            styles=styles,
            out=chosen.out,
            size=chosen.size,
            grid=chosen.grid,
            overwrite=chosen.overwrite,
            device=chosen.device,
            ema=chosen.ema,
            progress=lambda count, total: bar.update(task, completed=count, total=total),
        )
    count = sum(len(files) for files in done.files.values())
    images = counted(len(done.files), "image")
    print(f"{counted(count, 'translation')} of {images} in {done.folder}")
    if done.grid is not None:
        print(f"grid: {done.grid}")
    for note in done.notes:
        print(f"note: {note}")


def evaluate(chosen: argparse.Namespace) -> None:
    """`munit-zoo evaluate`."""
    from munit_zoo.engine.evaluate import EvaluationChoice
    from munit_zoo.engine.evaluate import evaluate as run_evaluation
    from munit_zoo.engine.runs import find_snapshot

    words = [*chosen.paths, *chosen.overrides]
    paths = [Path(word) for word in words if "=" not in word or Path(word).exists()]
    overrides = tuple(word for word in words if Path(word) not in paths)
    overrides += tuple(word for word in chosen.metrics if "=" in word)  # behind --metrics
    choice = EvaluationChoice(
        metrics=tuple(word for word in chosen.metrics if "=" not in word),
        overrides=overrides,
        inputs=chosen.inputs,
        styles=chosen.styles,
        seeds=tuple(chosen.seeds),
        ema=chosen.ema,
    )
    with told() as tell:
        reports = run_evaluation(
            paths,
            choice,
            weights=chosen.weights_dir,
            download=chosen.download,
            device=chosen.device,
            out=chosen.out,
            progress=tell,
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    for report in reports:
        run = f" · {report.details['run']}" if len(paths) > 1 else ""
        table = Table(title=report.title + run, title_justify="left")
        table.add_column("", no_wrap=True)
        for column in report.columns:
            table.add_column(column, justify="right")
        for row in report.rows:
            if row.heading:
                table.add_section()
            table.add_row(row.name, *row.cells, style="bold" if row.heading or row.model else None)
        console.print(table)
        for note in report.notes:
            console.print(note, style="dim", highlight=False, soft_wrap=True)
    for path in paths:
        print(f"page: {find_snapshot(path)[0].folder / 'index.html'}")
    if chosen.out is not None:
        print(f"results: {chosen.out} (munit-zoo report {chosen.out})")


def report(chosen: argparse.Namespace) -> None:
    """`munit-zoo report`."""
    from munit_zoo.engine.results import read_results, render, tables
    from munit_zoo.errors import UsageError

    records = []
    for file in chosen.results:
        found = read_results(file)
        if not found:
            raise UsageError(f"{file} holds no results" if file.exists() else f"no file {file}")
        records += found
    text = render(tables(records, separate=chosen.separate), chosen.form)
    if chosen.out is None:
        print(text, end="")
    else:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(text, encoding="utf-8")
        print(f"report: {chosen.out}")


def train_classifier(chosen: argparse.Namespace) -> None:
    """`munit-zoo classifier train`."""
    from munit_zoo.engine.classifier import ClassifierSettings
    from munit_zoo.engine.classifier import train_classifier as run_training
    from munit_zoo.weights import looking_in

    settings = ClassifierSettings(
        model=chosen.model,
        weights=chosen.weights,
        size=chosen.size,
        epochs=chosen.epochs,
        batch=chosen.batch,
        rate=chosen.rate,
        head_only=chosen.head_only,
        seed=chosen.seed,
    )
    with looking_in(*chosen.weights_dir), told() as tell:
        done = run_training(
            chosen.folder,
            chosen.out,
            settings,
            device=chosen.device,
            overwrite=chosen.overwrite,
            progress=tell,
        )
    classes = ", ".join(f"{name} ({count})" for name, count in done.classes.items())
    print(f"{len(done.classes)} classes: {classes}")
    print(f"accuracy on held-out images: {done.accuracy:.3f}")
    print(f"{done.file}, SHA-256 {done.sha256}")
    print(f"use it with: munit-zoo evaluate RUN --metrics cis METRICS.CIS.CLASSIFIER={done.file}")


def perceptual_study(chosen: argparse.Namespace) -> None:
    """`munit-zoo perceptual-study`."""
    from munit_zoo.engine.perceptual_study import LAYERS
    from munit_zoo.engine.perceptual_study import perceptual_study as run_study
    from munit_zoo.weights import looking_in

    with looking_in(*chosen.weights_dir, download=chosen.download), told() as tell:
        study = run_study(
            chosen.folder_a,
            chosen.folder_b,
            chosen.scenes,
            chosen.out,
            layers=chosen.layers or LAYERS,
            weights=chosen.vgg,
            size=tuple(chosen.size) if chosen.size else None,
            device=chosen.device,
            progress=tell,
        )
    pairs = study.about["pairs"]
    print(
        f"share of {pairs['same_scene']} pairs (same scene, other domain) that are closer than "
        f"{pairs['same_domain']} pairs (same domain, other scene):"
    )
    print(study.markdown(), end="")
    print(f"page: {chosen.out / 'index.html'}")


def runs(chosen: argparse.Namespace) -> int:
    """`munit-zoo runs`. Exit status 2 where some run cannot be read."""
    from munit_zoo.engine.inventory import survey

    found = survey(chosen.folder)
    if not found:
        print(f"no run in {chosen.folder}")
        return 0
    table = Table(box=None, pad_edge=False, show_edge=False)
    for column in ("run", "state", "recipe", "iteration", "snapshots", "size", "last losses"):
        right = column in ("iteration", "snapshots", "size")
        table.add_column(column, justify="right" if right else "left", no_wrap=not right)
    for one in found:
        inside = one.folder.relative_to(chosen.folder)
        table.add_row(
            Text(str(one.folder if inside == Path() else inside)),
            one.state,
            one.recipe,
            f"{one.iteration} of {one.iterations}" if one.iterations else "",
            f"{one.snapshots}, best {one.best}" if one.best is not None else f"{one.snapshots}",
            sized(one.size),
            " ".join(f"{name} {value:.3g}" for name, value in one.losses.items()),
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    broken = [one for one in found if one.problem]
    for one in broken:
        print(f"{one.folder}: {one.problem}", file=sys.stderr)
    return 2 if broken else 0


def pack(chosen: argparse.Namespace) -> None:
    """`munit-zoo pack`."""
    from munit_zoo.data.webdataset import pack as run_packing
    from munit_zoo.errors import UsageError

    if not 0 < chosen.megabytes < math.inf:
        raise UsageError(f"--megabytes {chosen.megabytes:g}: a size above 0 is due")
    for group, (images, shards) in run_packing(
        chosen.folder, chosen.out, megabytes=chosen.megabytes
    ).items():
        print(f"{group or '.'}: {counted(images, 'image')} in {counted(shards, 'shard')}")
    print(f"train on them with: 'DATA={{NAME: webdataset, ROOT: {chosen.out}, …}}'")


def weights(chosen: argparse.Namespace) -> None:
    """`munit-zoo weights`."""
    from munit_zoo.engine.inventory import export_weights

    run, size = export_weights(chosen.path, chosen.out, ema=not chosen.no_ema)
    print(f"{sized(size)} in {run.folder}: translate, evaluate and --init-from take it")


def samples(chosen: argparse.Namespace) -> None:
    """`munit-zoo samples`."""
    from munit_zoo.engine.runs import resolve_config
    from munit_zoo.engine.samples import write_samples

    config = resolve_config(chosen.config, chosen.overrides).config
    files = write_samples(
        config, chosen.domain.lower(), chosen.out, split=chosen.split, count=chosen.count
    )
    print(f"{counted(len(files), 'image')} in {chosen.out}")


def import_nvlabs(chosen: argparse.Namespace) -> None:
    """`munit-zoo import nvlabs`."""
    from munit_zoo.engine.importing import import_nvlabs as run_import

    done = run_import(
        chosen.gen,
        chosen.out,
        dis=chosen.dis,
        optimizer=chosen.optimizer,
        config=chosen.config,
        overrides=chosen.overrides,
        plugins=chosen.plugin or (),
    )
    _tell_imported(done)


def import_checkpoint(chosen: argparse.Namespace) -> None:
    """`munit-zoo import` of a system in the table of `interop.systems`."""
    from munit_zoo.engine.importing import import_checkpoint as run_import

    overrides = [word for word in chosen.files if _OVERRIDE.match(word)]
    done = run_import(
        chosen.system,
        [Path(word) for word in chosen.files if word not in overrides],
        chosen.out,
        options=chosen.options,
        overrides=[*overrides, *chosen.overrides],
        plugins=chosen.plugin or (),
    )
    _tell_imported(done)


_OVERRIDE = re.compile(r"[A-Z][A-Z0-9_.]*=")


def _tell_imported(done: Imported) -> None:
    at = f" at iteration {done.iteration}" if done.iteration else ""
    print(f"imported {done.recipe}{at} into {done.run.folder}")
    for note in done.notes:
        print(f"note: {note}")
    _, target = done.ways[0]
    run = shlex.quote(str(done.run.folder))
    print(f"translate with: munit-zoo translate {run} IMAGE --to {target}")
