"""Batches of what a recipe is fed, as a function of seed and iteration."""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms.v2 import functional as T

from munit_zoo.data._protocol import Dataset, Labelled, Paired
from munit_zoo.data.seeding import rng
from munit_zoo.errors import DataError, GraphError, counted, suggest
from munit_zoo.inputs import Image, Input, Label

__all__ = ["Batches", "epoch_of", "first_images", "label_names", "notes_of"]


class Batches:
    """Training batches {input: tensor} of what a recipe declares as `inputs`.

    datasets: by domain. inputs: as a recipe has them; the random ones are left to `seeding.draw`.
    domains: what the recipe calls its domains, in order, and which dataset each is
    (`{"a": "day", "b": "night"}`); a label is a domain's number in it.
    want: the inputs to yield, all images and labels by default; the choice changes no number.

    Sample j of the global batch at iteration i is number n = i·batch_size + j in an endless
    sequence:

    `Image("a")` goes through one permutation of the domain's images after another, each domain by
    itself: the shorter one begins anew while the longer goes on.
    `Image()` is of each of K domains once in every K numbers, in an order drawn anew each time,
    and within a domain goes through permutations as above.
    `Image(like="x")` is another image of the domain that this sample's x is of (the same where
    there is no other), each equally likely.
    `Image("b", paired_with="x_a")` shows the scene of this sample's x_a, cropped and flipped alike;
    without a domain of its own it is of another than x_a's.
    `Label(of="x")` is int64 (N,), the number of x's domain or its class, or float32 (N, K), its
    attributes, as the datasets know them.

    All of it depends on (seed, input, i, j) alone: not on the number of workers or processes, nor
    on where training was resumed, nor on which other inputs there are.

    batch_size: samples over all processes. rank, world_size: of this process, which gets
    batch_size / world_size of them. workers: loader processes, 0 for none.

    Raises GraphError for inputs that refer to what there is not; DataError for an empty domain, a
    batch that processes cannot share evenly, images without labels or partners that a recipe
    reads, and domains of unequal size that one input mixes.
    """

    def __init__(
        self,
        datasets: Mapping[str, Dataset],
        inputs: Mapping[str, Input],
        domains: Mapping[str, str],
        *,
        seed: int,
        batch_size: int,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
        want: Collection[str] | None = None,
    ) -> None:
        if batch_size % world_size:
            raise DataError(
                f"a batch of {batch_size} cannot be shared evenly by {world_size} processes: "
                "change ENGINE.BATCH_SIZE"
            )
        self.count = batch_size // world_size
        self.first = rank * self.count
        self._samples = _Samples(
            _Plan(datasets, inputs, domains, want), seed, batch_size, self.first, self.count
        )
        self.workers, self.pin_memory = workers, pin_memory

    def batches(self, start: int, stop: int) -> Iterator[dict[str, Tensor]]:
        """The batches of iterations `start` to `stop - 1`.

        Raises DataError, as the dataset raised it, where an image cannot be read, and where a
        loader process is gone.
        """
        workers = min(self.workers, max(0, stop - start))
        options: dict[str, Any] = {}
        if workers:
            options = {"prefetch_factor": 4, "worker_init_fn": _single_threaded}
        loader = DataLoader(
            self._samples,
            batch_size=None,
            sampler=range(start, stop),
            num_workers=workers,
            pin_memory=self.pin_memory,
            **options,
        )
        found = _quietly(loader)
        while True:
            try:
                batch = next(found, None)
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise DataError(
                    f"a process that loads images is gone ({str(error).splitlines()[0]}): killed, "
                    "or out of memory. Fewer ENGINE.WORKERS take less; 0 loads without any"
                ) from None
            if batch is None:
                return
            if isinstance(batch, str):
                raise DataError(batch)
            yield batch


