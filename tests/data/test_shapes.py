"""Synthetic shapes: known, deterministic, disjoint, distinct."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from munit_zoo.data import Dataset
from munit_zoo.data.shapes import LEVELS, Shapes
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError


def make(domain: str, split: str = "train", **settings) -> Shapes:
    return Shapes(Domain(domain), split, **settings)


@pytest.mark.parametrize("domain", ["a", "b"])
def test_an_image(domain: str):
    dataset = make(domain)
    assert isinstance(dataset, Dataset)
    image = dataset.train(3, np.random.default_rng(0))
    assert (image.shape, image.dtype) == ((3, 32, 32), torch.float32)
    assert -1 <= image.min() < image.max() <= 1
    assert torch.equal(image, make(domain).test(3))


def test_a_function_of_seed_domain_split_and_index():
    def key(dataset: Shapes, index: int) -> tuple[float, float]:
        found = dataset.factors([index])
        return (float(found.x[0]), float(found.y[0]))

    keys = [
        key(make(domain, split, seed=seed), index)
        for domain in "ab"
        for split in ("train", "test")
        for seed in (0, 1)
        for index in range(5)
    ]
    assert len(set(keys)) == len(keys)  # no content is shared


def test_factors_cover_their_ranges():
    found = make("b").factors(range(800))
    for name, levels in LEVELS.items():
        counts = np.bincount(getattr(found, name), minlength=levels)
        assert counts.min() > 800 / levels * 0.7, name
    for name in ("x", "y"):
        values = getattr(found, name)
        assert -0.2 <= values.min() < -0.19
        assert 0.19 < values.max() <= 0.2
    assert 0.5 <= found.size.min() < found.size.max() <= 0.68


@pytest.mark.parametrize("size", [16, 32, 64])
def test_any_size_shows_the_same_scene(size: int):
    small, large = make("b", size=size), make("b", size=128)
    shrunk = torch.nn.functional.interpolate(large.test(0)[None], (size, size), mode="area")
    assert (shrunk[0] - small.test(0)).abs().mean() < 0.1


def test_factors_are_what_is_drawn():
    """The drawn shape's middle and extent are those of its factors."""
    dataset = make("b", size=64)
    factors = dataset.factors(range(40))
    images = dataset.render(factors)
    centres = (np.arange(64) + 0.5) / 32 - 1
    background = images[:, :, :1, :1]
    ink = ((images - background).abs().sum(1) > 0.4).numpy().astype(float)
    for index in np.flatnonzero(factors.shape != 2):  # a triangle's middle is not its centroid
        weights = ink[index] / ink[index].sum()
        assert (weights.sum(0) @ centres) == pytest.approx(factors.x[index], abs=0.06)
        assert (weights.sum(1) @ centres) == pytest.approx(factors.y[index], abs=0.06)


def test_every_factor_can_be_seen():
    for domain in "ab":
        dataset = make(domain, texture=domain == "b", size=48)
        base = dataset.factors([5])
        for name in ("shape", *dataset.style_factors):
            images = []
            for level in range(dataset.levels(name)):
                other = dataset.factors([5])
                getattr(other, name)[:] = level
                images.append(dataset.render(other))
            for i, first in enumerate(images):
                for second in images[i + 1 :]:
                    assert (first - second).abs().mean() > 0.01, name
        assert len(base) == 1


def test_what_is_the_other_domains_style_is_not_shown():
    dataset = make("a")
    factors, other = dataset.factors([0]), dataset.factors([0])
    other.hue[:] = (other.hue + 1) % 8
    other.background[:] = (other.background + 1) % 4
    assert torch.equal(dataset.render(factors), dataset.render(other))


def test_the_oracle_renders_one_content_in_the_other_style():
    a, b = make("a", "test"), make("b", "test")
    content = a.factors(range(4))
    styles = b.factors([7, 7, 7, 7])
    drawn = b.render(content.with_style_of(styles, b.style_factors))
    assert (drawn[:, :, 0, 0] == drawn[:1, :, 0, 0]).all()  # one background


def test_the_adversarial_track():
    a, b = make("a", track="adversarial"), make("b", track="adversarial")
    assert a.content_factors == b.content_factors == ("shape", "hue")
    assert a.style_factors == ("width",)
    assert b.style_factors == ("background",)
    factors, turned = a.factors([0]), a.factors([0])
    turned.rotation[:] += 0.5
    assert torch.equal(a.render(factors), a.render(turned))  # only B is rotated
    other = a.factors([0])
    other.hue[:] = (other.hue + 1) % 8
    assert not torch.equal(a.render(factors), a.render(other))  # the hue is shared


def test_what_it_does_not_have():
    with pytest.raises(
        DataError, match="domains A and B of 3 channels; the config asks for A of 1"
    ):
        Shapes(Domain("a", 1), "train")
    with pytest.raises(DataError, match="asks for C"):
        Shapes(Domain("c"), "train")
