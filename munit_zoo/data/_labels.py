"""What is known of images beside their domain: attributes in a table, classes as folders."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from munit_zoo.data.reading import natural
from munit_zoo.data.sources import shown
from munit_zoo.errors import DataError, counted, suggest

__all__ = ["Attributes", "Classes"]

_VALUES = {"1": 1.0, "0": 0.0, "-1": 0.0, "1.0": 1.0, "0.0": 0.0, "-1.0": 0.0}


class Attributes:
    """Attributes of images in a table of text: a line an image, its name and 1 or 0 (or -1) each.

    CSV whose first line names the columns, or CelebA's form (columns apart by blanks, the number of
    images in a line before the names). An image is found by its path within its folder, or by its
    file name alone.

    path: of the table. names: which columns, in this order; None for all.
    """

    def __init__(self, path: Path, names: Sequence[str] | None) -> None:
        self.path, self.chosen = path, names
        self.names: tuple[str, ...] = ()
        self._rows: list[Tensor] = []

    def prepare(self, images: Sequence[str]) -> None:
        """Read the table; raises DataError where it is not as it should be, or lacks an image."""
        table, columns = self._read()
        self.names = tuple(self.chosen) if self.chosen is not None else tuple(columns)
        for name in self.names:
            if name not in columns:
                hint = suggest(name, columns) or f"It has {', '.join(columns[:20])}."
                raise DataError(f"the table {shown(self.path)} has no column {name!r}. {hint}")
        places = [columns.index(name) for name in self.names]
        missing: list[str] = []
        for image in images:
            found = table.get(image) or table.get(PurePosixPath(image).name)
            if found is None:
                missing.append(image)
                continue
            line, cells = found
            self._rows.append(torch.tensor([self._value(line, columns, cells, p) for p in places]))
        if missing:
            more = ", …" if len(missing) > 10 else ""
            raise DataError(
                f"the table {shown(self.path)} (DATA.TABLE) has no line for "
                f"{counted(len(missing), 'image')}: {', '.join(missing[:10])}{more}"
            )

    def _read(self) -> tuple[dict[str, tuple[int, list[str]]], list[str]]:
        """Number and cells of the line of each image, and the names of the columns."""
        try:
            lines = self.path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"the table {shown(self.path)} (DATA.TABLE): {error}") from None
        first = 1 if lines and lines[0].strip().isdigit() else 0
        if len(lines) <= first + 1:
            raise DataError(f"the table {shown(self.path)} (DATA.TABLE) has no images")
        blanks = "," not in lines[first]
        rows = [line.split() for line in lines] if blanks else list(csv.reader(lines))
        head = rows[first]
        # CelebA's line of names has none for the images' own column
        columns = head if blanks and len(head) + 1 == len(rows[first + 1]) else head[1:]
        table = {}
        for number, row in enumerate(rows[first + 1 :], start=first + 2):
            if not row:
                continue
            if len(row) != len(columns) + 1:
                raise DataError(
                    f"{shown(self.path)}, line {number}: {counted(len(row), 'value')}, and "
                    f"{len(columns) + 1} are due: an image and {', '.join(columns[:5])}…"
                )
            table[row[0]] = (number, row[1:])
        return table, [name.strip() for name in columns]

    def _value(self, line: int, columns: Sequence[str], cells: Sequence[str], place: int) -> float:
        value = _VALUES.get(cells[place].strip())
        if value is None:
            raise DataError(
                f"{shown(self.path)}, line {line}, column {columns[place]}: "
                f"{cells[place].strip()!r}; an attribute is 1, or 0 or -1"
            )
        return value

    def __getitem__(self, index: int) -> Tensor:
        return self._rows[index]


class Classes:
    """Classes as the folders within a domain's folder, in natural order of their names."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self._classes: list[int] = []

    def prepare(self, images: Sequence[str]) -> None:
        """Raises DataError where an image lies in no folder."""
        folders = [PurePosixPath(image).parts for image in images]
        loose = [image for image, parts in zip(images, folders, strict=True) if len(parts) < 2]
        if loose:
            raise DataError(
                f"DATA.CLASSES: the folders within a domain's folder are its classes, and "
                f"{loose[0]} lies in none"
            )
        self.names = tuple(sorted({parts[0] for parts in folders}, key=natural))
        self._classes = [self.names.index(parts[0]) for parts in folders]

    def __getitem__(self, index: int) -> int:
        return self._classes[index]