def _quietly(loader: DataLoader[object]) -> Iterator[Any]:
    """A loader's batches; a worker's death is told where the next batch is asked for.

    torch tells it by a handler of SIGCHLD, which would raise amid whatever is being computed.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    found = iter(loader)
    if before is not None:  # None: set by other than Python code, which is left alone
        signal.signal(signal.SIGCHLD, before)
    return found


def _single_threaded(_: int) -> None:
    torch.set_num_threads(1)


class _Plan:
    """What each input is sampled from, checked once."""

    def __init__(
        self,
        datasets: Mapping[str, Dataset],
        inputs: Mapping[str, Input],
        domains: Mapping[str, str],
        want: Collection[str] | None,
    ) -> None:
        self.letters = {name: letter for letter, name in domains.items()}
        self.names = tuple(domains.values())
        self.images = {n: spec for n, spec in inputs.items() if isinstance(spec, Image)}
        self.labels = {n: spec for n, spec in inputs.items() if isinstance(spec, Label)}
        known = [*self.images, *self.labels]
        self.want = tuple(name for name in known if want is None or name in want)
        missing = [name for name in self.names if name not in datasets]
        if missing:
            raise DataError(f"there are no images of domain {missing[0].upper()}")
        self.datasets = {name: datasets[name] for name in self.names}
        self.order = self._sorted()
        self.domains = {name: self._domains(name) for name in self.order}
        used = {domain for found in self.domains.values() for domain in found}
        for name in self.names:
            if name in used and not len(self.datasets[name]):
                raise DataError(f"domain {name.upper()} has no training image")
        self._check_sizes()
        self.scenes, self.pools = self._pairs()
        self._check_labels()

    def _sorted(self) -> list[str]:
        """The images, each after the one that it refers to."""
        order: list[str] = []
        waiting = list(self.images)
        while waiting:
            ready = [n for n in waiting if self._reference(n) in (None, *order)]
            if not ready:
                raise GraphError(f"the inputs {', '.join(waiting)} refer to each other in a circle")
            order += ready
            waiting = [name for name in waiting if name not in order]
        for name, label in self.labels.items():
            self._refers(name, "of", label.of)
        return order

    def _reference(self, name: str) -> str | None:
        spec = self.images[name]
        for word in ("like", "paired_with"):
            other = getattr(spec, word)
            if other is not None:
                self._refers(name, word, other)
        if spec.like is not None and (spec.domain is not None or spec.paired_with is not None):
            raise GraphError(f"the input {name} is like {spec.like}: it takes nothing beside that")
        return spec.like or spec.paired_with

    def _refers(self, name: str, word: str, other: str) -> None:
        if other not in self.images:
            raise GraphError(
                f"the input {name} has {word}={other!r}, which is no image among the inputs. "
                f"{suggest(other, self.images)}".rstrip()
            )

    def _domains(self, name: str) -> tuple[str, ...]:
        """The domains that an input may be of."""
        spec = self.images[name]
        if spec.like is not None:
            return self._domains(spec.like)
        if spec.domain is not None:
            found = [domain for domain, letter in self.letters.items() if letter == spec.domain]
            if not found:
                raise GraphError(
                    f"the input {name} is of domain {spec.domain!r}; the recipe has "
                    f"{', '.join(self.letters.values())}"
                )
            return (found[0],)
        if spec.paired_with is not None:
            theirs = self._domains(spec.paired_with)
            others = [d for d in self.names if theirs != (d,)]
            if len(self.names) < 2:
                raise DataError(f"the input {name} is of another domain, and there is only one")
            return tuple(others)
        return self.names

    def _check_sizes(self) -> None:
        for name, domains in self.domains.items():
            sizes = {domain: self.datasets[domain].size for domain in domains}
            if len(set(sizes.values())) > 1:
                shown = ", ".join(f"{d.upper()} {h}×{w}" for d, (h, w) in sizes.items())
                raise DataError(
                    f"the input {name} is of any domain, and their images differ in size: {shown}. "
                    "Set one DATA.SIZE or DATA.CROP for all"
                )

    def _check_labels(self) -> None:
        for name, label in self.labels.items():
            if name not in self.want:
                continue
            domains = self.domains[label.of]
            known = label_names({domain: self.datasets[domain] for domain in domains})
            if not known and len(self.names) < 2:
                raise DataError(
                    f"the recipe reads labels ({name}), and the images of the one domain "
                    f"{self.names[0].upper()} have none: name further DOMAINS, or say where "
                    "labels are (DATA.TABLE, DATA.CLASSES)"
                )

    def _pairs(self) -> tuple[dict[str, dict[str, int]], dict[str, NDArray[np.int64] | None]]:
        """Per domain the image of each scene, and which images have partners (None: all)."""
        involved: dict[str, None] = {}
        for name, spec in self.images.items():
            if spec.paired_with is not None:
                involved |= dict.fromkeys((*self.domains[spec.paired_with], *self.domains[name]))
        scenes = {domain: _scenes(domain, self.datasets[domain]) for domain in involved}
        pools: dict[str, NDArray[np.int64] | None] = dict.fromkeys(self.names)
        if not scenes:
            return {}, pools
        common = set.intersection(*(set(found) for found in scenes.values()))
        left_out = {
            scene
            for domain in involved
            for scene in getattr(self.datasets[domain], "skipped_scenes", ())
        }
        problems = []
        for domain, found in scenes.items():
            alone = [scene for scene in found if scene not in common | left_out]
            if alone:
                shown = ", ".join(alone[:10]) + (", …" if len(alone) > 10 else "")
                problems.append(f"{domain.upper()} {shown} ({counted(len(alone), 'image')})")
        if problems:
            raise DataError(
                "the recipe trains on pairs, and these images have no partner of their name in "
                f"each other domain: {'; '.join(problems)}. Add or remove files"
            )
        if not common:
            raise DataError("no pair of images is left")
        for domain, found in scenes.items():
            if len(common) < len(found):
                pools[domain] = np.array([i for s, i in found.items() if s in common], np.int64)
        return scenes, pools


def _scenes(domain: str, dataset: Dataset) -> dict[str, int]:
    if not isinstance(dataset, Paired):
        raise DataError(
            f"the recipe trains on pairs, and the dataset of domain {domain.upper()}, "
            f"{type(dataset).__name__}, does not say which images are one (it has no method scene)"
        )
    found: dict[str, int] = {}
    for index in range(len(dataset)):
        scene = dataset.scene(index)
        if scene in found:
            raise DataError(
                f"the recipe trains on pairs, and two images of domain {domain.upper()} show the "
                f"scene {scene}: {dataset.name(found[scene])} and {dataset.name(index)}"
            )
        found[scene] = index
    return found


@dataclass(frozen=True)
class _Pick:
    """An image that was chosen, and what its augmentation depends on."""

    domain: str
    index: int
    chance: tuple[int | str, ...]


class _Noting(np.random.Generator):
    """A generator that notes the ranges of whole numbers asked of it: those are places of crops."""

    def __init__(self, keys: Sequence[int | str]) -> None:
        super().__init__(rng(*keys).bit_generator)
        self.ranges: list[str] = []

    def integers(self, *arguments: Any, **named: Any) -> Any:
        self.ranges.append(f"{arguments}{named}")
        return super().integers(*arguments, **named)


class _Samples(TorchDataset[Any]):
    """Batch by iteration. An unusable image comes back as its message: a loader would wrap the
    exception in a worker's traceback."""

    def __init__(self, plan: _Plan, seed: int, batch_size: int, first: int, count: int) -> None:
        self.plan, self.seed, self.batch_size = plan, seed, batch_size
        self.first, self.count = first, count
        self._orders: dict[str, tuple[int, NDArray[np.int64]]] = {}

    def __getitem__(self, iteration: int) -> dict[str, Tensor] | str:
        plan = self.plan
        try:
            rows = [self._picks(iteration, self.first + j) for j in range(self.count)]
            found: dict[str, list[Tensor]] = {name: [] for name in plan.want}
            for picks in rows:
                images = self._images(picks)
                for name in plan.want:
                    if name in images:
                        found[name].append(images[name])
                    else:
                        found[name].append(self._label(picks[plan.labels[name].of]))
            return {name: self._stacked(name, values, rows) for name, values in found.items()}
        except DataError as error:
            return str(error)

    def _stacked(
        self, name: str, values: Sequence[Tensor], rows: Sequence[Mapping[str, _Pick]]
    ) -> Tensor:
        for value, picks in zip(values, rows, strict=True):
            if value.shape != values[0].shape and name in picks:
                one, other = (self._name(row[name]) for row in (rows[0], picks))
                raise DataError(
                    f"the images {one} and {other} cannot be of one batch: they are "
                    f"{tuple(values[0].shape)} and {tuple(value.shape)}"
                )
        return torch.stack(list(values))

    def _name(self, pick: _Pick) -> str:
        return f"{pick.domain.upper()} {self.plan.datasets[pick.domain].name(pick.index)}"

    def _picks(self, iteration: int, j: int) -> dict[str, _Pick]:
        """Which images sample j is of, by input."""
        picks: dict[str, _Pick] = {}
        number = iteration * self.batch_size + j
        for name in self.plan.order:
            spec = self.plan.images[name]
            chance: tuple[int | str, ...] = ("augment", self.seed, "input", name, iteration, j)
            if spec.like is not None:
                other = picks[spec.like]
                index = self._another(name, other, iteration, j)
                picks[name] = _Pick(other.domain, index, chance)
            elif spec.paired_with is not None:
                other = picks[spec.paired_with]
                picks[name] = self._partner(name, other, iteration, j)
            elif spec.domain is not None:
                (domain,) = self.plan.domains[name]
                letter = self.plan.letters[domain]
                # a recipe's x_a is domain a's, whatever other inputs there are
                own = name == f"x_{letter}"
                keys: tuple[int | str, ...] = (letter,) if own else ("input", name, letter)
                index = self._in_turn(keys, domain, number)
                picks[name] = _Pick(domain, index, ("augment", self.seed, *keys, iteration, j))
            else:
                domains = self.plan.domains[name]
                block, place = divmod(number, len(domains))
                order = rng("domains", self.seed, name, block).permutation(len(domains))
                domain = domains[int(order[place])]
                keys = ("input", name, self.plan.letters[domain])
                picks[name] = _Pick(domain, self._in_turn(keys, domain, block), chance)
        return picks

    def _in_turn(self, keys: tuple[int | str, ...], domain: str, number: int) -> int:
        """Image `number` of an endless sequence of permutations of a domain."""
        pool = self.plan.pools[domain]
        length = len(self.plan.datasets[domain]) if pool is None else len(pool)
        epoch, place = divmod(number, length)
        known = self._orders.get(str(keys))
        if known is None or known[0] != epoch:
            order = rng("order", self.seed, *keys, epoch).permutation(length)
            known = self._orders[str(keys)] = (epoch, order)
        chosen = int(known[1][place])
        return chosen if pool is None else int(pool[chosen])

    def _another(self, name: str, other: _Pick, iteration: int, j: int) -> int:
        pool = self.plan.pools[other.domain]
        if pool is None:
            pool = np.arange(len(self.plan.datasets[other.domain]))
        if len(pool) == 1:
            return int(pool[0])
        step = 1 + rng("like", self.seed, name, iteration, j).integers(len(pool) - 1)
        return int(pool[(int(np.searchsorted(pool, other.index)) + step) % len(pool)])

    def _partner(self, name: str, other: _Pick, iteration: int, j: int) -> _Pick:
        domains = [domain for domain in self.plan.domains[name] if domain != other.domain]
        domain = domains[0] if domains else other.domain
        if len(domains) > 1:
            domain = domains[
                int(rng("domains", self.seed, name, iteration, j).integers(len(domains)))
            ]
        scene = self.plan.datasets[other.domain].scene(other.index)  # type: ignore[attr-defined]
        return _Pick(domain, self.plan.scenes[domain][scene], other.chance)

    def _images(self, picks: Mapping[str, _Pick]) -> dict[str, Tensor]:
        """The images of a sample that are asked for."""
        plan = self.plan
        found: dict[str, Tensor] = {}
        noted: dict[tuple[int | str, ...], tuple[_Pick, list[str]]] = {}
        for name, pick in picks.items():
            if name not in plan.want:
                continue
            dataset = plan.datasets[pick.domain]
            if not plan.scenes:
                found[name] = dataset.train(pick.index, rng(*pick.chance))
                continue
            chance = _Noting(pick.chance)
            found[name] = dataset.train(pick.index, chance)
            other, ranges = noted.setdefault(pick.chance, (pick, chance.ranges))
            if ranges != chance.ranges:
                raise DataError(
                    f"{self._name(other)} and {self._name(pick)} are a pair, but not of one shape "
                    "once resized, so that they cannot be cropped alike: mend the files, or set "
                    "one DATA.SIZE for both domains"
                )
        return found

    def _label(self, pick: _Pick) -> Tensor:
        dataset = self.plan.datasets[pick.domain]
        if isinstance(dataset, Labelled) and dataset.label_names:
            label = dataset.label(pick.index)
            return label if isinstance(label, Tensor) else torch.tensor(label)
        return torch.tensor(self.plan.names.index(pick.domain))


