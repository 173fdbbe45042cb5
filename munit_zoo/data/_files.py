"""What the datasets of image files have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from torch import Tensor

from munit_zoo.data._cache import cache_for
from munit_zoo.data._labels import Attributes, Classes
from munit_zoo.data.images import Decoded, decode
from munit_zoo.data.reading import unit_image
from munit_zoo.data.seeding import rng
from munit_zoo.data.sources import Source, shown
from munit_zoo.data.transforms import (
    Convert,
    Crop,
    Interpolation,
    Pipeline,
    conversion_for,
    size_for,
)
from munit_zoo.data.values import mapping
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError, counted, suggest

__all__ = ["FileDataset", "OnBadImage", "check_domains", "labels_from", "share_out"]

OnBadImage = Literal["error", "skip"]

_LOOKED_AT = 16  # images whose values are looked at for a note on their range


class FileDataset:
    """Images in files; a subclass says which (`find`).

    size, crop, flip, resized_crop, interpolation, convert: as `Pipeline` takes them; size and
    convert also by domain.
    on_bad_image: `error` stops at an image that cannot be used, naming it; `skip` reads every image
    once in `prepare`, leaves out the bad ones and lists them in `skipped`.
    max_pixels: rows times columns of the largest image that is decoded. reduced_jpeg: decode a JPEG
    that is to become smaller at a fraction of its size.
    cache: `memory` or a folder, which keeps images once resized; cache_gb: the most, in 10^9 bytes.
    labels: what is known of the images beside their domain.
    """

    def __init__(
        self,
        domain: Domain,
        split: Literal["train", "test"],
        *,
        size: int | Mapping[str, int] | None,
        crop: Crop,
        flip: bool,
        resized_crop: float,
        interpolation: Interpolation,
        convert: Convert | Mapping[str, Convert],
        on_bad_image: OnBadImage,
        max_pixels: int,
        reduced_jpeg: bool = False,
        cache: str | None,
        cache_gb: float,
        labels: Attributes | Classes | None = None,
    ) -> None:
        self.pipeline = Pipeline(
            size=size_for(size, domain.name),
            crop=crop,
            flip=flip,
            resized_crop=resized_crop,
            interpolation=interpolation,
            convert=conversion_for(convert, domain.name),
            max_pixels=max_pixels,
        )
        self.cache = cache_for(cache, cache_gb)
        self.domain, self.split = domain, split
        self.on_bad_image, self.max_pixels, self.labels = on_bad_image, max_pixels, labels
        self.short = self.pipeline.short if reduced_jpeg else None
        self.skipped: dict[str, str] = {}
        self.notes: list[str] = []
        self._files: list[tuple[str, Source]] | None = None

    def find(self) -> list[tuple[str, Source]]:
        """Names and paths of the images. Raises DataError where there are none."""
        raise NotImplementedError

    def origin(self) -> dict[str, object]:
        """Where the images come from, for the run's record."""
        raise NotImplementedError

    def scene_of(self, name: str) -> str:
        """What an image shows: its name without the suffix."""
        return str(PurePosixPath(name).with_suffix(""))

    def decode(self, path: Source) -> Decoded:
        """The pixels of a file that are this domain's."""
        return decode(path, max_pixels=self.max_pixels, short=self.short)

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the samples."""
        return self.pipeline.crop

    @property
    def files(self) -> list[tuple[str, Source]]:
        """Names and paths, found when first asked for."""
        self.prepare()
        return self._files or []

    def prepare(self) -> None:
        """Find the images and try the first, under `skip` each."""
        if self._files is not None:
            return
        found = self.find()
        if self.on_bad_image == "skip":
            self.skipped = self._unusable(found)
            found = [(name, path) for name, path in found if name not in self.skipped]
            if not found:
                first = next(iter(self.skipped.values()))
                raise DataError(f"every image of domain {self.domain.key} was skipped. {first}")
        else:
            self._sample(found[0][1], None)  # the usual mistakes concern every image
        if self.labels is not None:
            self.labels.prepare([name for name, _ in found])
        self._files = found
        self.notes = [note for note in [self._range_note()] if note]

    def check(self, progress: Callable[[int, int], None] | None = None) -> dict[str, str]:
        """Try every image: what is wrong, by name, with those that cannot be used.

        progress: told how many were tried, of how many.
        """
        return self._unusable(self.find(), progress)

    def _unusable(
        self,
        files: Sequence[tuple[str, Source]],
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, str]:
        found: dict[str, str] = {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            reasons = pool.map(self._reason, (path for _, path in files))
            for number, ((name, _), reason) in enumerate(zip(files, reasons, strict=True), start=1):
                if reason is not None:
                    found[name] = reason
                if progress is not None:
                    progress(number, len(files))
        return found

    def _reason(self, path: Source) -> str | None:
        try:
            self._sample(path, None)
        except DataError as error:
            return str(error)
        return None

    def _range_note(self) -> str:
        """What to set where values fill little of the range that they are mapped from."""
        files = self.files
        first = self.decode(files[0][1]).pixels
        if self.domain.value_range is not None or first.dtype != np.uint16:
            return ""
        chosen = files[:: max(1, len(files) // _LOOKED_AT)][:_LOOKED_AT]
        low, high = 65535, 0
        for _, path in chosen:
            try:
                pixels = self.decode(path).pixels
            except DataError:
                continue  # told when it is used
            low, high = min(low, int(pixels.min())), max(high, int(pixels.max()))
        if high >= 2**15:
            return ""
        top = 2 ** max(1, high.bit_length()) - 1
        return (
            f"domain {self.domain.key}: values lie within {low}..{high} (of "
            f"{counted(len(chosen), 'image')} looked at), and 0..65535 is mapped to -1..1: "
            f"DOMAINS.{self.domain.key}.VALUE_RANGE=[0,{top}] would use all of it"
        )

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """The image's path within its folder."""
        return self.files[index][0]

    def scene(self, index: int) -> str:
        """What the image shows, to find its partner in another domain by."""
        return self.scene_of(self.name(index))

    @property
    def skipped_scenes(self) -> tuple[str, ...]:
        """What was left out: its partners are to be, too."""
        return tuple(map(self.scene_of, self.skipped))

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the attributes or classes; empty where neither is known."""
        if self.labels is None:
            return ()
        self.prepare()
        return self.labels.names

    def label(self, index: int) -> int | Tensor:
        """The image's class, or its attributes (K,); its domain's number where neither is known."""
        return self.domain.place if self.labels is None else self.labels[index]

    def train(self, index: int, rng: np.random.Generator) -> Tensor:
        """Image `index`, resized, cropped and flipped by chance: float32 (C, h, w)."""
        return self._sample(self.files[index][1], rng)

    def test(self, index: int) -> Tensor:
        """Image `index`, resized, its middle: float32 (C, h, w)."""
        return self._sample(self.files[index][1], None)

    def _sample(self, path: Source, rng: np.random.Generator | None) -> Tensor:
        image = self._image(path)
        try:
            found = self.pipeline.test(image) if rng is None else self.pipeline.train(image, rng)
        except DataError as error:
            raise DataError(f"the image {shown(path)} cannot be used: {error}") from None
        kept = self.cache is not None and found.data_ptr() == image.data_ptr()
        return found.clone() if kept else found

    def _image(self, path: Source) -> Tensor:
        """An image before it is cropped, from the cache where it is there."""
        if self.cache is None:
            return self._read(path)
        key = self._key(path)
        image = None if key is None else self.cache.get(key)
        if image is None:
            image = self._read(path)
            try:
                image = self.pipeline.resized(image)
            except DataError as error:
                raise DataError(f"the image {shown(path)} cannot be used: {error}") from None
            if key is not None:
                self.cache.put(key, image)
        return image

    def _read(self, path: Source) -> Tensor:
        try:
            decoded = self.decode(path)
        except DataError as error:
            raise DataError(f"{error}. DATA.ON_BAD_IMAGE=skip leaves such images out") from None
        return unit_image(decoded, path, self.domain, self.pipeline.convert)

    def _key(self, path: Source) -> str | None:
        """All that an image depends on before it is cropped; None for a file that is not there."""
        try:
            state = path.stat()
        except OSError:
            return None
        place = os.path.abspath(path) if isinstance(path, Path) else (path, path.offset)
        form = (self.pipeline.short, self.pipeline.interpolation, self.pipeline.convert)
        domain = (self.domain.channels, self.domain.value_range, *self.part)
        limits = (self.max_pixels, self.short)
        return repr((place, state.st_mtime_ns, state.st_size, form, domain, limits))

    @property
    def part(self) -> tuple[object, ...]:
        """What of a file is this domain's, beside its path."""
        return ()

    def describe(self) -> dict[str, object]:
        """What was found and how values are mapped."""
        pixels = self.decode(self.files[0][1]).pixels
        labels = {"labels": list(self.label_names)} if self.label_names else {}
        return {
            "images": len(self),
            **self.origin(),
            "mapping": mapping(pixels.dtype, self.domain.value_range, domain=self.domain.name),
            "first": f"{self.name(0)}: {counted(pixels.shape[0], 'channel')}, "
            f"{pixels.shape[1]}×{pixels.shape[2]}",
            **labels,
            "notes": self.notes,
            "skipped": self.skipped,
        }


