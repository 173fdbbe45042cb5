"""Images named in text files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from munit_zoo.data._files import FileDataset, OnBadImage
from munit_zoo.data.transforms import Convert, Interpolation, Pipeline, conversion_for, size_for
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError, suggest
from munit_zoo.registry.ranges import Positive

__all__ = ["ImageList"]

_SPLITS = ("TRAIN", "TEST")


class ImageList(FileDataset):
    """Images listed one a line in a text file per split and domain.

    lists: `{TRAIN_A: list_trainA.txt, TRAIN_B: …, TEST_A: …, TEST_B: …}`; empty lines and lines
        that begin with # are skipped.
    roots: the folder that a list's names are relative to, under the same keys; `root` for all;
        where neither is given, the list's own folder.
    Other keys as those of `image_folder`.

    Raises DataError for a missing list, one without images, and a listed file that does not exist
    (with list and line).
    """

    def __init__(
        self,
        domain: Domain,
        split: Literal["train", "test"],
        *,
        lists: dict[str, str],
        roots: dict[str, str] | None = None,
        root: str | None = None,
        size: Positive | dict[str, Positive] | None = 256,
        crop: tuple[Positive, Positive] | None = None,
        flip: bool = True,
        interpolation: Interpolation = "bilinear",
        convert: dict[str, Convert] | Convert = "none",
        on_bad_image: OnBadImage = "error",
    ) -> None:
        pipeline = Pipeline(
            size=size_for(size, domain.name),
            crop=crop,
            flip=flip,
            interpolation=interpolation,
            convert=conversion_for(convert, domain.name),
        )
        super().__init__(domain, split, pipeline, on_bad_image)
        for where, given in (("LISTS", lists), ("ROOTS", roots or {})):
            for key in given:
                if key.partition("_")[0] not in _SPLITS or not key.partition("_")[2]:
                    hint = suggest(key, [f"{s}_{self.letter}" for s in _SPLITS])
                    raise DataError(
                        f"DATA.{where}.{key}: keys are a split and a domain, as TRAIN_A. {hint}"
                    )
        self.key = f"{split.upper()}_{self.letter}"
        self.list = Path(lists[self.key]).expanduser() if self.key in lists else None
        given_root = (roots or {}).get(self.key, root)
        self.root = Path(given_root).expanduser() if given_root is not None else None

    def find(self) -> list[tuple[str, Path]]:
        """The listed images."""
        if self.list is None:
            raise DataError(f"the config names no list DATA.LISTS.{self.key}")
        try:
            lines = self.list.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"the list {self.list} (DATA.LISTS.{self.key}): {error}") from None
        root = self.root if self.root is not None else self.list.parent
        found = []
        for number, line in enumerate(lines, start=1):
            name = line.strip()
            if not name or name.startswith("#"):
                continue
            path = root / name
            if not path.is_file():
                raise DataError(
                    f"{self.list}, line {number}: there is no file {path} (names are relative to "
                    f"DATA.ROOTS.{self.key}, DATA.ROOT or the list's own folder)"
                )
            found.append((name, path))
        if not found:
            raise DataError(f"the list {self.list} (DATA.LISTS.{self.key}) names no image")
        return found

    def origin(self) -> dict[str, Any]:
        """List and folder."""
        return {"list": str(self.list), "folder": str(self.root or (self.list or Path()).parent)}
