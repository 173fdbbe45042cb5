"""Upsampling and the convolution behind it, computed as one on the small map."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from munit_zoo.blocks.conv import PadType, extend

__all__ = ["bilinear_conv2d", "fold_kernel", "folded_conv2d", "smooth_margin", "smoothed_conv2d"]


def fold_kernel(weight: Tensor) -> Tensor:
    """A kernel k×k (k odd) behind nearest ×2 upsampling, as four kernels on the small map.

    (O, I, k, k) to (4·O, I, n, n) with n = (k + 1) / 2, in the memory format of the weight: for
    each output the four pixels that a pixel becomes, row by row. Taps that fall on copies of one
    pixel are added up.
    """
    taps = weight.permute(2, 3, 0, 1)  # rows and columns in front: whole matrices are added
    phases = [
        _fold_first(rows.transpose(0, 1), column)
        for rows in (_fold_first(taps, row) for row in (0, 1))
        for column in (0, 1)
    ]
    kernels = torch.stack(phases).permute(3, 0, 2, 1, 4).flatten(0, 1).permute(0, 3, 1, 2)
    if weight.is_contiguous(memory_format=torch.channels_last):
        return kernels
    return kernels.contiguous()


def _fold_first(taps: Tensor, phase: int) -> Tensor:
    """The first axis of a kernel, as the pixels of one phase (0: the first copy) see it."""
    reach = len(taps) // 2
    # the neighbours of a first copy pair up from one side, those of a second from the other
    if (reach + phase) % 2:
        return torch.cat([taps[:1], taps[1::2] + taps[2::2]])
    return torch.cat([taps[:-1:2] + taps[1::2], taps[-1:]])


def folded_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, pad_type: PadType) -> Tensor:
    """Nearest ×2 upsampling, padding by (k - 1) / 2 and convolution k×k, in one.

    x: (N, C, H, W), H and W at least 2. weight: (C', C, k, k), k odd, at most 5 for `reflect`.
    pad_type: of the upsampled map. Returns (N, C', 2H, 2W).

    Four convolutions with (k + 1) / 2 taps an axis give the four pixels that each pixel becomes.
    Padding the small map with zeros or by replication is the same as padding the upsampled one.
    Reflection is replication but for the second row (column) beyond an edge, which only the
    outermost pixels see; what they see wrongly is put right after.
    """
    reach = weight.shape[-1] // 2
    small = (reach + 1) // 2
    padded = extend(x, small, "constant" if pad_type == "zero" else "replicate")
    repeated = None if bias is None else bias.repeat_interleave(4)
    y = F.conv2d(padded, fold_kernel(weight), repeated)
    if reach % 2:  # the two phases of an axis look at windows one pixel apart
        height, width = x.shape[2:]
        y = y.unflatten(1, (-1, 2, 2))
        rows = [
            torch.stack([y[:, :, a, b, a : a + height, b : b + width] for b in (0, 1)], dim=2)
            for a in (0, 1)
        ]
        y = torch.stack(rows, dim=2).flatten(1, 3)
    y = F.pixel_shuffle(y, 2)
    return _reflect_edges(y, x, weight) if pad_type == "reflect" and reach == 2 else y


def _reflect_edges(y: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """What a replicated border gave at the outermost pixels, made what a reflected one gives.

    Along H with W reflected, then along W with H replicated: together the reflection of both.
    """
    first, last = weight[:, :, 0], weight[:, :, -1]
    top = _line(x[:, :, 1] - x[:, :, 0], first, "reflect").unsqueeze(2)
    bottom = _line(x[:, :, -2] - x[:, :, -1], last, "reflect").unsqueeze(2)
    y = y + _apart(top, bottom, y, dim=2)
    first, last = weight[..., 0], weight[..., -1]
    left = _line(x[..., 1] - x[..., 0], first, "replicate").unsqueeze(3)
    right = _line(x[..., -2] - x[..., -1], last, "replicate").unsqueeze(3)
    return y + _apart(left, right, y, dim=3)


def _apart(first: Tensor, last: Tensor, y: Tensor, dim: int) -> Tensor:
    """Two borders of the map y, with zeros between them.

    To be added, not put in place: the gradient of a sum needs no copies of the map.
    """
    shape = list(y.shape)
    shape[dim] -= 2 * first.shape[dim]
    return torch.cat([first, first.new_zeros(1).expand(shape), last], dim=dim)


def _line(x: Tensor, weight: Tensor, mode: str) -> Tensor:
    """One line of a map (N, C, L), upsampled, padded and convolved: (N, C', 2L)."""
    x = F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.conv1d(extend(x, 2, mode), weight)


def smooth_margin(kernel_size: int) -> int:
    """By how many pixels `smoothed_conv2d` wants its map extended at each side."""
    return (kernel_size // 2 + 2) // 2


def smoothed_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, smoother: Tensor) -> Tensor:
    """Zeros between the pixels, convolution k×k, then the low pass [1 3 3 1] ⊗ [1 3 3 1] / 16.

    x: (N, C, H + 2m, W + 2m), already extended by m = `smooth_margin(k)`. weight: (C', C, k, k), k
    odd. smoother: (1, 1, 4, 4), the low pass. Returns (N, C', 2H, 2W).

    As the filters commute, this is bilinear ×2 upsampling of x and then the convolution, for a
    quarter of the multiplications: those with zeros are left out (Karras et al. 2020).
    """
    reach, margin = weight.shape[-1] // 2, smooth_margin(weight.shape[-1])
    turned = weight.flip(2, 3).transpose(0, 1)
    y = F.conv_transpose2d(x, turned, stride=2, padding=2 * margin + reach - 2)
    channels = y.shape[1]
    y = F.conv2d(y, smoother.expand(channels, 1, 4, 4), groups=channels)
    return y if bias is None else y + bias.to(y.dtype)[:, None, None]


def bilinear_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, smoother: Tensor, pad_type: PadType
) -> Tensor:
    """Bilinear ×2 upsampling, padding by (k - 1) / 2 and convolution k×k, in one.

    x: (N, C, H, W), H and W above (k - 1) / 2. Otherwise as `smoothed_conv2d`, which computes it as
    if the upsampled map were padded by replication; what the outermost pixels so see wrongly is put
    right after.
    """
    extended = extend(x, smooth_margin(weight.shape[-1]), "replicate")
    y = smoothed_conv2d(extended, weight, bias, smoother)
    reach = weight.shape[-1] // 2
    if not reach or pad_type == "replicate":
        return y
    # along H with W padded as asked, then along W with H replicated: together both as asked
    y = y + _apart(*_borders(x, weight, pad_type, pad_type), y, dim=2)
    left, right = _borders(x.mT, weight.mT, pad_type, "replicate")
    return y + _apart(left.mT, right.mT, y, dim=3)


def _borders(
    x: Tensor, weight: Tensor, pad_type: PadType, across: PadType
) -> tuple[Tensor, Tensor]:
    """What the convolved map gains in its first and in its last rows."""
    seen = weight.shape[-1] // 4 + 2
    first = _border(x[:, :, :seen], weight, pad_type, across)
    last = _border(x[:, :, -seen:].flip(2), weight.flip(2), pad_type, across)
    return first, last.flip(2)


def _border(x: Tensor, weight: Tensor, pad_type: PadType, across: PadType) -> Tensor:
    """What the first rows of the convolved map gain where rows beyond the edge are not copies of
    the first, but zeros or a reflection; `across` is how the other axis is padded.

    x: the first rows of the small map."""
    reach = weight.shape[-1] // 2
    rows = _doubled(x, (2.0, 1.0))
    first = rows[:, :, :1].expand(-1, -1, reach, -1)
    beyond = -first if pad_type == "zero" else rows[:, :, 1 : reach + 1].flip(2) - first
    strip = _doubled(F.pad(beyond, (0, 0, 0, reach - 1)), (1.0, 2.0))
    if across == "replicate":
        ends = strip[..., :1], strip[..., -1:]
        strip = torch.cat([*[ends[0]] * reach, strip, *[ends[1]] * reach], dim=3)
    else:
        mode = "constant" if across == "zero" else across
        strip = F.pad(strip, (reach, reach, 0, 0), mode=mode)
    return F.conv2d(strip, weight[:, :, :reach])


def _doubled(x: Tensor, scale_factor: tuple[float, float]) -> Tensor:
    return F.interpolate(x, scale_factor=scale_factor, mode="bilinear")
