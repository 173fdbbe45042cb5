"""A study of which translations people prefer: a static page of questions, and its key.

A folder holds `site/` (`index.html` and `images/`: to open from disk, or to put on any web server)
and `key.json`, which says what each image is, and stays with whoever asks. Nothing in the site
tells a run's name, or which questions are controls.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from munit_zoo.comparison.compare import names_of
from munit_zoo.config import bind, domains_of
from munit_zoo.data import Dataset
from munit_zoo.data.images import write_image
from munit_zoo.data.values import from_unit
from munit_zoo.engine.devices import choose_device
from munit_zoo.engine.files import write_text
from munit_zoo.engine.grids import as_rgb
from munit_zoo.engine.loading import load_model
from munit_zoo.engine.runs import find_snapshot
from munit_zoo.errors import UsageError, suggest
from munit_zoo.metrics.sampling import seeded

__all__ = ["FORMAT", "StudyChoice", "make_study"]

FORMAT = 1
TILES = 4
"""A control question's wrong answer is cut into so many tiles a side, which are exchanged."""


@dataclass(frozen=True)
class StudyChoice:
    """What is asked.

    questions: in all, the control questions apart. controls: of those; None for a tenth, five at
    the least. pairs: each run against the `first` (as the paper has it), or `all` pairs. ways:
    directions, as a2b; none for all that the runs have in common. each: questions a person is
    asked, chosen by chance; None for all. seed: of images, styles and order.
    """

    questions: int = 500
    controls: int | None = None
    pairs: Literal["first", "all"] = "first"
    ways: tuple[str, ...] = ()
    each: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (
            ("questions", self.questions, 1),
            ("controls", self.controls, 0),
            ("each", self.each, 1),
        ):
            if value is not None and value < least:
                raise UsageError(f"--{name} is {least} or more, got {value}")


@dataclass
class _Question:
    """number: in the study. runs: the two, by name; for a control one, twice."""

    number: int
    way: tuple[str, str]
    index: int
    runs: tuple[str, str]
    control: bool = False


def make_study(
    paths: Sequence[Path],
    out: Path,
    choice: StudyChoice | None = None,
    *,
    device: str = "auto",
    tell: Callable[[str], None] = lambda text: None,
) -> Path:
    """Translate what is asked about, and write page and key; the page's file.

    Raises UsageError for fewer than two runs, a folder that holds anything, or runs that have no
    direction, or other test images, in common.
    """
    choice = choice or StudyChoice()
    if len(paths) < 2:
        raise UsageError(f"a study compares two or more runs, got {len(paths)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already: answers belong to the images that were shown")
    runs = dict(zip(names_of(paths), paths, strict=True))
    datasets, ways = _common(runs, choice)
    questions = _questions(list(runs), ways, datasets, choice)
    salt = hashlib.sha256(
        json.dumps([list(map(str, paths)), vars(choice)], default=str).encode()
    ).hexdigest()
    images = out / "site" / "images"
    images.mkdir(parents=True)
    for name, path in runs.items():
        _translate(name, path, questions, datasets, images, salt, choice, device, tell)
    for question in questions:
        source = datasets[question.way[0]].test(question.index)
        _write(images / f"{_token(salt, question, 'input')}.png", source)
    key = _key(runs, questions, datasets, salt, choice)
    write_text(out / "key.json", json.dumps(key, indent=1) + "\n")
    asked = {
        "study": key["study"],
        "format": FORMAT,
        "each": choice.each,
        "questions": [
            {
                "id": entry["id"],
                "input": _token(salt, question, "input"),
                "options": list(entry["options"]),
            }
            for entry, question in zip(key["questions"], questions, strict=True)
        ],
    }
    page = out / "site" / "index.html"
    template = resources.files("munit_zoo.comparison").joinpath("study.html")
    data = json.dumps(asked).replace("</", "<\\/")
    write_text(page, template.read_text(encoding="utf-8").replace("{{study}}", data))
    return page


def _common(
    runs: Mapping[str, Path], choice: StudyChoice
) -> tuple[dict[str, Dataset], list[tuple[str, str]]]:
    """The test images, and the directions, that the runs have in common."""
    first: dict[str, Dataset] = {}
    known: list[tuple[str, str]] = []
    for number, (name, path) in enumerate(runs.items()):
        config = find_snapshot(path)[0].resolved().config
        factory = bind("dataset", config.DATA)
        found = {domain.name: factory(domain, "test") for domain in domains_of(config)}
        for dataset in found.values():
            dataset.prepare()
        ways = load_model(path).ways
        if not number:
            first, known = found, list(ways)
            continue
        for domain, dataset in found.items():
            other = first.get(domain)
            if other is None or _unlike(dataset, other):
                raise UsageError(
                    f"{name} has other test images of {domain.upper()} than {next(iter(runs))}: a "
                    "study shows both runs' translations of one image"
                )
        known = [way for way in known if way in ways]
    names = {f"{source}2{target}": (source, target) for source, target in known}
    for way in choice.ways:
        if way.lower() not in names:
            raise UsageError(
                f"--ways: the runs do not share {way!r}; they do {', '.join(names) or 'none'}. "
                f"{suggest(way.lower(), names)}".rstrip()
            )
    chosen = [names[way.lower()] for way in choice.ways] or known
    if not chosen:
        raise UsageError("the runs have no direction in common")
    return first, chosen


