"""Images kept as they are once decoded, converted and resized: what remains is to crop and flip.

What is kept is what would be computed, to the bit. The first images that come are kept, and stay:
in random order, a cache that is too small for all serves more from a fixed share than from the
latest.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from munit_zoo.errors import DataError

__all__ = ["Cache", "cache_for"]

_LOOK_AGAIN = 32  # images written between two looks at how full a folder is


class Cache(Protocol):
    """Images by key."""

    def get(self, key: str) -> Tensor | None: ...

    def put(self, key: str, image: Tensor) -> None: ...


class Memory:
    """In the memory of each process that loads, which share the limit equally. limit: bytes."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self._kept: dict[str, Tensor] = {}

    def get(self, key: str) -> Tensor | None:
        """The image of a key, if it is kept."""
        return self._kept.get(key)

    def put(self, key: str, image: Tensor) -> None:
        """Keep an image, if there is room."""
        info = get_worker_info()
        share = self.limit // (1 if info is None else info.num_workers)
        if self.size + image.nbytes <= share:
            self._kept[key] = image.clone()  # an expanded one holds less than it shows
            self.size += image.nbytes

    def __getstate__(self) -> dict[str, int]:  # to a loader's process: each has its own
        return {"limit": self.limit}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(state["limit"])  # type: ignore[misc]


class Disk:
    """In a folder that all processes share, and later runs; nothing in it is ever deleted.

    limit: bytes, kept to within some images a process.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._size, self._due = 0, 0

    def get(self, key: str) -> Tensor | None:
        """The image of a key, if it is kept and whole."""
        try:
            return torch.from_numpy(np.load(self._file(key), allow_pickle=False))
        except (OSError, ValueError, EOFError):
            return None

    def put(self, key: str, image: Tensor) -> None:
        """Keep an image, if there is room. Raises DataError where the folder cannot be written."""
        if self._due <= 0:
            self._due = _LOOK_AGAIN
            self._size = sum(p.stat().st_size for p in self.folder.rglob("*.npy"))
        if self._size + image.nbytes > self.limit:
            return
        file = self._file(key)
        work = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with work.open("wb") as handle:
                np.save(handle, image.numpy())
            os.replace(work, file)
        except OSError as error:
            with suppress(OSError):
                work.unlink(missing_ok=True)
            raise DataError(
                f"the cache {self.folder} (DATA.CACHE) cannot be written: {error.strerror}"
            ) from None
        self._size += image.nbytes
        self._due -= 1

    def _file(self, key: str) -> Path:
        name = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
        return self.folder / name[:2] / f"{name[2:34]}.npy"


def cache_for(where: str | None, gigabytes: float) -> Cache | None:
    """The cache that DATA.CACHE asks for: none, `memory`, or a folder."""
    limit = int(gigabytes * 1e9)
    if where is None:
        return None
    return Memory(limit) if where == "memory" else Disk(Path(where).expanduser(), limit)
