"""Synthetic images with known factors: simple shapes, drawn in two styles.

Two unpaired domains that share their content (which shape, where, how large, how rotated) and have
styles of their own: A outlines on white (stroke width, ink), B filled shapes on a coloured
background (hue, background, with TEXTURE also a texture). Everything can be measured, because every
factor of every image is known. NumPy alone draws them; nothing is downloaded.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from munit_zoo.data.seeding import rng
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError

__all__ = ["LEVELS", "Factors", "Shapes"]

LEVELS = {"shape": 5, "width": 3, "ink": 3, "hue": 8, "background": 4, "texture": 4}
"""Number of values of each categorical factor."""

SHAPE_NAMES = ("circle", "square", "triangle", "star", "cross")
TEXTURE_NAMES = ("plain", "outline", "white core", "shading")

_WIDTHS = np.array([0.07, 0.13, 0.21])  # in half images
_INKS = np.array([(0.08, 0.08, 0.10), (0.84, 0.12, 0.14), (0.10, 0.28, 0.86)])
# light enough for the dark outline to be seen on each
_BACKGROUNDS = np.array(
    [(0.97, 0.97, 0.97), (0.56, 0.57, 0.60), (0.55, 0.75, 0.95), (0.95, 0.85, 0.55)]
)
_HUES = np.array([colorsys.hsv_to_rgb(k / 8, 0.85, 0.92) for k in range(8)])
_OUTLINE, _OUTLINE_WIDTH = np.array((0.05, 0.05, 0.07)), 0.10


@dataclass(frozen=True)
class Factors:
    """Factors of N images, an array (N,) each.

    shape, width, ink, hue, background, texture: classes, 0 to LEVELS - 1.
    x, y: centre in half images from the middle, x to the right and y down, within ±0.2.
    size: radius in half images, 0.50 to 0.68. rotation: radians.
    """

    shape: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    size: NDArray[np.float64]
    rotation: NDArray[np.float64]
    width: NDArray[np.int64]
    ink: NDArray[np.int64]
    hue: NDArray[np.int64]
    background: NDArray[np.int64]
    texture: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> Factors:
        return Factors(
            **{f.name: np.atleast_1d(getattr(self, f.name)[index]) for f in fields(self)}
        )

    def with_style_of(self, other: Factors, names: Sequence[str]) -> Factors:
        """These images with the named factors of others."""
        return replace(self, **{name: getattr(other, name) for name in names})

    @staticmethod
    def join(parts: Sequence[Factors]) -> Factors:
        """The images of several."""
        names = [f.name for f in fields(Factors)]
        return Factors(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


class Shapes:
    """Shapes drawn in the style of domain A or B.

    size: side of the images. count, test_count: images a split. seed: of what is drawn; domains and
    splits draw independently, so that no content is shared. texture: a further style factor of B.
    track: `aligned`: every style factor is appearance; `adversarial`: the hue belongs to the
    content (A's ink has it too) and only B is rotated, which methods based on AdaIN are known to
    get wrong (Bashkirova, Usman, Saenko, WACV 2022).

    Images are float32 (3, size, size) in [-1, 1], antialiased, a function of (seed, domain, split,
    index). Raises DataError for a domain other than A and B or of other than 3 channels.
    """

    def __init__(
        self,
        domain: Domain,
        split: Literal["train", "test"],
        *,
        size: Annotated[int, Field(ge=8)] = 32,
        count: Annotated[int, Field(ge=1)] = 8000,
        test_count: Annotated[int, Field(ge=1)] = 1000,
        track: Literal["aligned", "adversarial"] = "aligned",
        texture: bool = False,
        seed: int = 0,
    ) -> None:
        if domain.name not in ("a", "b") or domain.channels != 3:
            raise DataError(
                f"the dataset shapes has the domains A and B of 3 channels; the config asks for "
                f"{domain.name.upper()} of {domain.channels}"
            )
        self.domain, self.split, self.side = domain.name, split, size
        self.count = count if split == "train" else test_count
        self.track, self.texture, self.seed = track, texture, seed

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return (self.side, self.side)

    @property
    def style_factors(self) -> tuple[str, ...]:
        """Names of the factors that are this domain's style."""
        if self.domain == "a":
            return ("width",) if self.track == "adversarial" else ("width", "ink")
        hue = () if self.track == "adversarial" else ("hue",)
        return (*hue, "background", *(("texture",) if self.texture else ()))

    @property
    def content_factors(self) -> tuple[str, ...]:
        """Names of the categorical factors that a translation keeps."""
        return ("shape", "hue") if self.track == "adversarial" else ("shape",)

    def levels(self, factor: str) -> int:
        """Number of values of a categorical factor."""
        return LEVELS[factor]

    def prepare(self) -> None:
        """Nothing to find."""

    def __len__(self) -> int:
        return self.count

    def train(self, index: int, rng: np.random.Generator) -> torch.Tensor:
        """Image `index`; it is not augmented."""
        return self.test(index)

    def test(self, index: int) -> torch.Tensor:
        """Image `index`."""
        return self.render(self.factors([index]))[0]

    def name(self, index: int) -> str:
        """`shapes_a_000017`."""
        return f"shapes_{self.domain}_{index:06d}"

    def describe(self) -> dict[str, Any]:
        """What is drawn."""
        return {
            "images": len(self),
            "mapping": "drawn in [-1, 1]",
            "track": self.track,
            "style_factors": list(self.style_factors),
            "seed": self.seed,
        }

    def factors(self, indices: Sequence[int]) -> Factors:
        """Factors of images of this split."""
        return Factors.join([self._draw(self.split, index) for index in indices])

    def fresh(self, purpose: str, count: int) -> Factors:
        """Factors of images that are in neither split: to train a judge on."""
        return Factors.join([self._draw(purpose, index) for index in range(count)])

    def _draw(self, purpose: str, index: int) -> Factors:
        draw = rng("shapes", self.seed, self.domain, purpose, index)
        # all factors in a fixed order, whatever the domain shows: the oracle renderer needs them
        classes = {name: draw.integers(levels) for name, levels in LEVELS.items()}
        x, y = draw.uniform(-0.2, 0.2, size=2)
        size, rotation = draw.uniform(0.50, 0.68), draw.uniform(-np.pi, np.pi)
        values = {"x": x, "y": y, "size": size, "rotation": rotation, **classes}
        return Factors(**{f.name: np.array([values[f.name]]) for f in fields(Factors)})

    def render(self, factors: Factors) -> torch.Tensor:
        """Images with these factors in this domain's style: float32 (N, 3, size, size)."""
        upright = self.track == "adversarial" and self.domain == "a"
        rotation = np.zeros_like(factors.rotation) if upright else factors.rotation
        distance = _distance(factors, rotation, self.side)
        if self.domain == "a":
            ink = _HUES[factors.hue] if self.track == "adversarial" else _INKS[factors.ink]
            # the stroke lies inside the contour, so that its width does not change the size
            width = _WIDTHS[factors.width][:, None, None]
            image = np.ones((len(factors), self.side, self.side, 3))
            image = _paint(image, np.maximum(distance, -distance - width), ink, self.side)
        else:
            image = np.ones((len(factors), self.side, self.side, 3))
            image *= _BACKGROUNDS[factors.background][:, None, None]
            image = _paint(image, distance, np.broadcast_to(_OUTLINE, (len(factors), 3)), self.side)
            fill = _HUES[factors.hue]
            image = _paint(image, distance + _OUTLINE_WIDTH, fill, self.side)
            if self.texture:
                image = _textured(image, distance, factors, fill, self.side)
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
        return (pixels * 2 - 1).float()


def _paint(
    image: NDArray[np.float64],
    distance: NDArray[np.float64],
    colour: NDArray[np.float64],
    side: int,
) -> NDArray[np.float64]:
    """Paint where the distance (in half images) is negative, antialiased over one pixel."""
    cover = np.clip(0.5 - distance * side / 2, 0, 1)[..., None]
    return image + cover * (colour[:, None, None] - image)


def _textured(
    image: NDArray[np.float64],
    distance: NDArray[np.float64],
    factors: Factors,
    fill: NDArray[np.float64],
    side: int,
) -> NDArray[np.float64]:
    inner = distance + _OUTLINE_WIDTH
    depth = -inner.min(axis=(1, 2), keepdims=True)  # so that thin shapes have room for it, too
    white = np.ones((len(factors), 3))
    ring = np.maximum(inner + 0.25 * depth, -(inner + 0.65 * depth))
    painted = _paint(image, ring, white, side)
    core = _paint(image, inner + 0.45 * depth, white, side)
    rows = np.linspace(0, 1, side)[None, :, None]
    shade = np.clip(0.5 - inner * side / 2, 0, 1)[..., None] * (0.65 * rows)[..., None]
    shaded = image * (1 - shade)
    chosen = factors.texture[:, None, None, None]
    return np.select([chosen == 1, chosen == 2, chosen == 3], [painted, core, shaded], image)


def _distance(factors: Factors, rotation: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Signed distance to each shape's contour, in half images, negative inside: (N, side, side)."""
    centres = (np.arange(side) + 0.5) / side * 2 - 1
    x = centres[None, None, :] - factors.x[:, None, None]
    y = centres[None, :, None] - factors.y[:, None, None]
    cos, sin = np.cos(rotation)[:, None, None], np.sin(rotation)[:, None, None]
    scale = factors.size[:, None, None]
    u, v = (cos * x + sin * y) / scale, (cos * y - sin * x) / scale
    result = np.empty(np.broadcast_shapes(u.shape, v.shape))
    for shape, contour in enumerate((_circle, _square, _triangle, _star, _cross)):
        chosen = factors.shape == shape
        if chosen.any():
            result[chosen] = contour(u[chosen], v[chosen])
    return result * scale


def _circle(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.hypot(u, v) - 0.85


def _square(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(abs(u), abs(v)) - 0.74


def _triangle(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    half_plane = np.maximum(v, np.maximum(0.866 * u - 0.5 * v, -0.866 * u - 0.5 * v))
    return half_plane - 0.56


def _star(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Five points: the plane is folded into one half of one point, whose edge is a line."""
    outer, inner, sector = 1.06, 0.50, np.pi / 5
    radius, angle = np.hypot(u, v), np.arctan2(u, -v)
    angle = abs((angle + sector) % (2 * sector) - sector)
    a, b = radius * np.cos(angle), radius * np.sin(angle)
    tip, notch = (outer, 0.0), (inner * np.cos(sector), inner * np.sin(sector))
    edge = (notch[0] - tip[0], notch[1] - tip[1])
    length = float(np.hypot(*edge))
    return ((a - tip[0]) * edge[1] - (b - tip[1]) * edge[0]) / length


def _cross(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    along = np.maximum(abs(u) - 0.95, abs(v) - 0.34)
    across = np.maximum(abs(u) - 0.34, abs(v) - 0.95)
    return np.minimum(along, across)
