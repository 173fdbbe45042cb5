"""Translating image files with a trained run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as T
from torchvision.utils import make_grid

from munit_zoo.config import Config, bind, domains_of
from munit_zoo.data.images import MAX_PIXELS, write_image
from munit_zoo.data.reading import list_images, load_image
from munit_zoo.data.seeding import rng
from munit_zoo.data.transforms import conversion_for
from munit_zoo.data.values import from_unit
from munit_zoo.domains import Domain
from munit_zoo.engine.devices import choose_device
from munit_zoo.engine.files import write_text
from munit_zoo.engine.grids import as_rgb, save_grid
from munit_zoo.engine.loading import load_newest
from munit_zoo.engine.runs import find_snapshot
from munit_zoo.errors import MunitZooError, UsageError, counted
from munit_zoo.models import TranslationModel
from munit_zoo.models.translation import Translator

__all__ = ["StyleChoice", "Translated", "translate_files"]

GRID_ROWS, GRID_STYLES, GRID_CELL = 32, 16, 256
"""The most that a grid shows: inputs, translations of each, pixels of a cell's longer side."""
DEFAULT_STYLES = 10


@dataclass(frozen=True)
class StyleChoice:
    """Which styles to translate into.

    count: styles drawn from the prior, for each input its own unless `same`; None for 10.
    images: example images of the target domain, or folders of them; each is a style.
    mean: one style instead, the mean of theirs.
    interpolate: number of steps on the line between two styles (drawn, or of two `images`).
    seed: of what is drawn; with the input's name it decides an input's styles.
    """

    count: int | None = None
    images: tuple[Path, ...] = ()
    mean: bool = False
    interpolate: int = 0
    same: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Translated:
    """What was written: per input its outputs, and the grid where one was asked for.

    notes: what a user should know of it: a setting that meant nothing, an unusual size.
    """

    folder: Path
    files: dict[str, list[Path]] = field(default_factory=dict)
    grid: Path | None = None
    notes: tuple[str, ...] = ()


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
    ema: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Translated:
    """Translate images into the domain `to` with a run's (or snapshot's) weights.

    inputs: image files, or folders that are searched. Any size: images are padded for the networks
    and cropped back. size: resize the short side to this first.
    out: folder; by default `translations/` in the run. ema: the averaged weights where they were
    kept, else those of the last iteration.
    Output files are named after the input (`bag_b_03.png`) and have its type: 16-bit for 16-bit,
    TIFF for TIFF, PNG for JPEG, but TIFF for what a PNG cannot hold; values are those of the target
    domain's VALUE_RANGE, in a type that holds them. Colours are as the network made them.
    `translations.json` lists styles and files. The grid begins with the example images, where there
    are any, and shows no more than 32 inputs in 16 styles.

    The outputs come into the folder all together, at the end: after an error nothing is left.
    Raises UsageError, before anything is written, for inputs that are no images, an unknown domain
    or outputs that exist already (unless `overwrite`); DataError for an image that does not fit.
    """
    styles = styles or StyleChoice()
    run, _ = find_snapshot(path)
    config = run.resolved().config
    folder = out if out is not None else run.folder / "translations"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --out is a folder")
    if size is not None and size < 1:
        raise UsageError(f"--size is the short side in pixels, 1 or more, got {size}")
    _check(styles)
    loaded = load_newest(path, device=choose_device(device), ema=ema)
    model = loaded.model
    to = to.lower()
    found_way = Translator(model).way(to, source.lower() if source else None)
    way = (found_way.source.name, found_way.target.name)
    domains = {domain.name: domain for domain in domains_of(config)}
    reader = _Reader(config, domains[way[0]], size)
    found = _collect(inputs)
    examples = _read_examples(model, styles, config, domains[way[1]], reader)
    labels, shared = _labels(model, styles, way[1], examples)
    sheet, index_file = folder / f"grid_{to}.png", folder / "translations.json"
    planned = _plan(found, folder, domains[way[1]], labels, {sheet})
    due = [file for files in planned.values() for file in files]
    due += [sheet, index_file] if grid else [index_file]
    taken = [file for file in due if file.exists()]
    if taken and not overwrite:
        raise UsageError(
            f"{taken[0]} exists ({len(taken)} of the outputs do): give another --out, or "
            "--overwrite"
        )
    sizes = _Sizes(config, domains[way[0]])
    rows: list[list[Tensor]] = []
    records: list[dict[str, object]] = []
    with _all_or_nothing(folder) as staging:
        for index, (name, file) in enumerate(found):
            pixels, image = reader.read(file)
            sizes.see(file, image)
            codes = shared if shared is not None else _draw(model, styles, name, to)
            outputs = model.translate(
                image[None], to, 1 if codes is None else codes, source=way[0]
            )[0]
            files = planned[name]
            for target, output in zip(files, outputs, strict=True):
                _write(staging / target.name, output, pixels.dtype, domains[way[1]])
            records.append(
                {
                    "input": str(file),
                    "outputs": [target.name for target in files],
                    "styles": None if codes is None else codes.tolist(),
                }
            )
            if grid and len(rows) < GRID_ROWS:
                rows.append(_grid_row(image, outputs[:GRID_STYLES]))
            if progress is not None:
                progress(index + 1, len(found))
        if rows:
            save_grid(
                staging / sheet.name, _sheet([*_grid_head(examples, styles.interpolate), *rows])
            )
        document = {
            "run": str(run.folder),
            "iteration": loaded.iteration,
            "weights": loaded.weights,
            "from": way[0],
            "to": to,
            "seed": styles.seed,
            "images": records,
        }
        write_text(staging / index_file.name, json.dumps(document, indent=1) + "\n")
    notes = [*_ignored(styles, model.style_dim), *sizes.notes()]
    if rows:
        notes += _left_out(len(found), len(outputs))
    return Translated(folder, planned, sheet if rows else None, tuple(notes))


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[Path]:
    """A folder to write into, whose files come to stand in another at the end, replacing those of
    their names; after an error none of them, nor a folder that was not there before."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f".writing-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        for file in sorted(staging.iterdir()):
            file.replace(folder / file.name)
        staging.rmdir()
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        for path in missing:
            if not any(path.iterdir()):
                path.rmdir()
        raise


class _Sizes:
    """Which inputs are far from the size that a run was trained on."""

    def __init__(self, config: Config, domain: Domain) -> None:
        self.short: int | None = None
        try:
            dataset = bind("dataset", config.DATA)(domain, "train")
            # what images were resized to before they were cropped, where they were
            resized = getattr(getattr(dataset, "pipeline", None), "short", None)
            self.short = int(resized or min(dataset.size))
        except MunitZooError:  # data that only a training needs
            return
        self.far: list[tuple[Path, int, int]] = []

    def see(self, file: Path, image: Tensor) -> None:
        """Remember an input that is over twice, or below half, the training's size."""
        height, width = image.shape[1:]
        if self.short and not self.short / 2 <= min(height, width) <= 2 * self.short:
            self.far.append((file, height, width))

    def notes(self) -> Iterator[str]:
        """What to say of them."""
        if self.short and self.far:
            file, height, width = self.far[0]
            others = f" (and {len(self.far) - 1} more)" if len(self.far) > 1 else ""
            yield (
                f"{file.name}{others} is {height}×{width} pixels, the run was trained on images "
                f"with a short side of {self.short}: what networks learned at one size they seldom "
                f"do at another; --size {self.short} resizes"
            )


