"""Training: a flat loop from a config to a run."""

from __future__ import annotations

import copy
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from munit_zoo.config import Config, Resolved, bind, domains_of
from munit_zoo.data import Dataset
from munit_zoo.data.seeding import rng
from munit_zoo.data.stream import Batches, notes_of
from munit_zoo.engine.acceleration import (
    check_acceleration,
    in_format,
    memory_format,
    set_rate,
)
from munit_zoo.engine.devices import leave_group, make_fabric
from munit_zoo.engine.runs import (
    Run,
    Snapshot,
    find_snapshot,
    load_weights,
    plugin_records,
    same_training,
)
from munit_zoo.engine.session import Progress, Session, Silent, criteria_state, truncate_log
from munit_zoo.engine.step import Trainer, build_optimizers, draw_noise, optimizer_nodes
from munit_zoo.errors import CheckpointError, DataError, UsageError
from munit_zoo.inputs import Image
from munit_zoo.models import Objective, TranslationModel, assemble

__all__ = ["Progress", "Silent", "TrainingEnd", "train"]


@dataclass(frozen=True)
class TrainingEnd:
    """How training ended: after how many iterations in total, and whether it was interrupted.

    leader: whether this process is the one that writes and speaks.
    """

    run: Run
    iteration: int
    interrupted: bool
    seconds: float
    leader: bool = True


def train(
    resolved: Resolved | None,
    folder: Path,
    *,
    resume: bool = False,
    resume_from: Path | None = None,
    init_from: Path | None = None,
    device: str = "auto",
    devices: int = 1,
    plugins: Sequence[Path] = (),
    progress: Progress | None = None,
) -> TrainingEnd:
    """Train the model of a config in a run's folder.

    resolved: the config; None, with `resume` or `resume_from`, for that run's own.
    resume: go on from the newest snapshot; everything is as if training had never stopped.
    resume_from: the same from any snapshot, of any run, in a new run's folder.
    init_from: a run or snapshot whose weights to start from, and nothing else.
    device: `auto`, `cpu`, `cuda` or `mps`. devices: number of processes, one device each.
    plugins: local files whose components are in use, for the run's record.

    Ctrl-C (or SIGTERM) ends after the iteration in progress and saves a snapshot; so does an
    image that cannot be used.
    Raises UsageError, ConfigError, DataError or CheckpointError, each before anything is written,
    and DataError or UsageError during training (an unreadable image, a loss that is not finite).
    """
    progress = progress or Silent()
    run, resolved, snapshot = _open(folder, resolved, resume, resume_from, init_from)
    config = resolved.config
    fabric = make_fabric(device, config.ENGINE.PRECISION, devices=devices)
    fabric.launch()
    check_acceleration(config, fabric.device, fabric.world_size)
    leader = fabric.is_global_zero
    if not leader:
        progress = Silent()
    training = _datasets(config, "train")
    test, missing = _test_datasets(config)
    datasets = {"train": training, "test": test}
    sizes = {name: dataset.size for name, dataset in training.items()}
    model, objective, rehearsal = assemble(config, sizes, processes=fabric.world_size)
    if init_from is not None:
        _start_from(model, init_from)
    if run is None:
        record = _record(datasets, resume_from or init_from, plugins)
        if leader:
            run = Run.create(folder, resolved, record)
        fabric.barrier()
        run = run or Run.open(folder)

    layout = memory_format(config, fabric.device)
    model.to(memory_format=layout)  # type: ignore[call-overload]
    model.train()
    fabric.to_device(model)
    optimizers = build_optimizers(config, model, objective)
    trainer = Trainer(fabric, model, objective, optimizers)
    averaged = _average(model) if config.ENGINE.EMA is not None else None
    start = 0
    if snapshot is not None:
        start = _restore(snapshot, model, objective, optimizers, averaged)
        truncate_log(run, start)
    session = None
    if leader:
        session = Session(run, config, model, averaged, objective, optimizers, datasets, progress)
    notes = [f"frozen, as no active term reaches it: {n}" for n in rehearsal.unreached_networks()]
    notes += notes_of(training) + missing
    if leader and resume:
        notes += run.goes_on_with(plugins, start)
    progress.started(start, config.ENGINE.ITERATIONS, str(fabric.device), notes)
    schedule = bind("schedule", config.OPTIM.SCHEDULE)()
    rates = [[group["lr"] for group in o.param_groups] for o in _base_rates(config, optimizers)]
    trainer.accelerate(config)

    stream = Batches(
        training,
        {f"x_{name}": Image(name) for name in training},
        {name: name for name in training},
        seed=config.ENGINE.SEED,
        batch_size=config.ENGINE.BATCH_SIZE,
        workers=config.ENGINE.WORKERS,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        pin_memory=fabric.device.type == "cuda",
    )
    total = config.ENGINE.ITERATIONS
    began = time.perf_counter()
    iteration = start
    with _interruptible() as stop:
        if session is not None and start == 0:
            session.grid(0)
        batches = _saved_at_the_end(stream.batches(start, total), session, start)
        for iteration, batch in enumerate(batches, start=start):
            _seed_everything(config.ENGINE.SEED, iteration, fabric.global_rank)
            factor = schedule.factor(iteration, total)
            for optimizer, initial in zip(optimizers, rates, strict=True):
                for group, rate in zip(optimizer.param_groups, initial, strict=True):
                    set_rate(group, rate * factor)
            env = {
                **batch,
                **draw_noise(
                    model,
                    objective,
                    sizes,
                    seed=config.ENGINE.SEED,
                    iteration=iteration,
                    first=stream.first,
                    count=stream.count,
                ),
            }
            env = {k: v.to(fabric.device, non_blocking=True) for k, v in env.items()}
            env = in_format(env, layout)
            parts = trainer.step(env)
            if averaged is not None:
                _update_average(averaged, model, config.ENGINE.EMA)
            done = iteration + 1
            ending = done == total or _agreed(fabric, stop)
            if done % config.ENGINE.LOG_EVERY == 0 or ending:
                values: Any = fabric.all_reduce(parts, reduce_op="mean")
                if session is not None:
                    session.log(done, values, factor * rates[0][0])
            if session is not None:
                progress.advanced(done)
                if (
                    config.ENGINE.GRID_EVERY and done % config.ENGINE.GRID_EVERY == 0
                ) or done == total:
                    session.grid(done)
                every = config.ENGINE.SNAPSHOT_EVERY
                if ending or (every and done % every == 0):
                    session.save(done)
            if ending:
                break
    if session is not None:
        session.close()
    leave_group(fabric)
    done = iteration + 1 if total > start else start
    interrupted = stop.is_set() and done < total
    return TrainingEnd(run, done, interrupted, time.perf_counter() - began, leader)


