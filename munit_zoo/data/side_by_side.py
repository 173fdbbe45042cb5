"""Pairs of images side by side in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from munit_zoo.data._files import (
    FileDataset,
    OnBadImage,
    check_domains,
    labels_from,
    share_out,
)
from munit_zoo.data.images import MAX_PIXELS, Decoded, decode
from munit_zoo.data.reading import list_images
from munit_zoo.data.sources import Source, shown
from munit_zoo.data.transforms import (
    Convert,
    Crop,
    Interpolation,
)
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError, suggest
from munit_zoo.registry import MAY_CHANGE
from munit_zoo.registry.ranges import Fraction, NonNegative, Positive, PositiveFloat

__all__ = ["SideBySide"]


class SideBySide(FileDataset):
    """Files that show one scene in each domain, in panels of equal width from left to right.

    root: a folder with `train` and `test` (or `val`). folder: instead of that, any folder, of which
        a share is held out for testing.
    panels: the domains from left to right (`[PHOTO, LABELS]`), by default as DOMAINS has them.
    hold_out: the share (below 1) or number held out; hold_out_seed: which.
    Other keys as those of `image_folder`.

    Raises DataError for missing or empty folders, unknown domains, and, per image as `on_bad_image`
    says, for files whose width is no multiple of the number of panels.
    """

    def __init__(
        self,
        domain: Domain,
        split: Literal["train", "test"],
        *,
        root: Annotated[str | None, MAY_CHANGE] = None,
        folder: Annotated[str | None, MAY_CHANGE] = None,
        panels: tuple[str, ...] | None = None,
        hold_out: NonNegative = 0.1,
        hold_out_seed: int = 0,
        table: Annotated[str | None, MAY_CHANGE] = None,
        attributes: tuple[str, ...] | None = None,
        size: Positive | None = 256,
        crop: Crop = None,
        flip: bool = True,
        resized_crop: Fraction = 0.0,
        interpolation: Interpolation = "bilinear",
        convert: dict[str, Convert] | Convert = "none",
        on_bad_image: Annotated[OnBadImage, MAY_CHANGE] = "error",
        max_pixels: Positive = MAX_PIXELS,
        cache: Annotated[str | None, MAY_CHANGE] = None,
        cache_gb: Annotated[PositiveFloat, MAY_CHANGE] = 4.0,
    ) -> None:
        check_domains(domain, convert=convert)
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
            labels=labels,
            cache=cache,
            cache_gb=cache_gb,
        )
        if (root is None) == (folder is None):
            raise DataError(
                "say where the images are, in one way: DATA.ROOT=folder (with train and test in "
                "it) or DATA.FOLDER=folder"
            )
        self.root = None if root is None else Path(root).expanduser()
        self.folder = None if folder is None else Path(folder).expanduser()
        self.hold_out, self.hold_out_seed = hold_out, hold_out_seed
        self.panels = _panels(panels, domain)
        self.panel = self.panels.index(domain.name)

    def find(self) -> list[tuple[str, Source]]:
        """The files of this split."""
        found: list[tuple[str, Source]] = [*list_images(self._where())]
        if self.folder is None:
            return found
        chosen = share_out(found, self.split, hold_out=self.hold_out, seed=self.hold_out_seed)
        if not chosen:
            raise DataError(
                f"no image of {shown(self.folder)} is held out for testing (DATA.HOLD_OUT)"
            )
        return chosen

    def _where(self) -> Path:
        if self.folder is not None:
            return self.folder
        root = self.root or Path()
        words = ("train",) if self.split == "train" else ("test", "val")
        return next((root / word for word in words if (root / word).is_dir()), root / words[0])

    def decode(self, path: Source) -> Decoded:
        """This domain's panel."""
        whole = decode(path, max_pixels=self.max_pixels)
        width, count = whole.pixels.shape[2], len(self.panels)
        if width % count:
            raise DataError(
                f"the image {shown(path)} is {width} wide, which {count} panels cannot share evenly"
            )
        start = self.panel * (width // count)
        panel = whole.pixels[:, :, start : start + width // count]
        return Decoded(np.ascontiguousarray(panel), whole.colour, whole.premultiplied)

    @property
    def part(self) -> tuple[Any, ...]:
        """The panel."""
        return self.panel, len(self.panels)

    def origin(self) -> dict[str, Any]:
        """Folder and panel, and what is held out."""
        found = {"folder": shown(self._where()), "panel": f"{self.panel + 1} of {len(self.panels)}"}
        if self.folder is None:
            return found
        return {**found, "hold_out": {"share": self.hold_out, "seed": self.hold_out_seed}}


def _panels(panels: tuple[str, ...] | None, domain: Domain) -> tuple[str, ...]:
    """The domains' names from left to right."""
    known = domain.among or ("a", "b")
    found = known if panels is None else tuple(name.lower() for name in panels)
    strange = [name.upper() for name in found if name not in known and domain.among]
    if strange or domain.name not in found or len(set(found)) < len(found):
        names = [name.upper() for name in known]
        hint = suggest(strange[0], names) if strange else ""
        raise DataError(
            f"DATA.PANELS is {[name.upper() for name in found]}: name each domain once, from left "
            f"to right, of {', '.join(names)}. {hint}".rstrip()
        )
    return found