def _ignored(styles: StyleChoice, style_dim: int) -> Iterator[str]:
    """What was asked for and means nothing."""
    if styles.count is not None:
        if not style_dim and styles.count > 1:
            yield f"--styles {styles.count} is ignored: this recipe has no styles"
        elif styles.interpolate:
            yield f"--styles {styles.count} is ignored: --interpolate {styles.interpolate} counts"
        elif styles.images:
            yield f"--styles {styles.count} is ignored: the styles are those of --style-image"
    if styles.images and styles.same:
        yield "--same-styles is ignored: examples are the same for all inputs"


def _left_out(inputs: int, styles: int) -> Iterator[str]:
    """What a grid does not show."""
    if inputs > GRID_ROWS or styles > GRID_STYLES:
        shown = f"{min(inputs, GRID_ROWS)} of {counted(inputs, 'input')}"
        yield f"the grid shows {shown}, {min(styles, GRID_STYLES)} of {counted(styles, 'style')}"


class _Reader:
    """Reads images as the source domain's are read for training, at their own size."""

    def __init__(self, config: Config, domain: Domain, size: int | None) -> None:
        self.domain, self.size = domain, size
        self.convert = conversion_for(config.DATA.get("CONVERT", "none"), domain.name)
        self.max_pixels = config.DATA.get("MAX_PIXELS", MAX_PIXELS)

    def read(self, path: Path) -> tuple[np.ndarray[Any, Any], Tensor]:
        """Pixels as in the file, and the image (C, H, W) in [-1, 1]."""
        pixels, image = load_image(
            path, self.domain, convert=self.convert, max_pixels=self.max_pixels
        )
        if self.size is not None:
            height, width = image.shape[1:]
            scale = self.size / min(height, width)
            sides = [max(self.size, round(side * scale)) for side in (height, width)]
            image = T.resize(image, sides, antialias=True)
        return pixels, image