def _open(
    folder: Path,
    resolved: Resolved | None,
    resume: bool,
    resume_from: Path | None,
    init_from: Path | None,
) -> tuple[Run | None, Resolved, Snapshot | None]:
    """The run to write to, or None for a new one; its config; the snapshot to go on from."""
    if (resume or resume_from) and init_from is not None:
        raise UsageError("resuming goes on with a run's own weights: leave --init-from out")
    if not resume:
        Run.refuse_used(folder)
    if not resume and resume_from is None:
        if resolved is None:
            raise UsageError("name a config to train, or give --resume to go on with a run")
        return None, resolved, None
    source, snapshot = find_snapshot(resume_from or folder)
    own = source.resolved()
    run = source if resume else None
    if resolved is None:
        return run, own, snapshot
    changed = same_training(own.config, resolved.config)
    if changed:
        raise UsageError(
            f"{source.folder} was trained with another config and cannot resume with this one: "
            f"{'; '.join(changed)}. Leave the config out to go on as before, or start a new run "
            f"from its weights with --init-from {source.folder}"
        )
    return run, resolved, snapshot


def _datasets(config: Config, split: str) -> dict[str, Dataset]:
    """A split's datasets, prepared. Raises DataError where a domain has no image."""
    factory = bind("dataset", config.DATA)
    datasets: dict[str, Dataset] = {}
    for domain in domains_of(config):
        dataset = datasets[domain.name] = factory(domain, split)
        dataset.prepare()
        if not len(dataset):
            raise DataError(f"domain {domain.name.upper()} has no {split} image")
    return datasets


def _test_datasets(config: Config) -> tuple[dict[str, Dataset] | None, list[str]]:
    """The test split, or None with a note why: training goes without."""
    try:
        return _datasets(config, "test"), []
    except DataError as error:
        return None, [f"no test images, so that grids show training images: {error}"]


