"""From a call of `train` to everything that an iteration needs: what is asked for, what is resumed,
what is built, and the run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor

from munit_zoo.config import Config, Resolved, bind, domains_of, engine_settings, entry_of
from munit_zoo.config.settings import EngineSettings
from munit_zoo.data import Dataset
from munit_zoo.data.stream import Batches, epoch_of, notes_of
from munit_zoo.engine.acceleration import (
    check_acceleration,
    in_format,
    memory_format,
    set_rate,
)
from munit_zoo.engine.changes import INEXACT, Change, changes
from munit_zoo.engine.contradictions import check_engine
from munit_zoo.engine.devices import allow_unused_parameters
from munit_zoo.engine.logs import by_term
from munit_zoo.engine.runs import Run, find_snapshot, plugin_records
from munit_zoo.engine.signals import led
from munit_zoo.engine.snapshots import Snapshot
from munit_zoo.engine.state import Average, TrainingState, load_into
from munit_zoo.engine.step import Trainer, build_optimizers, draw_inputs
from munit_zoo.errors import DataError, UsageError, suggest
from munit_zoo.models import Objective, Rehearsal, TranslationModel, assemble, translating_networks
from munit_zoo.models.augmenting import PLACE

__all__ = ["Opening", "Rates", "Setup", "averaged", "open_training", "set_up"]


class _Schedule(Protocol):
    unit: str

    def factor(self, iteration: int, iterations: int, epoch: int = 1) -> float: ...


class Rates:
    """Learning rates: the config's, which optimizers are built with, times the schedule's factor.

    iterations: of the whole training. epoch: how many make an epoch.
    """

    def __init__(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        schedule: _Schedule,
        iterations: int,
        epoch: int = 1,
    ) -> None:
        self._optimizers = list(optimizers)
        self._initial = [[float(group["lr"]) for group in o.param_groups] for o in optimizers]
        self._schedule, self._iterations, self._epoch = schedule, iterations, epoch

    def set(self, iteration: int) -> float:
        """Set those of an iteration, counted from 0; the first optimizer's."""
        factor = self._schedule.factor(iteration, self._iterations, self._epoch)
        for optimizer, initial in zip(self._optimizers, self._initial, strict=True):
            for group, rate in zip(optimizer.param_groups, initial, strict=True):
                set_rate(group, rate * factor)
        return float(self._initial[0][0] * factor)


@dataclass(frozen=True)
class Opening:
    """What a call of `train` asks for.

    run: the one to go on with, None for a new one. snapshot: to go on from. init_from: to take
    weights from. changed: keys in which the config differs from that of the snapshot's run.
    """

    resolved: Resolved
    run: Run | None = None
    snapshot: Snapshot | None = None
    init_from: Path | None = None
    resume_from: Path | None = None
    changed: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def config(self) -> Config:
        return self.resolved.config

    @property
    def engine(self) -> EngineSettings:
        return engine_settings(self.config)


@dataclass
class Setup:
    """Everything that an iteration needs.

    epoch: iterations of an epoch, where a schedule counts in epochs.
    """

    run: Run
    state: TrainingState
    trainer: Trainer
    rates: Rates
    stream: Batches
    datasets: Mapping[str, Mapping[str, Dataset] | None]
    inputs: Inputs
    rehearsal: Rehearsal
    epoch: int | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Inputs:
    """What an iteration is fed: the batch's images and labels, and what is drawn.

    shapes: of one sample of each random input.
    """

    model: TranslationModel
    objective: Objective
    stream: Batches
    shapes: Mapping[str, tuple[int, ...]]
    seed: int
    batch_size: int
    device: torch.device
    layout: torch.memory_format

    def __call__(self, images: Mapping[str, Tensor], iteration: int) -> dict[str, Tensor]:
        drawn = draw_inputs(
            self.model,
            self.objective,
            self.shapes,
            seed=self.seed,
            iteration=iteration,
            first=self.stream.first,
            count=self.stream.count,
            batch_size=self.batch_size,
        )
        env = {k: v.to(self.device, non_blocking=True) for k, v in {**images, **drawn}.items()}
        return in_format(env, self.layout)


