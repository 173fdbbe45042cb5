"""Random numbers that depend on what they are for, not on who draws them or in which order.

Each draw names its purpose (`rng("augment", seed, "a", 17)`), so that the number of processes or
of workers, a restart, or one more draw elsewhere change nothing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from munit_zoo.errors import UsageError
from munit_zoo.inputs import Draw

if TYPE_CHECKING:
    import torch

__all__ = ["draw", "noise", "rng"]


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
            kind, word = b"s", key.encode(errors="surrogateescape")  # file names are any bytes
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


def draw(
    spec: Draw,
    shape: tuple[int, ...] = (),
    *,
    name: str,
    seed: int,
    iteration: int,
    first: int,
    count: int,
    batch_size: int,
    below: int = 0,
) -> torch.Tensor:
    """The random input `spec` for samples `first` to `first + count - 1` of the global batch.

    shape: of one sample, in numbers. name: the input's; different names are independent.
    batch_size: of the global batch. below: the numbers that `integer` draws from are 0 to this - 1.

    Row j depends only on (kind, name, seed, iteration, first + j); `normal` rows are those of
    `noise`. A `permutation` is one of the global batch, of which each process gets its own rows:
    numbers of samples, of which others may be another process's. A `shared` draw is the row of
    sample 0, (1, *shape), the same in each process.

    Returns float32 (`normal`; `uniform` in [0, 1)) or int64. Raises UsageError for `integer`
    without numbers to draw from, and for a permutation that is shared or has a shape.
    """
    import torch

    if spec.kind == "permutation":
        if shape or spec.shared:
            raise UsageError(f"{name}: a permutation is of the batch, it has no shape")
        order = rng("permutation", name, seed, iteration).permutation(batch_size)
        return torch.from_numpy(order[first : first + count].astype(np.int64))
    if spec.shared:
        first, count = 0, 1
    if 0 in shape:  # nothing to draw: a recipe whose setting asks for no numbers
        kind = torch.int64 if spec.kind == "integer" else torch.float32
        return torch.empty((count, *shape), dtype=kind)
    if spec.kind == "normal":
        return noise(shape, name=name, seed=seed, iteration=iteration, first=first, count=count)
    if spec.kind == "integer" and below < 1:
        raise UsageError(f"{name}: integers are drawn below {below}; 1 or more is due")
    rows = []
    for j in range(first, first + count):
        row = rng(spec.kind, name, seed, iteration, j)
        if spec.kind == "uniform":
            rows.append(np.asarray(row.random(shape, dtype=np.float32)))
        else:
            rows.append(np.asarray(row.integers(below, size=shape, dtype=np.int64)))
    return torch.from_numpy(np.stack(rows))