def _record(
    datasets: Mapping[str, Mapping[str, Dataset] | None],
    init_from: Path | None,
    plugins: Sequence[Path],
) -> dict[str, Any]:
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "torch": torch.__version__,
        "plugins": plugin_records(plugins),
        "init_from": None if init_from is None else str(init_from),
        "data": {
            split: None
            if found is None
            else {name: dataset.describe() for name, dataset in found.items()}
            for split, found in datasets.items()
        },
    }


def _start_from(model: TranslationModel, path: Path) -> None:
    """Weights of another run: averaged ones where they were kept."""
    _, snapshot = find_snapshot(path)
    part = "ema" if snapshot.has("ema") else "generators"
    load_weights(model.generators, snapshot.weights(part), f"{snapshot.folder} ({part})")
    if snapshot.has("discriminators"):
        weights = snapshot.weights("discriminators")
        load_weights(model.discriminators, weights, f"{snapshot.folder} (discriminators)")


def _restore(
    snapshot: Snapshot,
    model: TranslationModel,
    objective: Objective,
    optimizers: Sequence[torch.optim.Optimizer],
    averaged: TranslationModel | None,
) -> int:
    """Everything as it was when the snapshot was taken; the iteration to go on with."""
    label = str(snapshot.folder)
    state = snapshot.training_state()
    load_weights(model.generators, snapshot.weights("generators"), f"{label} (generators)")
    load_weights(
        model.discriminators, snapshot.weights("discriminators"), f"{label} (discriminators)"
    )
    if averaged is not None:
        load_weights(averaged.generators, snapshot.weights("ema"), f"{label} (ema)")
    own = criteria_state(objective)
    if own:
        saved = snapshot.weights("losses")
        if set(saved) != set(own):
            raise CheckpointError(f"{label}: its criteria have other parameters than the config's")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(saved[name])
    try:
        for optimizer, saved_state in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved_state)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"the optimizer state of {label} does not fit: {error}") from error
    return snapshot.iteration


def _average(model: TranslationModel) -> TranslationModel:
    averaged = copy.deepcopy(model)
    averaged.discriminators.clear()  # never used, and as large as the generators
    return averaged.requires_grad_(False).eval()


@torch.no_grad()
def _update_average(averaged: TranslationModel, model: TranslationModel, decay: float) -> None:
    """averaged = decay · averaged + (1 - decay) · weights; buffers are taken over."""
    ours: list[Tensor] = list(averaged.generators.parameters())
    torch._foreach_lerp_(ours, list(model.generators.parameters()), 1 - decay)
    for mine, theirs in zip(averaged.generators.buffers(), model.generators.buffers(), strict=True):
        mine.copy_(theirs)


def _saved_at_the_end(
    batches: Iterator[dict[str, Tensor]], session: Session | None, start: int
) -> Iterator[dict[str, Tensor]]:
    """The batches; where the next cannot be made, what was trained is saved first."""
    done = start
    try:
        for batch in batches:
            yield batch
            done += 1
    except DataError as error:
        if session is None or done == start:
            raise
        saved = session.save(done).folder
        session.close()
        raise DataError(
            f"{error}. Training stopped after iteration {done} and saved {saved}: go on with "
            "--resume once the image is mended or out of the way"
        ) from error


def _base_rates(
    config: Config, optimizers: Sequence[torch.optim.Optimizer]
) -> list[torch.optim.Optimizer]:
    """The optimizers with the config's learning rates, not those of a restored schedule."""
    for optimizer, node in zip(optimizers, optimizer_nodes(config), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = node.LR
            if "capturable" in group:  # as a snapshot's run had it
                group["capturable"] = False
    return list(optimizers)


def _seed_everything(seed: int, iteration: int, rank: int) -> None:
    """Chance inside components (dropout and the like) as a function of the iteration, too."""
    key = int(rng("components", seed, iteration, rank).integers(2**62))
    torch.manual_seed(key)
    random.seed(key)
    np.random.seed(key % 2**32)  # for components that draw from NumPy's global generator


def _agreed(fabric: Fabric, stop: threading.Event) -> bool:
    """Whether any process was asked to stop: all of them must end at the same iteration."""
    if fabric.world_size == 1:
        return stop.is_set()
    asked: Any = fabric.all_reduce(torch.tensor(float(stop.is_set())), reduce_op="sum")
    if asked > 0:
        stop.set()
    return bool(asked > 0)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; a second Ctrl-C ends at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
