"""Image files with their measured values intact: 1 to N channels, 8 or 16 bits, or numbers.

Nothing is converted on the way in or out: a 16-bit file keeps its 16 bits, a grey one its single
channel. (Pillow reads 16-bit RGB PNG as 8-bit and cannot write 16-bit RGB at all; hence the several
readers here.) What a file is, its first bytes say, not its name; nothing in it is executed, and its
size is looked at before it is decoded.
"""

from __future__ import annotations

import io
import os
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from munit_zoo.errors import DataError

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Decoded",
    "Packed",
    "Source",
    "decode",
    "from_unit",
    "is_image",
    "mapping",
    "opaque",
    "read_image",
    "shown",
    "to_unit",
    "write_image",
]

SUFFIXES = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".bmp",
        ".webp",
        ".tif",
        ".tiff",
        ".npy",
        ".ppm",
        ".pgm",
        ".gif",
    ]  # lower case
)

MAX_PIXELS = 2**26
"""Rows times columns of the largest image that is decoded, where no other limit is given: 8192²."""

Pixels = NDArray[Any]
"""(C, H, W) in the file's own type."""

Colour = Literal["gray", "gray+alpha", "rgb", "rgb+alpha", "cmyk", "other"]

_PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # channels to PNG colour type
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION = 274  # a tag of EXIF and TIFF
# TIFF's PhotometricInterpretation
_MIN_IS_WHITE, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 2, 3, 5, 6
_OTHER_SPACES = {_YCBCR: "YCbCr", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB"}
_NPY_HEAD = b"\x93NUMPY"
# those that Pillow may open: others run programs (EPS) or are no pictures
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "GIF", "PPM")
_OPENING = threading.Lock()


@dataclass(frozen=True)
class Decoded:
    """An image as its file has it.

    pixels: (C, H, W) in the file's own type. colour: what the channels are; `other` for measured
    ones. premultiplied: whether colours are multiplied by their opacity already.
    """

    pixels: Pixels
    colour: Colour
    premultiplied: bool = False


@dataclass(frozen=True)
class Packed:
    """A file that lies, uncompressed, inside of another: a member of a tar archive.

    archive: the file around it. name: within that. offset, size: of its bytes.
    """

    archive: Path
    name: str
    offset: int
    size: int

    @property
    def suffix(self) -> str:
        """With its dot."""
        return PurePosixPath(self.name).suffix

    def read_bytes(self) -> bytes:
        """Its content; fewer bytes than `size` where the archive is truncated."""
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def open(self, mode: Literal["rb"] = "rb") -> io.BytesIO:
        """Its content as a file."""
        return io.BytesIO(self.read_bytes())

    def stat(self) -> os.stat_result:
        """Of the archive."""
        return self.archive.stat()

    def __fspath__(self) -> str:
        return f"{os.fspath(self.archive)}/{self.name}"


Source = Path | Packed
"""Where an image is read from."""


def is_image(path: Path) -> bool:
    """Whether a file is an image, by its suffix; hidden files are none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def shown(path: os.PathLike[str] | str) -> str:
    """A path to be printed: bytes that are no UTF-8 as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The pixels (C, H, W) of an image file, in the file's own type: those of `decode`."""
    return decode(path, max_pixels=max_pixels).pixels


