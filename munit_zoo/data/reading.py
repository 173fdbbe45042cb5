"""Finding image files, and reading one as its domain declares it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from munit_zoo.data._formats import Pixels
from munit_zoo.data.images import MAX_PIXELS, Decoded, decode, opaque
from munit_zoo.data.sources import Source, is_image, shown
from munit_zoo.data.transforms import Convert, convert_channels
from munit_zoo.data.values import to_unit
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError, counted

__all__ = ["held_by", "list_images", "load_image", "natural", "unit_image"]


def load_image(
    path: Path, domain: Domain, *, convert: Convert = "none", max_pixels: int = MAX_PIXELS
) -> tuple[Pixels, Tensor]:
    """An image for a model that is trained: a file's pixels as they are, and float32 (C, H, W).

    Values are mapped to [-1, 1] as the domain says, channels converted as `convert` does. Raises
    DataError, naming the file, where it cannot be read or is not of the domain's channels.
    """
    decoded = decode(path, max_pixels=max_pixels)
    return decoded.pixels, unit_image(decoded, path, domain, convert, trained=True)


def unit_image(
    decoded: Decoded, path: Source, domain: Domain, convert: Convert, *, trained: bool = False
) -> Tensor:
    """What was decoded as an image of a domain: float32 (C, H, W).

    trained: whether it is too late for other settings, for messages.
    """
    pixels = decoded.pixels
    if convert != "none":
        pixels = opaque(decoded, domain.value_range)
    image = to_unit(pixels, domain.value_range, what=shown(path), domain=domain.name)
    image = convert_channels(image, convert)
    if len(image) != domain.channels:
        raise DataError(_channels(path, domain, decoded, trained))
    return image


def _channels(path: Source, domain: Domain, decoded: Decoded, trained: bool) -> str:
    found, want = len(decoded.pixels), domain.channels
    kinds = {"rgb+alpha": " (RGB and opacity)", "gray+alpha": " (gray and opacity)"}
    kind = {**kinds, "cmyk": " (CMYK)"}.get(decoded.colour, "")
    head = f"the image {shown(path)} has {counted(found, 'channel')}{kind}"
    convert = {1: "gray", 3: "rgb"}.get(want) if decoded.colour != "other" else None
    key = f"DOMAINS.{domain.key}.CHANNELS={found}"
    if trained:
        return (
            f"{head}, the run's domain {domain.key} has {want}: convert the image, or train with "
            f"{key}" + (f" or DATA.CONVERT={convert}" if convert else "")
        )
    also = f", or DATA.CONVERT={convert}" if convert else ""
    return f"{head}, domain {domain.key} is declared with {want}: set {key}{also}"


def list_images(folder: Path) -> list[tuple[str, Path]]:
    """All images below a folder, nested ones too, in natural order, with relative names.

    Links to folders are followed, each folder once: one that was reached already, as by a link in
    a circle, is not listed again. Bytes of a name that are no UTF-8 read `\\xe9`.
    Raises DataError where the folder is absent or holds none.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {shown(folder)}{held_by(folder.parent)}")
    found, dangling = [], []
    for path in _files_below(folder):
        if not is_image(path):
            continue
        if path.is_file():
            found.append((shown(path.relative_to(folder).as_posix()), path))
        elif path.is_symlink():
            dangling.append(path)
    if not found:
        links = f"; {counted(len(dangling), 'link')} there lead nowhere" if dangling else ""
        raise DataError(
            f"the folder {shown(folder)} holds no image (.png, .jpg, .tif, .npy and others){links}"
        )
    return sorted(found, key=lambda pair: natural(pair[0]))


def held_by(folder: Path) -> str:
    """What a folder holds, to name in a message that something is missing from it."""
    try:
        there = sorted(shown(p.name) for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        return f" ({shown(folder)}: {error.strerror})"
    return f" ({shown(folder)} holds: {', '.join(there[:10]) or 'nothing'})"


def _files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder's tree: of folders themselves first, then of those that links lead to."""
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        links: list[Path] = []
        for start in waiting:
            for parent, folders, files in os.walk(start):
                state = os.stat(parent)
                if (state.st_dev, state.st_ino) in seen:
                    folders.clear()
                    continue
                seen.add((state.st_dev, state.st_ino))
                folders.sort()
                links += [p for name in folders if (p := Path(parent, name)).is_symlink()]
                yield from (Path(parent, name) for name in sorted(files))
        waiting = links


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts `2.png` before `10.png`."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]
