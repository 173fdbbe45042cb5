"""One cell of an ablation on disk: trained, scored, resumed, or reported as failed.

`cells/<key>/` of the plan's folder holds `run/` (a run as any other), `results.json` (its scores)
and `cell.json` (how far it is). `cell.lock` is held by the process that works on it.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from munit_zoo.comparison.plan import Cell, Plan
from munit_zoo.config import engine_settings
from munit_zoo.engine.evaluate import EvaluationChoice, evaluate
from munit_zoo.engine.files import write_text
from munit_zoo.engine.locks import Busy, holding
from munit_zoo.engine.results import Record, read_results
from munit_zoo.engine.runs import Run
from munit_zoo.engine.session import Silent
from munit_zoo.engine.train import train
from munit_zoo.errors import MunitZooError, duration
from munit_zoo.weights import looking_in

__all__ = ["CellFolder", "Outcome", "Work", "work_on"]

Outcome = Literal["done", "kept", "busy", "interrupted", "failed"]


@dataclass(frozen=True)
class Work:
    """How cells are worked on, whichever process does it."""

    device: str = "auto"
    weights: tuple[Path, ...] = ()
    download: bool = False
    plugins: tuple[Path, ...] = ()
    tell: Callable[[str], None] = field(default=lambda text: None, repr=False, compare=False)


@dataclass(frozen=True)
class CellFolder:
    """Where a cell is kept."""

    folder: Path
    cell: Cell

    @classmethod
    def of(cls, out: Path, cell: Cell) -> CellFolder:
        return cls(out / "cells" / cell.key, cell)

    @property
    def run(self) -> Run:
        return Run(self.folder / "run")

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    def state(self) -> dict[str, Any]:
        """What `cell.json` says; nothing where there is none, or a damaged one."""
        try:
            found = json.loads((self.folder / "cell.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def note(self, **state: object) -> None:
        """Write `cell.json`."""
        known = {"variant": self.cell.variant.name, "seed": self.cell.seed}
        write_text(self.folder / "cell.json", json.dumps({**known, **state}, indent=1) + "\n")

    def iteration(self) -> int:
        """How far it is trained."""
        try:
            return self.run.newest().iteration
        except MunitZooError:
            return 0

    @property
    def trained(self) -> bool:
        return self.iteration() >= engine_settings(self.cell.config).iterations

    def finished(self, plan: Plan) -> bool:
        """Whether it is trained, and scored as the plan asks."""
        state = self.state()
        return state.get("state") == "done" and state.get("asked") == _asked(plan, self.cell)

    def records(self, plan: Plan) -> list[Record]:
        """Its scores by the plan's metrics, as far as there are any."""
        seeds = plan.metric_seeds
        own = {"SEED": None} if seeds else {}  # else the config's is meant
        wanted = {
            name.lower(): {**node.plain(), **(own if "SEED" in node else {})}
            for name, node in self.cell.config.METRICS.items()
        }
        done = engine_settings(self.cell.config).iterations
        return [
            record
            for record in read_results(self.results)
            if wanted.get(record.metric)
            == {**record.settings, **(own if record.seed is not None else {})}
            and record.iteration == done
            and (not seeds or record.seed is None or record.seed in seeds)
        ]


def work_on(plan: Plan, cell: Cell, out: Path, work: Work) -> Outcome:
    """Train what is missing of a cell, and score it.

    A cell that fails is noted with its error, and nothing is raised.
    """
    place = CellFolder.of(out, cell)
    if place.finished(plan):
        return "kept"
    place.folder.mkdir(parents=True, exist_ok=True)
    try:
        with holding(place.folder / "cell.lock"):
            if place.finished(plan):  # by another process, meanwhile
                return "kept"
            return _attempt(plan, place, work)
    except Busy:
        return "busy"


def _attempt(plan: Plan, place: CellFolder, work: Work) -> Outcome:
    attempts = int(place.state().get("attempts", 0)) + 1
    began = time.perf_counter()
    place.note(state="running", attempts=attempts)
    try:
        with looking_in(*work.weights, download=work.download):  # losses have weights, too
            through = place.trained or _trained(place, work)
        if not through:
            place.note(state="interrupted", attempts=attempts, iteration=place.iteration())
            return "interrupted"
        evaluate(
            place.run.folder,
            EvaluationChoice(
                metrics=tuple(place.cell.config.METRICS),
                overrides=(*plan.metric_words(), *plan.scored_on),
                seeds=plan.metric_seeds,
            ),
            weights=work.weights,
            download=work.download,
            device=work.device,
            out=place.results,
            progress=lambda text: work.tell(f"  {text}"),
        )
    except Exception as error:  # whatever it is: the other cells go on
        text = (
            str(error) if isinstance(error, MunitZooError) else f"{type(error).__name__}: {error}"
        )
        place.note(
            state="failed",
            attempts=attempts,
            error=text,
            iteration=place.iteration(),
            traceback=traceback.format_exc(),
        )
        return "failed"
    seconds = round(time.perf_counter() - began, 1)
    place.note(state="done", attempts=attempts, asked=_asked(plan, place.cell), seconds=seconds)
    return "done"


def _trained(place: CellFolder, work: Work) -> bool:
    """Train on to the last iteration; whether it was reached."""
    resume = (place.run.folder / "config.yaml").is_file()
    end = train(
        place.cell.resolved,
        place.run.folder,
        resume=resume,
        device=work.device,
        plugins=work.plugins,
        progress=_Told(work.tell),
    )
    return not end.interrupted


class _Told(Silent):
    """Training's progress, a line about every tenth."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell, self.iterations, self.next = tell, 1, 0

    def started(self, start: int, iterations: int, device: str, notes: Sequence[str]) -> None:
        self.iterations, self.next = iterations, start + max(1, iterations // 10)
        self.tell(f"  training on {device}, iteration {start} to {iterations}")

    def logged(
        self, iteration: int, losses: Mapping[str, float], speed: float, left: float
    ) -> None:
        if iteration < self.next:
            return
        self.next = iteration + max(1, self.iterations // 10)
        rest = f", {duration(left)} left" if math.isfinite(left) else ""
        self.tell(f"  {iteration}/{self.iterations}{rest}")


def _asked(plan: Plan, cell: Cell) -> str:
    """Digest of the scores that a plan asks of a cell."""
    asked: dict[str, object] = {"metrics": cell.config.METRICS.plain()}
    asked |= {"seeds": list(plan.metric_seeds), "on": list(plan.scored_on)}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