def _check(styles: StyleChoice) -> None:
    """Raises UsageError for a choice of styles that cannot be meant."""
    if styles.interpolate and styles.interpolate < 2:
        raise UsageError(f"--interpolate takes 2 or more steps, got {styles.interpolate}")
    if styles.mean and (styles.interpolate or not styles.images):
        raise UsageError("--mean-style is of the --style-image given, without --interpolate")
    if styles.count is not None and styles.count < 1:
        raise UsageError(f"styles is a number of 1 or more, got {styles.count}")


def _examples(styles: StyleChoice) -> list[Path]:
    """The files of example images; folders are searched."""
    found: list[Path] = []
    for path in styles.images:
        found += [file for _, file in list_images(path)] if path.is_dir() else [path]
    if styles.interpolate and found and len(found) != 2:
        raise UsageError(
            "--interpolate goes between two styles: give two --style-image, or none; got "
            f"{len(found)}"
        )
    return found


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


def _read_examples(
    model: TranslationModel,
    styles: StyleChoice,
    config: Config,
    target: Domain,
    reader: _Reader,
) -> list[tuple[str, Tensor]]:
    """Example images of the target domain (C, H, W) and what translations in their styles are
    called. Raises UsageError for a recipe without styles."""
    if not model.style_dim and (styles.images or styles.interpolate):
        raise UsageError("this recipe has no styles: leave --style-image and --interpolate out")
    files = _examples(styles)
    names = [f"_{file.stem}" for file in files]
    if len(set(names)) < len(names):
        names = [f"_{file.stem}_{i}" for i, file in enumerate(files)]
    reading = _Reader(config, target, reader.size)
    return [(name, reading.read(file)[1]) for name, file in zip(names, files, strict=True)]


def _labels(
    model: TranslationModel,
    styles: StyleChoice,
    target: str,
    examples: Sequence[tuple[str, Tensor]],
) -> tuple[list[str], Tensor | None]:
    """How the translations of an image are called, and their styles where all inputs share them."""
    if not model.style_dim:
        return [""], None
    if examples:
        codes = torch.cat([model.encode_style(x[None], target).cpu() for _, x in examples])
        if styles.mean:
            return ["_mean"], codes.mean(dim=0, keepdim=True)
        if styles.interpolate:
            return _numbered(styles.interpolate), _between(codes, styles.interpolate)
        return [name for name, _ in examples], codes
    count = styles.interpolate or styles.count or DEFAULT_STYLES
    if styles.same or styles.interpolate:
        return _numbered(count), _draw(model, styles, "", target)
    return _numbered(count), None


def _numbered(count: int) -> list[str]:
    return [f"_{index:02d}" for index in range(count)]


def _draw(model: TranslationModel, styles: StyleChoice, name: str, to: str) -> Tensor | None:
    """Styles of an input, a function of seed and name."""
    if not model.style_dim:
        return None
    key = int(rng("translate", styles.seed, name).integers(2**62))
    generator = torch.Generator().manual_seed(key)
    if styles.interpolate:
        return _between(model.sample_styles(2, generator, to=to), styles.interpolate)
    return model.sample_styles(styles.count or DEFAULT_STYLES, generator, to=to)


def _between(codes: Tensor, steps: int) -> Tensor:
    """Codes on the line between two."""
    return torch.stack([torch.lerp(codes[0], codes[1], t / (steps - 1)) for t in range(steps)])


