"""Reconstruction, regularising and adversarial losses against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from munit_zoo.losses import AdversarialLoss, NamesLoss
from munit_zoo.losses.adversarial import LSGAN, NSGAN, WGAN, Hinge
from munit_zoo.losses.reconstruction import L1, MSE, SmoothL1
from munit_zoo.losses.regularizers import GaussianKL, VaeKL
from munit_zoo.registry import LOSSES


@pytest.fixture
def x():
    return torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def y():
    return torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def logits(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = (8, 4, 2)
    return [3 * torch.randn(2, 1, s, s, generator=generator, dtype=torch.float64) for s in sizes]


def test_reconstruction(x, y):
    difference = x - y
    torch.testing.assert_close(L1()(x, y), difference.abs().mean())
    torch.testing.assert_close(MSE()(x, y), difference.square().mean())
    for beta in (1.0, 0.1):
        far = difference.abs()
        parabola = torch.where(far < beta, far.square() / (2 * beta), far - beta / 2)
        torch.testing.assert_close(SmoothL1(beta=beta)(x, y), parabola.mean())


def test_gaussian_kl_is_the_mean_square_of_one_tensor(x):
    assert GaussianKL.arity == 1
    torch.testing.assert_close(GaussianKL()(x), (x**2).mean())


def test_vae_kl_is_the_divergence_from_the_prior():
    mean = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logvar = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    posterior = torch.distributions.Normal(mean, (logvar / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(posterior, prior).sum(dim=1).mean()
    torch.testing.assert_close(VaeKL()(mean, logvar), expected)


def test_nsgan_towards_undecided():
    fakes, loss = logits(0), NSGAN(target=0.5)
    expected = sum(F.binary_cross_entropy_with_logits(f, torch.full_like(f, 0.5)) for f in fakes)
    torch.testing.assert_close(loss.generator(fakes), expected)
    torch.testing.assert_close(
        loss.discriminator(fakes, logits(1)), NSGAN().discriminator(fakes, logits(1))
    )


def test_lsgan():
    fakes, reals = logits(0), logits(1)
    generator = sum(((f - 1) ** 2).mean() for f in fakes)
    discriminator = sum(
        (f**2).mean() + ((r - 1) ** 2).mean() for f, r in zip(fakes, reals, strict=True)
    )
    torch.testing.assert_close(LSGAN().generator(fakes), generator)
    torch.testing.assert_close(LSGAN().discriminator(fakes, reals), discriminator)


def test_wgan():
    fakes, reals = logits(0), logits(1)
    means = [(f.mean(), r.mean()) for f, r in zip(fakes, reals, strict=True)]
    torch.testing.assert_close(WGAN().generator(fakes), -sum(f for f, _ in means))
    torch.testing.assert_close(WGAN().discriminator(fakes, reals), sum(f - r for f, r in means))


def test_nsgan_is_cross_entropy_of_sigmoids():
    fakes, reals = logits(0), logits(1)

    def entropy(values, target):
        return F.binary_cross_entropy(values.sigmoid(), torch.full_like(values, target))

    generator = sum(entropy(f, 1.0) for f in fakes)
    discriminator = sum(
        entropy(f, 0.0) + entropy(r, 1.0) for f, r in zip(fakes, reals, strict=True)
    )
    torch.testing.assert_close(NSGAN().generator(fakes), generator)
    torch.testing.assert_close(NSGAN().discriminator(fakes, reals), discriminator)


def test_nsgan_keeps_its_gradient_far_out():
    far = torch.tensor([-200.0], requires_grad=True)
    loss = NSGAN().generator([far])
    loss.backward()
    assert float(loss.detach()) == pytest.approx(200)
    assert far.grad.tolist() == pytest.approx([-1])


def test_hinge():
    fakes, reals = logits(0), logits(1)
    discriminator = sum(
        (1 + f).clamp_min(0).mean() + (1 - r).clamp_min(0).mean()
        for f, r in zip(fakes, reals, strict=True)
    )
    torch.testing.assert_close(Hinge().generator(fakes), -sum(f.mean() for f in fakes))
    torch.testing.assert_close(Hinge().discriminator(fakes, reals), discriminator)


@pytest.mark.parametrize("loss", [LSGAN, NSGAN, Hinge])
def test_adversarial_losses_sum_over_scales(loss):
    fakes, reals = logits(0), logits(1)
    alone = [loss().discriminator([f], [r]) for f, r in zip(fakes, reals, strict=True)]
    torch.testing.assert_close(loss().discriminator(fakes, reals), sum(alone))
    alone = [loss().generator([f]) for f in fakes]
    torch.testing.assert_close(loss().generator(fakes), sum(alone))
    with pytest.raises(ValueError, match="zip"):
        loss().discriminator(fakes, reals[:2])


@pytest.mark.parametrize("name", LOSSES.list())
def test_every_loss_says_how_it_is_called(name):
    loss = LOSSES.get(name)
    base = {"names": NamesLoss, "adversarial": AdversarialLoss}[loss.contract]
    assert issubclass(loss, base)
