"""What a training run leaves behind as it goes: log, grids, snapshots, page."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from munit_zoo.config import Config
from munit_zoo.data import Dataset
from munit_zoo.data.seeding import rng
from munit_zoo.data.stream import first_images
from munit_zoo.engine.acceleration import eagerly
from munit_zoo.engine.grids import grid_columns, save_grid, translation_grid
from munit_zoo.engine.page import write_page
from munit_zoo.engine.runs import Run, Snapshot
from munit_zoo.errors import UsageError
from munit_zoo.models import Objective, TranslationModel

__all__ = ["Progress", "Session", "Silent", "criteria_state", "truncate_log"]


class Progress(Protocol):
    """What training tells while it runs."""

    def started(self, start: int, iterations: int, device: str, notes: Sequence[str]) -> None: ...

    def advanced(self, iteration: int) -> None: ...

    def logged(self, iteration: int, losses: Mapping[str, float], rate: float) -> None: ...

    def saved(self, snapshot: Path) -> None: ...


class Silent:
    """Tells nothing."""

    def started(self, start: int, iterations: int, device: str, notes: Sequence[str]) -> None:
        """Training begins."""

    def advanced(self, iteration: int) -> None:
        """An iteration is done."""

    def logged(self, iteration: int, losses: Mapping[str, float], rate: float) -> None:
        """Losses by term, and pairs of images a second."""

    def saved(self, snapshot: Path) -> None:
        """A snapshot was written."""


class Session:
    """What the leading process writes: log, grids, snapshots, page."""

    def __init__(
        self,
        run: Run,
        config: Config,
        model: TranslationModel,
        averaged: TranslationModel | None,
        objective: Objective,
        optimizers: Sequence[torch.optim.Optimizer],
        datasets: Mapping[str, Mapping[str, Dataset] | None],
        progress: Progress,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.run, self.config, self.model, self.averaged = run, config, model, averaged
        self.objective, self.optimizers, self.progress = objective, optimizers, progress
        self.shown = {
            name: _shown(datasets, name, config.ENGINE.DISPLAY) for name in datasets["train"] or {}
        }
        self.board = SummaryWriter(str(run.folder / "tensorboard"))
        self.clock = time.perf_counter()
        self.counted: int | None = None

    def log(self, iteration: int, parts: Mapping[str, Tensor], rate: float) -> None:
        """Write the losses; raises UsageError where one is not finite."""
        now = time.perf_counter()
        images = self.config.ENGINE.BATCH_SIZE
        speed = math.nan
        if self.counted is not None and now > self.clock:
            speed = (iteration - self.counted) * images / (now - self.clock)
        self.clock, self.counted = now, iteration
        values = {name: float(value) for name, value in parts.items()}
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            saved = self.run.snapshots()
            where = (
                f"The last snapshot is {saved[-1].folder}." if saved else "There is no snapshot."
            )
            raise UsageError(
                f"at iteration {iteration} the loss is not finite: {', '.join(wrong)}. {where} "
                "Try a lower OPTIM.DEFAULT.LR (and those of OPTIM.NETWORKS), or PRECISION fp32."
            )
        line = {"iteration": iteration, "lr": rate, "images_per_second": speed, **values}
        if not math.isfinite(speed):
            del line["images_per_second"]
        with (self.run.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in values.items():
            self.board.add_scalar(f"loss/{name}", value, iteration)
        self.board.add_scalar("lr", rate, iteration)
        if math.isfinite(speed):
            self.board.add_scalar("images_per_second", speed, iteration)
        self.progress.logged(iteration, by_term(values), speed)

    @eagerly()
    @torch.no_grad()
    def grid(self, iteration: int) -> None:
        """Write the image grids and the page; the time they take is not the training's."""
        before = time.perf_counter()
        model = self.averaged if self.averaged is not None else self.model
        folder = self.run.folder / "images"
        folder.mkdir(exist_ok=True)
        count = self.config.ENGINE.DISPLAY_STYLES
        seed = self.config.ENGINE.SEED
        with _untouched(model):
            for way in model.graph().translations:
                fixed, fresh = (_styles(model, count, seed, way, i) for i in (-1, iteration))
                images = self.shown[way[0]].to(next(model.generators.parameters()).device)
                grid = translation_grid(model, images, way, fixed=fixed, fresh=fresh)
                name = f"{way[0]}2{way[1]}"
                save_grid(folder / f"{name}_{iteration:08d}.png", grid)
                self.board.add_image(f"translations/{name}", (grid + 1) / 2, iteration)
        write_page(self.run.folder, columns=grid_columns(model, count))
        self.clock += time.perf_counter() - before

    def save(self, iteration: int) -> Snapshot:
        """Write a snapshot and the page."""
        before = time.perf_counter()
        weights = {
            "generators": self.model.generators.state_dict(),
            "discriminators": self.model.discriminators.state_dict(),
        }
        if self.averaged is not None:
            weights["ema"] = self.averaged.generators.state_dict()
        criteria = criteria_state(self.objective)
        if criteria:
            weights["losses"] = criteria
        training = {"optimizers": [o.state_dict() for o in self.optimizers]}
        record = self.run.record()
        info: dict[str, Any] = {
            key: record[key] for key in ("config_sha256", "components") if key in record
        }
        snapshot = self.run.save(iteration, weights, training, info, keep=self.config.ENGINE.KEEP)
        self.board.flush()
        write_page(
            self.run.folder, columns=grid_columns(self.model, self.config.ENGINE.DISPLAY_STYLES)
        )
        self.clock += time.perf_counter() - before
        self.progress.saved(snapshot.folder)
        return snapshot

    def close(self) -> None:
        """Finish the logs."""
        self.board.close()


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


