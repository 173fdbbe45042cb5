"""Training: a flat loop from a config to a run."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from munit_zoo.config import Resolved
from munit_zoo.data.seeding import rng
from munit_zoo.engine.devices import leave_group, make_fabric, plain_errors
from munit_zoo.engine.finite import Diverged
from munit_zoo.engine.memory import memory_notes
from munit_zoo.engine.runs import Run
from munit_zoo.engine.session import Progress, Session, Silent
from munit_zoo.engine.setup import Opening, Setup, open_training, set_up
from munit_zoo.engine.signals import Followed, listening, together
from munit_zoo.errors import DataError

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
    devices: int | None = None,
    nodes: int | None = None,
    plugins: Sequence[Path] = (),
    progress: Progress | None = None,
    force: bool = False,
) -> TrainingEnd:
    """Train the model of a config in a run's folder.

    resolved: the config; None, with `resume` or `resume_from`, for that run's own.
    resume: go on from the newest snapshot; everything is as if training had never stopped.
    resume_from: the same from any snapshot, of any run, in a new run's folder.
    init_from: a run or snapshot whose weights to start from, and nothing else.
    device: `auto`, `cpu`, `cuda` or `mps`. devices: processes on this machine,
    one device each; nodes: machines, each of which starts this. None: what torchrun or srun
    started, else one.
    plugins: local files whose components are in use, for the run's record.
    force: resume with a config that differs in more than may change (`config.free_on_resume`).

    Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 end after the iteration in progress and save a snapshot; so
    does an image that cannot be used.
    Raises UsageError, ConfigError, DataError or CheckpointError, each before anything is written,
    and DataError or UsageError during training (an unreadable image, a loss that is not finite, a
    full disk). Of several processes the leading one raises, the others return.
    """
    began = time.perf_counter()
    with plain_errors(), _own_chance():
        opening = open_training(folder, resolved, resume, resume_from, init_from, force)
        fabric = make_fabric(device, opening.engine.precision, devices=devices, nodes=nodes)
        fabric.launch()
        try:
            with leave_group(fabric), ExitStack() as claims:
                setup = set_up(opening, fabric, folder, plugins, claims)
                iteration, failure = _iterate(opening, setup, fabric, progress or Silent())
        except Followed:  # the leading process could not begin, and says so
            iteration, failure = 0, None
        if failure is not None and fabric.is_global_zero:
            raise failure
        interrupted = iteration < opening.engine.iterations
        seconds = time.perf_counter() - began
        return TrainingEnd(Run(folder), iteration, interrupted, seconds, fabric.is_global_zero)


def _iterate(
    opening: Opening, setup: Setup, fabric: Fabric, progress: Progress
) -> tuple[int, Exception | None]:
    """The iterations from the state's to the config's last. Returns the last one done, and what
    ended training in all processes where that was an error."""
    engine, state = opening.engine, setup.state
    with (
        listening() as stop,
        Session(
            setup.run,
            opening.config,
            fabric,
            state,
            setup.datasets,
            progress,
            stop,
            setup.epoch,
        ) as session,
    ):
        session.begin([*setup.notes, *memory_notes(opening.config, setup.rehearsal, fabric)])
        while True:
            batches = setup.stream.batches(state.feed, engine.iterations + state.passed_over)
            try:
                for images in together(batches, stop, fabric):
                    rate = setup.rates.set(state.iteration)
                    _seed_everything(engine.seed, state.feed, fabric.global_rank)
                    inputs = setup.inputs(images, state.feed)
                    losses = setup.trainer.step(inputs, state.iteration)
                    state.advance()
                    session.record(losses, rate, setup.trainer.skipped)
            except DataError as error:  # an image: in every process, before the same iteration
                return state.iteration, session.end(error)
            except Diverged as found:  # in every process, too
                if engine.on_nan == "rollback" and session.roll_back(found):
                    setup.trainer.restored()
                    continue
                return state.iteration, session.diverged(found)
            return state.iteration, session.end()


def _seed_everything(seed: int, iteration: int, rank: int) -> None:
    """Chance inside components (dropout and the like) as a function of the iteration, too."""
    key = int(rng("components", seed, iteration, rank).integers(2**62))
    torch.manual_seed(key)
    random.seed(key)
    np.random.seed(key % 2**32)  # for components that draw from NumPy's global generator


@contextmanager
def _own_chance() -> Iterator[None]:
    """The caller's random generators are as they were, after."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
