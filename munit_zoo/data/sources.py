"""Where images are read from: a file, or a file inside of another."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

__all__ = ["SUFFIXES", "Packed", "Source", "is_image", "shown"]

SUFFIXES = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".bmp",
        ".webp",
        ".tif",
        ".tiff",
        ".npy",
        ".ppm",
        ".pgm",
        ".gif",
    ]  # lower case
)


@dataclass(frozen=True)
class Packed:
    """A file that lies, uncompressed, inside of another: a member of a tar archive.

    archive: the file around it. name: within that. offset, size: of its bytes.
    """

    archive: Path
    name: str
    offset: int
    size: int

    @property
    def suffix(self) -> str:
        """With its dot."""
        return PurePosixPath(self.name).suffix

    def read_bytes(self) -> bytes:
        """Its content; fewer bytes than `size` where the archive is truncated."""
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def open(self, mode: Literal["rb"] = "rb") -> io.BytesIO:
        """Its content as a file."""
        return io.BytesIO(self.read_bytes())

    def stat(self) -> os.stat_result:
        """Of the archive."""
        return self.archive.stat()

    def __fspath__(self) -> str:
        return f"{os.fspath(self.archive)}/{self.name}"


Source = Path | Packed
"""Where an image is read from."""


def is_image(path: Path) -> bool:
    """Whether a file is an image, by its suffix; hidden files are none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def shown(path: os.PathLike[str] | str) -> str:
    """A path to be printed: bytes that are no UTF-8 as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