def open_training(
    folder: Path,
    resolved: Resolved | None,
    resume: bool,
    resume_from: Path | None,
    init_from: Path | None,
    force: bool,
) -> Opening:
    """The run to write to, its config, and what to start from."""
    if resume and resume_from is not None:
        raise UsageError(
            "--resume goes on in a run's own folder, --resume-from in a new one: give one of them"
        )
    if (resume or resume_from) and init_from is not None:
        raise UsageError("resuming goes on with a run's own weights: leave --init-from out")
    if not resume:
        Run.refuse_used(folder)
    if not resume and resume_from is None:
        if resolved is None:
            raise UsageError("name a config to train, or give --resume to go on with a run")
        return Opening(resolved, init_from=init_from)
    notes: list[str] = []
    if resume_from is not None or Run.open(folder).snapshots():
        source, snapshot = find_snapshot(resume_from or folder)
    else:
        source, snapshot = Run.open(folder), None
        init_from, began = (_recorded(source, key) for key in ("init_from", "resumed_from"))
        if began is not None:
            snapshot = find_snapshot(began)[1]
        origin = began or init_from or "iteration 0"
        notes.append(f"the run has no snapshot yet: it starts anew, from {origin}")
    own = source.resolved()
    changed = () if resolved is None else tuple(changes(own.config, resolved.config))
    refused = [str(change) for change in changed if not change.free]
    if refused and not force:
        raise UsageError(
            f"{source.folder} was trained with another config and cannot resume with this one: "
            f"{'; '.join(refused)}. Leave the config out to go on as before, go on all the same "
            f"with --force, or start a new run from its weights with --init-from {source.folder}"
        )
    resolved = resolved or own
    notes += [f"goes on with {change}" for change in changed]
    start = 0 if snapshot is None else snapshot.iteration
    notes += _schedule_notes(own.config, resolved.config, start)
    inexact = [change.key for change in changed if change.key in INEXACT]
    if inexact:
        notes.append(f"{' and '.join(inexact)}: the same maths, rounded otherwise from here on")
    run = source if resume else None
    return Opening(resolved, run, snapshot, init_from, resume_from, changed, tuple(notes))


def _recorded(run: Run, key: str) -> Path | None:
    path = run.record().get(key)
    return None if path is None else Path(path)


def _schedule_notes(old: Config, new: Config, start: int) -> list[str]:
    """Whether another number of iterations moves what follows a schedule that reckons by it: the
    learning rate, and weights of terms."""
    schedules = {"the learning rate": new.OPTIM.SCHEDULE}
    schedules |= {f"the weight of {term}": node.SCHEDULE for term, node in new.LOSSES.items()}
    return [
        note for what, node in schedules.items() for note in _moved(what, node, old, new, start)
    ]


