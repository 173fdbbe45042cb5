"""Image files with their measured values intact: 1 to N channels, 8 or 16 bits, or numbers.

Nothing is converted on the way in or out: a 16-bit file keeps its 16 bits, a grey one its single
channel. (Pillow reads 16-bit RGB PNG as 8-bit and cannot write 16-bit RGB at all; hence the several
readers here.)
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from munit_zoo.errors import DataError

__all__ = ["SUFFIXES", "from_unit", "is_image", "mapping", "read_image", "to_unit", "write_image"]

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

Pixels = NDArray[Any]
"""(C, H, W) in the file's own type."""

_PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # channels to PNG colour type


def is_image(path: Path) -> bool:
    """Whether a file is an image, by its suffix; hidden files are none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_image(path: Path) -> Pixels:
    """The pixels (C, H, W) of an image file, in the file's own type.

    PNG, JPEG (turned upright), TIFF (channels interleaved or planar; further pages are channels),
    NPY of (H, W) or (H, W, C), PGM and PPM, and what else Pillow reads. A palette becomes the
    colours it stands for and a 1-bit image 0 and 255.

    Raises DataError, naming the file, where it cannot be read as an image.
    """
    try:
        suffix = path.suffix.lower()
        if suffix in (".tif", ".tiff"):
            pixels = _read_tiff(path)
        elif suffix == ".npy":
            pixels = _read_npy(path)
        else:
            pixels = _read_common(path)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"there is no image {path}") from None
    except Exception as error:
        raise DataError(f"the image {path} cannot be read: {_reason(error)}") from error
    if pixels.dtype.kind not in "uif" or pixels.ndim != 3 or not pixels.size:
        raise DataError(
            f"the image {path} holds {pixels.dtype} of shape {pixels.shape}, not numbers (C, H, W)"
        )
    return pixels


def _reason(error: Exception) -> str:
    """Why a reader gave up, in a line that does not name the file again."""
    if type(error).__name__ == "UnidentifiedImageError":
        return "it is of no known format"
    if type(error).__name__ == "TiffFileError":
        return "it is not a TIFF file"
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _read_common(path: Path) -> Pixels:
    with path.open("rb") as file:
        head = file.read(26)
    if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 26 and head[24] == 16:
        return _read_png_16(path)
    if head[:2] in (b"P2", b"P3", b"P5", b"P6"):
        wide = _read_pnm_16(path)
        if wide is not None:
            return wide
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode == "P":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        elif image.mode == "1":
            image = image.convert("L")
        pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _read_png_16(path: Path) -> Pixels:
    """A PNG of 16 bits a channel, which Pillow would read as 8 where it has colours."""
    from torchvision.io import ImageReadMode, decode_image

    with warnings.catch_warnings():
        # from 0.29 on torchvision points to a successor; no other library at hand reads these
        warnings.simplefilter("ignore", DeprecationWarning)
        data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
        return decode_image(data, ImageReadMode.UNCHANGED).numpy()


def _read_pnm_16(path: Path) -> Pixels | None:
    """A PGM or PPM of more than 8 bits, which Pillow widens or narrows; None for one of 8."""
    data = path.read_bytes()
    space = rb"(?:\s|#[^\n]*\n)+"
    header = re.match(rb"P([2356])" + (space + rb"(\d+)") * 3 + rb"\s", data)
    if header is None:
        return None
    kind, width, height, largest = map(int, header.groups())
    if largest < 256:
        return None
    count = width * height * (3 if kind in (3, 6) else 1)
    if kind in (5, 6):
        numbers = np.frombuffer(data, ">u2", count, header.end()).astype(np.uint16)
    else:
        numbers = np.array(data[header.end() :].split()[:count], dtype=np.uint16)
    return np.ascontiguousarray(numbers.reshape(height, width, -1).transpose(2, 0, 1))


def _read_tiff(path: Path) -> Pixels:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        pixels, axes = series.asarray(), series.axes
    keep = [i for i, name in enumerate(axes) if name in "YX" or pixels.shape[i] > 1]
    pixels, axes = pixels.reshape([pixels.shape[i] for i in keep]), [axes[i] for i in keep]
    if len(axes) == 2:
        return pixels[None]
    if len(axes) != 3:
        raise DataError(
            f"the image {path} has the axes {''.join(axes)}, expected rows, columns "
            "and at most one more"
        )
    channel = next(i for i, name in enumerate(axes) if name not in "YX")
    return np.ascontiguousarray(np.moveaxis(pixels, channel, 0))


def _read_npy(path: Path) -> Pixels:
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise DataError(f"the image {path} cannot be read: it is not a NumPy array file")
    pixels = np.load(path, allow_pickle=False)
    if pixels.ndim == 2:
        return pixels[None]
    if pixels.ndim != 3:
        raise DataError(f"{path} has the shape {pixels.shape}, expected (H, W) or (H, W, C)")
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


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
    scaled = (pixels.astype(np.float64) - low) * (2 / (high - low)) - 1
    return torch.from_numpy(scaled.astype(np.float32))


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