def _plan(
    found: Sequence[tuple[str, Path]],
    folder: Path,
    target: Domain,
    labels: Sequence[str],
    used: set[Path],
) -> dict[str, list[Path]]:
    """Output files by input, each another and none of `used`."""
    planned: dict[str, list[Path]] = {}
    used = set(used)
    for name, _ in found:
        path = Path(name)
        suffix = _suffix(path, target)
        stem = "_".join(path.with_suffix("").parts)  # nested folders end up in one
        unique, number = stem, 1
        while used.intersection(files := _outputs(folder, unique, target, labels, suffix)):
            unique = f"{stem}_{path.suffix[1:]}{'' if number == 1 else number}"
            number += 1
        planned[name] = files
        used.update(files)
    return planned


def _outputs(
    folder: Path, stem: str, target: Domain, labels: Sequence[str], suffix: str
) -> list[Path]:
    return [folder / f"{stem}_{target.name}{label}{suffix}" for label in labels]


def _suffix(path: Path, target: Domain) -> str:
    """The format of an input's outputs: its own where it holds any pixels, else PNG or TIFF."""
    suffix = path.suffix.lower()
    if suffix in (".tif", ".tiff", ".npy"):
        return suffix
    in_png = target.channels <= 4 and _output_type(np.dtype(np.uint8), target).kind == "u"
    return ".png" if in_png else ".tif"


def _output_type(dtype: np.dtype[Any], target: Domain) -> np.dtype[Any]:
    """The type of output pixels for an input's: no narrower, and holding the target's values."""
    if target.value_range is None:  # no range is known to write other numbers in
        return dtype if dtype.kind in "ui" and dtype.itemsize <= 2 else np.dtype(np.uint8)
    if dtype.kind == "f":
        return dtype
    low, high = target.value_range
    for kind in (dtype, np.dtype(np.uint8), np.dtype(np.uint16)):
        info = np.iinfo(kind)
        holds = info.min <= low and high <= info.max and high - low >= 255  # 8 bits, at the least
        if holds and kind.itemsize >= dtype.itemsize:
            return kind
    return np.dtype(np.float32)


def _write(path: Path, image: Tensor, dtype: np.dtype[Any], domain: Domain) -> None:
    kind = _output_type(dtype, domain)
    write_image(path, from_unit(image.float().clamp(-1, 1), kind, domain.value_range))


def _grid_row(image: Tensor, outputs: Tensor) -> list[Tensor]:
    """An input and its translations as cells of a grid."""
    return [_cell(image), *map(_cell, outputs)]


def _grid_head(
    examples: Sequence[tuple[str, Tensor]], interpolate: int
) -> Iterator[list[Tensor | None]]:
    """A row of the example images, above the translations in their styles, where there are any:
    nothing stands above the inputs, nor between the two that are interpolated."""
    if examples:
        head: list[Tensor | None] = [_cell(image) for _, image in examples]
        between = [None] * (interpolate - 2) if interpolate else []
        yield [None, *[head[0], *between, *head[1:]][:GRID_STYLES]]


def _cell(image: Tensor) -> Tensor:
    """An image (C, H, W) to look at: (3, h, w) of a grid's size at the most."""
    cell = as_rgb(image[None]).float().cpu()
    longer = max(cell.shape[2:])
    if longer > GRID_CELL:
        sides = [max(1, round(side * GRID_CELL / longer)) for side in cell.shape[2:]]
        cell = T.resize(cell, sides, antialias=True)
    return cell[0]


def _sheet(rows: Sequence[Sequence[Tensor | None]]) -> Tensor:
    """Rows of cells as one image (3, H, W): each fitted into cells of the last row's input."""
    size = next(cell for cell in rows[-1] if cell is not None).shape[1:]
    columns = max(map(len, rows))
    cells = torch.ones(len(rows), columns, 3, *size)
    for row, there in zip(cells, rows, strict=True):
        for place, cell in zip(row, there, strict=False):
            if cell is not None:
                fits = cell.shape[1:] == size
                place.copy_(cell if fits else T.resize(cell, list(size), antialias=True))
    grid: Tensor = make_grid(cells.flatten(0, 1), nrow=columns, padding=2, pad_value=1.0)
    return grid
