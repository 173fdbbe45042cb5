"""Images in folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from munit_zoo.data._files import FileDataset, OnBadImage, list_images
from munit_zoo.data.seeding import rng
from munit_zoo.data.transforms import Convert, Interpolation, Pipeline, conversion_for, size_for
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError
from munit_zoo.registry.ranges import NonNegative, Positive

__all__ = ["ImageFolder"]


class ImageFolder(FileDataset):
    """Images of two or more folders, nested or not, of mixed formats.

    root: a folder that holds `trainA`, `trainB`, `testA`, `testB` (split and domain).
    folders: instead of that, any folder per domain, `{A: photos, B: paintings}`; a share of its
        images, chosen by their names and `hold_out_seed`, is held out for testing.
    test_folders: folders of test images per domain; nothing is held out then.
    hold_out: the share (below 1) or number held out.
    size: short side after resizing, for all domains or per domain (`{A: 286, B: 256}`); null to
        keep the size. crop: (height, width); null for
        size × size. flip: mirror half of the training images. interpolation: of resizing.
    convert: `rgb`, `gray` or `none`, for all domains or per domain (`{A: gray}`).
    on_bad_image: stop, or skip and list.

    Raises DataError for missing or empty folders, and per image as `on_bad_image` says.
    """

    def __init__(
        self,
        domain: Domain,
        split: Literal["train", "test"],
        *,
        root: str | None = None,
        folders: dict[str, str] | None = None,
        test_folders: dict[str, str] | None = None,
        hold_out: NonNegative = 0.1,
        hold_out_seed: int = 0,
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
        self.root = None if root is None else Path(root).expanduser()
        self.folder = _folder(folders, self.letter)
        self.test_folder = _folder(test_folders, self.letter)
        if self.folder is None and self.root is None:
            raise DataError(
                f"say where the images of domain {self.letter} are: DATA.ROOT=folder (with "
                f"train{self.letter} and test{self.letter} in it) or "
                f"DATA.FOLDERS.{self.letter}=folder"
            )
        self.hold_out, self.hold_out_seed = hold_out, hold_out_seed

    def find(self) -> list[tuple[str, Path]]:
        """The images of this split."""
        if self.split == "test" and self.test_folder is not None:
            return list_images(self.test_folder)
        if self.folder is None:
            return list_images((self.root or Path()) / f"{self.split}{self.letter}")
        found = list_images(self.folder)
        if self.test_folder is not None:
            return found
        count = round(self.hold_out * len(found)) if self.hold_out < 1 else round(self.hold_out)
        count = min(max(count, 1 if self.hold_out else 0), len(found) - 1)
        ranked = sorted(name for name, _ in found)
        ranked.sort(key=lambda name: rng("hold-out", self.hold_out_seed, name).random())
        held = set(ranked[:count])
        chosen = [pair for pair in found if (pair[0] in held) == (self.split == "test")]
        if not chosen:
            raise DataError(f"no image of {self.folder} is held out for testing (DATA.HOLD_OUT)")
        return chosen

    def origin(self) -> dict[str, Any]:
        """Folder, and what is held out."""
        if self.split == "test" and self.test_folder is not None:
            return {"folder": str(self.test_folder)}
        if self.folder is None:
            return {"folder": str((self.root or Path()) / f"{self.split}{self.letter}")}
        held = None if self.test_folder else {"share": self.hold_out, "seed": self.hold_out_seed}
        return {"folder": str(self.folder), "hold_out": held}


def _folder(folders: Mapping[str, str] | None, letter: str) -> Path | None:
    if folders is None or letter not in folders:
        return None
    return Path(folders[letter]).expanduser()
