"""Batches of a recipe's inputs as a function of (seed, iteration, index in the global batch)."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from munit_zoo.data.stream import Batches, first_images, label_names, notes_of
from munit_zoo.errors import DataError, GraphError
from munit_zoo.inputs import Draw, Image, Input, Label

TWO: dict[str, Input] = {"x_a": Image("a"), "x_b": Image("b"), "z_b": Draw("normal", (8,))}
ANY: dict[str, Input] = {
    "x": Image(),
    "y": Label(of="x"),
    "x_trg": Image(),
    "x_trg2": Image(like="x_trg"),
    "y_trg": Label(of="x_trg"),
}
PAIRS: dict[str, Input] = {"x_a": Image("a"), "x_b": Image("b", paired_with="x_a")}


class Numbers:
    """Image i is filled with `base` + i, plus noise of its augmentation."""

    size = (2, 2)

    def __init__(
        self, count: int, *, noise: float = 0.0, broken: int | None = None, base: int = 0
    ) -> None:
        self.count, self.noise, self.broken, self.base = count, noise, broken, base

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return f"{index}.png"

    def train(self, index: int, rng: np.random.Generator) -> torch.Tensor:
        if index == self.broken:
            raise DataError(f"the image {index}.png cannot be read")
        return torch.full((1, 2, 2), float(self.base + index)) + self.noise * float(rng.random())

    def test(self, index: int) -> torch.Tensor:
        return torch.full((1, 2, 2), float(index))


class Scenes(Numbers):
    """Image i shows scene `names[i]`; its value is where a crop of `width` was cut."""

    def __init__(self, names: str, width: int = 100, skipped: tuple[str, ...] = ()) -> None:
        super().__init__(len(names))
        self.names, self.width, self.skipped_scenes = names, width, skipped

    def scene(self, index: int) -> str:
        return self.names[index]

    def train(self, index: int, rng: np.random.Generator) -> torch.Tensor:
        place, flipped = rng.integers(self.width), rng.random() < 0.5
        return torch.tensor([[[float(ord(self.names[index])), float(place), float(flipped)]]])


class Known(Numbers):
    """Image i's label is i, or (i, 1 - i)."""

    def __init__(self, count: int, names: tuple[str, ...], kind: str = "class") -> None:
        super().__init__(count)
        self.label_names, self.kind = names, kind

    def label(self, index: int) -> int | torch.Tensor:
        return index if self.kind == "class" else torch.tensor([float(index), 1.0 - index])


def stream(a: int = 5, b: int = 3, **options) -> Batches:
    noise = options.pop("noise", 0.5)
    datasets = {"a": Numbers(a, noise=noise), "b": Numbers(b, noise=noise)}
    return Batches(datasets, TWO, {"a": "a", "b": "b"}, **{"seed": 0, "batch_size": 4, **options})


def of_any(sizes: Mapping[str, int], inputs: Mapping[str, Input] = ANY, **options) -> Batches:
    datasets = {name: Numbers(n, base=100 * i) for i, (name, n) in enumerate(sizes.items())}
    letters = dict(zip("abcdef", sizes, strict=False))
    return Batches(datasets, inputs, letters, **{"seed": 0, "batch_size": 4, **options})


def drawn(batches, name: str = "x_a") -> list[list[float]]:
    return [batch[name][:, 0, 0, 0].tolist() for batch in batches]


def numbers(batches: Batches, name: str, stop: int) -> list[int]:
    return [int(v) for row in drawn(batches.batches(0, stop), name) for v in row]


def test_the_numbers_are_pinned():
    """So that runs of earlier versions go on as they began."""
    datasets = {"a": Numbers(5, noise=0.5), "b": Numbers(3, noise=0.5)}
    batches = Batches(datasets, TWO, {"a": "a", "b": "b"}, seed=7, batch_size=3)
    batch = next(iter(batches.batches(1, 2)))
    assert batch["x_a"][:, 0, 0, 0].tolist() == pytest.approx(
        [2.267361, 1.206853, 1.066354], abs=1e-6
    )
    assert batch["x_b"][:, 0, 0, 0].tolist() == pytest.approx(
        [1.347132, 2.058647, 0.053636], abs=1e-6
    )
    assert list(batch) == ["x_a", "x_b"]


