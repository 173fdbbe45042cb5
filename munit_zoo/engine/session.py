"""What a training run leaves behind as it goes: log, grids, snapshots, page."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor

from munit_zoo.config import Config, engine_settings
from munit_zoo.data import Dataset
from munit_zoo.data.seeding import rng
from munit_zoo.data.stream import first_images
from munit_zoo.engine.acceleration import eagerly
from munit_zoo.engine.finite import Diverged
from munit_zoo.engine.grids import grid_columns, save_grid, translation_grid
from munit_zoo.engine.logs import by_term
from munit_zoo.engine.page import write_page
from munit_zoo.engine.runs import Run
from munit_zoo.engine.signals import Stop
from munit_zoo.engine.snapshots import Retention, Snapshot
from munit_zoo.engine.state import TrainingState, not_finite
from munit_zoo.errors import DataError, MunitZooError, UsageError
from munit_zoo.models import TranslationModel

__all__ = ["Progress", "Session", "Silent"]

GRID_WAYS = 6
"""Translations between two domains that grids show; of K domains there are K · (K - 1)."""

ROLLBACKS = 3
"""Times that training goes back to one snapshot; then it ends."""

PAGE_EVERY = 15.0
"""Seconds between two pages while training, and after which an open one loads itself anew."""


class Progress(Protocol):
    """What training tells while it runs."""

    def started(self, start: int, iterations: int, device: str, notes: Sequence[str]) -> None: ...

    def advanced(self, iteration: int) -> None: ...

    def logged(
        self, iteration: int, losses: Mapping[str, float], speed: float, left: float
    ) -> None: ...

    def saved(self, snapshot: Path) -> None: ...


class Silent:
    """Tells nothing."""

    def started(self, start: int, iterations: int, device: str, notes: Sequence[str]) -> None:
        """Training begins."""

    def advanced(self, iteration: int) -> None:
        """An iteration is done."""

    def logged(
        self, iteration: int, losses: Mapping[str, float], speed: float, left: float
    ) -> None:
        """Losses by term, images a second, seconds left; NaN where that is not known yet."""

    def saved(self, snapshot: Path) -> None:
        """A snapshot was written."""


class Session:
    """What training writes. Every process has one, since losses are averaged over all; the leading
    one writes.

        with Session(…) as session:
            session.begin()
            for …: session.record(losses, rate)
            session.end()

    stop: is asked for an end where something cannot be written, so that all processes end.
    epoch: iterations of an epoch, to say where training is; None where nothing counts them.
    """

    def __init__(
        self,
        run: Run,
        config: Config,
        fabric: Fabric,
        state: TrainingState,
        datasets: Mapping[str, Mapping[str, Dataset] | None],
        progress: Progress,
        stop: Stop,
        epoch: int | None = None,
    ) -> None:
        self.run, self.engine, self.fabric, self.state = run, engine_settings(config), fabric, state
        self.leader = fabric.is_global_zero
        self.progress: Progress = progress if self.leader else Silent()
        self.stop, self.epoch = stop, epoch
        self.start, self.began = state.iteration, time.perf_counter()
        self.clock, self.counted, self.paged = self.began, state.iteration, -math.inf
        self.logged = self.saved = state.iteration
        self.skipped = self._skipped = 0
        self._since: list[Mapping[str, float]] = []
        self._rolled: Counter[int] = Counter()
        self._last: tuple[Mapping[str, Tensor], float] | None = None
        self.board: Any = None
        self.shown: dict[str, Tensor] = {}
        if self.leader:
            self.shown = {
                name: _shown(datasets, name, self.engine.display)
                for name in datasets["train"] or {}
            }
            # what a resumed run wrote after the snapshot is taken back
            self._open_board(purge=self.start + 1 if self.start else None)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.board is not None:
            with suppress(OSError):  # of a full disk, which was told before
                self.board.close()
        if self.leader:
            with suppress(OSError):
                self._page(live=False)

    def begin(self, notes: Sequence[str] = ()) -> None:
        """Say what is trained, and show what is translated before the first iteration."""
        with self._leading() as leader:
            if leader:
                device = str(self.fabric.device)
                ways = self._model.ways
                if len(ways) > GRID_WAYS:
                    shown = ", ".join(f"{s} to {t}" for s, t in ways[:GRID_WAYS])
                    notes = [*notes, f"grids show {GRID_WAYS} of {len(ways)} ways: {shown}"]
                self._tell("started", self.start, self.engine.iterations, device, notes)
                if self.start == 0:
                    self.grid()

    def record(self, losses: Mapping[str, Tensor], rate: float, skipped: int = 0) -> None:
        """An iteration is done: log, show and save where it is time.

        losses: this process's, by name. rate: the learning rate. skipped: iterations so far in
        which something was left out, as it was not finite.
        Raises UsageError where losses or weights are not finite.
        """
        self._skipped = skipped
        done, last = self.state.iteration, self.state.iteration == self.engine.iterations
        # what does not act in every iteration is logged as it was when it last did
        since = self._last[0] if self._last is not None and self.logged < done - 1 else {}
        self._last = {**since, **losses}, rate
        if done % self.engine.log_every == 0 or last:
            self._log()
        with self._leading() as leader:
            if leader:
                self._tell("advanced", done)
                every = self.engine.grid_every
                if last or (every and done % every == 0):
                    self.grid()
                every = self.engine.snapshot_every
                if every and done % every == 0:
                    self.save()

    def end(self, unusable: DataError | None = None) -> Exception | None:
        """Training is over: log and save what is not yet.

        unusable: what ended it, where that was an image. Returns the error that ended training, for
        the leading process to raise when all have ended.
        """
        moved = self.state.iteration > self.start
        if moved and self.logged < self.state.iteration:
            self._log()
        with self._leading() as leader:
            if leader and moved and self.saved < self.state.iteration:
                self.save()
        if self.stop.failure is not None or unusable is None or not moved or not self.leader:
            return self.stop.failure or unusable
        error = DataError(
            f"{unusable}. Training stopped after iteration {self.state.iteration} and saved "
            f"{self.run.newest().folder}: go on with --resume once the image is mended or out of "
            "the way"
        )
        error.__cause__ = unusable
        return error

    def roll_back(self, found: Diverged) -> bool:
        """Go back to the last snapshot, and from there on with the batches after the one that
        `found` is about; whether there was one to go back to, and fewer than ROLLBACKS before.

        In every process alike: the state is restored, what was logged since is taken back.
        """
        saved = self.run.snapshots()
        if not saved or self._rolled[saved[-1].number] >= ROLLBACKS:
            return False
        at, feed = self.state.iteration, self.state.feed
        self.state.restore(saved[-1].read(), str(saved[-1].folder))
        self._rolled[self.state.iteration] += 1
        self.state.passed_over = feed + 1 - self.state.iteration
        self.logged = self.saved = self.counted = self.state.iteration
        self._last, self._since, self.clock = None, [], time.perf_counter()
        with self._leading() as leader:
            if leader:
                self._went_back(at, str(found))
        return True

    def _went_back(self, at: int, what: str) -> None:
        iteration = self.state.iteration
        self.run.rewind(iteration)
        record = self.run.record()
        entry = {"at": at, "to": iteration, "found": what, "passed_over": self.state.passed_over}
        self.run.write_record({**record, "rollbacks": [*record.get("rollbacks", []), entry]})
        self.board.close()
        self._open_board(purge=iteration + 1)
        note = f"at iteration {at} {what}: rolled back to {iteration}, past the images since"
        self._tell("started", iteration, self.engine.iterations, str(self.fabric.device), [note])

    def diverged(self, found: Diverged) -> UsageError:
        """The error that ends training, with the last good snapshot."""
        return self._diverged(str(found))

    def _open_board(self, purge: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        options = {} if purge is None else {"purge_step": purge}
        self.board = SummaryWriter(str(self.run.folder / "tensorboard"), **options)

    def _log(self) -> None:
        """Write the losses, averaged over all processes."""
        losses, rate = self._last or ({}, math.nan)
        names = list(losses)
        if not names:  # no update took place since the last line
            return
        stacked = torch.stack([losses[name].detach().float().reshape(()) for name in names])
        found: Any = self.fabric.all_reduce(stacked, reduce_op="mean")
        values = dict(zip(names, found.tolist(), strict=True))
        self.logged = self.state.iteration
        with self._leading() as leader:
            if leader:
                self._write_line(values, rate)

    def _write_line(self, values: Mapping[str, float], rate: float) -> None:
        iteration, now = self.state.iteration, time.perf_counter()
        speed = math.nan
        if iteration > self.counted and now > self.clock and self.counted > self.start:
            speed = (iteration - self.counted) * self.engine.batch_size / (now - self.clock)
        self.clock, self.counted = now, iteration
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        if wrong and self.engine.on_nan != "skip":
            raise self._diverged(f"the loss is not finite: {', '.join(wrong)}")
        values = {name: value for name, value in values.items() if name not in wrong}
        self._since.append(values)
        line = {"iteration": iteration, "lr": rate, **values}
        if self._skipped > self.skipped:
            line["skipped"] = self._skipped - self.skipped
            self.skipped = self._skipped
        if self.epoch is not None:
            line["epoch"] = iteration / self.epoch
        if math.isfinite(speed):
            line["images_per_second"] = speed
        with (self.run.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in values.items():
            self.board.add_scalar(f"loss/{name}", value, iteration)
        self.board.add_scalar("lr", rate, iteration)
        if math.isfinite(speed):
            self.board.add_scalar("images_per_second", speed, iteration)
        self._tell("logged", iteration, by_term(values), speed, self.seconds_left())
        if now - self.paged > PAGE_EVERY:
            with self._paused():
                self._page()

    @eagerly()
    @torch.no_grad()
    def grid(self) -> None:
        """Write the image grids and the page; the time they take is not the training's."""
        model, iteration = self._model, self.state.iteration
        folder = self.run.folder / "images"
        with self._paused(), _untouched(model):
            folder.mkdir(exist_ok=True)
            count, seed = self.engine.display_styles, self.engine.seed
            for way in model.ways[:GRID_WAYS]:
                fixed, fresh = (
                    _styles(model, count, seed, way, i, self.shown[way[1]]) for i in (-1, iteration)
                )
                images = self.shown[way[0]].to(model.device)
                grid = translation_grid(model, images, way, fixed=fixed, fresh=fresh)
                name = f"{way[0]}2{way[1]}"
                save_grid(folder / f"{name}_{iteration:08d}.png", grid)
                self.board.add_image(f"translations/{name}", (grid + 1) / 2, iteration)
            self._page()

    def save(self) -> Snapshot:
        """Write a snapshot and the page. Only a state that is finite is saved, so that the older
        snapshots, which are deleted then, are never the last good ones.

        Raises UsageError where losses or weights are not finite.
        """
        with self._paused():
            losses = self._last[0] if self._last is not None else {}
            wrong = [name for name, value in losses.items() if not math.isfinite(float(value))]
            if wrong and self.engine.on_nan != "skip":
                raise self._diverged(f"the loss is not finite: {', '.join(wrong)}")
            captured = self.state.capture()
            tensor = not_finite(captured)
            if tensor is not None:
                raise self._diverged(f"a weight is not finite: {tensor}")
            record = self.run.record()
            kept = ["config_sha256", "components"]
            info = {key: record[key] for key in kept if key in record}
            info["losses"] = _means(self._since)
            engine = self.engine
            keep = Retention(engine.keep, engine.keep_every, engine.keep_best)
            snapshot = self.run.save(captured, info, keep=keep)
            self._since = []
            self.saved = self.state.iteration
            self.board.flush()
            self._page()
        self._tell("saved", snapshot.folder)
        return snapshot

    def seconds_left(self) -> float:
        """Until the last iteration, at the pace so far; NaN before the first."""
        done = self.state.iteration - self.start
        if not done:
            return math.nan
        elapsed = time.perf_counter() - self.began
        left: int = self.engine.iterations - self.state.iteration
        return left * elapsed / done

    @property
    def _model(self) -> TranslationModel:
        """The model to look at."""
        average = self.state.average
        model: Any = self.state.networks if average is None else average.model
        return model  # type: ignore[no-any-return]

    def _page(self, *, live: bool = True) -> None:
        self.paged = time.perf_counter()
        ending = self.state.iteration >= self.engine.iterations
        live = live and not ending
        write_page(
            self.run.folder,
            columns=grid_columns(self._model, self.engine.display_styles),
            iterations=self.engine.iterations,
            left=self.seconds_left() if live else None,
            refresh=round(PAGE_EVERY) if live else None,
        )

    def _diverged(self, what: str) -> UsageError:
        saved = self.run.snapshots()
        where = (
            f"The last snapshot is {saved[-1].folder}, all of it finite: start from it with "
            "--init-from and a lower learning rate"
            if saved
            else "There is no snapshot: train with a lower learning rate"
        )
        return UsageError(
            f"at iteration {self.state.iteration} {what}. {where} (OPTIM), or with "
            "ENGINE.PRECISION=fp32. ENGINE.ON_NAN=rollback or skip goes on past single cases."
        )

    @contextmanager
    def _leading(self) -> Iterator[bool]:
        """Work of the leading process alone. Where it fails among several processes, all of them
        end together first."""
        try:
            yield self.leader
        except (MunitZooError, OSError) as error:
            failure = self._unwritten(error) if isinstance(error, OSError) else error
            if self.fabric.world_size == 1:
                raise failure from error.__cause__
            self.stop.fail(failure)

    def _unwritten(self, error: OSError) -> UsageError:
        """A full disk, and the like."""
        saved = self.run.snapshots()
        where = (
            f"The last snapshot, {saved[-1].folder}, is whole" if saved else "There is no snapshot"
        )
        return UsageError(
            f"{error.filename or self.run.folder} cannot be written: {error.strerror or error}. "
            f"{where}; go on with --resume once that is mended"
        )

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """The time that passes inside is not the training's."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self.clock += time.perf_counter() - before

    def _tell(self, what: str, *details: object) -> None:
        try:
            getattr(self.progress, what)(*details)
        except OSError:  # the terminal is gone, as after SIGHUP: there is nobody to tell
            self.progress = Silent()


@contextmanager
def _untouched(model: TranslationModel) -> Iterator[None]:
    """A model in evaluation mode, and after it as it was: looking on must not change training.

    Some buffers move at every forward, in evaluation too (the reference's spectral vectors).
    """
    was_training = model.training
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
        for name, buffer in model.named_buffers():
            buffer.copy_(before[name])


def _means(lines: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Losses, averaged over log lines."""
    names = dict.fromkeys(name for line in lines for name in line)
    return {
        name: sum(own) / len(own)
        for name in names
        for own in ([line[name] for line in lines if name in line],)
    }


def _shown(datasets: Mapping[str, Mapping[str, Dataset] | None], name: str, count: int) -> Tensor:
    """Images to look at: of the test split where there is one."""
    split = datasets["test"] or datasets["train"] or {}
    return first_images(split[name], count)


def _styles(
    model: TranslationModel,
    count: int,
    seed: int,
    way: tuple[str, str],
    iteration: int,
    examples: Tensor,
) -> Tensor | None:
    """Style codes for a grid, drawn apart from training's own chance; without a prior, those of
    some of the examples (N, C, H, W)."""
    if not model.style_dim:
        return None
    key = int(rng("grid", seed, *way, iteration).integers(2**62))
    generator = torch.Generator().manual_seed(key)
    if not model.draws_styles:
        order = torch.randperm(len(examples), generator=generator)
        return model.encode_style(examples[order[:count]].to(model.device), way[1])
    return model.sample_styles(count, generator, to=way[1])
