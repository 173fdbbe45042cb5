"""Readers of image files, one a format, each of which looks at the size before it decodes."""

from __future__ import annotations

import io
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from munit_zoo.data.sources import Packed, Source, shown
from munit_zoo.errors import DataError

Pixels = NDArray[Any]
"""(C, H, W) in the file's own type."""

Colour = Literal["gray", "gray+alpha", "rgb", "rgb+alpha", "cmyk", "other"]

_ORIENTATION = 274  # a tag of EXIF and TIFF
# TIFF's PhotometricInterpretation
_MIN_IS_WHITE, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 2, 3, 5, 6
_OTHER_SPACES = {_YCBCR: "YCbCr", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB"}
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


def limit(
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
        limit(path, opened.height, opened.width, max_pixels)
        yield opened


def read_common(path: Source, max_pixels: int, short: int | None) -> Decoded:
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


def verify_png(path: Source, max_pixels: int) -> None:
    """Raises where a part of a PNG is missing or does not have its checksum."""
    with _opened(path, path, max_pixels) as opened:
        opened.verify()


def read_png_16(path: Source, colour: int, max_pixels: int) -> Decoded:
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


def _tile(like: object, values: tuple[object, ...]) -> object:
    """A piece of a file as Pillow describes it: named fields, or before Pillow 11 a plain tuple."""
    return values if type(like) is tuple else type(like)(*values)


def read_pnm_16(path: Source, max_pixels: int) -> Decoded | None:
    """A PGM or PPM of more than 8 bits, which Pillow widens or narrows; None for one of 8."""
    data = path.read_bytes()
    space = rb"(?:\s|#[^\n]*\n)+"
    header = re.match(rb"P([2356])" + (space + rb"(\d{1,9})") * 3 + rb"\s", data)
    if header is None:
        return None
    kind, width, height, largest = map(int, header.groups())
    if largest < 256:
        return None
    limit(path, height, width, max_pixels)
    count = width * height * (3 if kind in (3, 6) else 1)
    if kind in (5, 6):
        numbers = np.frombuffer(data, ">u2", count, header.end()).astype(np.uint16)
    else:
        numbers = np.array(data[header.end() :].split()[:count], dtype=np.uint16)
    pixels = np.ascontiguousarray(numbers.reshape(height, width, -1).transpose(2, 0, 1))
    return Decoded(pixels, "rgb" if kind in (3, 6) else "gray")


def read_tiff(path: Source, max_pixels: int) -> Decoded:
    import tifffile

    with tifffile.TiffFile(path.open() if isinstance(path, Packed) else path) as file:
        series, page = file.series[0], file.pages[0]
        limit(path, page.imagelength, page.imagewidth, max_pixels, int(series.size))
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


def _upright(pixels: Pixels, orientation: object) -> Pixels:
    """(C, H, W) turned as TIFF's tag Orientation says: 1 to 8, anything else is ignored."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(0, 2, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[:, ::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, :, ::-1]
    return np.ascontiguousarray(pixels)


def read_npy(path: Source, max_pixels: int) -> Decoded:
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
    limit(path, stored.shape[0], stored.shape[1], max_pixels, stored.size)
    pixels = _channels_first(np.array(stored))
    return Decoded(pixels, {1: "gray", 3: "rgb"}.get(len(pixels), "other"))  # type: ignore[arg-type]