def test_domains_may_be_called_anything():
    datasets = {"night": Numbers(3, noise=0.5), "day": Numbers(5, noise=0.5)}
    named = Batches(datasets, TWO, {"a": "day", "b": "night"}, seed=0, batch_size=4)
    for name in ("x_a", "x_b"):
        assert drawn(named.batches(0, 5), name) == drawn(stream().batches(0, 5), name)


def test_each_epoch_is_a_permutation_and_the_shorter_domain_begins_anew():
    a = numbers(stream(noise=0), "x_a", 15)
    b = numbers(stream(noise=0), "x_b", 15)
    assert len(a) == len(b) == 60
    for values, length in ((a, 5), (b, 3)):
        epochs = [values[i : i + length] for i in range(0, 60, length)]
        assert all(sorted(epoch) == list(range(length)) for epoch in epochs)
        assert len(set(map(tuple, epochs))) > 1


def test_domains_are_drawn_independently():
    both = stream(5, 5, noise=0)
    pairs = set(zip(numbers(both, "x_a", 40), numbers(both, "x_b", 40), strict=True))
    assert len(pairs) == 25


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers: int):
    assert drawn(stream(workers=workers).batches(2, 9)) == drawn(stream().batches(2, 9))
    sizes = {"cat": 4, "dog": 2, "fox": 7}
    for name in ("x", "x_trg2"):
        with_workers = of_any(sizes, workers=workers).batches(1, 5)
        assert drawn(with_workers, name) == drawn(of_any(sizes).batches(1, 5), name)


def test_processes_share_the_same_batches():
    whole = drawn(stream().batches(0, 6))
    parts = [drawn(stream(rank=rank, world_size=2).batches(0, 6)) for rank in (0, 1)]
    assert [first + second for first, second in zip(*parts, strict=True)] == whole


@pytest.mark.parametrize("name", ["x", "y", "x_trg", "x_trg2", "y_trg"])
def test_of_any_domain_neither_processes_nor_resuming_change_anything(name: str):
    sizes = {"cat": 4, "dog": 2, "fox": 7}
    whole = [batch[name] for batch in of_any(sizes).batches(0, 8)]
    parts = [
        [batch[name] for batch in of_any(sizes, rank=rank, world_size=2).batches(3, 8)]
        for rank in (0, 1)
    ]
    for first, second, both in zip(*parts, whole[3:], strict=True):
        assert torch.equal(torch.cat([first, second]), both)


def test_starting_anywhere_changes_nothing():
    assert drawn(stream().batches(0, 9))[4:] == drawn(stream().batches(4, 9))


def test_the_seed_changes_everything():
    assert drawn(stream().batches(0, 6)) != drawn(stream(seed=1).batches(0, 6))
    sizes = {"cat": 40, "dog": 20}
    assert drawn(of_any(sizes).batches(0, 6), "x") != drawn(
        of_any(sizes, seed=1).batches(0, 6), "x"
    )


def test_augmentation_differs_between_visits():
    values = [v % 1 for row in drawn(stream().batches(0, 10)) for v in row]
    assert len(set(values)) == len(values)


# K domains


