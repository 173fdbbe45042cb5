"""Translating image files with a trained run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as T
from torchvision.utils import make_grid

from munit_zoo.config import Config, domains_of
from munit_zoo.data._files import list_images
from munit_zoo.data.images import from_unit, read_image, to_unit, write_image
from munit_zoo.data.seeding import rng
from munit_zoo.data.transforms import conversion_for, convert_channels
from munit_zoo.domains import Domain
from munit_zoo.engine.devices import choose_device
from munit_zoo.engine.grids import as_rgb, save_grid
from munit_zoo.engine.runs import find_snapshot, load_model, write_text
from munit_zoo.errors import DataError, UsageError
from munit_zoo.models import TranslationModel

__all__ = ["StyleChoice", "Translated", "translate_files"]

GRID_ROWS = 64


@dataclass(frozen=True)
class StyleChoice:
    """Which styles to translate into.

    count: styles drawn from the prior, for each input its own unless `same`.
    images: example images of the target domain; each is a style.
    interpolate: number of steps on the line between the first two styles (drawn, or of `images`).
    seed: of what is drawn; with the input's name it decides an input's styles.
    """

    count: int = 10
    images: tuple[Path, ...] = ()
    interpolate: int = 0
    same: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Translated:
    """What was written: per input its outputs, and the grid where one was asked for."""

    folder: Path
    files: dict[str, list[Path]] = field(default_factory=dict)
    grid: Path | None = None


def translate_files(
    path: Path,
    inputs: Sequence[Path],
    to: str,
    *,
    source: str | None = None,
    styles: StyleChoice | None = None,
    out: Path | None = None,
    size: int | None = None,
    grid: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Translated:
    """Translate images into the domain `to` with a run's (or snapshot's) weights.

    inputs: image files, or folders that are searched. Any size: images are padded for the networks
    and cropped back. size: resize the short side to this first.
    out: folder; by default `translations/` in the run.
    Output files are named after the input (`bag_b_03.png`) and have its type: 16-bit for 16-bit,
    TIFF for TIFF, PNG for JPEG; values are those of the target domain's VALUE_RANGE. Colours are as
    the network made them. `translations.json` lists styles and files.

    Raises UsageError, before anything is written, for inputs that are no images, an unknown domain
    or outputs that exist already (unless `overwrite`); DataError for an image that does not fit.
    """
    styles = styles or StyleChoice()
    run, snapshot = find_snapshot(path)
    config = run.resolved().config
    model = load_model(path, device=choose_device(device))
    to = to.lower()
    way = model.way(to, source.lower() if source else None)
    domains = {domain.name: domain for domain in domains_of(config)}
    reader = _Reader(config, domains[way[0]], size)
    found = _collect(inputs)
    folder = out if out is not None else run.folder / "translations"
    labels, shared = _labels(model, styles, way[1], config, domains, reader)
    planned = _plan(found, folder, to, labels)
    taken = [file for files in planned.values() for file in files if file.exists()]
    if taken and not overwrite:
        raise UsageError(
            f"{taken[0]} exists ({len(taken)} of the outputs do): give another --out, or "
            "--overwrite"
        )
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Tensor] = []
    records: list[dict[str, Any]] = []
    for index, (name, file) in enumerate(found):
        pixels, image = reader.read(file)
        codes = shared if shared is not None else _draw(model, styles, name)
        outputs = model.translate(image[None], to, 1 if codes is None else codes, source=way[0])[0]
        files = planned[name]
        for target, output in zip(files, outputs, strict=True):
            _write(target, output, pixels.dtype, domains[way[1]])
        records.append(
            {
                "input": str(file),
                "outputs": [target.name for target in files],
                "styles": None if codes is None else codes.tolist(),
            }
        )
        if grid and len(rows) < GRID_ROWS:
            rows.append(_grid_row(image, outputs, rows))
        if progress is not None:
            progress(index + 1, len(found))
    written = None
    if rows:
        columns = rows[0].shape[0]
        written = folder / f"grid_{to}.png"
        save_grid(written, make_grid(torch.cat(rows), nrow=columns, padding=2, pad_value=1.0))
    document = {
        "run": str(run.folder),
        "iteration": snapshot.iteration,
        "from": way[0],
        "to": to,
        "seed": styles.seed,
        "images": records,
    }
    write_text(folder / "translations.json", json.dumps(document, indent=1) + "\n")
    return Translated(folder, planned, written)


class _Reader:
    """Reads images as the source domain's are read for training, at their own size."""

    def __init__(self, config: Config, domain: Domain, size: int | None) -> None:
        self.domain, self.size = domain, size
        convert = config.DATA.get("CONVERT", "none")
        self.convert = conversion_for(convert, domain.name)

    def read(self, path: Path) -> tuple[np.ndarray[Any, Any], Tensor]:
        """Pixels as in the file, and the image (C, H, W) in [-1, 1]."""
        pixels = read_image(path)
        image = to_unit(pixels, self.domain.value_range, what=str(path))
        image = convert_channels(image, self.convert)
        if len(image) != self.domain.channels:
            raise DataError(
                f"the image {path} has {len(image)} channels, the run's domain "
                f"{self.domain.name.upper()} has {self.domain.channels}"
            )
        if self.size is not None:
            height, width = image.shape[1:]
            scale = self.size / min(height, width)
            sides = [max(self.size, round(side * scale)) for side in (height, width)]
            image = T.resize(image, sides, antialias=True)
        return pixels, image


