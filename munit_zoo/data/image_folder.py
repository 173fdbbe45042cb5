"""Images in folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from munit_zoo.data._files import (
    FileDataset,
    OnBadImage,
    check_domains,
    labels_from,
    share_out,
)
from munit_zoo.data.images import MAX_PIXELS
from munit_zoo.data.reading import held_by, list_images
from munit_zoo.data.sources import Source, shown
from munit_zoo.data.transforms import (
    Convert,
    Crop,
    Interpolation,
)
from munit_zoo.domains import Domain, letter
from munit_zoo.errors import DataError
from munit_zoo.registry import MAY_CHANGE
from munit_zoo.registry.ranges import Fraction, NonNegative, Positive, PositiveFloat

__all__ = ["ImageFolder", "split_folder"]


class ImageFolder(FileDataset):
    """Images of two or more folders, nested or not, of mixed formats.

    root: a folder with one per split and domain: `trainDAY` and `testDAY`, or `train/day` and
        `test/day` (or `val/day`), or, by the order of the domains, `trainA`, `trainB`, `testA`, …
    folders: instead of that, any folder per domain, `{DAY: photos, NIGHT: paintings}`; a share of
        its images, chosen by their names and `hold_out_seed`, is held out for testing.
    test_folders: folders of test images per domain; nothing is held out then.
    hold_out: the share (below 1) or number held out.
    paired: hold out by names without suffixes, so that pairs stay together whose files are of
        several formats.
    table: a CSV file of attributes, a line an image: its name and a column of 1 and 0 (or -1) each.
    attributes: which columns, all by default. classes: instead of that, the folders within a
        domain's folder are its classes. Both also per domain (`{FACES: list.txt}`).
    size: short side after resizing, for all domains or per domain (`{DAY: 286, NIGHT: 256}`); null
        to keep the size. crop: (height, width), or a number for both; null for size × size.
    flip: mirror half of the training images. interpolation: of resizing.
    resized_crop: the share of training images of which a large part at random, .8 to 1 of the area,
        is resized to the crop.
    convert: `rgb`, `gray` or `none`, for all domains or per domain (`{DAY: gray}`): what is
        transparent comes to lie on white, and CMYK becomes RGB.
    on_bad_image: stop, or skip and list.
    max_pixels: rows times columns of the largest image that is read.
    reduced_jpeg: decode JPEG that `size` makes less than half as large at 1/2, 1/4 or 1/8: faster,
        and not quite the same (docs/data.md).
    cache: `memory`, or a folder that processes and runs share: keeps images once decoded and
        resized, the first that come. cache_gb: the most for a domain, in 10^9 bytes.

    Raises DataError for missing or empty folders and unknown domains, and per image as
    `on_bad_image` says.
    """

    def __init__(
        self,
        domain: Domain,
        split: Literal["train", "test"],
        *,
        root: Annotated[str | None, MAY_CHANGE] = None,
        folders: Annotated[dict[str, str] | None, MAY_CHANGE] = None,
        test_folders: Annotated[dict[str, str] | None, MAY_CHANGE] = None,
        hold_out: NonNegative = 0.1,
        hold_out_seed: int = 0,
        paired: bool = False,
        table: Annotated[dict[str, str] | str | None, MAY_CHANGE] = None,
        attributes: tuple[str, ...] | None = None,
        classes: bool | dict[str, bool] = False,
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
        check_domains(
            domain,
            folders=folders,
            test_folders=test_folders,
            table=table,
            classes=classes,
            size=size,
            convert=convert,
        )
        labels = labels_from(
            table.get(domain.key) if isinstance(table, dict) else table,
            attributes,
            classes.get(domain.key, False) if isinstance(classes, dict) else classes,
            elsewhere=isinstance(table, dict),
        )
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
        self.root = None if root is None else Path(root).expanduser()
        self.folder = _folder(folders, domain)
        self.test_folder = _folder(test_folders, domain)
        if self.folder is None and self.root is None:
            raise DataError(
                f"say where the images of domain {domain.key} are: DATA.ROOT=folder (with "
                f"train{domain.key} and test{domain.key} in it, or folders train and test with "
                f"{domain.name} in each) or DATA.FOLDERS.{domain.key}=folder"
            )
        self.hold_out, self.hold_out_seed, self.paired = hold_out, hold_out_seed, paired

    def find(self) -> list[tuple[str, Source]]:
        """The images of this split."""
        where = self._where()
        found: list[tuple[str, Source]] = [*list_images(where)]
        if where != self.folder or self.test_folder is not None:
            return found
        chosen = share_out(
            found,
            self.split,
            hold_out=self.hold_out,
            seed=self.hold_out_seed,
            key=self.scene_of if self.paired else str,
        )
        if not chosen:
            raise DataError(
                f"no image of {shown(self.folder)} is held out for testing (DATA.HOLD_OUT)"
            )
        return chosen

    def _where(self) -> Path:
        if self.split == "test" and self.test_folder is not None:
            return self.test_folder
        return self.folder or split_folder(self.root or Path(), self.split, self.domain)

    def origin(self) -> dict[str, object]:
        """Folder, and what is held out."""
        where = self._where()
        if where != self.folder or (self.split == "test" and self.test_folder is not None):
            return {"folder": shown(where)}
        held = None if self.test_folder else {"share": self.hold_out, "seed": self.hold_out_seed}
        return {"folder": shown(where), "hold_out": held}


def split_folder(root: Path, split: Literal["train", "test"], domain: Domain) -> Path:
    """The folder of a split's images of a domain: the first of those that are there.

    `trainDAY` and `train/day`, in capitals or not, for testing also `val/day`; then `trainA` for
    the first domain, `trainB` for the second, whatever their names. Raises DataError where none is.
    """
    joined = f"{split}{domain.key}"
    words = ("train",) if split == "train" else ("test", "val")
    by_order = f"{split}{letter(domain.place).upper()}"
    tried = [joined, *(f"{word}/{domain.name}" for word in words), by_order]
    for name in tried:
        found: Path | None = root
        for part in name.split("/"):
            found = None if found is None else _named(found, part)
        if found is not None:
            return found
    names = list(dict.fromkeys(tried))
    raise DataError(
        f"there is no folder {', '.join(names[:-1])} or {names[-1]} in {shown(root)}{held_by(root)}"
    )


def _named(parent: Path, name: str) -> Path | None:
    """The folder of this name, in capitals or not; one that is exactly so before others."""
    if (parent / name).is_dir():
        return parent / name
    try:
        near = [p for p in parent.iterdir() if p.name.casefold() == name.casefold() and p.is_dir()]
    except OSError:
        return None
    return min(near, default=None)


def _folder(folders: Mapping[str, str] | None, domain: Domain) -> Path | None:
    if folders is None or domain.key not in folders:
        return None
    return Path(folders[domain.key]).expanduser()
