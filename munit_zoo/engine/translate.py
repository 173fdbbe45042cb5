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
from munit_zoo.data.images import MAX_PIXELS, from_unit, write_image
from munit_zoo.data.reading import list_images, load_image
from munit_zoo.data.seeding import rng
from munit_zoo.data.transforms import conversion_for
from munit_zoo.domains import Domain
from munit_zoo.engine.devices import choose_device
from munit_zoo.engine.grids import as_rgb, save_grid
from munit_zoo.engine.runs import find_snapshot, load_model, write_text
from munit_zoo.errors import UsageError
from munit_zoo.models import TranslationModel
from munit_zoo.models.translation import Translator

__all__ = ["StyleChoice", "Translated", "translate_files"]

GRID_ROWS = 64


@dataclass(frozen=True)
class StyleChoice:
    """Which styles to translate into.

    count: styles drawn from the prior, for each input its own unless `same`.
    images: example images of the target domain, or folders of them; each is a style.
    interpolate: number of steps on the line between two styles (drawn, or of two `images`).
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
    TIFF for TIFF, PNG for JPEG, but TIFF for what a PNG cannot hold; values are those of the target
    domain's VALUE_RANGE, in a type that holds them. Colours are as the network made them.
    `translations.json` lists styles and files.

    Raises UsageError, before anything is written, for inputs that are no images, an unknown domain
    or outputs that exist already (unless `overwrite`); DataError for an image that does not fit.
    """
    styles = styles or StyleChoice()
    run, snapshot = find_snapshot(path)
    config = run.resolved().config
    folder = out if out is not None else run.folder / "translations"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --out is a folder")
    if size is not None and size < 1:
        raise UsageError(f"--size is the short side in pixels, 1 or more, got {size}")
    _check(styles)
    model = load_model(path, device=choose_device(device))
    to = to.lower()
    found_way = Translator(model).way(to, source.lower() if source else None)
    way = (found_way.source.name, found_way.target.name)
    domains = {domain.name: domain for domain in domains_of(config)}
    reader = _Reader(config, domains[way[0]], size)
    found = _collect(inputs)
    labels, shared = _labels(model, styles, way[1], config, domains, reader)
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
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Tensor] = []
    records: list[dict[str, Any]] = []
    for index, (name, file) in enumerate(found):
        pixels, image = reader.read(file)
        codes = shared if shared is not None else _draw(model, styles, name, to)
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
        written = sheet
        save_grid(written, make_grid(torch.cat(rows), nrow=columns, padding=2, pad_value=1.0))
    document = {
        "run": str(run.folder),
        "iteration": snapshot.iteration,
        "from": way[0],
        "to": to,
        "seed": styles.seed,
        "images": records,
    }
    write_text(index_file, json.dumps(document, indent=1) + "\n")
    return Translated(folder, planned, written)


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
    if styles.count < 1:
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
    images = _examples(styles)
    if images:
        examples = _Reader(config, domains[target], reader.size)
        codes = torch.cat(
            [model.encode_style(examples.read(file)[1][None], target).cpu() for file in images]
        )
        names = [f"_{file.stem}" for file in images]
        if len(set(names)) < len(names):
            names = [f"_{file.stem}_{i}" for i, file in enumerate(images)]
        if styles.interpolate:
            return _numbered(styles.interpolate), _between(codes, styles.interpolate)
        return names, codes
    count = styles.interpolate or styles.count
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
    return model.sample_styles(styles.count, generator, to=to)


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


def _grid_row(image: Tensor, outputs: Tensor, rows: Sequence[Tensor]) -> Tensor:
    cells = torch.cat([as_rgb(image[None].to(outputs)), as_rgb(outputs)]).float().cpu()
    if rows and rows[0].shape[2:] != cells.shape[2:]:
        cells = T.resize(cells, list(rows[0].shape[2:]), antialias=True)
    return cells
