"""Image files with their measured values intact: 1 to N channels, 8 or 16 bits, or numbers.

Nothing is converted on the way in or out: a 16-bit file keeps its 16 bits, a grey one its single
channel. (Pillow reads 16-bit RGB PNG as 8-bit and cannot write 16-bit RGB at all; hence the several
readers here.) What a file is, its first bytes say, not its name; nothing in it is executed, and its
size is looked at before it is decoded.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from munit_zoo.data._formats import (
    Decoded,
    Pixels,
    read_common,
    read_npy,
    read_png_16,
    read_pnm_16,
    read_tiff,
    verify_png,
)
from munit_zoo.data.sources import SUFFIXES, Source, shown
from munit_zoo.errors import DataError

__all__ = ["MAX_PIXELS", "Decoded", "decode", "opaque", "read_image", "write_image"]

MAX_PIXELS = 2**26
"""Rows times columns of the largest image that is decoded, where no other limit is given: 8192²."""

_PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # channels to PNG colour type
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NPY_HEAD = b"\x93NUMPY"


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
        return read_tiff(path, max_pixels)
    if head.startswith(_NPY_HEAD):
        return read_npy(path, max_pixels)
    if head.startswith(_PNG_HEAD):
        verify_png(path, max_pixels)
        if len(head) == 26 and head[24] == 16:
            return read_png_16(path, head[25], max_pixels)
    if head[:2] in (b"P2", b"P3", b"P5", b"P6"):
        wide = read_pnm_16(path, max_pixels)
        if wide is not None:
            return wide
    try:
        return read_common(path, max_pixels, short)
    except Exception as error:
        known = {".tif": "a TIFF file", ".tiff": "a TIFF file", ".npy": "a NumPy array file"}
        if type(error).__name__ == "UnidentifiedImageError" and suffix in known:
            raise DataError(
                f"the image {shown(path)} cannot be read: it is not {known[suffix]}"
            ) from None
        raise


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
