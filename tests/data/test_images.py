"""Reading and writing images with their measured values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from munit_zoo.data.images import read_image, write_image
from munit_zoo.data.sources import is_image
from munit_zoo.data.transforms import Pipeline
from munit_zoo.data.values import from_unit, mapping, to_unit
from munit_zoo.errors import DataError

DTYPES = {"uint8": np.uint8, "uint16": np.uint16}


def random(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    generator = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return generator.normal(size=shape).astype(dtype)
    return generator.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("suffix", "channels"),
    [(s, c) for s in (".png", ".tif", ".npy") for c in (1, 2, 3, 4, 7) if s != ".png" or c < 5],
)
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str, channels: int, dtype: str):
    pixels = random((channels, 6, 9), DTYPES[dtype])
    file = tmp_path / f"image{suffix}"
    write_image(file, pixels)
    again = read_image(file)
    assert again.dtype == pixels.dtype
    assert (again == pixels).all()


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_numbers_survive(tmp_path: Path, suffix: str):
    pixels = random((2, 4, 5), np.float32)
    write_image(tmp_path / f"a{suffix}", pixels)
    assert (read_image(tmp_path / f"a{suffix}") == pixels).all()


def test_16_bit_png_is_read_by_others_as_we_wrote_it(tmp_path: Path):
    gray = random((1, 5, 4), np.uint16)
    write_image(tmp_path / "g.png", gray)
    assert (np.asarray(Image.open(tmp_path / "g.png")) == gray[0]).all()
    colour = random((3, 5, 4), np.uint8)
    write_image(tmp_path / "c.png", colour)
    assert (np.asarray(Image.open(tmp_path / "c.png")) == colour.transpose(1, 2, 0)).all()


def test_every_16_bit_value_survives_the_mapping():
    values = np.arange(2**16, dtype=np.uint16).reshape(1, 256, 256)
    unit = to_unit(values)
    assert (float(unit.min()), float(unit.max())) == (-1, 1)
    assert unit.dtype == torch.float32
    assert (from_unit(unit, np.uint16) == values).all()


def test_every_8_bit_value_survives_the_mapping():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert (from_unit(to_unit(values), np.uint8) == values).all()


def test_a_range_of_measured_values():
    values = np.array([[[100.0, 150.0, 200.0]]], np.float32)
    assert to_unit(values, (100, 200)).tolist() == [[[-1, 0, 1]]]
    assert from_unit(torch.tensor([[[-1.0, 0, 1, 2]]]), np.float32, (100, 200)).max() == 250
    assert from_unit(torch.tensor([[[-1.0, 1]]]), np.uint16, (0, 4095)).tolist() == [[[0, 4095]]]
    assert mapping(np.dtype("uint16"), None) == "0..65535 (uint16) to -1..1"


def test_values_are_clipped_to_the_type_not_wrapped():
    assert from_unit(torch.tensor([[[-1.5, 1.5]]]), np.uint8).tolist() == [[[0, 255]]]


def test_numbers_without_a_range_are_refused():
    with pytest.raises(DataError, match=r"DOMAINS\.A\.VALUE_RANGE"):
        to_unit(np.zeros((1, 2, 2), np.float32), what="scan.npy")
    with pytest.raises(DataError, match="is empty"):
        to_unit(np.zeros((1, 2, 2), np.uint8), (3, 3))


def test_one_bit_and_palette_images(tmp_path: Path):
    Image.fromarray(np.eye(4, dtype=bool)).save(tmp_path / "bits.png")
    bits = read_image(tmp_path / "bits.png")
    assert (bits.shape, set(np.unique(bits))) == ((1, 4, 4), {0, 255})
    colour = random((5, 4, 3), np.uint8)
    Image.fromarray(colour).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png").shape == (3, 5, 4)


def test_jpeg_is_turned_upright(tmp_path: Path):
    image = Image.fromarray(np.zeros((4, 8, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    image.save(tmp_path / "r.jpg", exif=exif)
    assert read_image(tmp_path / "r.jpg").shape == (3, 8, 4)


def test_planar_and_paged_tiff(tmp_path: Path):
    import tifffile

    pixels = random((5, 6, 7), np.uint16)
    tifffile.imwrite(tmp_path / "pages.tif", pixels, photometric="minisblack")
    assert (read_image(tmp_path / "pages.tif") == pixels).all()
    tifffile.imwrite(tmp_path / "one.tif", pixels[0])
    assert (read_image(tmp_path / "one.tif") == pixels[:1]).all()
    deep = random((2, 3, 4, 5), np.uint8)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="minisblack")
    with pytest.raises(DataError, match="at most one more"):
        read_image(tmp_path / "deep.tif")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".npy", ".webp"])
def test_an_unreadable_image_is_named(tmp_path: Path, suffix: str):
    file = tmp_path / f"broken{suffix}"
    file.write_bytes(b"this is not an image")
    with pytest.raises(DataError, match=f"broken{suffix} cannot be read"):
        read_image(file)
    with pytest.raises(DataError, match="there is no image"):
        read_image(tmp_path / f"absent{suffix}")


def test_a_truncated_image_is_named(tmp_path: Path):
    for name, dtype in DTYPES.items():
        file = tmp_path / f"{name}.png"
        write_image(file, random((3, 64, 64), dtype))
        file.write_bytes(file.read_bytes()[:600])
        with pytest.raises(DataError, match=f"{name}.png cannot be read"):
            read_image(file)


def test_code_in_npy_is_not_run(tmp_path: Path):
    np.save(tmp_path / "o.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path / "o.npy")


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("a.png", (7, 4, 4), np.uint8),
        ("a.jpg", (3, 4, 4), np.uint16),
        ("a.png", (3, 4, 4), np.float32),
    ],
)
def test_what_a_format_cannot_hold(tmp_path: Path, name: str, shape, dtype):
    with pytest.raises(DataError, match="write .tif or .npy"):
        write_image(tmp_path / name, np.zeros(shape, dtype))


def test_which_files_are_images():
    assert is_image(Path("x/A.PNG"))
    assert is_image(Path("scan.TIFF"))
    assert not is_image(Path(".hidden.png"))
    assert not is_image(Path("notes.txt"))


@pytest.mark.parametrize("kind", ["P5", "P6", "P2", "P3"])
def test_16_bit_pgm_and_ppm_keep_their_values(tmp_path: Path, kind: str):
    channels = 3 if kind in ("P3", "P6") else 1
    pixels = random((channels, 3, 4), np.uint16)
    numbers = pixels.transpose(1, 2, 0).reshape(-1)
    binary = numbers.astype(">u2").tobytes()
    body = binary if kind in ("P5", "P6") else " ".join(map(str, numbers)).encode()
    file = tmp_path / f"a.{'ppm' if channels == 3 else 'pgm'}"
    file.write_bytes(f"{kind}\n# from a camera\n4 3\n65535\n".encode() + body)
    again = read_image(file)
    assert again.dtype == np.uint16
    assert (again == pixels).all()


def test_8_bit_pgm(tmp_path: Path):
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 255\n\x00\xff")
    assert read_image(tmp_path / "a.pgm").tolist() == [[[0, 255]]]


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32])
def test_wide_integers_need_a_range(dtype: type):
    pixels = np.array([[[0, 1000]]], dtype)
    with pytest.raises(DataError, match=r"no range of their own.*DOMAINS.B.VALUE_RANGE=\[0,65535"):
        to_unit(pixels, domain="b")
    assert to_unit(pixels, (0, 1000)).tolist() == [[[-1, 1]]]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.png", "it is of no known format"),
        ("a.npy", "it is not a NumPy array file"),
        ("a.tif", "it is not a TIFF file"),
    ],
)
def test_why_an_image_cannot_be_read(tmp_path: Path, name: str, reason: str):
    file = tmp_path / name
    file.write_bytes(b"no image at all")
    with pytest.raises(DataError) as caught:
        read_image(file)
    assert str(caught.value) == f"the image {file} cannot be read: {reason}"


def test_resized_crops_are_a_share_of_large_parts():
    def made(share: float, seed: int) -> torch.Tensor:
        pipeline = Pipeline(
            size=40,
            crop=32,
            flip=False,
            interpolation="bilinear",
            convert="none",
            resized_crop=share,
        )
        return pipeline.train(image, np.random.default_rng(seed))

    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    image = torch.stack([rows, columns])  # a pixel says where it was
    extents = []
    for seed in range(200):
        part = made(1.0, seed)
        assert part.shape == (2, 32, 32)
        assert torch.equal(part, made(1.0, seed))
        extents.append([float(part[c].max() - part[c].min()) for c in (0, 1)])
        plain = made(0.0, seed)
        assert float(plain[1].max() - plain[1].min()) == 31
    height, width = torch.tensor(extents).T
    assert height.min() > 0.8 * 39  # at .8 of the area of 40×50 and an aspect of .9 to 1.1
    assert width.min() > 34
    aspects = (width + 1) / (height + 1)  # of whole pixels, softened at the edges
    assert aspects.min() > 0.85
    assert aspects.max() < 1.15
    assert width.max() < 50
    assert width.std() > 0.5
    plain = sum(float(p[1].max() - p[1].min()) == 31 for p in (made(0.5, s) for s in range(200)))
    assert 70 < plain < 130