def label_names(datasets: Mapping[str, Dataset]) -> tuple[str, ...]:
    """Names of the classes or attributes of images; empty where their domain is their label.

    Raises DataError where the domains do not agree on them.
    """
    found = {
        name: tuple(dataset.label_names) if isinstance(dataset, Labelled) else ()
        for name, dataset in datasets.items()
    }
    if len(set(found.values())) > 1:
        shown = "; ".join(
            f"{n.upper()}: {', '.join(known) or 'none'}" for n, known in found.items()
        )
        raise DataError(f"the domains have different labels, and a model needs one set: {shown}")
    return next(iter(found.values()), ())


def notes_of(datasets: Mapping[str, Dataset]) -> list[str]:
    """What a user should know of the images, a line each: those left out, values unlike the range
    that they are mapped from."""
    notes = []
    for name, dataset in datasets.items():
        count = len(getattr(dataset, "skipped", ()))
        if count:
            notes.append(
                f"skipped {count} unusable images of domain {name.upper()}, listed in run.json"
            )
        notes += getattr(dataset, "notes", ())
    return notes


def epoch_of(datasets: Mapping[str, Sized], inputs: Mapping[str, Input], batch_size: int) -> int:
    """How many iterations make an epoch: the batches in which the images of the largest domain come
    once; for a recipe whose input is of any of K domains, in which as many come as all have.

    datasets: by domain. batch_size: over all processes.
    """
    sizes = [len(dataset) for dataset in datasets.values()]
    mixed = any(
        isinstance(spec, Image) and not spec.domain and not spec.like and not spec.paired_with
        for spec in inputs.values()
    )
    return max(1, -(-(sum(sizes) if mixed else max(sizes)) // batch_size))


def first_images(dataset: Dataset, count: int) -> Tensor:
    """The first images of a dataset without augmentation, fewer where there are fewer.

    Where they differ in size, the middles that all of them have: (N, C, H, W).
    """
    images = [dataset.test(index) for index in range(min(count, len(dataset)))]
    height, width = (min(image.shape[side] for image in images) for side in (1, 2))
    return torch.stack([T.center_crop(image, [height, width]) for image in images])
