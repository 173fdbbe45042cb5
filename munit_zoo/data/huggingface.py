"""Images in a column of a table: Parquet and Arrow, through Hugging Face's `datasets`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from torch import Tensor

from munit_zoo.data._files import FileDataset, OnBadImage, check_domains
from munit_zoo.data.images import MAX_PIXELS
from munit_zoo.data.sources import Packed, Source
from munit_zoo.data.transforms import (
    Convert,
    Crop,
    Interpolation,
)
from munit_zoo.data.webdataset import check_split_keys
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError
from munit_zoo.registry import MAY_CHANGE
from munit_zoo.registry.ranges import Fraction, Positive, PositiveFloat

__all__ = ["HuggingFace"]


@dataclass(frozen=True)
class _Row(Packed):
    """A row's image, as its file's bytes."""

    read: Callable[[int], bytes] = field(kw_only=True, compare=False, repr=False)

    def read_bytes(self) -> bytes:
        """Of the file."""
        return self.read(self.offset)


class HuggingFace(FileDataset):
    """Images of a table's column, one row an image, with the determinism of folders.

    sources: a table per split and domain, `{TRAIN_DAY: day.parquet, TEST_DAY: …}`: a .parquet or
        .arrow file, a folder that `save_to_disk` wrote, or `hub:NAME` and `hub:NAME:SPLIT` of
        Hugging Face's hub, which is the only form that a network is asked for.
    image: the column of images (of type Image, or bytes of image files). label: a column of classes
        (of type ClassLabel, or whole numbers from 0).
    where: rows of a domain by a column's value, `{DAY: "time=day"}`.
    Other keys as those of `image_folder`. Images in the same row of two tables are a pair.

    Raises DataError for missing tables and columns, and per image as `on_bad_image` says.
    """

    def __init__(
        self,
        domain: Domain,
        split: Literal["train", "test"],
        *,
        sources: Annotated[dict[str, str], MAY_CHANGE],
        image: str = "image",
        label: str | None = None,
        where: dict[str, str] | None = None,
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
        check_domains(domain, size=size, convert=convert, where=where)
        check_split_keys("SOURCES", sources, domain)
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
            cache=cache,
            cache_gb=cache_gb,
        )
        self.key = f"{split.upper()}_{domain.key}"
        self.source = sources.get(self.key)
        self.image, self.label_column = image, label
        self.where = (where or {}).get(domain.key)
        self._classes: tuple[str, ...] = ()
        self._labels: dict[str, int] = {}

    def find(self) -> list[tuple[str, Source]]:
        """The rows of this split."""
        if self.source is None:
            raise DataError(f"the config names no table DATA.SOURCES.{self.key}")
        table = _opened(self.source)
        for name in (self.image, self.label_column, (self.where or "").partition("=")[0] or None):
            if name is not None and name not in table.column_names:
                there = ", ".join(table.column_names)
                raise DataError(f"{self.source} has no column {name!r}; it has {there}")
        images = _undecoded(table.select_columns([self.image]), self.image)

        def read(row: int) -> bytes:
            return _content(images[row][self.image], f"{self.source}, row {row}")

        archive = Path(self.source)
        found: list[tuple[str, Source]] = [
            (f"{row:08d}", _Row(archive, f"{row:08d}", row, 0, read=read))
            for row in self._rows(table)
        ]
        if not found:
            raise DataError(f"{self.source} has no row {self.where or ''}".rstrip())
        if self.label_column is not None:
            self._label(table, self.label_column)
        return found

    def _rows(self, table: Any) -> list[int]:
        if self.where is None:
            return list(range(len(table)))
        column, _, value = self.where.partition("=")
        names = getattr(table.features[column], "names", None)
        values = table[column]
        return [
            row
            for row, found in enumerate(values)
            if str(names[found] if names and isinstance(found, int) else found) == value
        ]

    def _label(self, table: Any, column: str) -> None:
        values = list(table[column])
        if not all(isinstance(value, int) and value >= 0 for value in values):
            raise DataError(f"the column {column!r} of {self.source} holds no classes from 0 on")
        names = getattr(table.features[column], "names", None)
        self._classes = tuple(names or map(str, range(max(values) + 1)))
        self._labels = {f"{row:08d}": value for row, value in enumerate(values)}

    @property
    def label_names(self) -> tuple[str, ...]:
        """Of the classes; empty where no column of them is named."""
        self.prepare()
        return self._classes

    def label(self, index: int) -> int | Tensor:
        """The row's class; its domain's number where no column of them is named."""
        if not self._classes:
            return self.domain.place
        return self._labels[self.name(index)]

    def origin(self) -> dict[str, object]:
        """The table."""
        return {"table": self.source, "column": self.image, "where": self.where}


def _opened(source: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise DataError(
            "tables of images need the datasets library: pip install datasets (or "
            "munit-zoo[huggingface])"
        ) from None
    try:
        if source.startswith("hub:"):
            name, _, split = source.removeprefix("hub:").partition(":")
            return datasets.load_dataset(name, split=split or "train")
        path = Path(source).expanduser()
        if path.is_dir():
            return datasets.load_from_disk(os.fspath(path))
        if not path.is_file():
            raise DataError(f"there is no table {source}")
        if path.suffix == ".arrow":
            return datasets.Dataset.from_file(os.fspath(path))
        return datasets.Dataset.from_parquet(os.fspath(path))
    except DataError:
        raise
    except Exception as error:  # whatever damage, or a missing network, makes the library say
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"the table {source} cannot be read: {reason}") from error


def _undecoded(table: Any, column: str) -> Any:
    """A table whose images come as their files' bytes."""
    import datasets

    if isinstance(table.features[column], datasets.Image):
        return table.cast_column(column, datasets.Image(decode=False))
    return table


def _content(value: object, place: str) -> bytes:
    if isinstance(value, dict) and value.get("bytes") is None and value.get("path"):
        try:
            return Path(value["path"]).read_bytes()
        except OSError as error:
            raise DataError(f"{place}: {value['path']}: {error.strerror}") from None
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise DataError(f"{place} holds no image, but {type(content).__name__}")
    return content
