"""Synthetic shapes: known, deterministic, disjoint, distinct."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from munit_zoo.data import Dataset, Labelled, Paired
from munit_zoo.data.shapes import LEVELS, MANNERS, SHAPE_NAMES, Shapes
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError


def make(domain: str, split: str = "train", **settings) -> Shapes:
    return Shapes(Domain(domain), split, **settings)


LETTERS = "abcdef"


@pytest.mark.parametrize("domain", LETTERS)
def test_an_image(domain: str):
    dataset = make(domain)
    assert isinstance(dataset, Dataset)
    assert isinstance(dataset, Labelled)
    assert isinstance(dataset, Paired)
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
        for domain in LETTERS
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
    for domain in LETTERS:
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


def test_images_of_earlier_versions_stay_as_they_were():
    digest = hashlib.sha256()
    for domain in "ab":
        for track in ("aligned", "adversarial"):
            dataset = make(domain, "test", track=track, texture=True, size=16, seed=3)
            digest.update((dataset.render(dataset.factors(range(8))) * 100).round().char().numpy())
    assert digest.hexdigest()[:16] == "098c87d37f9e4026"


def test_domains_are_drawn_by_their_order_whatever_their_names():
    named = Shapes(Domain("night", index=1, among=("day", "night")), "train")
    assert torch.equal(named.test(4), make("b").test(4))
    assert (named.name(4), named.label(4)) == ("shapes_night_000004", 1)


def test_manners_differ():
    datasets = [make(domain, paired=True, size=48) for domain in LETTERS]
    assert len(MANNERS) == len(datasets)
    images = [dataset.test(3) for dataset in datasets]
    for i, first in enumerate(images):
        for second in images[i + 1 :]:
            assert (first - second).abs().mean() > 0.05


@pytest.mark.parametrize("track", ["aligned", "adversarial"])
def test_pairs_share_their_content_and_nothing_else(track: str):
    datasets = [make(domain, paired=True, track=track) for domain in LETTERS]
    found = [dataset.factors(range(40)) for dataset in datasets]
    content = ("x", "y", "size", "rotation", *datasets[0].content_factors)
    for other in found[1:]:
        for name in content:
            assert (getattr(other, name) == getattr(found[0], name)).all(), name
    assert (found[1].background != found[2].background).any()
    assert datasets[1].scene(7) == datasets[4].scene(7) != datasets[4].scene(8)
    assert (make("a").factors(range(40)).x != found[0].x).any()
    with pytest.raises(DataError, match="set DATA.PAIRED=true"):
        make("a").scene(0)


def test_labels():
    assert [make(domain).label(0) for domain in LETTERS] == [0, 1, 2, 3, 4, 5]
    assert make("a").label_names == ()
    classes = make("c", labels="shape")
    assert classes.label_names == SHAPE_NAMES
    assert classes.label(3) == classes.factors([3]).shape[0]
    attributes = make("a", labels="factors")
    assert attributes.label_names[:4] == ("width_0", "width_1", "width_2", "ink_0")
    factors, label = attributes.factors([3]), attributes.label(3)
    assert (label.dtype, label.shape) == (torch.float32, (6,))
    assert label.nonzero().flatten().tolist() == [factors.width[0], 3 + factors.ink[0]]


def test_what_it_does_not_have():
    with pytest.raises(DataError, match="up to 6 domains of 3 channels; .* A, number 1, of 1"):
        Shapes(Domain("a", 1), "train")
    with pytest.raises(DataError, match="asks for G, number 7, of 3"):
        Shapes(Domain("g"), "train")
