"""Training a classifier of a domain's classes, for the (conditional) inception score."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from munit_zoo._version import __version__
from munit_zoo.data.images import read_image
from munit_zoo.data.reading import list_images
from munit_zoo.data.seeding import rng
from munit_zoo.data.transforms import Pipeline, convert_channels
from munit_zoo.data.values import to_unit
from munit_zoo.engine.devices import choose_device
from munit_zoo.errors import DataError, UsageError, counted
from munit_zoo.metrics.timm_networks import Classifier, ClassifierCard, timm_network

__all__ = ["ClassifierSettings", "Trained", "train_classifier"]


@dataclass(frozen=True)
class ClassifierSettings:
    """How a classifier is trained.

    model: timm's name. weights: a file to start from; None for chance. size: side of the images.
    epochs: passes over them. rate: learning rate of AdamW, warmed up and decayed along a cosine.
    head_only: train the last layer alone. hold_out: share of each class kept for testing.
    """

    model: str = "resnet18"
    weights: str | None = None
    size: int = 128
    epochs: int = 10
    batch: int = 32
    rate: float = 1e-3
    head_only: bool = False
    hold_out: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """What came out: the file, the classes with their numbers of images, accuracy held out."""

    file: Path
    classes: dict[str, int]
    accuracy: float
    sha256: str


def train_classifier(
    folder: Path,
    out: Path,
    settings: ClassifierSettings | None = None,
    *,
    device: str = "auto",
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Trained:
    """Train a network of timm to tell the classes of images in `folder/<class>/…` apart.

    Writes `out` (.safetensors), which the metric `cis` takes: weights, classes, the accuracy on
    held-out images, and how it was trained. Cropped and mirrored at random while training; the
    same file for the same folder, settings and device.
    Raises UsageError for fewer than two classes or an `out` that exists, DataError for images that
    cannot be read, WeightsError for weights that are absent or do not fit.
    """
    settings = settings or ClassifierSettings()
    if out.suffix != ".safetensors":
        raise UsageError(f"a classifier is written as .safetensors, got {out.name}")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists; give another --out, or --overwrite")
    images = _images(folder, settings)
    where = choose_device(device)
    classes = tuple(images)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        network, files, config = timm_network(
            settings.model, settings.weights, classes=len(classes), chance=settings.weights is None
        )
        for layer in network.get_classifier().modules():  # type: ignore[operator]
            # from no opinion: some of timm's start a layer of two outputs with large weights
            if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
                torch.nn.init.normal_(layer.weight, std=0.01)
                if layer.bias is not None:
                    torch.nn.init.zeros_(layer.bias)
    card = ClassifierCard(
        settings.model,
        classes,
        settings.size,
        tuple(config.get("mean", (0.5,) * 3)),
        tuple(config.get("std", (0.5,) * 3)),
        0.0,
        {},
    )
    classifier = Classifier(network, card).to(where)
    pipeline = Pipeline(
        size=settings.size,
        crop=(settings.size, settings.size),
        flip=True,
        interpolation="bicubic",
        convert="rgb",
    )
    wider = Pipeline(
        size=round(settings.size * 1.15),
        crop=(settings.size, settings.size),
        flip=True,
        interpolation="bicubic",
        convert="rgb",
    )
    training = [(path, k) for k, parts in enumerate(images.values()) for path in parts[0]]
    testing = [(path, k) for k, parts in enumerate(images.values()) for path in parts[1]]
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)  # of dropout
        _fit(classifier, training, wider, settings, where, progress)
    right = 0
    for part, labels in _batches(testing, settings.batch, lambda p, i: _read(p, pipeline)):
        with torch.no_grad():
            right += int((classifier(part.to(where)).argmax(1).cpu() == labels).sum())
    accuracy = right / len(testing)
    trained = {
        **asdict(settings),
        "images": len(training),
        "held_out": len(testing),
        "started_from": [file.record() for file in files],
        "munit_zoo": __version__,
        "torch": torch.__version__,
    }
    classifier.card = replace(card, accuracy=accuracy, trained=trained)
    out.parent.mkdir(parents=True, exist_ok=True)
    classifier.save(out)
    _, found = Classifier.open(str(out))
    counts = {name: len(parts[0]) + len(parts[1]) for name, parts in images.items()}
    return Trained(out, counts, accuracy, found.sha256)


def _images(folder: Path, settings: ClassifierSettings) -> dict[str, tuple[list[Path], list[Path]]]:
    """Per class its training and its held-out images."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(names) < 2:
        raise UsageError(
            f"a classifier tells two or more classes apart, a folder each; {folder} has "
            f"{counted(len(names), 'folder')}: {', '.join(names) or 'none'}"
        )
    found = {}
    for name in names:
        paths = [path for _, path in list_images(folder / name)]
        if len(paths) < 2:
            raise UsageError(f"{folder / name} has one image; a class has at least two")
        order = rng("classifier hold-out", settings.seed, name).permutation(len(paths))
        count = min(max(1, round(settings.hold_out * len(paths))), len(paths) - 1)
        held = set(order[:count].tolist())
        found[name] = (
            [path for i, path in enumerate(paths) if i not in held],
            [path for i, path in enumerate(paths) if i in held],
        )
    return found


def _read(path: Path, pipeline: Pipeline, *keys: int | str) -> Tensor:
    """An image in three channels; augmented where keys of its chance are given."""
    image = convert_channels(to_unit(read_image(path), None, what=str(path)), "rgb")
    if len(image) != 3:
        raise DataError(f"{path} has {len(image)} channels; a classifier sees 1 or 3")
    try:
        return pipeline.train(image, rng(*keys)) if keys else pipeline.test(image)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _batches(
    images: Sequence[tuple[Path, int]], batch: int, read: Callable[[Path, int], Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        pixels = torch.stack([read(path, start + i) for i, (path, _) in enumerate(part)])
        yield pixels, torch.tensor([label for _, label in part])


def _fit(
    classifier: Classifier,
    training: Sequence[tuple[Path, int]],
    pipeline: Pipeline,
    settings: ClassifierSettings,
    device: str,
    progress: Callable[[str], None] | None,
) -> None:
    network = classifier.network.requires_grad_(not settings.head_only)
    if settings.head_only:
        network.get_classifier().requires_grad_(True)  # type: ignore[operator]
    parameters = [p for p in network.parameters() if p.requires_grad]
    per_epoch = -(-len(training) // settings.batch)
    optimizer = torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.rate, total_steps=max(4, settings.epochs * per_epoch)
    )
    # every class has the same say, however many images it has
    counts = torch.bincount(torch.tensor([label for _, label in training])).float()
    balance = (counts.sum() / (len(counts) * counts)).to(device)
    for epoch in range(settings.epochs):
        classifier.train(not settings.head_only)  # a frozen trunk keeps its statistics
        order = list(training)
        random.Random(f"{settings.seed} {epoch}").shuffle(order)
        total = 0.0

        def read(path: Path, index: int, epoch: int = epoch) -> Tensor:
            return _read(path, pipeline, "classifier", settings.seed, epoch, index)

        for pixels, labels in _batches(order, settings.batch, read):
            if len(pixels) == 1 and per_epoch > 1:
                continue  # batch norm dislikes a single image
            loss = F.cross_entropy(classifier(pixels.to(device)), labels.to(device), balance)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(pixels)
        if progress is not None:
            progress(f"epoch {epoch + 1} of {settings.epochs}: loss {total / len(order):.3f}")
    classifier.eval()
