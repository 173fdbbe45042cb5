"""What a recipe is fed, as data: images, labels and random numbers, each a name in its graph.

    inputs = {"x_a": Image("a"), "x_b": Image("b"), "z_b": Draw("normal", ("style_dim",))}

The data stream reads from it what to sample, the engine what to draw. Whatever is random is an
input with a name, so that a caller can give it instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Draw", "Image", "Input", "Label"]


@dataclass(frozen=True)
class Image:
    """An image of the batch, (N, C, H, W) in [-1, 1].

    domain: the recipe's letter of its domain; None: of any of K domains, chosen anew for each
        sample.
    like: another input: this one is a further image of whatever domain that is of.
    paired_with: another input: this one shows the same scene.
    """

    domain: str | None = None
    like: str | None = None
    paired_with: str | None = None


@dataclass(frozen=True)
class Label:
    """What is known of an image: its domain's or class's number, int64 (N,), or attributes, float
    (N, K).

    of: the input that it tells of.
    attributes: how many, a number or the name of an attribute of the recipe; None: it is a number.
    """

    of: str
    attributes: int | str | None = None


@dataclass(frozen=True)
class Draw:
    """A random input.

    kind: `normal` N(0, 1); `uniform` in [0, 1); `integer` of 0 to below - 1; `permutation` of the
        samples of the (global) batch.
    shape: of one sample, in numbers or names of the recipe's attributes.
    like: instead of `shape`, a name of the graph whose shape it has.
    below: for `integer`, a number or the name of an attribute.
    shared: one draw for the whole batch, not one a sample: the batch dimension is 1.
    """

    kind: Literal["normal", "uniform", "integer", "permutation"] = "normal"
    shape: tuple[int | str, ...] = ()
    like: str | None = None
    below: int | str = 0
    shared: bool = False


Input = Image | Label | Draw
