"""Grids of several runs that can be laid side by side: the same inputs under the same styles.

A row is an input. Columns are styles: first drawn ones, from one seed in every run, the same for
each input; then those of example images, which stand above. Codes of two recipes, or of two
trainings, do not mean the same; the examples do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import make_grid

from munit_zoo.config import bind, domains_of
from munit_zoo.data import Dataset
from munit_zoo.engine.devices import choose_device
from munit_zoo.engine.grids import as_rgb, save_grid
from munit_zoo.engine.loading import load_model
from munit_zoo.engine.runs import find_snapshot
from munit_zoo.errors import UsageError
from munit_zoo.metrics.sampling import seeded, spread
from munit_zoo.models import TranslationModel

__all__ = ["GridChoice", "Shown", "draw_grids"]

MOST_WAYS = 6
"""Directions of a run that are shown."""


@dataclass(frozen=True)
class GridChoice:
    """What is shown: test images, drawn styles, examples, and the seed of the styles."""

    inputs: int = 6
    styles: int = 4
    examples: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("inputs", 1), ("styles", 1), ("examples", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"--{name} is {least} or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class Shown:
    """A run's grids. name: how it is called. files: by direction, relative to the page's folder.

    widths: of those, in pixels. inputs: per direction a digest of the images that went in, equal
    where two runs show the same.
    """

    name: str
    columns: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)


def draw_grids(
    runs: Sequence[tuple[str, Path]],
    folder: Path,
    choice: GridChoice | None = None,
    *,
    data: Sequence[str] = (),
    device: str = "auto",
    tell: Callable[[str], None] = lambda text: None,
) -> list[Shown]:
    """Write a PNG for each run and direction into a folder; runs are (name, path).

    data: overrides of DATA, where other test images than the runs' own are meant.
    Raises CheckpointError for a path that is no run, DataError where its test images are gone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, (name, path) in enumerate(runs):
        tell(f"grids of {name}")
        slug = re.sub(r"[^\w-]+", "-", name)[:40]
        stem = f"{number:02d}_{slug}"
        found.append(_of_run(name, path, folder, stem, choice or GridChoice(), data, device))
    return found


def _of_run(
    name: str,
    path: Path,
    folder: Path,
    stem: str,
    choice: GridChoice,
    data: Sequence[str],
    device: str,
) -> Shown:
    run, _ = find_snapshot(path)
    config = run.resolved(data).config
    model = load_model(path, device=choose_device(device))
    factory = bind("dataset", config.DATA)
    datasets = {domain.name: factory(domain, "test") for domain in domains_of(config)}
    for dataset in datasets.values():
        dataset.prepare()
    files, inputs, columns, widths = {}, {}, {}, {}
    for source, target in model.ways[:MOST_WAYS]:
        images = _images(datasets[source], choice.inputs)
        key = f"{source}2{target}"
        file = folder / f"{stem}_{key}.png"
        grid, columns[key] = _grid(model, images, (source, target), datasets, choice)
        save_grid(file, grid)
        widths[key] = grid.shape[-1]
        files[key] = f"{folder.name}/{file.name}"
        digest = hashlib.sha256()
        for image in images:
            digest.update(image.contiguous().numpy().tobytes())
        inputs[key] = digest.hexdigest()
    return Shown(name, columns, files, inputs, widths)


def _images(dataset: Dataset, count: int) -> list[Tensor]:
    """Some test images, evenly over the data."""
    return [dataset.test(index) for index in spread(count, len(dataset))]


def _grid(
    model: TranslationModel,
    images: Sequence[Tensor],
    way: tuple[str, str],
    datasets: Mapping[str, Dataset],
    choice: GridChoice,
) -> tuple[Tensor, str]:
    """A grid (3, H, W) in [-1, 1], and what its columns are."""
    source, target = way
    styled = bool(model.style_dim)
    guided = styled and model.encodes_styles
    examples = _images(datasets[target], choice.examples) if guided else []
    legend = "input"
    with torch.no_grad():
        codes: Any = None
        if styled:
            generator = seeded(choice.seed, "side by side", target)
            codes = model.sample_styles(choice.styles, generator, to=target)
            legend += f" | {choice.styles} drawn styles"
        rows = []
        for image in images:
            x = image[None].to(model.device)
            made = model.translate(x, target, 1 if codes is None else codes, source=source)[0]
            cells = [image[None], made.cpu()]
            for example in examples:
                guide = example[None].to(model.device)
                cells.append(model.translate(x, target, guide, source=source)[0].cpu())
            rows.append(cells)
    height, width = images[0].shape[-2:]
    if examples:
        legend += f" | styles of {len(examples)} real images, shown above"
        blank = torch.ones(1, 3, height, width)
        top = [blank, *(blank for _ in range(len(rows[0][1]))), *(e[None] for e in examples)]
        rows.insert(0, top)
    flat = [_fit(cell, height, width) for row in rows for cell in row]
    columns = sum(len(cell) for cell in rows[0])
    grid: Tensor = make_grid(torch.cat(flat), nrow=columns, padding=2, pad_value=1.0)
    return grid, legend if styled else "input | translation"


def _fit(images: Tensor, height: int, width: int) -> Tensor:
    """Cells of one size and three channels."""
    images = as_rgb(images.float().clamp(-1, 1))
    if images.shape[-2:] != (height, width):
        images = F.interpolate(images, (height, width), mode="nearest")
    return images
