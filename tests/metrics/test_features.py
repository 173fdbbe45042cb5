"""The arithmetic of fidelity: cases known by hand, and the libraries' on the same features."""

from __future__ import annotations

import math

import pytest
import torch

from munit_zoo.metrics.features import (
    FeatureStore,
    Moments,
    frechet_distance,
    kernel_distance,
    neighbourhoods,
)
from munit_zoo.metrics.sampling import draws, seeded, spread


def features(count: int, width: int = 12, *, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(99))
    return (torch.randn(count, width, generator=generator) + shift) @ mixing


def moments(x: torch.Tensor, *, parts: int = 1) -> Moments:
    found = Moments()
    for part in x.chunk(parts):
        found.add(part)
    return found


def test_moments_are_those_of_the_whole():
    x = features(301) + 1000
    streamed, whole = moments(x, parts=7), moments(x)
    torch.testing.assert_close(streamed.mean, x.double().mean(0))
    torch.testing.assert_close(streamed.covariance, torch.cov(x.double().T))
    torch.testing.assert_close(streamed.covariance, whole.covariance)


def test_frechet_distance_by_hand():
    """Between N(m, diag a) and N(m', diag b): |m - m'|² + Σ (√a - √b)²."""
    one, other = Moments(), Moments()
    one.count = other.count = 2
    one.mean, other.mean = torch.tensor([[1.0, 2, 3], [1, 0, 3]]).double()
    one.scatter, other.scatter = torch.diag(torch.tensor([4.0, 9, 0])), torch.eye(3)
    one.scatter, other.scatter = one.scatter.double(), other.scatter.double()
    assert frechet_distance(one, other) == pytest.approx(4 + 1 + 4 + 1)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("counts", [(200, 150), (8, 9)])  # few: singular covariances
def test_frechet_distance_is_torch_fidelitys(counts):
    theirs = pytest.importorskip("torch_fidelity.metric_fid")
    x, y = features(counts[0]), features(counts[1], seed=1, shift=0.5)
    stats = [theirs.fid_features_to_statistics(part.double()) for part in (x, y)]
    expected = theirs.fid_statistics_to_metric(*stats, False)["frechet_inception_distance"]
    assert frechet_distance(moments(x), moments(y, parts=3)) == pytest.approx(expected, rel=1e-6)


def test_kernel_distance_is_torch_fidelitys():
    theirs = pytest.importorskip("torch_fidelity.metric_kid")
    x, y = features(60).double(), features(60, seed=1, shift=0.3).double()
    settings = {"kid_subsets": 3, "kid_subset_size": 60, "verbose": False}
    expected = theirs.kid_features_to_metric(x, y, **settings)["kernel_inception_distance_mean"]
    found, deviation = kernel_distance(x, y, subset=60, subsets=3, generator=seeded(0))
    assert found == pytest.approx(expected, rel=1e-9)
    assert math.isnan(deviation)


def test_kernel_distance_over_subsets_has_the_mean_of_the_whole():
    x, y = features(120), features(90, seed=1, shift=0.5)
    whole, _ = kernel_distance(x, y, subset=120, subsets=1, generator=seeded(0))
    found, deviation = kernel_distance(x, y, subset=40, subsets=300, generator=seeded(0))
    assert found == pytest.approx(whole, abs=4 * deviation / math.sqrt(300))
    again, _ = kernel_distance(x, y, subset=40, subsets=300, generator=seeded(0))
    assert again == found


def test_kernel_distance_of_one_distribution_is_about_nothing():
    found, _ = kernel_distance(
        features(400), features(400, seed=1), subset=1000, subsets=1, generator=seeded(0)
    )
    apart, _ = kernel_distance(
        features(400), features(400, seed=1, shift=1), subset=1000, subsets=1, generator=seeded(0)
    )
    assert abs(found) < apart / 50


def test_precision_and_recall_are_torch_fidelitys():
    theirs = pytest.importorskip("torch_fidelity.metric_prc")
    real, fake = features(90), features(70, seed=1, shift=0.3)
    expected = theirs.calculate_precision_recall_full(fake.double(), real.double(), 3)
    found = neighbourhoods(real, fake, block=16)
    assert (found["precision"], found["recall"]) == pytest.approx(expected)


def test_density_and_coverage_by_hand():
    """Real 0, 1, 2 on a line, k = 1: balls of radius 1 around each, their edges left out."""
    real = torch.tensor([[0.0], [1], [2]])
    fake = torch.tensor([[0.5], [0.6], [9]])
    found = neighbourhoods(real, fake, neighbours=1, dense=1)
    assert found["density"] == pytest.approx(4 / 3)  # .5 and .6 lie in two balls each
    assert found["coverage"] == pytest.approx(2 / 3)
    same = neighbourhoods(real, real, neighbours=1, dense=1)
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)


def test_too_few_for_a_neighbourhood():
    found = neighbourhoods(torch.zeros(3, 2), torch.zeros(3, 2))
    assert all(map(math.isnan, found.values()))


def test_what_is_kept_is_bounded_and_a_function_of_the_seed():
    x = features(100)
    stores = [FeatureStore(10, 100, seeded(seed)) for seed in (1, 1, 2)]
    for store, parts in zip(stores, (4, 9, 4), strict=True):
        for part in x.chunk(parts):
            store.add(part)
    assert stores[0].kept.shape == (10, 12)
    assert torch.equal(stores[0].kept, stores[1].kept)
    assert not torch.equal(stores[0].kept, stores[2].kept)
    assert stores[0].moments.count == 100


def test_inputs_are_spread_and_draws_repeat_late():
    assert spread(4, 10) == [0, 2, 5, 7]
    assert spread(20, 3) == [0, 1, 2]
    drawn = draws(7, 5, 0, "x")
    assert sorted(drawn[:5]) == [0, 1, 2, 3, 4]
    assert draws(7, 5, 0, "x") == drawn != draws(7, 5, 1, "x")