def decode(path: Source, *, max_pixels: int = MAX_PIXELS, short: int | None = None) -> Decoded:
    """An image file's pixels (C, H, W), in the file's own type, and what they are.

    PNG, JPEG and TIFF (turned upright; in TIFF channels interleaved or planar, further pages are
    channels), NPY of (H, W) or (H, W, C), PGM and PPM, BMP, WebP and GIF (of an animation the first
    frame). A palette becomes the colours it stands for, a 1-bit image 0 and 255, and white is the
    largest number. A file is what its first bytes say, whatever its suffix.

    max_pixels: rows times columns of the largest image that is decoded; TIFF and NPY may hold four
    times as many numbers in all.
    short: where the image is to be made smaller, the short side that is wanted: a JPEG is then
    decoded at the least of 1, 1/2, 1/4 and 1/8 of its size that is no smaller.
    Raises DataError, naming the file, where it cannot be read as an image, is larger than that, or
    holds numbers that are not finite.
    """
    try:
        decoded = _decode(path, max_pixels, short)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"there is no image {shown(path)}") from None
    except OSError as error:
        reason = error.strerror if error.errno is not None else _reason(error)
        raise DataError(f"the image {shown(path)} cannot be read: {reason}") from error
    except Exception as error:
        raise DataError(f"the image {shown(path)} cannot be read: {_reason(error)}") from error
    pixels = decoded.pixels
    if pixels.dtype.kind not in "uif" or pixels.ndim != 3 or not pixels.size:
        raise DataError(
            f"the image {shown(path)} holds {pixels.dtype} of shape {pixels.shape}, not numbers "
            "(C, H, W)"
        )
    if pixels.dtype.kind == "f":
        wrong = pixels.size - int(np.isfinite(pixels).sum())
        if wrong:
            raise DataError(
                f"the image {shown(path)} holds numbers that are NaN or infinite: {wrong} of "
                f"{pixels.size}"
            )
    if not pixels.dtype.isnative:
        return Decoded(pixels.astype(pixels.dtype.newbyteorder("=")), decoded.colour)
    return decoded


def _reason(error: Exception) -> str:
    """Why a reader gave up, in a line that does not name the file again."""
    if type(error).__name__ == "UnidentifiedImageError":
        return "it is of no known format"
    if type(error).__name__ == "TiffFileError":
        return "it is a damaged TIFF file"
    if isinstance(error, MemoryError):
        return "it does not fit in memory"
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _decode(path: Source, max_pixels: int, short: int | None) -> Decoded:
    with path.open("rb") as file:
        head = file.read(26)
    suffix = path.suffix.lower()
    if not head:
        raise DataError(f"the image {shown(path)} cannot be read: the file is empty")
    if head.startswith(_TIFF_HEADS):
        return _read_tiff(path, max_pixels)
    if head.startswith(_NPY_HEAD):
        return _read_npy(path, max_pixels)
    if head.startswith(_PNG_HEAD):
        _verify_png(path, max_pixels)
        if len(head) == 26 and head[24] == 16:
            return _read_png_16(path, head[25], max_pixels)
    if head[:2] in (b"P2", b"P3", b"P5", b"P6"):
        wide = _read_pnm_16(path, max_pixels)
        if wide is not None:
            return wide
    try:
        return _read_common(path, max_pixels, short)
    except Exception as error:
        known = {".tif": "a TIFF file", ".tiff": "a TIFF file", ".npy": "a NumPy array file"}
        if type(error).__name__ == "UnidentifiedImageError" and suffix in known:
            raise DataError(
                f"the image {shown(path)} cannot be read: it is not {known[suffix]}"
            ) from None
        raise


def _limit(
    path: Source, height: int, width: int, max_pixels: int, values: int | None = None
) -> None:
    """Raises DataError for an image beyond the limit, before it is decoded."""
    if height * width > max_pixels or (values or 0) > 4 * max_pixels:
        many = f", {values:,} numbers" if values is not None and values != height * width else ""
        raise DataError(
            f"the image {shown(path)} is {height}×{width}{many}, more than DATA.MAX_PIXELS "
            f"{max_pixels:,} allows: raise that, or leave the image out"
        )


