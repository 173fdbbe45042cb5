"""Random numbers that depend on what they are for, not on who draws them or in which order.

Each draw names its purpose (`rng("augment", seed, "a", 17)`), so that the number of processes or
of workers, a restart, or one more draw elsewhere change nothing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["noise", "rng"]


def rng(*keys: int | str) -> np.random.Generator:
    """A generator of random numbers that is a function of `keys` alone.

    The keys are hashed (BLAKE2b, each with its type and length, so that `("1", "2")`, `("12",)`
    and `(1, 2)` differ) into the 128-bit key of a Philox counter generator (Salmon et al. 2011):
    equal in each process and on each platform, independent between different keys.

    Raises TypeError for a key that is neither an integer nor a string.
    """
    digest = hashlib.blake2b(digest_size=16)
    for key in keys:
        if isinstance(key, str):
            kind, word = b"s", key.encode()
        elif isinstance(key, (int, np.integer)):
            kind, word = b"i", b"%d" % int(key)
        else:
            raise TypeError(f"a key is an int or a str, got {type(key).__name__} {key!r}")
        digest.update(kind + b"%d:" % len(word) + word)
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest.digest(), "little")))


def noise(
    shape: tuple[int, ...], *, name: str, seed: int, iteration: int, first: int, count: int
) -> torch.Tensor:
    """Standard normal float32 noise (count, *shape) for samples `first` to `first + count - 1`.

    first: index in the *global* batch (over all processes) of this process's first sample. Row j
    depends only on (name, seed, iteration, first + j), so one process with batch 4 and two with
    batch 2 draw the same four rows.
    name: which input the noise is for (`z_a`); different names are independent.
    """
    import torch  # here, so that NumPy-only users of `rng` do not load it

    rows = torch.empty((count, *shape), dtype=torch.float32)
    for j in range(count):
        row = rng("noise", name, seed, iteration, first + j)
        rows[j] = torch.from_numpy(np.asarray(row.standard_normal(shape, dtype=np.float32)))
    return rows
