"""What the datasets of image files have in common."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from munit_zoo.data.images import is_image, mapping, read_image, to_unit
from munit_zoo.data.transforms import Pipeline, convert_channels
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError, counted

__all__ = ["FileDataset", "OnBadImage", "list_images"]

OnBadImage = Literal["error", "skip"]


class FileDataset:
    """Images in files; a subclass says which (`find`).

    on_bad_image: `error` stops at an image that cannot be used, naming it; `skip` reads every image
    once in `prepare`, leaves out the bad ones and lists them in `skipped`.
    """

    def __init__(
        self,
        domain: Domain,
        split: Literal["train", "test"],
        pipeline: Pipeline,
        on_bad_image: OnBadImage,
    ) -> None:
        self.domain, self.split, self.pipeline = domain, split, pipeline
        self.on_bad_image = on_bad_image
        self.skipped: dict[str, str] = {}
        self._files: list[tuple[str, Path]] | None = None

    def find(self) -> list[tuple[str, Path]]:
        """Names and paths of the images. Raises DataError where there are none."""
        raise NotImplementedError

    def origin(self) -> dict[str, Any]:
        """Where the images come from, for the run's record."""
        raise NotImplementedError

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the samples."""
        return self.pipeline.crop

    @property
    def files(self) -> list[tuple[str, Path]]:
        """Names and paths, found when first asked for."""
        self.prepare()
        return self._files or []

    def prepare(self) -> None:
        """Find the images and try the first, under `skip` each."""
        if self._files is not None:
            return
        found = self.find()
        if self.on_bad_image == "skip":
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                reasons = list(pool.map(self._reason, (path for _, path in found)))
            self.skipped = {
                name: reason
                for (name, _), reason in zip(found, reasons, strict=True)
                if reason is not None
            }
            found = [(name, path) for name, path in found if name not in self.skipped]
            if not found:
                first = next(iter(self.skipped.values()))
                raise DataError(f"every image of domain {self.letter} was skipped. {first}")
        else:
            self._sample(found[0][1], None)  # the usual mistakes concern every image
        self._files = found

    def _reason(self, path: Path) -> str | None:
        try:
            self._sample(path, None)
        except DataError as error:
            return str(error)
        return None

    @property
    def letter(self) -> str:
        """The domain as configs and folders spell it: `A`."""
        return self.domain.name.upper()

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """The image's path within its folder."""
        return self.files[index][0]

    def train(self, index: int, rng: np.random.Generator) -> Tensor:
        """Image `index`, resized, cropped and flipped by chance: float32 (C, h, w)."""
        return self._sample(self.files[index][1], rng)

    def test(self, index: int) -> Tensor:
        """Image `index`, resized, its middle: float32 (C, h, w)."""
        return self._sample(self.files[index][1], None)

    def _sample(self, path: Path, rng: np.random.Generator | None) -> Tensor:
        try:
            pixels = read_image(path)
        except DataError as error:
            raise DataError(f"{error}. DATA.ON_BAD_IMAGE=skip leaves such images out") from None
        name = self.domain.name
        image = to_unit(pixels, self.domain.value_range, what=str(path), domain=name)
        image = convert_channels(image, self.pipeline.convert)
        if len(image) != self.domain.channels:
            raise DataError(self._channels(path, len(image)))
        try:
            return self.pipeline.test(image) if rng is None else self.pipeline.train(image, rng)
        except DataError as error:
            raise DataError(f"the image {path} cannot be used: {error}") from None

    def _channels(self, path: Path, found: int) -> str:
        want = self.domain.channels
        message = (
            f"the image {path} has {counted(found, 'channel')}, domain "
            f"{self.letter} is declared with {want}: set DOMAINS.{self.letter}.CHANNELS={found}"
        )
        convert = {(1, 3): "rgb", (3, 1): "gray"}.get((found, want))
        return message + (f", or DATA.CONVERT={convert}" if convert else "")

    def describe(self) -> dict[str, Any]:
        """What was found and how values are mapped."""
        pixels = read_image(self.files[0][1])
        return {
            "images": len(self),
            **self.origin(),
            "mapping": mapping(pixels.dtype, self.domain.value_range, domain=self.domain.name),
            "first": f"{self.name(0)}: {counted(pixels.shape[0], 'channel')}, "
            f"{pixels.shape[1]}×{pixels.shape[2]}",
            "skipped": self.skipped,
        }


def list_images(folder: Path) -> list[tuple[str, Path]]:
    """All images below a folder, nested ones too, in natural order, with relative names.

    Raises DataError where the folder is absent or holds none.
    """
    if not folder.is_dir():
        parent = folder.parent
        there = ", ".join(sorted(p.name for p in parent.iterdir())[:10]) if parent.is_dir() else ""
        known = f" ({parent} holds: {there or 'nothing'})" if parent.is_dir() else ""
        raise DataError(f"there is no folder {folder}{known}")
    found = [
        (path.relative_to(folder).as_posix(), path)
        for path in folder.rglob("*")
        if is_image(path) and path.is_file()
    ]
    if not found:
        raise DataError(f"the folder {folder} holds no image (.png, .jpg, .tif, .npy and others)")
    return sorted(found, key=lambda pair: _natural(pair[0]))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]
