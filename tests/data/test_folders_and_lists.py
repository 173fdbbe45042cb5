"""Folders and lists of images: what is found, how it is sampled, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from munit_zoo.data import Dataset
from munit_zoo.data.image_folder import ImageFolder
from munit_zoo.data.image_list import ImageList
from munit_zoo.data.images import write_image
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError

A, B = Domain("a"), Domain("b")


def picture(
    file: Path, shape: tuple[int, int, int] = (3, 20, 30), value: int | None = None
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if value is None:
        key = sum(map(ord, file.name))
        pixels = np.random.default_rng(key).integers(0, 256, shape).astype(np.uint8)
    else:
        pixels = np.full(shape, value, np.uint8)
    write_image(file, pixels)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("trainA/2.png", "trainA/10.jpg", "trainA/sub/deep/1.tif", "trainB/x.png"):
        picture(tmp_path / name)
    picture(tmp_path / "testA/t.png")
    (tmp_path / "trainA/notes.txt").write_text("not an image")
    (tmp_path / "trainA/.hidden.png").write_text("not one either")
    return tmp_path


def test_nested_folders_and_mixed_suffixes_in_natural_order(root: Path):
    dataset = ImageFolder(A, "train", root=str(root), size=16)
    assert [dataset.name(i) for i in range(len(dataset))] == ["2.png", "10.jpg", "sub/deep/1.tif"]
    assert isinstance(dataset, Dataset)
    assert len(ImageFolder(A, "test", root=str(root), size=16)) == 1


def test_the_constructor_touches_no_disk():
    assert ImageFolder(A, "train", root="/nowhere", size=32, crop=(16, 24)).size == (16, 24)


def test_samples_have_the_crops_size(root: Path):
    dataset = ImageFolder(A, "train", root=str(root), size=16, crop=(12, 14))
    sample = dataset.train(0, np.random.default_rng(0))
    assert sample.shape == (3, 12, 14)
    assert sample.is_contiguous()
    assert -1 <= sample.min() < sample.max() <= 1
    assert dataset.test(0).shape == (3, 12, 14)


def test_augmentation_is_a_function_of_its_generator(root: Path):
    dataset = ImageFolder(A, "train", root=str(root), size=18, crop=(8, 8))
    first, second, other = (dataset.train(0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).any()


def test_flipping_can_be_turned_off_without_moving_crops(root: Path):
    plain = ImageFolder(A, "train", root=str(root), size=None, crop=(8, 8), flip=False)
    flipped = ImageFolder(A, "train", root=str(root), size=None, crop=(8, 8))
    seen = set()
    for seed in range(12):
        one = plain.train(0, np.random.default_rng(seed))
        two = flipped.train(0, np.random.default_rng(seed))
        seen.add("same" if (one == two).all() else "mirrored")
        assert (one == two).all() or (one == two.flip(-1)).all()
    assert seen == {"same", "mirrored"}


def test_short_side_is_resized_and_the_aspect_kept(tmp_path: Path):
    picture(tmp_path / "trainA/wide.png", (3, 40, 80))
    dataset = ImageFolder(
        A,
        "test",
        test_folders={"A": str(tmp_path / "trainA")},
        root=str(tmp_path),
        size=20,
        crop=(20, 40),
    )
    assert dataset.test(0).shape == (3, 20, 40)


def test_two_arbitrary_folders_with_a_hold_out(tmp_path: Path):
    for index in range(20):
        picture(tmp_path / "photos" / f"{index}.png")

    def names(split: str, **more) -> list[str]:
        dataset = ImageFolder(A, split, folders={"A": str(tmp_path / "photos")}, size=16, **more)
        return [dataset.name(i) for i in range(len(dataset))]

    train, test = names("train"), names("test")
    assert (len(train), len(test)) == (18, 2)
    assert not set(train) & set(test)
    assert names("test") == test
    assert names("test", hold_out=5.0) != test
    assert len(names("test", hold_out=5.0)) == 5
    assert names("test", hold_out_seed=1) != test
    everything = names("train", test_folders={"A": str(tmp_path / "photos")})
    assert len(everything) == 20


def test_one_image_still_trains(tmp_path: Path):
    picture(tmp_path / "one/1.png")
    folders = {"A": str(tmp_path / "one")}
    assert len(ImageFolder(A, "train", folders=folders, size=16)) == 1
    with pytest.raises(DataError, match="held out"):
        len(ImageFolder(A, "test", folders=folders, size=16))


def test_channels_are_each_domains_own(tmp_path: Path):
    picture(tmp_path / "trainA/g.png", (1, 20, 20))
    picture(tmp_path / "trainB/many.tif", (7, 20, 20))
    assert ImageFolder(Domain("a", 1), "train", root=str(tmp_path), size=16).test(0).shape[0] == 1
    assert ImageFolder(Domain("b", 7), "train", root=str(tmp_path), size=16).test(0).shape[0] == 7


def test_nothing_is_converted_unasked(tmp_path: Path):
    picture(tmp_path / "trainA/g.png", (1, 20, 20), 100)
    with pytest.raises(
        DataError,
        match=r"has 1 channel, domain A is declared with 3: set "
        r"DOMAINS\.A\.CHANNELS=1, or DATA\.CONVERT=rgb",
    ):
        ImageFolder(A, "train", root=str(tmp_path), size=16).test(0)
    repeated = ImageFolder(A, "train", root=str(tmp_path), size=16, convert="rgb").test(0)
    assert repeated.shape == (3, 16, 16)
    per_domain = ImageFolder(A, "train", root=str(tmp_path), size=16, convert={"A": "rgb"})
    assert per_domain.test(0).shape == (3, 16, 16)


def test_gray_is_weighed(tmp_path: Path):
    pixels = np.zeros((3, 8, 8), np.uint8)
    pixels[1] = 255
    write_image(tmp_path / "green.png", pixels)
    folders = {"A": str(tmp_path)}
    gray = ImageFolder(Domain("a", 1), "train", folders=folders, size=8, convert="gray", hold_out=0)
    assert gray.test(0).mean().item() == pytest.approx(2 * 0.587 - 1, abs=1e-5)


def test_16_bits_keep_their_values(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 2**16, (1, 16, 16)).astype(np.uint16)
    (tmp_path / "trainA").mkdir()
    write_image(tmp_path / "trainA/s.png", pixels)
    dataset = ImageFolder(Domain("a", 1), "train", root=str(tmp_path), size=16)
    assert (((dataset.test(0).double() + 1) / 2 * 65535).round().numpy() == pixels).all()
    assert dataset.describe()["mapping"] == "0..65535 (uint16) to -1..1"
    ranged = ImageFolder(Domain("a", 1, (0, 131070)), "train", root=str(tmp_path), size=16)
    assert ranged.test(0).max() <= 0


# Errors


def test_missing_and_empty_folders(root: Path):
    with pytest.raises(DataError, match=r"no folder .*testB \(.* holds: .*trainA"):
        ImageFolder(B, "test", root=str(root), size=16).prepare()
    (root / "testB").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        ImageFolder(B, "test", root=str(root), size=16).prepare()
    with pytest.raises(DataError, match=r"DATA\.FOLDERS\.A=folder"):
        ImageFolder(A, "train")


def test_an_image_smaller_than_the_crop(root: Path):
    dataset = ImageFolder(A, "train", root=str(root), size=None, crop=(25, 25))
    with pytest.raises(
        DataError,
        match=r"2\.png cannot be used: it is 20×30.*smaller than the "
        r"crop 25×25: set DATA\.SIZE",
    ):
        dataset.train(0, np.random.default_rng(0))
    with pytest.raises(DataError, match="does not fit"):
        ImageFolder(A, "train", root=str(root), size=16, crop=(17, 17))
    with pytest.raises(DataError, match=r"give DATA\.SIZE"):
        ImageFolder(A, "train", root=str(root), size=None)


def test_a_bad_image_stops_or_is_skipped_and_listed(root: Path):
    (root / "trainA/bad.png").write_bytes(b"no image")
    picture(root / "trainA/gray.png", (1, 20, 20))
    strict = ImageFolder(A, "train", root=str(root), size=16)
    names = [strict.name(index) for index in range(len(strict))]
    with pytest.raises(DataError, match=r"bad\.png cannot be read"):
        strict.test(names.index("bad.png"))
    lenient = ImageFolder(A, "train", root=str(root), size=16, on_bad_image="skip")
    lenient.prepare()
    assert set(lenient.skipped) == {"bad.png", "gray.png"}
    assert len(lenient) == 3
    assert "cannot be read" in lenient.describe()["skipped"]["bad.png"]


def test_only_bad_images(tmp_path: Path):
    (tmp_path / "trainA").mkdir()
    (tmp_path / "trainA/bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="every image of domain A was skipped"):
        ImageFolder(A, "train", root=str(tmp_path), size=16, on_bad_image="skip").prepare()


# Lists


def test_a_list_of_images(root: Path):
    listing = root / "list.txt"
    listing.write_text("# the training images\n2.png\n\nsub/deep/1.tif\n")
    lists = {"TRAIN_A": str(listing)}
    dataset = ImageList(A, "train", lists=lists, roots={"TRAIN_A": str(root / "trainA")}, size=16)
    assert [dataset.name(i) for i in range(len(dataset))] == ["2.png", "sub/deep/1.tif"]
    assert dataset.train(1, np.random.default_rng(0)).shape == (3, 16, 16)
    common = ImageList(A, "train", lists=lists, root=str(root / "trainA"), size=16)
    assert len(common) == 2
    (root / "trainA/own.txt").write_text("2.png\n")
    assert len(ImageList(A, "train", lists={"TRAIN_A": str(root / "trainA/own.txt")}, size=16)) == 1


def test_what_is_wrong_with_a_list(root: Path):
    listing = root / "list.txt"
    listing.write_text("trainA/2.png\ntrainA/99.png\n")
    with pytest.raises(DataError, match=r"list\.txt, line 2: there is no file .*99\.png"):
        ImageList(A, "train", lists={"TRAIN_A": str(listing)}, size=16).prepare()
    with pytest.raises(DataError, match=r"names no list DATA\.LISTS\.TEST_A"):
        ImageList(A, "test", lists={"TRAIN_A": str(listing)}, size=16).prepare()
    with pytest.raises(DataError, match=r"DATA\.LISTS\.TRIAN_A: keys are a split and a domain"):
        ImageList(A, "train", lists={"TRIAN_A": str(listing)}, size=16)
    (root / "empty.txt").write_text("# nothing\n")
    with pytest.raises(DataError, match="names no image"):
        ImageList(A, "train", lists={"TRAIN_A": str(root / "empty.txt")}, size=16).prepare()
    with pytest.raises(DataError, match=r"nowhere\.txt"):
        ImageList(A, "train", lists={"TRAIN_A": "nowhere.txt"}, size=16).prepare()


def test_domains_may_be_resized_to_sizes_of_their_own(root: Path):
    sizes = {"A": 12, "B": 9}
    for letter, short in sizes.items():
        domain = Domain(letter.lower())
        dataset = ImageFolder(domain, "train", root=str(root), size=sizes, crop=(8, 8))
        assert dataset.pipeline.short == short
        assert dataset.size == (8, 8)