def test_an_image_of_any_domain_is_of_each_equally_often():
    sizes = {"cat": 4, "dog": 2, "fox": 10}
    batches = of_any(sizes)
    seen = numbers(batches, "x", 30)
    assert Counter(v // 100 for v in seen) == {0: 40, 1: 40, 2: 40}
    within = Counter(seen)
    for place, size in enumerate(sizes.values()):  # and each image of a domain as often as others
        assert {within[100 * place + i] for i in range(size)} == {40 // size}


def test_sources_and_targets_are_drawn_independently():
    batches = of_any({"cat": 3, "dog": 3, "fox": 3})
    pairs = zip(numbers(batches, "x", 60), numbers(batches, "x_trg", 60), strict=True)
    assert len({(x // 100, y // 100) for x, y in pairs}) == 9


def test_an_image_like_another_is_another_of_its_domain():
    batches = of_any({"cat": 4, "dog": 1, "fox": 2})
    seen = set(zip(numbers(batches, "x_trg", 90), numbers(batches, "x_trg2", 90), strict=True))
    assert {(x, y) for x, y in seen if x < 100} == {
        (i, j) for i in range(4) for j in range(4) if i != j
    }
    assert {(x, y) for x, y in seen if 100 <= x < 200} == {(100, 100)}
    assert {(x, y) for x, y in seen if x >= 200} == {(200, 201), (201, 200)}


def test_a_label_is_the_number_of_its_images_domain():
    for batch in of_any({"cat": 4, "dog": 2, "fox": 7}).batches(0, 6):
        assert batch["y"].dtype == torch.int64
        assert batch["y"].tolist() == [int(v) // 100 for v in batch["x"][:, 0, 0, 0]]
        assert batch["y_trg"].tolist() == [int(v) // 100 for v in batch["x_trg2"][:, 0, 0, 0]]


def test_classes_and_attributes_are_labels_where_they_are_known():
    inputs = {"x": Image(), "y": Label(of="x")}
    for kind, dtype in (("class", torch.int64), ("attributes", torch.float32)):
        datasets = {"faces": Known(2, ("young", "old"), kind)}
        batches = Batches(datasets, inputs, {"a": "faces"}, seed=0, batch_size=4)
        batch = next(iter(batches.batches(0, 1)))
        values = batch["x"][:, 0, 0, 0]
        assert batch["y"].dtype == dtype
        expected = values if kind == "class" else torch.stack([values, 1 - values], 1)
        assert batch["y"].tolist() == expected.tolist()
        assert label_names(datasets) == ("young", "old")


def test_only_what_is_wanted_is_read_and_nothing_else_changes():
    sizes = {"cat": 40, "dog": 20}
    whole = next(iter(of_any(sizes).batches(3, 4)))
    some = next(iter(of_any(sizes, want=("x", "x_trg2")).batches(3, 4)))
    assert set(some) == {"x", "x_trg2"}
    assert all(torch.equal(value, whole[name]) for name, value in some.items())
    fewer = next(iter(of_any(sizes, {"x_trg": Image()}).batches(3, 4)))
    assert torch.equal(fewer["x_trg"], whole["x_trg"])


def test_two_images_of_one_domain():
    batches = of_any({"a": 9, "b": 3}, {"x_a": Image("a"), "other": Image("a")})
    assert numbers(batches, "x_a", 9) != numbers(batches, "other", 9)
    assert numbers(batches, "x_a", 9) == numbers(stream(9, 3, noise=0), "x_a", 9)


# Pairs


def paired(a: Numbers, b: Numbers, inputs: Mapping[str, Input] = PAIRS, **options) -> Batches:
    options = {"seed": 0, "batch_size": 4, **options}
    return Batches({"a": a, "b": b}, inputs, {"a": "a", "b": "b"}, **options)


def test_a_pair_shows_one_scene_cropped_and_flipped_alike():
    seen = []
    for batch in paired(Scenes("vwxyz"), Scenes("zxvyw")).batches(0, 10):
        assert torch.equal(batch["x_a"], batch["x_b"])
        seen += batch["x_a"][:, 0, 0, 0].tolist()
    assert Counter(map(chr, map(int, seen))) == dict.fromkeys("vwxyz", 8)


def test_a_pair_without_a_domain_is_of_another():
    inputs = {"x": Image(), "other": Image(paired_with="x"), "y": Label("x"), "z": Label("other")}
    for batch in paired(Scenes("vw"), Scenes("wv"), inputs).batches(0, 6):
        assert torch.equal(batch["x"], batch["other"])
        assert (batch["y"] + batch["z"]).tolist() == [1, 1, 1, 1]


def test_what_has_no_partner_is_named():
    with pytest.raises(DataError, match=r"no partner.*: A x \(1 image\); B y, z \(2 images\)\."):
        paired(Scenes("vwx"), Scenes("vwyz"))
    with pytest.raises(DataError, match="two images of domain B show the scene v: 0.png and 2.png"):
        paired(Scenes("vw"), Scenes("vwv"))
    with pytest.raises(DataError, match="dataset of domain A, Numbers, does not say"):
        paired(Numbers(3), Numbers(3))


def test_partners_of_skipped_images_are_left_out():
    batches = paired(Scenes("vwx"), Scenes("vx", skipped=("w",)))
    seen = [chr(int(v)) for row in drawn(batches.batches(0, 6), "x_a") for v in row]
    assert Counter(seen) == {"v": 12, "x": 12}


def test_a_pair_of_unequal_shapes_is_refused():
    with pytest.raises(DataError, match="are a pair, but not of one shape once resized"):
        list(paired(Scenes("vw", 100), Scenes("vw", 90)).batches(0, 1))


# What cannot be


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unusable_image_is_reported_as_itself(workers: int):
    batches = Batches(
        {"a": Numbers(5, broken=3)},
        {"x_a": Image("a")},
        {"a": "a"},
        seed=0,
        batch_size=4,
        workers=workers,
    )
    with pytest.raises(DataError, match=r"^the image 3\.png cannot be read$"):
        list(batches.batches(0, 4))


class Fatal(Numbers):
    """Kills the process that reads image 3."""

    def train(self, index: int, rng: np.random.Generator) -> torch.Tensor:
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train(index, rng)


def test_a_killed_loader_process_is_an_error_of_the_next_batch():
    inputs = {"x_a": Image("a")}
    batches = Batches({"a": Fatal(8)}, inputs, {"a": "a"}, seed=0, batch_size=2, workers=1)
    handler = signal.getsignal(signal.SIGCHLD)
    seen = []
    with pytest.raises(DataError, match=r"a process that loads images is gone.*ENGINE\.WORKERS"):
        seen += batches.batches(0, 9)
    assert signal.getsignal(signal.SIGCHLD) == handler


def test_what_cannot_be_sampled():
    with pytest.raises(DataError, match="domain A has no training image"):
        stream(a=0)
    with pytest.raises(DataError, match="shared evenly by 3 processes"):
        stream(world_size=3)
    with pytest.raises(DataError, match=r"reads labels \(y\).*domain CAT have none.*DATA\.TABLE"):
        of_any({"cat": 3})
    inputs = {"x": Image(), "y": Label(of="x")}
    datasets = {"a": Known(2, ("p", "q")), "b": Numbers(2)}
    with pytest.raises(DataError, match="different labels.*A: p, q; B: none"):
        Batches(datasets, inputs, {"a": "a", "b": "b"}, seed=0, batch_size=2)
    datasets["b"].size = (4, 2)
    with pytest.raises(DataError, match=r"input x is of any domain.*A 2×2, B 4×2"):
        Batches(datasets, inputs, {"a": "a", "b": "b"}, seed=0, batch_size=2)
    with pytest.raises(DataError, match="no images of domain NIGHT"):
        Batches({"a": Numbers(1)}, TWO, {"a": "a", "b": "night"}, seed=0, batch_size=2)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": Image(), "y": Label(of="z")}, "input y has of='z', which is no image"),
        ({"x": Image("c")}, "of domain 'c'; the recipe has a, b"),
        ({"x": Image(like="y"), "y": Image(like="x")}, "in a circle"),
        ({"x": Image(), "y": Image("a", like="x")}, "takes nothing beside that"),
        ({"x_a": Image("a"), "y": Image(paired_with="x_b")}, "Did you mean 'x_a'?"),
    ],
)
def test_inputs_that_make_no_sense(inputs: dict[str, Input], message: str):
    with pytest.raises(GraphError) as caught:
        of_any({"a": 2, "b": 2}, inputs)
    assert message in str(caught.value)


def test_no_iterations_no_batches():
    assert list(stream(workers=2).batches(3, 3)) == []


def test_first_images_are_as_many_as_there_are():
    assert first_images(Numbers(3), 8).shape == (3, 1, 2, 2)


def test_first_images_of_several_sizes_are_their_middles():
    class Sizes(Numbers):
        def test(self, index: int) -> torch.Tensor:
            return torch.arange((4 + index) * (6 - index)).reshape(1, 4 + index, 6 - index).float()

    images = first_images(Sizes(3), 8)
    assert images.shape == (3, 1, 4, 4)
    assert images[0, 0, 0].tolist() == [1, 2, 3, 4]


def test_notes():
    class Noted(Numbers):
        skipped = {"bad.png": "it is of no known format"}
        notes = ["values lie low"]

    assert notes_of({"a": Numbers(2), "b": Noted(2)}) == [
        "skipped 1 unusable images of domain B, listed in run.json",
        "values lie low",
    ]
