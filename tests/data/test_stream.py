"""Unpaired batches as a function of (seed, iteration, index in the global batch)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from munit_zoo.data.stream import UnpairedBatches, first_images
from munit_zoo.errors import DataError


class Numbers:
    """Image i is filled with i, plus noise of its augmentation."""

    size = (2, 2)

    def __init__(self, count: int, *, noise: float = 0.0, broken: int | None = None) -> None:
        self.count, self.noise, self.broken = count, noise, broken

    def __len__(self) -> int:
        return self.count

    def train(self, index: int, rng: np.random.Generator) -> torch.Tensor:
        if index == self.broken:
            raise DataError(f"the image {index}.png cannot be read")
        return torch.full((1, 2, 2), float(index)) + self.noise * float(rng.random())

    def test(self, index: int) -> torch.Tensor:
        return torch.full((1, 2, 2), float(index))


def stream(a: int = 5, b: int = 3, **options) -> UnpairedBatches:
    noise = options.pop("noise", 0.5)
    datasets = {"a": Numbers(a, noise=noise), "b": Numbers(b, noise=noise)}
    return UnpairedBatches(datasets, **{"seed": 0, "batch_size": 4, **options})


def drawn(batches, name: str = "x_a") -> list[list[float]]:
    return [batch[name][:, 0, 0, 0].tolist() for batch in batches]


def test_each_epoch_is_a_permutation_and_the_shorter_domain_begins_anew():
    a = [int(v) for row in drawn(stream(noise=0).batches(0, 15)) for v in row]
    b = [int(v) for row in drawn(stream(noise=0).batches(0, 15), "x_b") for v in row]
    assert len(a) == len(b) == 60
    for values, length in ((a, 5), (b, 3)):
        epochs = [values[i : i + length] for i in range(0, 60, length)]
        assert all(sorted(epoch) == list(range(length)) for epoch in epochs)
        assert len(set(map(tuple, epochs))) > 1


def test_domains_are_drawn_independently():
    pairs = {
        (x, y)
        for batch in stream(5, 5, noise=0).batches(0, 40)
        for x, y in zip(
            batch["x_a"][:, 0, 0, 0].tolist(), batch["x_b"][:, 0, 0, 0].tolist(), strict=True
        )
    }
    assert len(pairs) == 25


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers: int):
    assert drawn(stream(workers=workers).batches(2, 9)) == drawn(stream().batches(2, 9))


def test_processes_share_the_same_batches():
    whole = drawn(stream().batches(0, 6))
    parts = [drawn(stream(rank=rank, world_size=2).batches(0, 6)) for rank in (0, 1)]
    assert [first + second for first, second in zip(*parts, strict=True)] == whole


def test_starting_anywhere_changes_nothing():
    assert drawn(stream().batches(0, 9))[4:] == drawn(stream().batches(4, 9))


def test_the_seed_changes_everything():
    assert drawn(stream().batches(0, 6)) != drawn(stream(seed=1).batches(0, 6))


def test_augmentation_differs_between_visits():
    values = [v % 1 for row in drawn(stream().batches(0, 10)) for v in row]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unusable_image_is_reported_as_itself(workers: int):
    datasets = {"a": Numbers(5, broken=3)}
    batches = UnpairedBatches(datasets, seed=0, batch_size=4, workers=workers)
    with pytest.raises(DataError, match=r"^the image 3\.png cannot be read$"):
        list(batches.batches(0, 4))


def test_what_cannot_be_sampled():
    with pytest.raises(DataError, match="domain A has no training image"):
        stream(a=0)
    with pytest.raises(DataError, match="shared evenly by 3 processes"):
        stream(world_size=3)


def test_no_iterations_no_batches():
    assert list(stream(workers=2).batches(3, 3)) == []


def test_first_images_are_as_many_as_there_are():
    assert first_images(Numbers(3), 8).shape == (3, 1, 2, 2)
