"""Kept images are the images: DATA.CACHE in memory and on disk, bounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from munit_zoo.data import _files
from munit_zoo.data.image_folder import ImageFolder
from munit_zoo.data.images import write_image
from munit_zoo.data.seeding import rng
from munit_zoo.data.side_by_side import SideBySide
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError

A = Domain("a")
IMAGE = 24 * 32 * 3 * 4  # bytes of an image once resized


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "trainA").mkdir()
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (3, 48, 64), np.uint8)
        write_image(tmp_path / f"trainA/{index}.png", pixels)
    return tmp_path


@pytest.fixture
def decoded(monkeypatch):
    """Paths that were decoded."""
    found = []
    real = _files.decode
    monkeypatch.setattr(
        _files, "decode", lambda path, **options: found.append(path) or real(path, **options)
    )
    return found


def dataset(folder, **settings):
    found = ImageFolder(A, "train", root=str(folder), size=24, crop=16, **settings)
    found.prepare()
    return found


def samples(data) -> list[torch.Tensor]:
    return [data.train(i, rng("test", turn, i)) for turn in range(2) for i in range(len(data))]


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_kept_images_are_the_same_and_decoded_once(folder, tmp_path, decoded, where):
    expected = samples(dataset(folder))
    place = "memory" if where == "memory" else str(tmp_path / "cache")
    data = dataset(folder, cache=place)
    decoded.clear()
    found = samples(data)
    assert all(map(torch.equal, found, expected))
    assert len(decoded) == 5  # the first was tried beforehand
    data.train(0, rng("x")).fill_(9)  # a caller's own
    data.test(0).fill_(9)
    assert all(map(torch.equal, samples(data), expected))
    write_image(folder / "trainA/3.png", np.zeros((3, 48, 64), np.uint8))
    assert float(data.test(3).max()) == -1  # one that changed is read again
    if where == "disk":
        again = dataset(folder, cache=place)
        decoded.clear()
        assert len(samples(again)) == 12
        assert decoded == []  # another run's, too
        other = ImageFolder(A, "train", root=str(folder), size=20, cache=place)
        assert other.test(0).shape == (3, 20, 20)


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_cache_is_bounded(folder, tmp_path, decoded, where):
    place = "memory" if where == "memory" else str(tmp_path / "cache")
    data = dataset(folder, cache=place, cache_gb=(2 * IMAGE + 1000) / 1e9)
    samples(data)
    decoded.clear()
    samples(data)
    assert len(decoded) == 8  # four of six, twice
    if where == "disk":
        assert len(list((tmp_path / "cache").rglob("*.npy"))) == 2
        file = next((tmp_path / "cache").rglob("*.npy"))
        file.write_bytes(file.read_bytes()[:100])  # a damaged one is no image
        assert all(map(torch.equal, samples(data), samples(dataset(folder))))


def test_panels_are_told_apart(tmp_path):
    (tmp_path / "train").mkdir()
    pixels = np.concatenate([np.zeros((3, 16, 16)), np.full((3, 16, 16), 255)], 2).astype(np.uint8)
    write_image(tmp_path / "train/1.png", pixels)
    found = [
        SideBySide(
            Domain(name, among=("a", "b")),
            "train",
            root=str(tmp_path),
            size=16,
            cache=str(tmp_path / "c"),
        ).test(0)
        for name in ("a", "b")
    ]
    assert float(found[0].mean()) == -1
    assert float(found[1].mean()) == 1


def test_a_folder_that_cannot_be_written_says_so(folder, tmp_path):
    (tmp_path / "file").write_text("")
    data = ImageFolder(A, "train", root=str(folder), size=24, cache=str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"DATA.CACHE\) cannot be written"):
        data.test(0)
