"""What lies in a folder of runs, and a run's weights alone, to give away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from munit_zoo.config import engine_settings
from munit_zoo.engine.loading import load_model
from munit_zoo.engine.logs import by_term, read_log
from munit_zoo.engine.runs import Run, find_snapshot, provenance, read_newest
from munit_zoo.engine.snapshots import Snapshot, best_of
from munit_zoo.engine.state import imported
from munit_zoo.errors import MunitZooError, UsageError
from munit_zoo.models import TranslationModel

__all__ = ["Overview", "export_weights", "survey"]

State = Literal["training", "finished", "stopped", "no snapshot", "weights", "broken"]


@dataclass(frozen=True)
class Overview:
    """A run at a glance.

    state: `weights`, of an import or an export, which was never trained here.
    iteration: of the newest snapshot, or the last that was logged, whichever is later; of
    iterations in all. losses: the last logged, by term. best: the snapshot with the lowest loss by
    ENGINE.KEEP_BEST. size: bytes of all its files. problem: why it cannot be read, else "".
    """

    folder: Path
    state: State
    recipe: str = ""
    iteration: int = 0
    iterations: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    snapshots: int = 0
    best: int | None = None
    size: int = 0
    problem: str = ""


def survey(folder: Path) -> list[Overview]:
    """The runs in a folder, to any depth, by their names; the folder itself where it is one.

    Raises UsageError where there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    return [_overview(Run(path)) for path in _runs(folder)]


def _runs(folder: Path) -> Iterator[Path]:
    """Folders that are runs; nothing inside of one is looked at."""
    for place, below, files in os.walk(folder):
        if "config.yaml" in files and "run.json" in files:
            below.clear()
            yield Path(place)
        below.sort()


def _overview(run: Run) -> Overview:
    size = _size(run.folder)
    snapshots, log = run.snapshots(), read_log(run.folder)
    try:
        config, record = run.resolved().config, run.record()
        engine = engine_settings(config)
    except MunitZooError as error:
        return Overview(
            run.folder,
            "broken",
            snapshots=len(snapshots),
            size=size,
            problem=str(error).splitlines()[0],
        )
    last = log[-1] if log else {}
    iteration = max([last.get("iteration", 0), *(s.number for s in snapshots[-1:])])
    best = engine.keep_best
    found = None if best is None else best_of(snapshots, best)
    parts = {k: v for k, v in last.items() if "/" in k}
    state: State = "stopped" if snapshots else "no snapshot"
    if run.busy():
        state = "training"
    elif {"imported_from", "exported_from"} & set(record) and not log:
        state = "weights"
    elif snapshots and snapshots[-1].number >= engine.iterations:
        state = "finished"
    return Overview(
        run.folder,
        state,
        config.MODEL.NAME,
        iteration,
        engine.iterations,
        by_term(parts),
        len(snapshots),
        None if found is None else found.number,
        size,
    )


def export_weights(path: Path, out: Path, *, ema: bool = True) -> tuple[Run, int]:
    """A run of the weights that translate, and nothing else: no discriminators, optimizers, log.

    path: a run's folder (its newest snapshot) or a snapshot's. out: the new run. ema: the averaged
    weights where they were kept. `translate`, `evaluate`, `load_model` and `--init-from` take it;
    training cannot resume from it. Returns the run and its size in bytes.
    Raises CheckpointError for what is no run, UsageError where `out` holds something.
    """
    Run.refuse_used(out)
    source, _ = find_snapshot(path)
    resolved, record = source.resolved(), source.record()

    def read(_: Run, snapshot: Snapshot) -> tuple[int, dict[str, object], TranslationModel]:
        model = load_model(snapshot.folder, ema=ema)
        return snapshot.iteration, snapshot.info().get("facts", {}), model

    iteration, facts, model = read_newest(path, read)
    kept = {key: value for key, value in facts.items() if key in ("missing", "ways")}
    state = imported(iteration, list(model.networks()), model.state_dict(), facts=kept)
    origin = {"exported_from": str(path.resolve()), "plugins": record.get("plugins", [])}
    run = Run.create(out, resolved, origin)
    run.save(state, provenance(resolved))
    return run, _size(run.folder)


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
