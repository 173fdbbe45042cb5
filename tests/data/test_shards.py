"""Tar shards and tables: the images, order and pairs of the same images in folders."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from munit_zoo.cli import main
from munit_zoo.config import bind, domains_of, load_config
from munit_zoo.data.images import decode, read_image, write_image
from munit_zoo.data.stream import Batches
from munit_zoo.data.webdataset import WebDataset, list_members, pack
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError, UsageError
from munit_zoo.inputs import Image

A = Domain("a", among=("a", "b"))


def pixels(index: int, dtype=np.uint8, channels: int = 3) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(index).integers(0, top + 1, (channels, 20, 24), dtype)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Both layouts of splits at once, nested folders, several formats."""
    for index in range(12):
        for place in ("trainA/deep", "trainB", "test/a"):
            path = tmp_path / "images" / place
            path.mkdir(parents=True, exist_ok=True)
            suffix = ("png", "jpg", "tif")[index % 3]
            write_image(path / f"{index}.{suffix}", pixels(index + len(place)))
    return tmp_path / "images"


def batches(config, workers: int, start: int = 0, rank: int = 0, size: int = 1) -> list:
    datasets = {d.name: bind("dataset", config.DATA)(d, "train") for d in domains_of(config)}
    stream = Batches(
        datasets,
        {"x_a": Image("a"), "x_b": Image("b")},
        {"a": "a", "b": "b"},
        seed=1,
        batch_size=4,
        workers=workers,
        rank=rank,
        world_size=size,
    )
    return list(stream.batches(start, 8))


def test_shards_feed_as_folders_do_over_workers_processes_and_resumption(folder, tmp_path):
    out = tmp_path / "shards"
    assert main(["pack", str(folder), "--out", str(out), "--megabytes", "0.004"]) == 0
    assert len(list((out / "trainA").glob("*.tar"))) > 2
    data = "DATA={{NAME: {}, ROOT: {}, SIZE: 18, CROP: 16}}"
    plain, packed = (
        load_config("munit/shapes", data.format(*names))
        for names in (("image_folder", folder), ("webdataset", out))
    )
    expected = batches(plain, 0)
    for workers, start in ((0, 0), (2, 0), (2, 5)):
        found = batches(packed, workers, start)
        for one, other in zip(found, expected[start:], strict=True):
            assert all(torch.equal(one[name], other[name]) for name in other)
    halves = [batches(packed, 0, rank=rank, size=2) for rank in (0, 1)]
    for one, two, other in zip(*halves, expected, strict=True):
        assert torch.equal(torch.cat([one["x_a"], two["x_a"]]), other["x_a"])


def test_foreign_shards_without_an_index_and_what_lies_beside_images(folder, tmp_path):
    pack(folder, tmp_path / "one")
    group = tmp_path / "one/trainA"
    known = list_members([group / "000000.tar"])
    (group / "index.json").write_text("{broken")
    with tarfile.open(group / "000000.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo("deep/1.json"), io.BytesIO(b""))
    assert list_members([group / "000000.tar"]) == known
    data = WebDataset(A, "train", shards={"TRAIN_A": f"{group}/*.tar"}, size=16, hold_out=3)
    held = WebDataset(A, "test", shards={"TRAIN_A": f"{group}/*.tar"}, size=16, hold_out=3)
    names = {data.name(i) for i in range(len(data))}, {held.name(i) for i in range(len(held))}
    assert (len(names[0]), len(names[1])) == (9, 3)
    assert not names[0] & names[1]


def test_every_format_reads_alike_from_an_archive(tmp_path):
    wanted = {}
    (tmp_path / "in").mkdir()
    for name, dtype, channels in (
        ("a.png", np.uint8, 3),
        ("b.png", np.uint16, 3),
        ("c.png", np.uint16, 2),
        ("d.tif", np.uint16, 5),
        ("e.npy", np.uint8, 4),
        ("f.jpg", np.uint8, 3),
    ):
        write_image(tmp_path / "in" / name, pixels(len(wanted), dtype, channels))
        wanted[name] = read_image(tmp_path / "in" / name)
    (tmp_path / "in/g.pgm").write_bytes(b"P5 2 1 65535\n" + b"\x01\x02\x03\x04")
    wanted["g.pgm"] = read_image(tmp_path / "in/g.pgm")
    pack(tmp_path / "in", tmp_path / "out")
    for name, member in list_members([tmp_path / "out/000000.tar"]):
        assert np.array_equal(decode(member).pixels, wanted.pop(name)), name
    assert not wanted


def test_packing_twice_gives_the_same_bytes_and_overwrites_nothing(folder, tmp_path):
    for name in ("one", "two"):
        pack(folder, tmp_path / name)
    one, two = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.tar")}
        for n in ("one", "two")
    )
    assert one == two
    with pytest.raises(UsageError, match="is not empty"):
        pack(folder, tmp_path / "one")


