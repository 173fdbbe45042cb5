"""Distances of two sets of feature vectors: Fréchet, kernel, and nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["FeatureStore", "Moments", "frechet_distance", "kernel_distance", "neighbourhoods"]


class Moments:
    """Mean and covariance of features, streaming, in double precision.

    Batches are merged by their means and deviations (Chan et al. 1979), which keeps what a sum of
    squares would lose.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor = torch.zeros(0, dtype=torch.float64)
        self.scatter: Tensor = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """More features (N, D)."""
        x = features.detach().cpu().double()
        count, mean = len(x), x.mean(0)
        scatter = (x - mean).T @ (x - mean)
        if self.count:
            total = self.count + count
            apart = mean - self.mean
            scatter = (
                self.scatter + scatter + torch.outer(apart, apart) * self.count * count / total
            )
            mean = self.mean + apart * count / total
            count = total
        self.count, self.mean, self.scatter = count, mean, scatter

    @property
    def covariance(self) -> Tensor:
        """(D, D), unbiased."""
        return self.scatter / max(self.count - 1, 1)


def frechet_distance(one: Moments, other: Moments) -> float:
    """Squared Fréchet distance of two Gaussians (Heusel et al. 2017): |m - m'|² + tr(C + C' -
    2 (C C')^½). The trace of the root is the sum of the roots of the eigenvalues of C^½ C' C^½,
    which is symmetric: no complex numbers, no product that is nearly singular."""
    first, second = one.covariance, other.covariance
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    inside = torch.linalg.eigvalsh(root @ second @ root)
    shared = inside.clamp_min(0).sqrt().sum()
    apart = (one.mean - other.mean).square().sum()
    return float(apart + first.trace() + second.trace() - 2 * shared)


def kernel_distance(
    real: Tensor, fake: Tensor, *, subset: int, subsets: int, generator: torch.Generator
) -> tuple[float, float]:
    """Kernel distance (Bińkowski et al. 2018) and its deviation over subsets.

    The unbiased estimate of the squared MMD with the kernel (x·y/D + 1)³, averaged over `subsets`
    random subsets of `subset` features of each set; where there are not so many, the estimate over
    all of them, without a deviation.
    """
    least = min(len(real), len(fake))
    if least < 2:
        return float("nan"), float("nan")
    if least <= subset:
        return _mmd(real.double(), fake.double()), float("nan")
    found = []
    for _ in range(subsets):
        parts = [
            x[torch.randperm(len(x), generator=generator)[:subset]].double() for x in (real, fake)
        ]
        found.append(_mmd(*parts))
    values = torch.tensor(found, dtype=torch.float64)
    return float(values.mean()), float(values.std(correction=0))


def _mmd(real: Tensor, fake: Tensor) -> float:
    width = real.shape[1]

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / width + 1) ** 3

    def within(x: Tensor) -> Tensor:
        table = kernel(x, x)
        return (table.sum() - table.diagonal().sum()) / (len(x) * (len(x) - 1))

    return float(within(real) + within(fake) - 2 * kernel(real, fake).mean())


def neighbourhoods(
    real: Tensor, fake: Tensor, *, neighbours: int = 3, dense: int = 5, block: int = 1024
) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    neighbours: k of precision and recall; dense: k of density and coverage. A set no larger than k
    has no such neighbourhood: the scores that need it are not a number.
    """
    real, fake = real.double(), fake.double()  # distances near zero decide who is a neighbour
    nan = float("nan")
    found = dict.fromkeys(("precision", "recall", "density", "coverage"), nan)
    if len(real) > neighbours and len(fake) > neighbours:
        balls, theirs = (_radii(x, neighbours, block) for x in (real, fake))
        inside = [(torch.cdist(part, real) <= balls).any(1) for part in fake.split(block)]
        reached = [(torch.cdist(part, fake) <= theirs).any(1) for part in real.split(block)]
        found["precision"] = float(torch.cat(inside).double().mean())
        found["recall"] = float(torch.cat(reached).double().mean())
    if len(real) > dense and len(fake):
        balls = _radii(real, dense, block)
        counts, nearest = 0.0, torch.full((len(real),), torch.inf, dtype=real.dtype)
        for part in fake.split(block):
            distances = torch.cdist(part, real)
            counts += float((distances < balls).sum())
            nearest = torch.minimum(nearest, distances.amin(0))
        found["density"] = counts / (dense * len(fake))
        found["coverage"] = float((nearest < balls).double().mean())
    return found


def _radii(x: Tensor, neighbours: int, block: int) -> Tensor:
    """Distance of each to its k-th neighbour, itself not counted."""
    parts = [torch.cdist(part, x).kthvalue(neighbours + 1).values for part in x.split(block)]
    return torch.cat(parts)


@dataclass
class FeatureStore:
    """A set of features: moments of all of them, and a part of them as they are.

    keep: how many are kept, those whose numbers `chosen` holds; memory grows no further.
    """

    keep: int
    total: int
    generator: torch.Generator
    moments: Moments = field(default_factory=Moments)

    def __post_init__(self) -> None:
        chosen = torch.randperm(self.total, generator=self.generator)[: self.keep]
        self._chosen = torch.zeros(self.total, dtype=torch.bool)
        self._chosen[chosen] = True
        self._kept: list[Tensor] = []
        self._seen = 0

    def add(self, features: Tensor) -> None:
        """More features (N, D); no more in all than `total`."""
        features = features.detach().float().cpu()
        self.moments.add(features)
        mask = self._chosen[self._seen : self._seen + len(features)]
        self._kept.append(features[mask])
        self._seen += len(features)

    @property
    def kept(self) -> Tensor:
        """(at most `keep`, D)."""
        return torch.cat(self._kept)