def _moved(what: str, node: Config, old: Config, new: Config, start: int) -> list[str]:
    before, after = engine_settings(old).iterations, engine_settings(new).iterations
    schedule = bind("schedule", node)()
    some = {start, *range(start, max(before, after), max(1, (max(before, after) - start) // 50))}
    if all(schedule.factor(i, before) == schedule.factor(i, after) for i in some):
        return []
    was = schedule.factor(min(start, before - 1), before)
    return [
        f"ENGINE.ITERATIONS {before} -> {after} moves the schedule {node.NAME}: at "
        f"iteration {start} {what} is {schedule.factor(start, after):.4g} times the "
        f"config's; it was {was:.4g} times"
    ]


def stream_of(
    config: Config, objective: Objective, datasets: Mapping[str, Dataset], **options: Any
) -> Batches:
    """The batches of what a recipe's active terms read; raises DataError as `Batches` does.

    options: workers and processes, as `Batches` takes them.
    """
    model, engine = objective.model, engine_settings(config)
    letters = {letter: domain.name for letter, domain in model.letters.items()}
    return Batches(
        datasets,
        model.graph().inputs,
        letters or {name: name for name in datasets},
        seed=engine.seed,
        batch_size=engine.batch_size,
        want={slot.rstrip("'") for slot in objective.inputs},
        **options,
    )


def set_up(
    opening: Opening, fabric: Fabric, folder: Path, plugins: Sequence[Path], claims: ExitStack
) -> Setup:
    """From a config to all that an iteration needs; then, last, the run's folder."""
    config, engine = opening.config, opening.engine
    check_acceleration(config, fabric.device, fabric.world_size)
    check_engine(config, fabric.world_size)
    training = _datasets(config, "train")
    test, missing = _test_datasets(config)
    datasets = {"train": training, "test": test}
    sizes = {name: dataset.size for name, dataset in training.items()}
    model, objective, rehearsal = assemble(config, sizes, processes=fabric.world_size)
    stream = stream_of(
        config,
        objective,
        training,
        workers=engine.workers,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        pin_memory=fabric.device.type == "cuda",
    )
    if opening.init_from is not None:
        _start_from(model, opening.init_from)
    layout = memory_format(config, fabric.device)
    model.to(memory_format=layout)
    model.train()
    fabric.to_device(model)
    if rehearsal.partial:
        allow_unused_parameters(fabric)
    groups = build_optimizers(config, model, objective)
    schedule = bind("schedule", config.OPTIM.SCHEDULE)()
    epoch = epoch_of(training, model.graph().inputs, engine.batch_size)
    rates = Rates([group.optimizer for group in groups], schedule, engine.iterations, epoch)
    trainer = Trainer(
        fabric,
        model,
        objective,
        groups,
        iterations=engine.iterations,
        epoch=epoch,
        accumulate=engine.accumulate,
        on_nan=engine.on_nan,
    )
    optimizers = {group.name: group.optimizer for group in groups}
    average = averaged(config, model)
    state = TrainingState(
        model,
        list(model.networks()),
        objective.criteria,
        optimizers,
        average,
        scalers=trainer.scalers,
    )
    if opening.snapshot is not None:
        state.restore(opening.snapshot.read(), str(opening.snapshot.folder))
    trainer.accelerate(config)
    _check_best(config, objective)
    run = opening.run or Run(folder)
    notes = [*opening.notes, *_rehearsal_notes(rehearsal), *notes_of(training), *missing]
    if _counts_epochs(config):
        total = engine.iterations / epoch
        notes.append(f"schedules count epochs, of {epoch} iterations each: {total:.4g} in all")
    with led(fabric) as leader:
        if leader:
            notes += _claim(run, opening, state.iteration, datasets, plugins, claims)
    inputs = Inputs(
        model,
        objective,
        stream,
        rehearsal.draws,
        engine.seed,
        engine.batch_size,
        fabric.device,
        layout,
    )
    shown = epoch if _counts_epochs(config) else None
    return Setup(run, state, trainer, rates, stream, datasets, inputs, rehearsal, shown, notes)


def _counts_epochs(config: Config) -> bool:
    """Whether a schedule, of rates or of a term's weight, counts in epochs."""
    nodes = [config.OPTIM.SCHEDULE, *(term.SCHEDULE for term in config.LOSSES.values())]
    return any(getattr(bind("schedule", node)(), "unit", "") == "epochs" for node in nodes)


def _check_best(config: Config, objective: Objective) -> None:
    """Raises UsageError where ENGINE.KEEP_BEST is no loss that is logged."""
    best = engine_settings(config).keep_best
    parts = [
        f"{update.name}/{use.term}/{use.label}"
        for update, uses in zip(objective.graph.updates, objective.uses, strict=True)
        for use in uses
    ]
    totals = [f"{update.name}/total" for update in objective.graph.updates]
    known = [*by_term(dict.fromkeys(parts, 0.0)), *totals, *parts]
    if best is not None and best not in known:
        hint = suggest(best, known) or f"Choose of {', '.join(known)}."
        raise UsageError(f"ENGINE.KEEP_BEST: no loss {best!r} is logged. {hint}")


def averaged(config: Config, model: TranslationModel) -> Average | None:
    """The average that ENGINE asks for: of the networks that the recipe says, else of all that
    translate."""
    engine = engine_settings(config)
    kept = translating_networks(model)
    decays = {}
    for path in kept:
        if model.averaged is None or {path, path.rpartition(".")[2]} & set(model.averaged):
            decay = entry_of(engine.ema_networks, path, default=engine.ema)
            if decay is not None:
                decays[path] = decay
    if not decays:
        return None
    others = [network for path, network in model.networks().items() if path not in kept]
    return Average(
        model, kept, decays, others=others, warm_up=engine.ema_warmup, start=engine.ema_start
    )


def _claim(
    run: Run,
    opening: Opening,
    iteration: int,
    datasets: Mapping[str, Mapping[str, Dataset] | None],
    plugins: Sequence[Path],
    claims: ExitStack,
) -> list[str]:
    """Make the run's folder this training's own, as it is at an iteration; notes on it."""
    if opening.run is None:
        Run.refuse_used(run.folder)
    claims.enter_context(run.locked())
    data = {
        split: None if found is None else {name: d.describe() for name, d in found.items()}
        for split, found in datasets.items()
    }
    if opening.run is None:
        origins = {"init_from": opening.init_from, "resumed_from": opening.resume_from}
        record = {
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "torch": torch.__version__,
            "plugins": plugin_records(plugins),
            **{key: None if p is None else str(p.resolve()) for key, p in origins.items()},
            "data": data,
        }
        Run.create(run.folder, opening.resolved, record)
        return []
    if run.snapshots() and run.newest().iteration != iteration:
        raise UsageError(
            f"another process went on with {run.folder} meanwhile: give --resume again"
        )
    run.clean()
    run.rewind(iteration)
    notes = run.goes_on_with(plugins, iteration)
    notes += _data_notes(run, data)
    if opening.changed:
        run.changes_to(opening.resolved, opening.changed, iteration)
    return notes


def _data_notes(run: Run, data: Mapping[str, Any]) -> list[str]:
    """What is not as it was when the run was made; the record is of now, then."""
    record = run.record()
    before = (record.get("data") or {}).get("train") or {}
    notes = []
    for name, found in (data["train"] or {}).items():
        was, is_now = (d.get("images") for d in (before.get(name, {}), found))
        if was is not None and was != is_now:
            notes.append(
                f"domain {name.upper()} has {is_now} training images and had {was}: which come "
                "when is another order from here on"
            )
    if data != record.get("data"):
        run.write_record({**record, "data": data})
    return notes


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


def _rehearsal_notes(rehearsal: Rehearsal) -> list[str]:
    return [f"frozen, as no active term reaches it: {n}" for n in rehearsal.unreached_networks()]


def _start_from(model: TranslationModel, path: Path) -> None:
    """Weights of another run: averaged ones where they were kept. Networks that another project's
    checkpoint did not hold, and those that only judge, may be missing and stay as they are; what
    only augmentations keep is left out where the model has none."""
    _, snapshot = find_snapshot(path)
    captured = snapshot.read("networks", "average")
    weights = {**captured.part("networks"), **captured.part("average")}
    needed = set(translating_networks(model)) - set(captured.facts.get("missing", []))
    for own, network in model.networks().items():
        if own not in needed and not any(name.startswith(f"{own}.") for name in weights):
            weights |= {f"{own}.{name}": value for name, value in network.state_dict().items()}
    own_names = model.state_dict()
    weights = {  # what only AUGMENT keeps has no place in a model without
        name: value
        for name, value in weights.items()
        if name in own_names or not name.startswith(f"{PLACE}.")
    }
    load_into(model, weights, str(snapshot.folder))
