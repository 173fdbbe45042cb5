"""Images of a config's dataset, written as files: to look at, or to translate."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from munit_zoo.config import Config, bind, domains_of, engine_settings
from munit_zoo.data.images import write_image
from munit_zoo.data.seeding import rng
from munit_zoo.data.values import from_unit
from munit_zoo.errors import UsageError

__all__ = ["write_samples"]


def write_samples(
    config: Config,
    domain: str,
    out: Path,
    *,
    split: Literal["train", "test"] = "test",
    count: int = 8,
) -> list[Path]:
    """Write the first images of a domain as PNG (TIFF for more than four channels), 8 bits.

    Training images are shown as training sees them, cropped and flipped by chance; test images as
    evaluation does. Returns the files, each of another name. Raises UsageError for an unknown
    domain or existing files, DataError where there are no images.
    """
    domains = {d.name: d for d in domains_of(config)}
    if domain not in domains:
        raise UsageError(f"the config has no domain {domain!r}; it has {', '.join(domains)}")
    dataset = bind("dataset", config.DATA)(domains[domain], split)
    dataset.prepare()
    suffix = ".png" if domains[domain].channels <= 4 else ".tif"
    files: list[Path] = []
    for index in range(min(count, len(dataset))):
        name = dataset.name(index)
        stem = (name.rpartition(".")[0] or name).replace("/", "_")
        unique, number = stem, 2  # folders end up in one, and formats become one
        while (file := out / f"{unique}{suffix}") in files:
            unique, number = f"{stem}_{number}", number + 1
        files.append(file)
    for file in files:
        if file.exists():
            raise UsageError(f"{file} exists; give another --out")
    out.mkdir(parents=True, exist_ok=True)
    seed = engine_settings(config).seed
    for index, file in enumerate(files):
        if split == "test":
            image = dataset.test(index)
        else:
            image = dataset.train(index, rng("augment", seed, domain, 0, index))
        write_image(file, from_unit(image, np.uint8))
    return files