def _unlike(one: Dataset, other: Dataset) -> bool:
    if len(one) != len(other):
        return True
    return any(not torch.equal(one.test(i), other.test(i)) for i in {0, len(one) - 1})


def _questions(
    names: Sequence[str],
    ways: Sequence[tuple[str, str]],
    datasets: Mapping[str, Dataset],
    choice: StudyChoice,
) -> list[_Question]:
    """All questions in an order that tells nothing: pairs and directions in equal shares, and
    controls among them."""
    pairs = list(itertools.combinations(names, 2))
    if choice.pairs == "first":
        pairs = [(names[0], other) for other in names[1:]]
    generator = seeded(choice.seed, "study")
    controls = max(5, choice.questions // 10) if choice.controls is None else choice.controls
    kinds = itertools.cycle(itertools.product(pairs, ways))
    found: list[tuple[tuple[str, str], tuple[str, str], bool]] = [
        (pair, way, False) for pair, way in itertools.islice(kinds, choice.questions)
    ]
    own = itertools.cycle(itertools.product(names, ways))
    found += [((name, name), way, True) for name, way in itertools.islice(own, controls)]
    questions = []
    for number, place in enumerate(torch.randperm(len(found), generator=generator).tolist()):
        pair, way, control = found[place]
        index = int(torch.randint(len(datasets[way[0]]), (1,), generator=generator))
        questions.append(_Question(number, way, index, pair, control))
    return questions


def _token(salt: str, question: _Question, what: str) -> str:
    """A name that tells nothing."""
    return hashlib.sha256(f"{salt} {question.number} {what}".encode()).hexdigest()[:16]


def _translate(
    name: str,
    path: Path,
    questions: Sequence[_Question],
    datasets: Mapping[str, Dataset],
    images: Path,
    salt: str,
    choice: StudyChoice,
    device: str,
    tell: Callable[[str], None],
) -> None:
    """A run's images: each question's in a style of its own."""
    model = load_model(path, device=choose_device(device))
    mine = [question for question in questions if name in question.runs]
    for done, question in enumerate(mine):
        if done % 50 == 0:
            tell(f"{name}: {done} of {len(mine)}")
        source, target = question.way
        x = datasets[source].test(question.index)[None].to(model.device)
        generator = seeded(choice.seed, "study style", name, question.number)
        with torch.no_grad():
            made = model.translate(x, target, 1, source=source, generator=generator)[0, 0].cpu()
        _write(images / f"{_token(salt, question, name)}.png", made)
        if question.control:
            wrong = scrambled(made, seeded(choice.seed, "study control", question.number))
            _write(images / f"{_token(salt, question, 'wrong')}.png", wrong)


def scrambled(image: Tensor, generator: torch.Generator) -> Tensor:
    """An image (C, H, W) with its tiles exchanged and noise over it: what nobody who looks calls
    the more accurate."""
    rows, columns = (max(1, side // TILES) for side in image.shape[1:])
    mixed = image.clone()
    order = torch.randperm(TILES * TILES, generator=generator).tolist()
    for place, source in enumerate(order):
        (r, c), (i, j) = divmod(place, TILES), divmod(source, TILES)
        mixed[:, r * rows : (r + 1) * rows, c * columns : (c + 1) * columns] = image[
            :, i * rows : (i + 1) * rows, j * columns : (j + 1) * columns
        ]
    return mixed + 0.3 * torch.randn(image.shape, generator=generator)


def _write(path: Path, image: Tensor) -> None:
    shown = as_rgb(image[None].float().clamp(-1, 1))[0]
    write_image(path, from_unit(shown, np.uint8))


def _key(
    runs: Mapping[str, Path],
    questions: Sequence[_Question],
    datasets: Mapping[str, Dataset],
    salt: str,
    choice: StudyChoice,
) -> dict[str, Any]:
    """What the images are."""
    entries = []
    for question in questions:
        one, other = question.runs
        options = {_token(salt, question, one): one}
        if question.control:
            options[_token(salt, question, "wrong")] = "wrong"
        else:
            options[_token(salt, question, other)] = other
        entries.append(
            {
                "id": f"q{question.number:04d}",
                "way": "2".join(question.way),
                "input": datasets[question.way[0]].name(question.index),
                "control": question.control,
                "options": dict(sorted(options.items())),  # by chance, that is
            }
        )
    made = {}
    for name, path in runs.items():
        run, snapshot = find_snapshot(path)
        made[name] = {
            "run": str(run.folder),
            "iteration": snapshot.iteration,
            "config_sha256": run.resolved().config.digest(),
        }
    return {
        "study": salt[:16],
        "format": FORMAT,
        "runs": made,
        "choice": {**vars(choice), "ways": list(choice.ways)},
        "questions": entries,
    }