def test_what_is_wrong_with_shards_is_said(folder, tmp_path, monkeypatch):
    pack(folder, tmp_path / "one")
    archive = tmp_path / "one/trainA/000000.tar"
    shards = {"TRAIN_A": str(archive)}
    whole = archive.read_bytes()
    archive.write_bytes(whole[:3000])
    with pytest.raises(DataError, match=r"trainA/000000.tar"):
        [WebDataset(A, "train", shards=shards, size=16).test(i) for i in range(12)]
    archive.write_bytes(b"\x1f\x8b" + whole)
    with pytest.raises(DataError, match="damaged, or compressed"):
        WebDataset(A, "train", shards=shards, size=16).prepare()
    archive.unlink()
    with pytest.raises(DataError, match="there is no shard"):
        WebDataset(A, "train", shards=shards, size=16).prepare()
    with pytest.raises(DataError, match="keys are a split and a domain"):
        WebDataset(A, "train", shards={"DAY": "x"}, size=16)
    with pytest.raises(DataError, match="no commands to run"):
        WebDataset(A, "train", shards={"TRAIN_A": "pipe:touch x"}, size=16).prepare()
    with pytest.raises(DataError, match="in one way"):
        WebDataset(A, "train", size=16)


def test_urls_are_fetched_once(folder, tmp_path):
    pytest.importorskip("webdataset")
    pack(folder, tmp_path / "one", megabytes=0.004)
    archives = sorted((tmp_path / "one/trainA").glob("*.tar"))
    url = f"file://{tmp_path}/one/trainA/{{000000..{len(archives) - 1:06d}}}.tar"
    settings = {"size": 16, "hold_out": 0, "fetched": str(tmp_path / "fetched")}
    data = WebDataset(A, "train", shards={"TRAIN_A": url, "TEST_A": url}, **settings)
    assert len(data) == 12
    expected = [data.test(i) for i in range(12)]
    for archive in archives:
        archive.unlink()
    again = WebDataset(A, "train", shards={"TRAIN_A": url, "TEST_A": url}, **settings)
    assert all(torch.equal(again.test(i), expected[i]) for i in range(12))
    gone = {"TRAIN_A": f"file://{tmp_path}/nothing.tar"}
    with pytest.raises(DataError, match="cannot be fetched"):
        WebDataset(A, "train", shards=gone, **settings).prepare()


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A Parquet file of images, and what is in it."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    files = []
    for index in range(6):
        write_image(tmp_path / f"{index}.png", pixels(index))
        files.append((tmp_path / f"{index}.png").read_bytes())
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "time": datasets.ClassLabel(names=["day", "night"]),
            "count": datasets.Value("int64"),
        }
    )
    rows = {
        "image": [{"bytes": content, "path": None} for content in files],
        "time": [index % 2 for index in range(6)],
        "count": [0, 1, 2, 0, 1, 2],
    }
    made = datasets.Dataset.from_dict(rows, features=features)
    made.to_parquet(str(tmp_path / "all.parquet"))
    made.save_to_disk(str(tmp_path / "saved"))
    return tmp_path


@pytest.mark.parametrize("source", ["all.parquet", "saved"])
def test_tables_of_images(table, source):
    from munit_zoo.data.huggingface import HuggingFace

    day = Domain("day", among=("day", "night"))
    options = {"size": 16, "where": {"DAY": "time=day"}}
    data = HuggingFace(day, "train", sources={"TRAIN_DAY": str(table / source)}, **options)
    assert len(data) == 3
    assert data.name(1) == data.scene(1) == "00000002"
    write = table / "2.png"
    assert np.array_equal(data.decode(data.files[1][1]).pixels, read_image(write))
    assert data.label_names == ()
    labelled = HuggingFace(
        day, "train", sources={"TRAIN_DAY": str(table / source)}, label="time", size=16
    )
    assert labelled.label_names == ("day", "night")
    assert [labelled.label(i) for i in range(4)] == [0, 1, 0, 1]


def test_what_is_wrong_with_tables_is_said(table):
    from munit_zoo.data.huggingface import HuggingFace

    def prepare(source: str, **more) -> None:
        HuggingFace(A, "train", sources={"TRAIN_A": source}, size=16, **more).prepare()

    good = str(table / "all.parquet")
    with pytest.raises(DataError, match="there is no table"):
        prepare(str(table / "nothing.parquet"))
    with pytest.raises(DataError, match="no column 'picture'; it has image"):
        prepare(good, image="picture")
    with pytest.raises(DataError, match="has no row time=dusk"):
        prepare(good, where={"A": "time=dusk"})
    with pytest.raises(DataError, match="holds no image, but int"):
        prepare(good, image="count")
    (table / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot be read"):
        prepare(str(table / "bad.parquet"))
