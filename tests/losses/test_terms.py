"""Terms of diversity, features and smoothness against their formulas."""

from __future__ import annotations

import pytest
import torch

from munit_zoo.errors import GraphError
from munit_zoo.losses.diversity import DiversitySensitive, ModeSeeking
from munit_zoo.losses.matching import FeatureMatching
from munit_zoo.losses.regularizers import TotalVariation


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_mode_seeking_is_the_inverse_of_how_far_images_are_apart():
    x, other, z, other_z = (
        drawn(2, 3, 4, 4),
        drawn(2, 3, 4, 4, seed=1),
        drawn(2, 5),
        drawn(2, 5, seed=2),
    )
    ratio = (x - other).abs().mean() / (z - other_z).abs().mean()
    torch.testing.assert_close(ModeSeeking()(x, other, z, other_z), 1 / (ratio + 1e-5))
    assert float(ModeSeeking()(x, x, z, other_z)) == pytest.approx(1e5)  # collapsed
    assert torch.isfinite(ModeSeeking()(x, other, z, z))


def test_diversity_counts_to_a_limit_for_each_sample():
    x, other = torch.zeros(2, 1, 2, 2), torch.tensor([0.5, 4.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    z, other_z = torch.zeros(2, 3), torch.ones(2, 3)
    loss = DiversitySensitive(limit=2.0)
    assert float(loss(x, other, z, other_z)) == -(0.5 + 2.0) / 2


def test_feature_matching_sums_or_averages_over_layers():
    ones = [[drawn(2, 3, 4, 4), drawn(2, 5, 2, 2, seed=1)], [drawn(2, 3, 2, 2, seed=2)]]
    others = [[drawn(2, 3, 4, 4, seed=3), drawn(2, 5, 2, 2, seed=4)], [drawn(2, 3, 2, 2, seed=5)]]
    pairs = [(ones[0][0], others[0][0]), (ones[0][1], others[0][1]), (ones[1][0], others[1][0])]
    total = sum((x - y).abs().mean() for x, y in pairs)
    torch.testing.assert_close(FeatureMatching()(ones, others), total)
    torch.testing.assert_close(FeatureMatching(over="mean")(ones, others), total / 3)
    means = sum((x.mean((0, 2, 3)) - y.mean((0, 2, 3))).abs().mean() for x, y in pairs)
    torch.testing.assert_close(FeatureMatching(compare="means")(ones, others), means)
    with pytest.raises(GraphError, match="do not compare"):
        FeatureMatching()(ones, others[:1])


def test_feature_matching_leaves_the_reals_alone():
    x, y = drawn(2, 3, 4, 4).requires_grad_(), drawn(2, 3, 4, 4, seed=1).requires_grad_()
    FeatureMatching()([x], [y]).backward()
    assert x.grad is not None
    assert y.grad is None


def test_total_variation():
    x = torch.tensor([[1.0, 3.0, 3.0], [0.0, 3.0, 7.0]]).view(1, 1, 2, 3)
    along, down = (2 + 0 + 3 + 4) / 4, (1 + 0 + 4) / 3
    assert float(TotalVariation()(x)) == pytest.approx(along + down)
    along, down = (4 + 0 + 9 + 16) / 4, (1 + 0 + 16) / 3
    assert float(TotalVariation(of="squares")(x)) == pytest.approx(along + down)
    assert float(TotalVariation()(torch.ones(1, 1, 1, 1))) == 0