@contextmanager
def _opened(source: Source | io.BytesIO, path: Source, max_pixels: int) -> Iterator[Any]:
    """A file that Pillow has looked at and not decoded, within our limit instead of Pillow's."""
    from PIL import Image

    if isinstance(source, Packed):
        source = source.open()
    with _OPENING:  # the limit is one for all of Pillow
        theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            opened = Image.open(source, formats=_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = theirs
    with opened:
        _limit(path, opened.height, opened.width, max_pixels)
        yield opened


def _read_common(path: Source, max_pixels: int, short: int | None) -> Decoded:
    from PIL import ImageOps

    with _opened(path, path, max_pixels) as opened:
        if short is not None:
            opened.draft(opened.mode, (short, short))  # nothing but JPEG does so
        turned = opened.getexif().get(_ORIENTATION, 1) != 1
        image = ImageOps.exif_transpose(opened) if turned else opened
        if image.mode in ("P", "PA"):
            alpha = image.mode == "PA" or "transparency" in image.info
            image = image.convert("RGBA" if alpha else "RGB")
        elif image.mode in ("1", "La", "RGBa", "YCbCr", "HSV", "RGBX"):
            straight = {"1": "L", "La": "LA", "RGBa": "RGBA"}
            image = image.convert(straight.get(image.mode, "RGB"))
        names: dict[str, Colour] = {"L": "gray", "LA": "gray+alpha", "RGB": "rgb"}
        names |= {"RGBA": "rgb+alpha", "CMYK": "cmyk", "I;16": "gray", "I": "gray", "F": "gray"}
        colour = names.get(image.mode, "other")
        return Decoded(_channels_first(np.asarray(image)), colour)


def _channels_first(pixels: Pixels) -> Pixels:
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _verify_png(path: Source, max_pixels: int) -> None:
    """Raises where a part of a PNG is missing or does not have its checksum."""
    with _opened(path, path, max_pixels) as opened:
        opened.verify()


def _read_png_16(path: Source, colour: int, max_pixels: int) -> Decoded:
    """A PNG of 16 bits a channel, exactly, by a decoder that survives damaged files.

    (torchvision's ends the process on them.) Pillow narrows colours to 8 bits. It does so from
    whichever byte the order of bytes that it is told puts first, so that two readings give both.
    Gray with opacity, of four bytes a pixel, is read as RGBA of 8 bits.
    """
    if colour == 4:
        data = bytearray(path.read_bytes())
        data[24:26] = 8, 6
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        with _opened(io.BytesIO(bytes(data)), path, max_pixels) as opened:
            values = np.asarray(opened).astype(np.uint16)
        pixels = np.stack(
            [values[..., 0] << 8 | values[..., 1], values[..., 2] << 8 | values[..., 3]]
        )
        return Decoded(pixels, "gray+alpha")
    if colour == 0:
        with _opened(path, path, max_pixels) as opened:
            return Decoded(np.asarray(opened).astype(np.uint16)[None], "gray")
    kind = "RGB" if colour == 2 else "RGBA"
    halves = []
    for order in ("16B", "16L"):
        with _opened(path, path, max_pixels) as opened:
            decoder, box, offset, _ = opened.tile[0]
            opened.tile = [_tile(opened.tile[0], (decoder, box, offset, f"{kind};{order}"))]
            halves.append(_channels_first(np.asarray(opened)).astype(np.uint16))
    high, low = halves
    return Decoded(high << 8 | low, "rgb" if colour == 2 else "rgb+alpha")


def _tile(like: Any, values: tuple[Any, ...]) -> Any:
    """A piece of a file as Pillow describes it: named fields, or before Pillow 11 a plain tuple."""
    return values if type(like) is tuple else type(like)(*values)


def _read_pnm_16(path: Source, max_pixels: int) -> Decoded | None:
    """A PGM or PPM of more than 8 bits, which Pillow widens or narrows; None for one of 8."""
    data = path.read_bytes()
    space = rb"(?:\s|#[^\n]*\n)+"
    header = re.match(rb"P([2356])" + (space + rb"(\d{1,9})") * 3 + rb"\s", data)
    if header is None:
        return None
    kind, width, height, largest = map(int, header.groups())
    if largest < 256:
        return None
    _limit(path, height, width, max_pixels)
    count = width * height * (3 if kind in (3, 6) else 1)
    if kind in (5, 6):
        numbers = np.frombuffer(data, ">u2", count, header.end()).astype(np.uint16)
    else:
        numbers = np.array(data[header.end() :].split()[:count], dtype=np.uint16)
    pixels = np.ascontiguousarray(numbers.reshape(height, width, -1).transpose(2, 0, 1))
    return Decoded(pixels, "rgb" if kind in (3, 6) else "gray")


def _read_tiff(path: Source, max_pixels: int) -> Decoded:
    import tifffile

    with tifffile.TiffFile(path.open() if isinstance(path, Packed) else path) as file:
        series, page = file.series[0], file.pages[0]
        _limit(path, page.imagelength, page.imagewidth, max_pixels, int(series.size))
        try:
            pixels, axes = series.asarray(), series.axes
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            raise DataError(
                f"the image {shown(path)} cannot be read: it is compressed by "
                f"{page.compression.name}, which needs a further package: "
                "pip install imagecodecs (or munit-zoo[tiff])"
            ) from None
        orientation = page.tags.valueof("Orientation", default=1)
        table = page.tags.valueof("ColorMap")
        photometric, extra = int(page.photometric), tuple(map(int, page.extrasamples))
        bits, compression = int(page.bitspersample), page.compression.name
    keep = [i for i, name in enumerate(axes) if name in "YX" or pixels.shape[i] > 1]
    pixels, axes = pixels.reshape([pixels.shape[i] for i in keep]), [axes[i] for i in keep]
    if len(axes) > 3:
        raise DataError(
            f"the image {shown(path)} has the axes {''.join(axes)}, expected rows, columns "
            "and at most one more"
        )
    if len(axes) == 2:
        pixels = pixels[None]
    else:
        channel = next(i for i, name in enumerate(axes) if name not in "YX")
        pixels = np.ascontiguousarray(np.moveaxis(pixels, channel, 0))
    space = _OTHER_SPACES.get(photometric)
    if space is not None and not (photometric == _YCBCR and "JPEG" in compression):
        raise DataError(
            f"the image {shown(path)} cannot be read: its colours are {space}; save it as RGB"
        )
    if photometric == _PALETTE and len(pixels) == 1 and table is not None:
        table = np.asarray(table).reshape(3, -1)
        table = table >> 8 if table.max() > 255 else table  # 16 bits, whatever writers put there
        pixels = table[:, pixels[0]].astype(np.uint8)
        photometric = _RGB
    if pixels.dtype == bool:
        pixels, bits = pixels.astype(np.uint8) * 255, 8
    if photometric == _MIN_IS_WHITE and pixels.dtype.kind == "u":
        pixels = (2**bits - 1 - pixels).astype(pixels.dtype)
    pixels = _upright(pixels, orientation)
    return Decoded(pixels, _tiff_colour(len(pixels), photometric, extra), extra[:1] == (1,))


def _tiff_colour(channels: int, photometric: int, extra: tuple[int, ...]) -> Colour:
    alpha = len(extra) == 1 and extra[0] in (1, 2)
    if photometric in (_RGB, _YCBCR) and channels == 3 + len(extra):
        return "rgb" if not extra else "rgb+alpha" if alpha else "other"
    if photometric == _SEPARATED and channels == 4 and not extra:
        return "cmyk"
    if channels == 2 and alpha:
        return "gray+alpha"
    return {1: "gray", 3: "rgb"}.get(channels, "other")  # type: ignore[return-value]


def _upright(pixels: Pixels, orientation: Any) -> Pixels:
    """(C, H, W) turned as TIFF's tag Orientation says: 1 to 8, anything else is ignored."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(0, 2, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[:, ::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, :, ::-1]
    return np.ascontiguousarray(pixels)


def _read_npy(path: Source, max_pixels: int) -> Decoded:
    try:
        if isinstance(path, Packed):
            stored = np.load(path.open(), allow_pickle=False)
        else:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)  # nothing is read yet
    except ValueError as error:
        if "Object arrays" in str(error) or "Python objects" in str(error):
            raise DataError(
                f"the image {shown(path)} cannot be read: it holds Python objects, not numbers, "
                "and objects in files are never loaded"
            ) from None
        if "mmap length" in str(error):
            raise DataError(f"the image {shown(path)} cannot be read: it is truncated") from None
        raise
    if stored.ndim not in (2, 3):
        raise DataError(
            f"the image {shown(path)} has the shape {stored.shape}, expected (H, W) or (H, W, C)"
        )
    _limit(path, stored.shape[0], stored.shape[1], max_pixels, stored.size)
    pixels = _channels_first(np.array(stored))
    return Decoded(pixels, {1: "gray", 3: "rgb"}.get(len(pixels), "other"))  # type: ignore[arg-type]


def opaque(decoded: Decoded, value_range: tuple[float, float] | None = None) -> Pixels:
    """The pixels as one channel of gray or three of RGB, in the same type, where they are known to
    be colours: the transparent lies on white, and CMYK becomes RGB as (1 - ink)(1 - black).

    value_range: measured values, the second of which is white; None for the whole range of the
    type. Pixels that are gray, RGB, or of other channels come back as they are.
    """
    pixels, colour = decoded.pixels, decoded.colour
    if colour not in ("gray+alpha", "rgb+alpha", "cmyk"):
        return pixels
    whole = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    if colour == "cmyk":
        ink = pixels / whole
        mixed = (1 - ink[:3]) * (1 - ink[3:]) * whole
    else:
        white = whole if value_range is None else value_range[1]
        share = pixels[-1:] / whole
        paint = pixels[:-1] if decoded.premultiplied else pixels[:-1] * share
        mixed = paint + (1 - share) * white
    return (
        mixed.astype(pixels.dtype)
        if pixels.dtype.kind == "f"
        else (np.clip(np.rint(mixed), 0, whole).astype(pixels.dtype))
    )


def write_image(path: Path, pixels: Pixels) -> None:
    """Write pixels (C, H, W) as they are; the suffix decides the format.

    PNG takes 8 or 16 bits and 1 to 4 channels; TIFF and NPY take any type and channel count; JPEG
    and the others 8 bits and 1 or 3 channels. Raises DataError for what a format cannot hold.
    """
    suffix, channels = path.suffix.lower(), len(pixels)
    if suffix in (".tif", ".tiff"):
        import tifffile

        if channels in (1, 3):
            kind = "minisblack" if channels == 1 else "rgb"
            data = pixels[0] if channels == 1 else pixels.transpose(1, 2, 0)
            tifffile.imwrite(path, np.ascontiguousarray(data), photometric=kind)
        else:
            tifffile.imwrite(
                path, pixels, photometric="minisblack", planarconfig="separate", metadata=None
            )
    elif suffix == ".npy":
        np.save(path, pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))
    elif suffix == ".png" and pixels.dtype in (np.uint8, np.uint16) and channels in _PNG_COLOUR:
        path.write_bytes(_png(pixels))
    elif suffix in SUFFIXES and pixels.dtype == np.uint8 and channels in (1, 3):
        from PIL import Image

        array = pixels[0] if channels == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
        Image.fromarray(array).save(path, quality=95)
    else:
        raise DataError(
            f"{path.name}: a {suffix} file cannot hold {channels} channels of {pixels.dtype}; "
            "write .tif or .npy"
        )


def _png(pixels: Pixels) -> bytes:
    """A PNG file: the one encoder at hand for 16 bits in colour."""
    channels, height, width = pixels.shape
    depth = pixels.dtype.itemsize
    rows = np.ascontiguousarray(pixels.transpose(1, 2, 0)).astype(f">u{depth}")
    lines = rows.reshape(height, -1).view(np.uint8)
    # filter 2 (difference to the row above) on each row
    above = np.vstack([np.zeros((1, lines.shape[1]), np.uint8), lines[:-1]])
    filtered = np.hstack([np.full((height, 1), 2, np.uint8), lines - above])

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8 * depth, _PNG_COLOUR[channels], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6))
        + chunk(b"IEND", b"")
    )


def _limits(
    dtype: np.dtype[Any], value_range: tuple[float, float] | None, what: str, domain: str
) -> tuple[float, float]:
    if value_range is not None:
        low, high = value_range
        if not low < high:
            raise DataError(f"{what}: VALUE_RANGE [{low}, {high}] is empty")
        return low, high
    if dtype.kind == "f" or dtype.itemsize > 2:
        example = "[0,1]" if dtype.kind == "f" else "[0,65535]"
        raise DataError(
            f"{what} holds {dtype} numbers, which have no range of their own: say which values map "
            f"to [-1, 1], as in DOMAINS.{domain.upper()}.VALUE_RANGE={example}"
        )
    info = np.iinfo(dtype)
    return float(info.min), float(info.max)


def mapping(
    dtype: np.dtype[Any], value_range: tuple[float, float] | None, *, domain: str = "a"
) -> str:
    """The mapping in words: `0..65535 (uint16) to -1..1`."""
    low, high = _limits(dtype, value_range, "the image", domain)
    return f"{low:g}..{high:g} ({dtype}) to -1..1"


def to_unit(
    pixels: Pixels,
    value_range: tuple[float, float] | None = None,
    *,
    what: str = "the image",
    domain: str = "a",
) -> Tensor:
    """float32 (C, H, W) in [-1, 1].

    value_range: values that map to -1 and 1 (values beyond map beyond); None for the whole range of
    an integer type of 8 or 16 bits. what, domain: for messages.
    Raises DataError for floating-point pixels, and wider integers, without a range.
    """
    low, high = _limits(pixels.dtype, value_range, what, domain)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype.kind in "ui" and pixels.dtype.itemsize <= 2:
        table, single = _table(pixels.dtype.str, low, high)
        if single:
            return torch.from_numpy(_in_single(pixels, low, high))
        indices = pixels.view(f"u{pixels.dtype.itemsize}")
        return torch.from_numpy(np.take(table, indices, mode="clip"))  # none is beyond
    image = np.empty(pixels.shape, np.float32)
    with np.errstate(over="ignore"):  # found below
        for channel, values in zip(image, pixels, strict=True):  # one at a time: memory
            channel[:] = (values.astype(np.float64) - low) * (2 / (high - low)) - 1
    if not np.isfinite(image).all():
        raise DataError(f"{what} holds numbers that the range {low:g}..{high:g} cannot map")
    return torch.from_numpy(image)


@lru_cache(maxsize=16)
def _table(dtype: str, low: float, high: float) -> tuple[NDArray[np.float32], bool]:
    """What each value of an integer type maps to, by its bits; and whether single precision gives
    the same, as it does for whole numbers as limits, in a quarter of the time."""
    kind = np.dtype(dtype)
    values = np.arange(2 ** (8 * kind.itemsize), dtype=f"u{kind.itemsize}").view(kind)
    with np.errstate(over="ignore"):
        table = ((values.astype(np.float64) - low) * (2 / (high - low)) - 1).astype(np.float32)
        return table, np.array_equal(table, _in_single(values, low, high))


def _in_single(pixels: Pixels, low: float, high: float) -> NDArray[np.float32]:
    image = pixels.astype(np.float32)
    image *= 2
    image -= np.float32(low + high)
    image /= np.float32(high - low)
    return image


def from_unit(
    image: Tensor, dtype: np.dtype[Any] | type, value_range: tuple[float, float] | None = None
) -> Pixels:
    """Pixels of a type: the inverse of `to_unit`, rounded and clipped to the type's range."""
    kind = np.dtype(dtype)
    low, high = _limits(kind, value_range, "the image", "a")
    values = (image.detach().cpu().double().numpy() + 1) * ((high - low) / 2) + low
    if kind.kind == "f":
        return values.astype(kind)
    info = np.iinfo(kind)
    return np.clip(np.rint(values), info.min, info.max).astype(kind)
