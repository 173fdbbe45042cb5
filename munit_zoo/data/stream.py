"""Unpaired batches: each domain drawn on its own, as a function of seed and iteration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from munit_zoo.data._protocol import Dataset
from munit_zoo.data.seeding import rng
from munit_zoo.errors import DataError

__all__ = ["UnpairedBatches", "first_images"]


class UnpairedBatches:
    """Training batches {"x_a": (n, C, h, w), "x_b": …} of the datasets of some domains.

    Sample j of the global batch at iteration i is number i·batch_size + j in an endless sequence
    per domain, made of one permutation after another: the shorter domain begins anew while the
    longer goes on. What is drawn, and how it is augmented, depends on (seed, domain, i, j) alone:
    not on the number of workers or processes, nor on where training was resumed.

    batch_size: samples over all processes. rank, world_size: of this process, which gets
    batch_size / world_size of them. workers: loader processes, 0 for none.

    Raises DataError for an empty domain, or a batch that processes cannot share evenly.
    """

    def __init__(
        self,
        datasets: Mapping[str, Dataset],
        *,
        seed: int,
        batch_size: int,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ) -> None:
        if batch_size % world_size:
            raise DataError(
                f"a batch of {batch_size} cannot be shared evenly by {world_size} processes: "
                "change ENGINE.BATCH_SIZE"
            )
        for name, dataset in datasets.items():
            if not len(dataset):
                raise DataError(f"domain {name.upper()} has no training image")
        self.count = batch_size // world_size
        self.first = rank * self.count
        self._samples = _Samples(datasets, seed, batch_size, self.first, self.count)
        self.workers, self.pin_memory = workers, pin_memory

    def batches(self, start: int, stop: int) -> Iterator[dict[str, Tensor]]:
        """The batches of iterations `start` to `stop - 1`.

        Raises DataError, as the dataset raised it, where an image cannot be read.
        """
        options: dict[str, Any] = {}
        if self.workers:
            options = {"prefetch_factor": 4, "worker_init_fn": _single_threaded}
        loader = DataLoader(
            self._samples,
            batch_size=None,
            sampler=range(start, stop),
            num_workers=min(self.workers, max(0, stop - start)),
            pin_memory=self.pin_memory,
            **options if min(self.workers, max(0, stop - start)) else {},
        )
        for batch in loader:
            if isinstance(batch, str):
                raise DataError(batch)
            yield batch


class _Samples(TorchDataset[Any]):
    """Batch by iteration. An unusable image comes back as its message: a loader would wrap the
    exception in a worker's traceback."""

    def __init__(
        self, datasets: Mapping[str, Dataset], seed: int, batch_size: int, first: int, count: int
    ) -> None:
        self.datasets, self.seed, self.batch_size = dict(datasets), seed, batch_size
        self.first, self.count = first, count
        self._orders: dict[str, tuple[int, np.ndarray[Any, Any]]] = {}

    def __getitem__(self, iteration: int) -> dict[str, Tensor] | str:
        try:
            return {
                f"x_{name}": torch.stack(
                    [self._sample(name, iteration, self.first + j) for j in range(self.count)]
                )
                for name in self.datasets
            }
        except DataError as error:
            return str(error)

    def _sample(self, name: str, iteration: int, j: int) -> Tensor:
        dataset = self.datasets[name]
        epoch, place = divmod(iteration * self.batch_size + j, len(dataset))
        index = int(self._order(name, epoch, len(dataset))[place])
        return dataset.train(index, rng("augment", self.seed, name, iteration, j))

    def _order(self, name: str, epoch: int, length: int) -> np.ndarray[Any, Any]:
        known = self._orders.get(name)
        if known is None or known[0] != epoch:
            order = rng("order", self.seed, name, epoch).permutation(length)
            known = self._orders[name] = (epoch, order)
        return known[1]


def _single_threaded(_: int) -> None:
    torch.set_num_threads(1)


def first_images(dataset: Dataset, count: int) -> Tensor:
    """The first images of a dataset without augmentation, fewer where there are fewer."""
    return torch.stack([dataset.test(index) for index in range(min(count, len(dataset)))])