def by_term(parts: Mapping[str, float]) -> dict[str, float]:
    """Losses by term: the parts of each (`image_recon/x_aa`, `image_recon/x_bb`) added up."""
    sums: dict[str, float] = {}
    for name, value in parts.items():
        if name.startswith("total/"):
            continue
        term = name.split("/")[0]
        sums[term] = sums.get(term, 0.0) + value
    return sums


def _shown(datasets: Mapping[str, Mapping[str, Dataset] | None], name: str, count: int) -> Tensor:
    """Images to look at: of the test split where there is one."""
    split = datasets["test"] or datasets["train"] or {}
    return first_images(split[name], count)


def _styles(
    model: TranslationModel, count: int, seed: int, way: tuple[str, str], iteration: int
) -> Tensor | None:
    """Style codes for a grid, drawn apart from training's own chance."""
    if not model.style_dim:
        return None
    key = int(rng("grid", seed, *way, iteration).integers(2**62))
    return model.sample_styles(count, torch.Generator().manual_seed(key))


def criteria_state(objective: Objective) -> dict[str, Tensor]:
    """Parameters of criteria that are trained, and their buffers; frozen networks are left out."""
    found: dict[str, Tensor] = {}
    for side, criteria in (
        ("generator", objective.losses.criteria),
        ("discriminator", objective.critics.criteria),
    ):
        for term, criterion in criteria.items():
            if any(p.requires_grad for p in criterion.parameters()):
                frozen = {n for n, p in criterion.named_parameters() if not p.requires_grad}
                found |= {
                    f"{side}.{term}.{name}": value
                    for name, value in criterion.state_dict().items()
                    if name not in frozen
                }
    return found


def truncate_log(run: Run, iteration: int) -> None:
    """Forget what was logged after the snapshot that training resumes from."""
    file = run.folder / "log.jsonl"
    if file.is_file():
        lines = file.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line and json.loads(line)["iteration"] <= iteration]
        file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    for image in (run.folder / "images").glob("*_????????.png"):
        if int(image.stem[-8:]) > iteration:
            image.unlink()
