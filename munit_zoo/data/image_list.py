"""Images named in text files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from munit_zoo.data._files import FileDataset, OnBadImage, check_domains, labels_from
from munit_zoo.data.images import MAX_PIXELS
from munit_zoo.data.sources import Source, shown
from munit_zoo.data.transforms import (
    Convert,
    Crop,
    Interpolation,
)
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError, suggest
from munit_zoo.registry import MAY_CHANGE
from munit_zoo.registry.ranges import Fraction, Positive, PositiveFloat

__all__ = ["ImageList"]

_SPLITS = ("TRAIN", "TEST")


class ImageList(FileDataset):
    """Images listed one a line in a text file per split and domain.

    lists: `{TRAIN_A: list_trainA.txt, TRAIN_B: …, TEST_A: …, TEST_B: …}`; empty lines and lines
        that begin with # are skipped. For recipes that train on pairs, images in the same place of
        two lists are a pair.
    roots: the folder that a list's names are relative to, under the same keys; `root` for all;
        where neither is given, the list's own folder.
    Other keys as those of `image_folder`.

    Raises DataError for a missing list, one without images, and (with list and line) a listed file
    that does not exist or is outside of the folder that names are relative to.
    """

    def __init__(
        self,
        domain: Domain,
        split: Literal["train", "test"],
        *,
        lists: Annotated[dict[str, str], MAY_CHANGE],
        roots: Annotated[dict[str, str] | None, MAY_CHANGE] = None,
        root: Annotated[str | None, MAY_CHANGE] = None,
        table: Annotated[str | None, MAY_CHANGE] = None,
        attributes: tuple[str, ...] | None = None,
        size: Positive | dict[str, Positive] | None = 256,
        crop: Crop = None,
        flip: bool = True,
        resized_crop: Fraction = 0.0,
        interpolation: Interpolation = "bilinear",
        convert: dict[str, Convert] | Convert = "none",
        on_bad_image: Annotated[OnBadImage, MAY_CHANGE] = "error",
        max_pixels: Positive = MAX_PIXELS,
        reduced_jpeg: bool = False,
        cache: Annotated[str | None, MAY_CHANGE] = None,
        cache_gb: Annotated[PositiveFloat, MAY_CHANGE] = 4.0,
    ) -> None:
        check_domains(domain, size=size, convert=convert)
        labels = labels_from(table, attributes, classes=False)
        super().__init__(
            domain,
            split,
            size=size,
            crop=crop,
            flip=flip,
            resized_crop=resized_crop,
            interpolation=interpolation,
            convert=convert,
            on_bad_image=on_bad_image,
            max_pixels=max_pixels,
            reduced_jpeg=reduced_jpeg,
            labels=labels,
            cache=cache,
            cache_gb=cache_gb,
        )
        for where, given in (("LISTS", lists), ("ROOTS", roots or {})):
            for key in given:
                split_word, _, name = key.partition("_")
                known = not domain.among or name.lower() in domain.among
                if split_word not in _SPLITS or not name or not known:
                    names = domain.among or (domain.name,)
                    hint = suggest(key, [f"{s}_{n.upper()}" for n in names for s in _SPLITS])
                    raise DataError(
                        f"DATA.{where}.{key}: keys are a split and a domain, as "
                        f"TRAIN_{domain.key}. {hint}"
                    )
        self.key = f"{split.upper()}_{domain.key}"
        self.list = Path(lists[self.key]).expanduser() if self.key in lists else None
        self._places: dict[str, str] = {}
        given_root = (roots or {}).get(self.key, root)
        self.root = Path(given_root).expanduser() if given_root is not None else None

    def find(self) -> list[tuple[str, Source]]:
        """The listed images."""
        if self.list is None:
            raise DataError(f"the config names no list DATA.LISTS.{self.key}")
        try:
            lines = self.list.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"the list {shown(self.list)} (DATA.LISTS.{self.key}): {error}"
            ) from None
        root = self.root if self.root is not None else self.list.parent
        found: list[tuple[str, Source]] = []
        for number, line in enumerate(lines, start=1):
            name = line.strip()
            if not name or name.startswith("#"):
                continue
            path = root / name
            where = f"{shown(self.list)}, line {number}"
            if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(root)):
                raise DataError(
                    f"{where}: {shown(path)} is outside of {shown(root)}; set DATA.ROOT to a "
                    "folder that holds all images, and list names within it"
                )
            if not path.is_file():
                raise DataError(
                    f"{where}: there is no file {shown(path)} (names are relative to "
                    f"DATA.ROOTS.{self.key}, DATA.ROOT or the list's own folder)"
                )
            self._places.setdefault(name, str(len(found) + 1))
            found.append((name, path))
        if not found:
            raise DataError(f"the list {shown(self.list)} (DATA.LISTS.{self.key}) names no image")
        return found

    def scene_of(self, name: str) -> str:
        """The image's place in its list."""
        return self._places[name]

    def origin(self) -> dict[str, object]:
        """List and folder."""
        return {
            "list": shown(self.list or ""),
            "folder": shown(self.root or (self.list or Path()).parent),
        }