def labels_from(
    table: str | None,
    attributes: Sequence[str] | None,
    classes: bool,
    *,
    elsewhere: bool = False,
) -> Attributes | Classes | None:
    """The labels that the settings TABLE, ATTRIBUTES and CLASSES ask for, of one domain.

    elsewhere: another domain may have a table.
    """
    if table is not None and classes:
        raise DataError("labels are attributes (DATA.TABLE) or classes (DATA.CLASSES), not both")
    if attributes is not None and not (attributes and (table is not None or elsewhere)):
        raise DataError("DATA.ATTRIBUTES names columns of a DATA.TABLE, one or more")
    if table is not None:
        return Attributes(Path(table).expanduser(), attributes)
    return Classes() if classes else None


def check_domains(domain: Domain, **settings: object) -> None:
    """Raises DataError where a setting by domain names one that the config does not have."""
    for setting, value in settings.items():
        if not domain.among or not isinstance(value, Mapping):
            continue
        known = [name.upper() for name in domain.among]
        for key in value:
            if key not in known:
                raise DataError(
                    f"DATA.{setting.upper()}.{key}: there is no such domain; DOMAINS has "
                    f"{', '.join(known)}. {suggest(key, known)}".rstrip()
                    + f" DATA.{setting.upper()}.{key}=null takes away what a base has set."
                )


def share_out(
    found: Sequence[tuple[str, Source]],
    split: Literal["train", "test"],
    *,
    hold_out: float,
    seed: int,
    key: Callable[[str], str] = str,
) -> list[tuple[str, Source]]:
    """The images of a split, of which a share (below 1) or number is held out for testing.

    key: what decides of an image, of its name.
    """
    count = round(hold_out * len(found)) if hold_out < 1 else round(hold_out)
    count = min(max(count, 1 if hold_out else 0), len(found) - 1)
    ranked = sorted(name for name, _ in found)
    ranked.sort(key=lambda name: rng("hold-out", seed, key(name)).random())
    held = set(ranked[:count])
    return [pair for pair in found if (pair[0] in held) == (split == "test")]
