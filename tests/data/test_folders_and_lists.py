"""Folders and lists of images: what is found, how it is sampled, what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from munit_zoo.data import Dataset, Labelled, Paired
from munit_zoo.data.image_folder import ImageFolder
from munit_zoo.data.image_list import ImageList
from munit_zoo.data.images import read_image, write_image
from munit_zoo.data.reading import list_images
from munit_zoo.data.side_by_side import SideBySide
from munit_zoo.data.stream import Batches
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError
from munit_zoo.inputs import Image

A, B = Domain("a"), Domain("b")
NAMES = ("cat", "dog", "fox")
CAT, DOG, FOX = (Domain(name, index=i, among=NAMES) for i, name in enumerate(NAMES))


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
    assert isinstance(dataset, Labelled)
    assert isinstance(dataset, Paired)
    assert len(ImageFolder(A, "test", root=str(root), size=16)) == 1


def test_the_constructor_touches_no_disk():
    assert ImageFolder(A, "train", root="/nowhere", size=32, crop=(16, 24)).size == (16, 24)


def test_every_dataset_of_files_makes_resized_crops(root: Path):
    (root / "a.txt").write_text("trainA/2.png\n")
    folder, lists = str(root / "trainB"), {"TRAIN_A": str(root / "a.txt")}
    plain, cut = (
        [
            ImageFolder(A, "train", root=str(root), size=16, flip=False, resized_crop=share),
            ImageList(A, "train", lists=lists, root=str(root), size=16, resized_crop=share),
            SideBySide(A, "train", folder=folder, hold_out=0, size=16, resized_crop=share),
        ]
        for share in (0.0, 1.0)
    )
    for one, other in zip(plain, cut, strict=True):
        whole, part = (d.train(0, np.random.default_rng(0)) for d in (one, other))
        assert whole.shape == part.shape
        assert not torch.equal(whole, part), type(one).__name__
        assert torch.equal(part, other.train(0, np.random.default_rng(0)))
        assert torch.equal(one.test(0), other.test(0))


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


def test_one_number_crops_a_square():
    assert ImageFolder(A, "train", root="/nowhere", size=32, crop=16).size == (16, 16)


# Domains of any number and name


def names(dataset: ImageFolder) -> list[str]:
    return [dataset.name(index) for index in range(len(dataset))]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("trainDOG", "testDOG"),
        ("traindog", "testDog"),
        ("train/dog", "test/dog"),
        ("train/DOG", "val/Dog"),
        ("Train/Dog", "VAL/dog"),
        ("trainB", "testB"),
    ],
)
def test_where_the_images_of_a_named_domain_are_looked_for(tmp_path: Path, train: str, test: str):
    picture(tmp_path / train / "1.png")
    picture(tmp_path / test / "2.png")
    picture((tmp_path / train).parent / "other" / "3.png")
    assert names(ImageFolder(DOG, "train", root=str(tmp_path), size=16)) == ["1.png"]
    assert names(ImageFolder(DOG, "test", root=str(tmp_path), size=16)) == ["2.png"]


def test_names_go_before_the_order(tmp_path: Path):
    picture(tmp_path / "trainB/by_order.png")
    picture(tmp_path / "train/dog/by_name.png")
    assert names(ImageFolder(DOG, "train", root=str(tmp_path), size=16)) == ["by_name.png"]
    swapped = Domain("b", index=0, among=("b", "a"))
    assert names(ImageFolder(swapped, "train", root=str(tmp_path), size=16)) == ["by_order.png"]


def test_a_folder_a_domain(tmp_path: Path):
    folders = {}
    for domain in (CAT, DOG, FOX):
        folders[domain.key] = str(tmp_path / f"{domain.name}s")
        for index in range(5):
            picture(tmp_path / f"{domain.name}s" / f"{domain.name}{index}.png")
    for domain in (CAT, DOG, FOX):
        split = [names(ImageFolder(domain, s, folders=folders, size=16)) for s in ("train", "test")]
        assert [len(found) for found in split] == [4, 1]
        assert all(domain.name in name for found in split for name in found)


@pytest.mark.parametrize("setting", ["folders", "test_folders", "size", "convert"])
def test_domains_that_there_are_not(setting: str):
    values = {"size": 12, "convert": "rgb"}
    with pytest.raises(DataError) as caught:
        ImageFolder(DOG, "train", root="/data", **{setting: {"DOGE": values.get(setting, "/x")}})
    assert str(caught.value) == (
        f"DATA.{setting.upper()}.DOGE: there is no such domain; DOMAINS has CAT, DOG, FOX. "
        f"Did you mean 'DOG'? DATA.{setting.upper()}.DOGE=null takes away what a base has set."
    )


# Links


def test_links_to_folders_are_followed_once(tmp_path: Path):
    picture(tmp_path / "elsewhere/far/1.png")
    picture(tmp_path / "data/own/2.png")
    (tmp_path / "data/link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "data/again").symlink_to(tmp_path / "data/own", target_is_directory=True)
    (tmp_path / "data/own/circle").symlink_to(tmp_path / "data", target_is_directory=True)
    (tmp_path / "data/loop.png").symlink_to(tmp_path / "data/loop.png")
    found = [name for name, _ in list_images(tmp_path / "data")]
    assert found == ["link/far/1.png", "own/2.png"]


def test_links_that_lead_nowhere_are_told_of(tmp_path: Path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match="holds no image .*; 1 link there lead nowhere"):
        list_images(tmp_path)


def test_odd_names(tmp_path: Path):
    plain = ["-rf.png", "a b.png", "[br].png", "new\nline.png", "ö.png", "%s.png"]
    for name in plain:
        picture(tmp_path / name)
    raw = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        os.rename(tmp_path / "%s.png", raw)
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    dataset = ImageFolder(A, "train", folders={"A": str(tmp_path)}, size=16, hold_out=2)
    held = ImageFolder(A, "test", folders={"A": str(tmp_path)}, size=16, hold_out=2)
    found = [*names(dataset), *names(held)]
    assert sorted(found) == sorted([*plain[:-1], "caf\\xe9.png"])
    for each in (dataset, held):
        json.dumps(each.describe()).encode("ascii")
        for index in range(len(each)):
            each.name(index).encode("utf-8")
            each.test(index)


# Labels


def test_attributes_from_a_table(tmp_path: Path):
    for name in ("1.png", "sub/2.png", "10.png"):
        picture(tmp_path / "trainA" / name)
    table = tmp_path / "attributes.csv"
    table.write_text("image,Smiling,Male,Young\n1.png,1,-1,0\nsub/2.png,0,1,1\n10.png,1,1,-1\n")
    options = {"root": str(tmp_path), "size": 16, "table": str(table)}
    dataset = ImageFolder(A, "train", **options)
    assert dataset.label_names == ("Smiling", "Male", "Young")
    assert dataset.label(2).tolist() == [0, 1, 1]
    assert names(dataset)[2] == "sub/2.png"
    chosen = ImageFolder(A, "train", **options, attributes=("Young", "Smiling"))
    assert chosen.label_names == ("Young", "Smiling")
    assert [chosen.label(i).tolist() for i in range(3)] == [[0, 1], [0, 1], [1, 0]]
    assert chosen.describe()["labels"] == ["Young", "Smiling"]


def test_attributes_as_celeba_has_them(tmp_path: Path):
    picture(tmp_path / "trainA/000001.jpg")
    picture(tmp_path / "trainA/deep/000002.jpg")
    table = tmp_path / "list_attr.txt"
    table.write_text("2\nBald Male \n000001.jpg -1  1\n000002.jpg  1 -1\n")
    dataset = ImageFolder(A, "train", root=str(tmp_path), size=16, table=str(table))
    assert dataset.label_names == ("Bald", "Male")
    assert [dataset.label(i).tolist() for i in range(2)] == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,Male\n1.png,2\n", "line 2, column Male: '2'; an attribute is 1, or 0 or -1"),
        ("image,Male\n1.png,1,0\n", "line 2: 3 values, and 2 are due"),
        ("image,Mal\n1.png,1\n", "has no column 'Male'. Did you mean 'Mal'?"),
        ("image,Male\n2.png,1\n", "has no line for 1 image: 1.png"),
        ("", "has no images"),
    ],
)
def test_what_is_wrong_with_a_table(tmp_path: Path, text: str, message: str):
    picture(tmp_path / "trainA/1.png")
    (tmp_path / "t.csv").write_text(text)
    options = {"root": str(tmp_path), "size": 16, "attributes": ("Male",)}
    with pytest.raises(DataError) as caught:
        ImageFolder(A, "train", **options, table=str(tmp_path / "t.csv")).prepare()
    assert message in str(caught.value)
    with pytest.raises(DataError, match="columns of a DATA.TABLE"):
        ImageFolder(A, "train", **options)
    with pytest.raises(DataError, match="not both"):
        ImageFolder(A, "train", **options, table="t.csv", classes=True)


def test_classes_are_the_folders_within(tmp_path: Path):
    for name in ("happy/1.png", "angry/2.png", "happy/deep/3.png"):
        picture(tmp_path / "trainA" / name)
    dataset = ImageFolder(A, "train", root=str(tmp_path), size=16, classes=True)
    assert dataset.label_names == ("angry", "happy")
    assert [dataset.label(index) for index in range(3)] == [0, 1, 1]
    picture(tmp_path / "trainA/loose.png")
    with pytest.raises(DataError, match="loose.png lies in none"):
        ImageFolder(A, "train", root=str(tmp_path), size=16, classes=True).prepare()


# Pairs


def test_pairs_are_files_of_one_name(tmp_path: Path):
    for index in range(6):
        value = 20 * index
        picture(tmp_path / f"trainA/{index}.png", (3, 20, 24), value)
        picture(tmp_path / f"trainB/{index}.bmp", (3, 40, 48), value + 5)
    datasets = {d.name: ImageFolder(d, "train", root=str(tmp_path), size=16) for d in (A, B)}
    inputs = {"x_a": Image("a"), "x_b": Image("b", paired_with="x_a")}
    batches = Batches(datasets, inputs, {"a": "a", "b": "b"}, seed=0, batch_size=3)
    for batch in batches.batches(0, 4):
        assert torch.allclose(batch["x_b"] - batch["x_a"], torch.tensor(10 / 255), atol=1e-4)
    picture(tmp_path / "trainA/alone.png")
    datasets = {d.name: ImageFolder(d, "train", root=str(tmp_path), size=16) for d in (A, B)}
    with pytest.raises(DataError, match=r"A alone \(1 image\)"):
        Batches(datasets, inputs, {"a": "a", "b": "b"}, seed=0, batch_size=3)


def test_pairs_are_cropped_and_flipped_alike(tmp_path: Path):
    for index in range(3):
        picture(tmp_path / f"trainA/{index}.png", (3, 30, 40))
        (tmp_path / "trainB").mkdir(exist_ok=True)
        shutil.copy(tmp_path / f"trainA/{index}.png", tmp_path / f"trainB/{index}.png")
    options = {"root": str(tmp_path), "size": 24, "crop": 16}
    datasets = {d.name: ImageFolder(d, "train", **options) for d in (A, B)}
    inputs = {"x_a": Image("a"), "x_b": Image("b", paired_with="x_a")}
    batches = Batches(datasets, inputs, {"a": "a", "b": "b"}, seed=0, batch_size=4)
    for batch in batches.batches(0, 4):
        assert torch.equal(batch["x_a"], batch["x_b"])
    picture(tmp_path / "trainB/1.png", (3, 30, 41))
    with pytest.raises(DataError, match="not of one shape once resized"):
        list(batches.batches(0, 4))


def test_pairs_are_held_out_together(tmp_path: Path):
    for index in range(20):
        picture(tmp_path / f"a/{index}.png")
        picture(tmp_path / f"b/{index}.jpg")
    folders = {"A": str(tmp_path / "a"), "B": str(tmp_path / "b")}
    for split, count in (("train", 15), ("test", 5)):
        options = {"folders": folders, "size": 16, "hold_out": 0.25, "paired": True}
        a, b = (ImageFolder(domain, split, **options) for domain in (A, B))
        scenes = [[each.scene(i) for i in range(len(each))] for each in (a, b)]
        assert scenes[0] == scenes[1]
        assert len(a) == count


def test_listed_images_are_pairs_by_their_place(tmp_path: Path):
    for name in ("x.png", "y.png"):
        picture(tmp_path / name)
    (tmp_path / "a.txt").write_text("x.png\ny.png\n")
    (tmp_path / "b.txt").write_text("y.png\n# a remark\nx.png\n")
    lists = {"TRAIN_A": str(tmp_path / "a.txt"), "TRAIN_B": str(tmp_path / "b.txt")}
    a, b = (ImageList(domain, "train", lists=lists, size=16) for domain in (A, B))
    assert [a.scene(0), a.scene(1)] == [b.scene(0), b.scene(1)] == ["1", "2"]
    assert (a.name(0), b.name(0)) == ("x.png", "y.png")


def panels(file: Path, *values: int, height: int = 16, width: int = 16) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    parts = [np.full((3, height, width), value, np.uint8) for value in values]
    write_image(file, np.concatenate(parts, axis=2))


def test_panels_of_one_file(tmp_path: Path):
    for index in range(4):
        panels(tmp_path / f"train/{index}.png", 10 * index, 200 + index)
    panels(tmp_path / "val/9.png", 1, 255)

    def values(domain: Domain, split: str = "train", **settings) -> list[int]:
        dataset = SideBySide(domain, split, root=str(tmp_path), size=16, **settings)
        assert isinstance(dataset, Dataset)
        assert isinstance(dataset, Paired)
        return [round((float(dataset.test(i).mean()) + 1) * 127.5) for i in range(len(dataset))]

    assert (values(A), values(B)) == ([0, 10, 20, 30], [200, 201, 202, 203])
    assert (values(A, "test"), values(B, "test")) == ([1], [255])
    labels = Domain("labels", index=0, among=("labels", "photo"))
    assert values(labels, panels=("PHOTO", "LABELS")) == [200, 201, 202, 203]
    with pytest.raises(DataError, match=r"DATA.PANELS is \['PHOTO', 'LABEL'\].*mean 'LABELS'"):
        values(labels, panels=("PHOTO", "LABEL"))
    with pytest.raises(DataError, match="name each domain once"):
        values(labels, panels=("PHOTO", "PHOTO"))


def test_panels_are_augmented_alike(tmp_path: Path):
    picture(tmp_path / "train/whole.png", (3, 20, 30))
    half = read_image(tmp_path / "train/whole.png")
    write_image(tmp_path / "train/whole.png", np.concatenate([half, half], axis=2))
    datasets = {
        d.name: SideBySide(d, "train", root=str(tmp_path), size=None, crop=12) for d in (A, B)
    }
    inputs = {"x_a": Image("a"), "x_b": Image("b", paired_with="x_a")}
    batches = Batches(datasets, inputs, {"a": "a", "b": "b"}, seed=0, batch_size=8)
    batch = next(iter(batches.batches(0, 1)))
    assert torch.equal(batch["x_a"], batch["x_b"])
    assert len({tuple(image.flatten().tolist()) for image in batch["x_a"]}) > 4


def test_files_that_have_no_panels(tmp_path: Path):
    picture(tmp_path / "photos/odd.png", (3, 8, 15))
    with pytest.raises(DataError, match=r"odd.png is 15 wide, which 2 panels cannot share"):
        SideBySide(A, "train", folder=str(tmp_path / "photos"), size=8).prepare()
    with pytest.raises(DataError, match=r"in one way: DATA.ROOT=folder"):
        SideBySide(A, "train", size=8)
    three = SideBySide(FOX, "train", folder=str(tmp_path / "photos"), size=5, hold_out=0)
    assert three.test(0).shape == (3, 5, 5)


# Errors


def test_missing_and_empty_folders(root: Path):
    with pytest.raises(DataError, match=r"no folder testB, test/b or val/b in .* holds: .*trainA"):
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
    listing.write_text("../secret.png\n")
    with pytest.raises(DataError, match=r"line 1: .*secret\.png is outside of .*set DATA\.ROOT"):
        ImageList(A, "train", lists={"TRAIN_A": str(listing)}, size=16).prepare()
    with pytest.raises(DataError, match=r"LISTS\.TRAIN_DOGE.*Did you mean 'TRAIN_DOG'"):
        ImageList(DOG, "train", lists={"TRAIN_DOGE": str(listing)}, size=16)


def test_domains_may_be_resized_to_sizes_of_their_own(root: Path):
    sizes = {"A": 12, "B": 9}
    for letter, short in sizes.items():
        domain = Domain(letter.lower())
        dataset = ImageFolder(domain, "train", root=str(root), size=sizes, crop=(8, 8))
        assert dataset.pipeline.short == short
        assert dataset.size == (8, 8)