def _collect(inputs: Sequence[Path]) -> list[tuple[str, Path]]:
    """Names and files of all inputs; a name is unique."""
    found: list[tuple[str, Path]] = []
    for path in inputs:
        if path.is_dir():
            found += list_images(path)
        elif path.is_file():
            found.append((path.name, path))
        else:
            raise UsageError(f"there is no image or folder {path}")
    if not found:
        raise UsageError("name images or folders to translate")
    names: dict[str, Path] = {}
    for name, file in found:
        unique, number = name, 2
        while unique in names:
            unique = f"{Path(name).with_suffix('')}_{number}{Path(name).suffix}"
            number += 1
        names[unique] = file
    return list(names.items())


def _labels(
    model: TranslationModel,
    styles: StyleChoice,
    target: str,
    config: Config,
    domains: dict[str, Domain],
    reader: _Reader,
) -> tuple[list[str], Tensor | None]:
    """How the translations of an image are called, and their styles where all inputs share them."""
    if not model.style_dim:
        if styles.images or styles.interpolate:
            raise UsageError("this recipe has no styles: leave --style-image and --interpolate out")
        return [""], None
    if styles.images:
        examples = _Reader(config, domains[target], reader.size)
        codes = torch.cat(
            [
                model.encode_style(examples.read(file)[1][None], target).cpu()
                for file in styles.images
            ]
        )
        names = [f"_{file.stem}" for file in styles.images]
        if len(set(names)) < len(names):
            names = [f"_{file.stem}_{i}" for i, file in enumerate(styles.images)]
        if styles.interpolate:
            return _numbered(styles.interpolate), _between(codes, styles.interpolate)
        return names, codes
    count = styles.interpolate or styles.count
    if count < 1:
        raise UsageError(f"styles is a number of 1 or more, got {styles.count}")
    if styles.same or styles.interpolate:
        return _numbered(count), _draw(model, styles, "")
    return _numbered(count), None


def _numbered(count: int) -> list[str]:
    return [f"_{index:02d}" for index in range(count)]


def _draw(model: TranslationModel, styles: StyleChoice, name: str) -> Tensor | None:
    """Styles of an input, a function of seed and name."""
    if not model.style_dim:
        return None
    key = int(rng("translate", styles.seed, name).integers(2**62))
    generator = torch.Generator().manual_seed(key)
    if styles.interpolate:
        return _between(model.sample_styles(2, generator), styles.interpolate)
    return model.sample_styles(styles.count, generator)


def _between(codes: Tensor, steps: int) -> Tensor:
    """Codes on the line between the first two."""
    if len(codes) < 2 or steps < 2:
        raise UsageError("--interpolate takes 2 or more steps, between two styles")
    return torch.stack([torch.lerp(codes[0], codes[1], t / (steps - 1)) for t in range(steps)])


def _plan(
    found: Sequence[tuple[str, Path]], folder: Path, to: str, labels: Sequence[str]
) -> dict[str, list[Path]]:
    planned: dict[str, list[Path]] = {}
    used: set[Path] = set()
    for name, _ in found:
        path = Path(name)
        suffix = path.suffix.lower() if path.suffix.lower() in (".tif", ".tiff", ".npy") else ".png"
        stem = "_".join(path.with_suffix("").parts)  # nested folders end up in one
        if folder / f"{stem}_{to}{labels[0]}{suffix}" in used:
            stem = f"{stem}_{path.suffix[1:]}"
        planned[name] = [folder / f"{stem}_{to}{label}{suffix}" for label in labels]
        used.update(planned[name])
    return planned


def _write(path: Path, image: Tensor, dtype: np.dtype[Any], domain: Domain) -> None:
    if dtype.kind == "f" and domain.value_range is None:
        dtype = np.dtype("uint8")  # no range is known to write numbers in
    write_image(path, from_unit(image.float().clamp(-1, 1), dtype, domain.value_range))


def _grid_row(image: Tensor, outputs: Tensor, rows: Sequence[Tensor]) -> Tensor:
    cells = torch.cat([as_rgb(image[None].to(outputs)), as_rgb(outputs)]).float().cpu()
    if rows and rows[0].shape[2:] != cells.shape[2:]:
        cells = T.resize(cells, list(rows[0].shape[2:]), antialias=True)
    return cells
