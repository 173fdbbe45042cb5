"""Synthetic images with known factors: simple shapes, drawn in up to six manners.

Domains that share their content (which shape, where, how large, how rotated) and have styles of
their own, by their order:

    A outlines  on white: width of the stroke, ink
    B filled    with a dark outline, on a coloured background: hue, background, with TEXTURE also
                a texture
    C night     filled, on a dark background: hue, background
    D hatched   on white: distance of the lines (the factor width), ink
    E blurred   filled, with soft edges, on a coloured background: hue, background
    F chalk     light outlines on a dark board: width, background

Everything can be measured, because every factor of every image is known. NumPy alone draws them;
nothing is downloaded.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from munit_zoo.data.seeding import rng
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError
from munit_zoo.registry.ranges import Positive

__all__ = ["LEVELS", "MANNERS", "Factors", "Shapes"]

MANNERS = ("outlines", "filled", "night", "hatched", "blurred", "chalk")
"""How the domains are drawn, by their order."""

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
_NIGHTS = np.array([(0.05, 0.05, 0.06), (0.06, 0.10, 0.28), (0.05, 0.22, 0.14), (0.26, 0.08, 0.12)])
_CHALK, _SOFT = np.array((0.93, 0.93, 0.88)), 0.30
_HATCHES = np.array([0.20, 0.32, 0.48])  # distance of the lines, in half images
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

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> Factors:
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
    """Shapes drawn in the manner of a domain: the first as `outlines`, the second `filled`, …

    size: side of the images. count, test_count: images a split. seed: of what is drawn; domains and
    splits draw independently, so that no content is shared. texture: a further style factor of B.
    paired: image i shows one content in every domain, each in a style of its own.
    labels: what a recipe's labels are: the `domain`, the `shape` (a class), or the style's
    `factors` (an attribute 0 or 1 for each value of each).
    track: `aligned`: every style factor is appearance; `adversarial`: the hue belongs to the
    content (A's ink has it too) and A alone is not rotated, which methods based on AdaIN are known
    to get wrong (Bashkirova, Usman, Saenko, WACV 2022).

    Images are float32 (3, size, size) in [-1, 1], antialiased, a function of (seed, domain's place,
    split, index). Raises DataError for a seventh domain, or one of other than 3 channels.
    """

    def __init__(
        self,
        domain: Domain,
        split: Literal["train", "test"],
        *,
        size: Annotated[int, Field(ge=8, le=4096)] = 32,
        count: Positive = 8000,
        test_count: Positive = 1000,
        track: Literal["aligned", "adversarial"] = "aligned",
        texture: bool = False,
        paired: bool = False,
        labels: Literal["domain", "shape", "factors"] = "domain",
        seed: int = 0,
    ) -> None:
        if domain.place >= len(MANNERS) or domain.channels != 3:
            raise DataError(
                f"the dataset shapes draws up to {len(MANNERS)} domains of 3 channels; the config "
                f"asks for {domain.key}, number {domain.place + 1}, of {domain.channels}"
            )
        self.domain, self.split, self.side = domain.letter, split, size
        self.called, self.place = domain.name, domain.place
        self.manner = MANNERS[domain.place]
        self.count = count if split == "train" else test_count
        self.track, self.texture, self.seed = track, texture, seed
        self.paired, self.labels = paired, labels

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return (self.side, self.side)

    @property
    def style_factors(self) -> tuple[str, ...]:
        """Names of the factors that are this domain's style."""
        aligned = self.track == "aligned"
        if self.manner in ("outlines", "hatched"):
            return ("width", "ink") if aligned else ("width",)
        if self.manner == "chalk":
            return ("width", "background")
        texture = ("texture",) if self.texture and self.manner == "filled" else ()
        return (*(("hue",) if aligned else ()), "background", *texture)

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
        return f"shapes_{self.called}_{index:06d}"

    def scene(self, index: int) -> str:
        """The content that it shows. Raises DataError unless the domains are drawn in pairs."""
        if not self.paired:
            raise DataError(
                "the recipe trains on pairs, and shapes are drawn without: set DATA.PAIRED=true"
            )
        return f"{index:06d}"

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes or attributes; empty where the domain is the label."""
        if self.labels == "shape":
            return SHAPE_NAMES
        if self.labels == "factors":
            return tuple(f"{n}_{level}" for n in self.style_factors for level in range(LEVELS[n]))
        return ()

    def label(self, index: int) -> int | torch.Tensor:
        """The shape's number, the factors' attributes float32 (K,), or the domain's number."""
        if self.labels == "domain":
            return self.place
        factors = self.factors([index])
        if self.labels == "shape":
            return int(factors.shape[0])
        return torch.cat(
            [
                torch.nn.functional.one_hot(torch.as_tensor(getattr(factors, n)), LEVELS[n])[0]
                for n in self.style_factors
            ]
        ).float()

    def describe(self) -> dict[str, object]:
        """What is drawn."""
        manner = {"manner": self.manner} if self.place > 1 else {}
        return {
            **manner,
            **({"paired": True} if self.paired else {}),
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
        own = self._drawn(self.domain, purpose, index)
        if not self.paired:
            return own
        content = self._drawn("scene", purpose, index)
        return content.with_style_of(own, self.style_factors)

    def _drawn(self, whose: str, purpose: str, index: int) -> Factors:
        draw = rng("shapes", self.seed, whose, purpose, index)
        # all factors in a fixed order, whatever the domain shows: the oracle renderer needs them
        classes = {name: draw.integers(levels) for name, levels in LEVELS.items()}
        x, y = draw.uniform(-0.2, 0.2, size=2)
        size, rotation = draw.uniform(0.50, 0.68), draw.uniform(-np.pi, np.pi)
        values = {"x": x, "y": y, "size": size, "rotation": rotation, **classes}
        return Factors(**{f.name: np.array([values[f.name]]) for f in fields(Factors)})

    def render(self, factors: Factors) -> torch.Tensor:
        """Images with these factors in this domain's style: float32 (N, 3, size, size)."""
        upright = self.track == "adversarial" and self.manner == "outlines"
        rotation = np.zeros_like(factors.rotation) if upright else factors.rotation
        distance = _distance(factors, rotation, self.side)
        image = np.ones((len(factors), self.side, self.side, 3))
        ink = _HUES[factors.hue] if self.track == "adversarial" else _INKS[factors.ink]
        fill = _HUES[factors.hue]
        # a stroke lies inside the contour, so that its width does not change the size
        width = _WIDTHS[factors.width][:, None, None]
        stroke = np.maximum(distance, -distance - width)
        if self.manner == "outlines":
            image = _paint(image, stroke, ink, self.side)
        elif self.manner == "filled":
            image *= _BACKGROUNDS[factors.background][:, None, None]
            image = _paint(image, distance, np.broadcast_to(_OUTLINE, (len(factors), 3)), self.side)
            image = _paint(image, distance + _OUTLINE_WIDTH, fill, self.side)
            if self.texture:
                image = _textured(image, distance, factors, fill, self.side)
        elif self.manner == "night":
            image *= _NIGHTS[factors.background][:, None, None]
            image = _paint(image, distance, fill, self.side)
        elif self.manner == "hatched":
            image = _paint(image, np.maximum(distance, -distance - _WIDTHS[0]), ink, self.side)
            lines = _hatching(_HATCHES[factors.width], self.side)
            image = _paint(image, np.maximum(distance, lines), ink, self.side)
        elif self.manner == "blurred":
            image *= _BACKGROUNDS[factors.background][:, None, None]
            image = _paint(image, distance, fill, 2 / _SOFT)
        else:
            image *= _NIGHTS[factors.background][:, None, None]
            chalk = np.broadcast_to(_CHALK, (len(factors), 3))
            image = _paint(image, stroke, fill if self.track == "adversarial" else chalk, self.side)
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
        return (pixels * 2 - 1).float()


def _paint(
    image: NDArray[np.float64],
    distance: NDArray[np.float64],
    colour: NDArray[np.float64],
    side: float,
) -> NDArray[np.float64]:
    """Paint where the distance (in half images) is negative, antialiased over one pixel of an
    image of this side."""
    cover = np.clip(0.5 - distance * side / 2, 0, 1)[..., None]
    return image + cover * (colour[:, None, None] - image)


def _hatching(period: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Distance to slanting lines, in half images, negative within them: (N, side, side)."""
    centres = (np.arange(side) + 0.5) / side * 2 - 1
    across = (centres[None, :] + centres[:, None])[None] / np.sqrt(2)
    period = period[:, None, None]
    distance: NDArray[np.float64] = abs(across % period - period / 2) - 0.22 * period
    return distance


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
    distance: NDArray[np.float64] = ((a - tip[0]) * edge[1] - (b - tip[1]) * edge[0]) / length
    return distance


def _cross(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    along = np.maximum(abs(u) - 0.95, abs(v) - 0.34)
    across = np.maximum(abs(u) - 0.34, abs(v) - 0.95)
    return np.minimum(along, across)
