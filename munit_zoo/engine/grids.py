"""Image grids: what a model makes of a few fixed images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.utils import make_grid

from munit_zoo.data.images import write_image
from munit_zoo.data.values import from_unit
from munit_zoo.models import TranslationModel
from munit_zoo.models.translation import Translator

__all__ = ["as_rgb", "save_grid", "translation_grid"]


def as_rgb(images: Tensor) -> Tensor:
    """(N, 3, H, W) in [-1, 1] to look at: one channel is grey, of many the first three are shown.

    Colours are as they are, without stretching.
    """
    channels = images.shape[1]
    if channels == 3:
        return images
    return images[:, :1].expand(-1, 3, -1, -1) if channels < 3 else images[:, :3]


def translation_grid(
    model: TranslationModel,
    images: Tensor,
    way: tuple[str, str],
    *,
    fixed: Tensor | None,
    fresh: Tensor | None,
) -> Tensor:
    """One row an image: input, reconstruction, translations in fixed and in fresh styles.

    images: (N, C, H, W) of domain way[0]. fixed, fresh: style codes (K, S), None for recipes
    without styles. Returns (3, H', W') in [-1, 1].
    """
    source, target = way
    height, width = images.shape[2:]
    columns = [as_rgb(images)[:, None]]
    if _reconstructs(model, source):
        columns.append(as_rgb(model.reconstruct(images, source))[:, None])
    styles = [1] if fixed is None or fresh is None else [fixed, fresh]
    for style in styles:
        translated = model.translate(images, target, style, source=source)
        columns.append(as_rgb(translated.flatten(0, 1)).unflatten(0, translated.shape[:2]))
    columns = [column.to("cpu", torch.float32) for column in columns]
    cells = torch.cat([_fit(column, height, width) for column in columns], dim=1)
    flat = cells.flatten(0, 1)
    grid: Tensor = make_grid(flat, nrow=cells.shape[1], padding=2, pad_value=1.0)
    return grid


def _reconstructs(model: TranslationModel, domain: str) -> bool:
    """Whether the recipe decodes images of a domain within it."""
    return any(
        way.source.name == domain and way.translation.reconstruction is not None
        for way in Translator(model).ways()
    )


def _fit(column: Tensor, height: int, width: int) -> Tensor:
    """Cells of one size, for recipes whose domains differ in it."""
    if column.shape[-2:] == (height, width):
        return column
    flat = torch.nn.functional.interpolate(column.flatten(0, 1), (height, width), mode="nearest")
    each: Tensor = flat.unflatten(0, column.shape[:2])
    return each


def save_grid(path: Path, grid: Tensor) -> None:
    """Write a grid (3, H, W) in [-1, 1] as PNG, whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    write_image(temporary, from_unit(grid.clamp(-1, 1), np.uint8))
    temporary.replace(path)


def grid_columns(model: TranslationModel, styles: int) -> Mapping[str, int]:
    """What the columns of a grid are, with their number, in order."""
    columns = {"input": 1}
    if _reconstructs(model, model.domains[0].name):
        columns["reconstruction"] = 1
    if model.style_dim:
        return {**columns, "fixed styles": styles, "fresh styles": styles}
    return {**columns, "translation": 1}
