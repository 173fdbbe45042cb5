"""Odd, broken and hostile files: each has the outcome that docs/data.md promises."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from munit_zoo.data.image_folder import ImageFolder
from munit_zoo.data.images import MAX_PIXELS, decode, opaque, read_image, write_image
from munit_zoo.data.reading import list_images
from munit_zoo.data.values import to_unit
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError

DOCS = Path(__file__).parents[2] / "docs" / "data.md"
COLOURS = np.random.default_rng(0).integers(0, 256, (3, 12, 16)).astype(np.uint8)
GRAY = COLOURS[:1]
WIDE = np.random.default_rng(1).integers(0, 2**16, (3, 12, 16)).astype(np.uint16)


def picture(pixels: np.ndarray = COLOURS) -> Image.Image:
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def with_opacity(pixels: np.ndarray) -> np.ndarray:
    opacity = np.full_like(pixels[:1], 255)
    opacity[:, :, ::2] = 0
    return np.concatenate([pixels, opacity])


def on_white(pixels: np.ndarray) -> np.ndarray:
    expected = pixels.copy()
    expected[:, :, ::2] = 255
    return expected


def bits(file: Path) -> np.ndarray:
    ones = np.eye(12, 16, dtype=bool)
    Image.fromarray(ones).save(file)
    return ones[None] * np.uint8(255)


def palette(file: Path) -> np.ndarray:
    image = picture().convert("P", palette=Image.Palette.ADAPTIVE)
    image.save(file)
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def zero_is_white(file: Path) -> np.ndarray:
    tifffile.imwrite(file, 255 - GRAY[0], photometric="miniswhite")
    return GRAY


def turned(file: Path) -> np.ndarray:
    exif = Image.Exif()
    exif[274] = 6
    picture(np.full((3, 8, 16), 9, np.uint8)).save(file, exif=exif)
    return np.full((3, 16, 8), 9, np.uint8)


def turned_tiff(file: Path) -> np.ndarray:
    tag = (274, "H", 1, 6, True)
    tifffile.imwrite(file, GRAY[0], photometric="minisblack", extratags=[tag])
    return np.rot90(GRAY, -1, axes=(1, 2))


def animation(file: Path) -> np.ndarray:
    frames = [Image.new("RGB", (16, 12), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(file, save_all=True, append_images=frames[1:], lossless=True)
    return np.asarray(frames[0]).transpose(2, 0, 1)


def pages(file: Path) -> np.ndarray:
    with tifffile.TiffWriter(file) as writer:
        writer.write(np.stack([*COLOURS, *COLOURS]), photometric="minisblack")
        writer.write(np.zeros((4, 4), np.uint8), photometric="minisblack")
    return np.concatenate([COLOURS, COLOURS])


def renamed(file: Path) -> np.ndarray:
    picture().save(file, format="PNG")
    return COLOURS


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def huge(file: Path) -> None:
    """A small file that says it holds an enormous image."""
    side = 60_000
    if file.suffix == ".npy":
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({side}, {side}), }}"
        file.write_bytes(b"\x93NUMPY\x01\x00v\x00" + header.ljust(117).encode() + b"\n")
        with file.open("r+b") as sparse:
            sparse.truncate(128 + 4 * side * side)
    elif file.suffix == ".tif":
        tifffile.imwrite(file, GRAY[0], compression="zlib")
        with tifffile.TiffFile(file, mode="r+b") as tiff:
            for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                tiff.pages[0].tags[tag].overwrite(side)
    elif file.suffix == ".pgm":
        file.write_bytes(b"P5 60000 60000 65535\n")
    elif file.suffix == ".png":
        depth = 16 if file.stem == "wide" else 8
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, 0, 0, 0, 0))
        pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
        file.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
    else:
        picture(GRAY).save(file)
        place, form = {".bmp": (18, "<ii"), ".gif": (6, "<HH")}[file.suffix]
        data = bytearray(file.read_bytes())
        struct.pack_into(form, data, place, side, side)
        file.write_bytes(data)


def compressed(file: Path) -> None:
    picture().save(file, compression="tiff_lzw" if file.stem == "lzw" else "jpeg")


def other_space(file: Path) -> None:
    picture().convert("LAB" if file.stem == "lab" else "YCbCr").save(file)


def damaged_wide(file: Path) -> None:
    write_image(file, WIDE)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def damaged_checksum(file: Path) -> None:
    write_image(file, COLOURS)
    data = bytearray(file.read_bytes())
    data[-13] ^= 1  # of the pixels; the parts after it are whole
    file.write_bytes(data)


def truncated(file: Path) -> None:
    if file.suffix == ".npy":
        np.save(file, WIDE)
    elif file.suffix == ".tif":
        tifffile.imwrite(file, COLOURS.transpose(1, 2, 0), photometric="rgb")
    else:
        picture().resize((160, 120)).save(file)
    file.write_bytes(file.read_bytes()[:-150])


def objects(file: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return (Path.write_text, (file.with_name("harm"), "done"))

    np.save(file, np.array([[Harm()]]), allow_pickle=True)


def not_finite(file: Path) -> None:
    pixels = np.zeros((12, 16), np.float32)
    pixels[3, 4] = np.nan if file.suffix == ".npy" else -np.inf
    if file.suffix == ".npy":
        np.save(file, pixels)
    else:
        tifffile.imwrite(file, pixels, photometric="minisblack")


def no_numbers(file: Path) -> None:
    np.save(file, np.full((2, 2), "x" if file.stem == "text" else 1j))


@dataclass(frozen=True)
class Case:
    """make: writes a file and returns the pixels expected of it, None where it is refused."""

    row: str
    names: tuple[str, ...]
    make: Callable[[Path], np.ndarray | None]
    refused: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    channels: int = 3


def written(pixels: np.ndarray) -> Callable[[Path], np.ndarray]:
    def make(file: Path) -> np.ndarray:
        write_image(file, pixels)
        return pixels

    return make


def saved(pixels: np.ndarray, expected: np.ndarray) -> Callable[[Path], np.ndarray]:
    def make(file: Path) -> np.ndarray:
        write_image(file, pixels)
        return expected

    return make


def cmyk(converted: bool) -> Callable[[Path], np.ndarray]:
    def make(file: Path) -> np.ndarray:
        ink = np.full((4, 12, 16), 0, np.uint8)
        ink[0], ink[3] = 255, 51  # cyan with a fifth of black
        pixels = ink.transpose(1, 2, 0).tobytes()
        Image.frombytes("CMYK", (16, 12), pixels).save(file, quality=100)
        mixed = np.array([0, 204, 204], np.uint8)[:, None, None]
        return np.broadcast_to(mixed, (3, 12, 16)) if converted else ink

    return make


def text(content: bytes) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(content) and None


CASES = [
    Case("PNG or TIFF, 16 bits a channel", ("a.png", "a.tif"), written(WIDE)),
    Case("palette, PNG or TIFF", ("a.png", "a.tif"), palette),
    Case("1 bit, PNG or TIFF", ("a.png", "a.tif"), bits, channels=1),
    Case("TIFF whose zero is white", ("a.tif",), zero_is_white, channels=1),
    Case("JPEG turned by EXIF", ("a.jpg",), turned),
    Case("TIFF turned by its Orientation", ("a.tif",), turned_tiff, channels=1),
    Case("RGB with opacity, CONVERT none", ("a.png",), written(with_opacity(COLOURS)), channels=4),
    Case(
        "RGB with opacity, CONVERT rgb",
        ("a.png",),
        saved(with_opacity(COLOURS), on_white(COLOURS)),
        settings={"convert": "rgb"},
    ),
    Case(
        "gray with opacity, CONVERT gray",
        ("a.png",),
        saved(with_opacity(GRAY), on_white(GRAY)),
        settings={"convert": "gray"},
        channels=1,
    ),
    Case("CMYK JPEG, CONVERT none", ("a.jpg",), cmyk(False), channels=4),
    Case("CMYK JPEG, CONVERT rgb", ("a.jpg",), cmyk(True), settings={"convert": "rgb"}),
    Case("animation (GIF, WebP, PNG)", ("a.gif", "a.webp", "a.png"), animation),
    Case("TIFF of several pages", ("a.tif",), pages, channels=6),
    Case("wrong suffix", ("a.jpg", "a.tif", "a.npy"), renamed),
    Case("1×1", ("a.png", "a.tif", "a.npy"), written(COLOURS[:, :1, :1])),
    Case("12-bit values in 16 bits", ("a.png",), written(WIDE >> 4)),
    Case(
        "1×65,000, SIZE 256",
        ("a.png",),
        lambda file: picture(np.zeros((3, 1, 65_000), np.uint8)).save(file),
        "which DATA.SIZE 256 would make 256×16640000, more than DATA.MAX_PIXELS",
        settings={"size": 256},
    ),
    Case(
        "more pixels than MAX_PIXELS, whatever the format",
        ("a.png", "wide.png", "a.npy", "a.tif", "a.pgm", "a.bmp", "a.gif"),
        huge,
        "more than DATA.MAX_PIXELS 67,108,864 allows",
    ),
    Case(
        "TIFF compressed by LZW or JPEG, without imagecodecs",
        ("lzw.tif", "jpeg.tif"),
        compressed,
        "pip install imagecodecs (or munit-zoo[tiff])",
    ),
    Case("TIFF in YCbCr or LAB", ("ycbcr.tif", "lab.tif"), other_space, "save it as RGB"),
    Case("damaged 16-bit PNG", ("a.png",), damaged_wide, "cannot be read"),
    Case("damaged checksum in a PNG", ("a.png",), damaged_checksum, "cannot be read"),
    Case(
        "truncated",
        ("a.png", "a.jpg", "a.tif", "a.npy", "a.bmp", "a.webp", "a.ppm"),
        truncated,
        "cannot be read",
    ),
    Case("empty file", ("a.png", "a.tif", "a.npy", "a.jpg"), text(b""), "the file is empty"),
    Case("text named .png", ("a.png",), text(b"no image"), "it is of no known format"),
    Case(
        "PostScript named .png",
        ("a.png",),
        text(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) print\n"),
        "it is of no known format",
    ),
    Case("NPY of Python objects", ("a.npy",), objects, "objects in files are never loaded"),
    Case("NaN or infinity in a float image", ("a.npy", "a.tif"), not_finite, "1 of 192"),
    Case("complex numbers or text in NPY", ("a.npy", "text.npy"), no_numbers, "not numbers"),
]
PARTS = [pytest.param(case, name, id=f"{case.row}-{name}") for case in CASES for name in case.names]


def dataset(folder: Path, case: Case, **more: Any) -> ImageFolder:
    settings = {"size": 12, **case.settings, **more}
    ranged = (0.0, 1.0) if "float" in case.row else None
    domain = Domain("a", case.channels, ranged)
    return ImageFolder(domain, "train", folders={"A": str(folder)}, hold_out=0.0, **settings)


@pytest.mark.parametrize(("case", "name"), PARTS)
def test_the_outcome_of_a_file(tmp_path: Path, case: Case, name: str):
    if "imagecodecs" in case.row:
        try:
            import imagecodecs  # noqa: F401 - with it, these files are read
        except ImportError:
            pass
        else:
            pytest.skip("imagecodecs is installed")
    file = tmp_path / name
    expected = case.make(file)
    if not case.refused:
        pixels = decode(file)
        found = pixels.pixels if "convert" not in case.settings else opaque(pixels)
        # JPEG is lossy
        assert np.abs(found.astype(int) - expected).max() <= (2 if name.endswith("jpg") else 0)
        assert found.dtype == expected.dtype
        assert torch.isfinite(dataset(tmp_path, case).test(0)).all()
        return
    with pytest.raises(DataError) as caught:
        dataset(tmp_path, case).test(0)
    assert case.refused in str(caught.value)
    assert str(file) in str(caught.value)
    assert not (tmp_path / "harm").exists()
    write_image(tmp_path / "good.png", np.zeros((case.channels, 12, 12), np.uint8))
    lenient = dataset(tmp_path, case, on_bad_image="skip")
    ranged = lenient.domain.value_range is None
    assert len(lenient) == 1
    assert set(lenient.skipped) == {name}
    assert ranged or torch.isfinite(lenient.test(0)).all()


def test_every_outcome_in_the_docs_is_tested_and_the_other_way_round():
    table = DOCS.read_text(encoding="utf-8").split("| file | outcome |")[1].split("\n\n")[0]
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", table, re.MULTILINE))
    rows = {row: outcome for row, outcome in rows.items() if outcome != "left out"}
    assert set(rows) == {case.row for case in CASES}
    for case in CASES:
        assert rows[case.row].startswith("refused" if case.refused else "read"), case.row
    assert f"MAX_PIXELS` is {round(MAX_PIXELS**0.5)}²" in DOCS.read_text(encoding="utf-8")


def test_what_is_left_out(tmp_path: Path):
    write_image(tmp_path / "good.png", COLOURS)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    (tmp_path / "round").symlink_to(tmp_path, target_is_directory=True)
    assert [name for name, _ in list_images(tmp_path)] == ["good.png"]


# 16-bit PNG


def filtered(pixels: np.ndarray, interlaced: bool = False) -> bytes:
    """A 16-bit PNG whose rows use each of the five filters in turn."""
    channels, height, width = pixels.shape
    step = 2 * channels
    rows = pixels.transpose(1, 2, 0).astype(">u2").reshape(height, -1).view(np.uint8).astype(int)
    before = np.zeros(rows.shape[1] + step, int)
    data = b""
    for number, row in enumerate(rows):
        padded = np.concatenate([np.zeros(step, int), row])
        a, b, c = padded[:-step], before[step:], before[:-step]
        near = [np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)]
        paeth = np.where(
            (near[0] <= near[1]) & (near[0] <= near[2]), a, np.where(near[1] <= near[2], b, c)
        )
        guess = [0 * row, a, b, (a + b) // 2, paeth][number % 5]
        data += bytes([number % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes()
        before = padded
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_of_any_filter_is_read_exactly(tmp_path: Path, channels: int):
    pixels = np.random.default_rng(channels).integers(0, 2**16, (channels, 23, 17))
    pixels = pixels.astype(np.uint16)
    (tmp_path / "a.png").write_bytes(filtered(pixels))
    found = read_image(tmp_path / "a.png")
    assert found.dtype == np.uint16
    assert (found == pixels).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_no_damage_to_a_16_bit_png_ends_the_process_or_goes_unseen(tmp_path: Path, channels: int):
    pixels = WIDE[:channels]
    whole = filtered(pixels)
    chance = np.random.default_rng(0)
    file = tmp_path / "a.png"
    refused = 0
    for number in range(120):
        data = bytearray(whole)
        place = int(chance.integers(len(data)))
        if number % 3 == 0:
            data[place] ^= 1 << int(chance.integers(8))
        elif number % 3 == 1:
            data[place : place + 16] = bytes(len(data[place : place + 16]))
        else:
            data = data[:place]
        file.write_bytes(data)
        try:
            assert (read_image(file) == pixels).all()
        except DataError:
            refused += 1
    assert refused > 100


# TIFF


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_is_turned_as_other_formats_are(tmp_path: Path, orientation: int):
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(tmp_path / "a.tif", GRAY[0], photometric="minisblack", extratags=[tag])
    exif = Image.Exif()
    exif[274] = orientation
    picture(GRAY).save(tmp_path / "a.png", exif=exif)
    assert (read_image(tmp_path / "a.tif") == read_image(tmp_path / "a.png")).all()


@pytest.mark.parametrize("extra", ["assocalpha", "unassalpha"])
def test_opacity_in_tiff(tmp_path: Path, extra: str):
    half = np.concatenate([COLOURS // 2, np.full_like(COLOURS[:1], 128)])
    rows = half.transpose(1, 2, 0)
    tifffile.imwrite(tmp_path / "a.tif", rows, photometric="rgb", extrasamples=[extra])
    found = opaque(decode(tmp_path / "a.tif")).astype(float)
    share = 128 / 255
    paint = half[:3] * (1 if extra == "assocalpha" else share)
    assert np.abs(found - paint - (1 - share) * 255).max() <= 0.5


def test_measured_channels_are_no_colours(tmp_path: Path):
    for channels in (4, 6):
        write_image(tmp_path / f"{channels}.tif", np.ones((channels, 4, 4), np.uint8))
        decoded = decode(tmp_path / f"{channels}.tif")
        assert decoded.colour == "other"
        assert (opaque(decoded) == decoded.pixels).all()
    settings = {"folders": {"A": str(tmp_path)}, "hold_out": 0.0, "size": 4, "convert": "rgb"}
    with pytest.raises(DataError) as caught:
        ImageFolder(Domain("a"), "train", **settings).test(0)
    assert str(caught.value).endswith("set DOMAINS.A.CHANNELS=4")


# Notes and checks


def test_values_that_use_little_of_16_bits_are_told_of(tmp_path: Path):
    for index in range(3):
        write_image(tmp_path / f"{index}.png", np.full((1, 8, 8), 1000 * (index + 1), np.uint16))
    folders = {"A": str(tmp_path)}
    dark = ImageFolder(Domain("a", 1), "train", folders=folders, size=8, hold_out=0)
    dark.prepare()
    assert dark.notes == [
        "domain A: values lie within 1000..3000 (of 3 images looked at), and 0..65535 is mapped to "
        "-1..1: DOMAINS.A.VALUE_RANGE=[0,4095] would use all of it"
    ]
    assert dark.describe()["notes"] == dark.notes
    ranged = ImageFolder(Domain("a", 1, (0, 4095)), "train", folders=folders, size=8, hold_out=0)
    ranged.prepare()
    assert ranged.notes == []
    write_image(tmp_path / "3.png", np.full((1, 8, 8), 60_000, np.uint16))
    bright = ImageFolder(Domain("a", 1), "train", folders=folders, size=8, hold_out=0)
    bright.prepare()
    assert bright.notes == []


def test_every_image_can_be_tried(tmp_path: Path):
    for index in range(4):
        write_image(tmp_path / f"{index}.png", COLOURS)
    write_image(tmp_path / "gray.png", GRAY)
    (tmp_path / "text.png").write_text("no image")
    told: list[tuple[int, int]] = []
    strict = ImageFolder(Domain("a"), "train", folders={"A": str(tmp_path)}, size=12, hold_out=0)
    wrong = strict.check(lambda done, count: told.append((done, count)))
    assert set(wrong) == {"gray.png", "text.png"}
    assert "has 1 channel" in wrong["gray.png"]
    assert told[-1] == (6, 6)
    settings = {"folders": {"A": str(tmp_path)}, "size": 12, "hold_out": 0.0}
    lenient = ImageFolder(Domain("a"), "train", **settings, on_bad_image="skip")
    assert set(lenient.check()) == {"gray.png", "text.png"}


def test_numbers_that_a_range_cannot_map(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.full((8, 8), 1e300))
    domain = Domain("a", 1, (0, 1e-30))
    with pytest.raises(DataError, match="holds numbers that the range 0..1e-30 cannot map"):
        ImageFolder(domain, "train", folders={"A": str(tmp_path)}, size=8, hold_out=0).test(0)


def test_the_limit_is_a_setting(tmp_path: Path):
    write_image(tmp_path / "a.png", COLOURS)
    folders = {"A": str(tmp_path)}
    settings = {"folders": folders, "size": 12, "hold_out": 0.0}
    with pytest.raises(DataError, match=r"is 12×16, more than DATA\.MAX_PIXELS 100 allows"):
        ImageFolder(Domain("a"), "train", **settings, max_pixels=100).test(0)
    assert ImageFolder(Domain("a"), "train", **settings, max_pixels=200).test(0).shape[0] == 3


def test_the_limit_of_pillow_is_left_as_it_is(tmp_path: Path):
    before = Image.MAX_IMAGE_PIXELS
    write_image(tmp_path / "a.png", COLOURS)
    read_image(tmp_path / "a.png")
    assert before == Image.MAX_IMAGE_PIXELS


def test_jpeg_may_be_decoded_at_a_fraction_of_its_size(tmp_path: Path):
    smooth = Image.fromarray(COLOURS.transpose(1, 2, 0)).resize(
        (320, 240), Image.Resampling.BICUBIC
    )
    smooth.save(tmp_path / "a.jpg", quality=95)
    assert decode(tmp_path / "a.jpg", short=60).pixels.shape == (3, 60, 80)
    assert decode(tmp_path / "a.jpg", short=61).pixels.shape == (3, 120, 160)
    settings = {"folders": {"A": str(tmp_path)}, "hold_out": 0.0, "size": 60}
    whole = ImageFolder(Domain("a"), "train", **settings)
    reduced = ImageFolder(Domain("a"), "train", **settings, reduced_jpeg=True)
    difference = (whole.test(0) - reduced.test(0)).abs()
    assert 0 < difference.mean() < 4 / 255
    larger = ImageFolder(Domain("a"), "train", **{**settings, "size": 200}, reduced_jpeg=True)
    plain = ImageFolder(Domain("a"), "train", **{**settings, "size": 200})
    assert torch.equal(larger.test(0), plain.test(0))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("limits", [None, (0, 4095), (-3.5, 77.25), (0.1, 0.3)])
def test_values_are_mapped_as_in_double_precision(dtype: type, limits):
    info = np.iinfo(dtype)
    values = np.arange(info.min, info.max + 1).astype(dtype).reshape(1, 16, -1)
    low, high = limits or (info.min, info.max)
    expected = (values.astype(np.float64) - low) * (2 / (high - low)) - 1
    assert (to_unit(values, limits).numpy() == expected.astype(np.float32)).all()
