"""Penalties on a discriminator's slope, against slopes worked out by hand."""

from __future__ import annotations

import pytest
import torch

from munit_zoo.losses.penalties import R1, R2, WganGP
from munit_zoo.registry import LOSSES


@pytest.fixture
def x():
    drawn = torch.randn(3, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return drawn.requires_grad_()


def test_slopes_of_a_quadratic(x):
    # D(x) = ½ w Σ x² has the slope w x
    w = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    logits = 0.5 * w * x.square().flatten(1)
    squares = x.detach().square().flatten(1).sum(dim=1)
    torch.testing.assert_close(R1()(logits, x), 0.5 * w**2 * squares.mean())
    torch.testing.assert_close(
        WganGP(target=0.3)(logits, x), ((w * squares.sqrt() - 0.3) ** 2).mean()
    )
    # and teaches the discriminator
    (gradient,) = torch.autograd.grad(R1()(logits, x), w)
    torch.testing.assert_close(gradient, w.detach() * squares.mean())


def test_a_list_of_logits_is_summed(x):
    whole = (3 * x.flatten(1).sum(dim=1)) ** 2
    parts = [whole / 4, (0.75 * whole)[:, None]]
    for loss in (R1(), R2(), WganGP()):
        torch.testing.assert_close(loss(parts, x), loss(whole, x))


def test_the_slope_of_the_mean(x):
    logits = x.square().flatten(1)
    sums, means = (R1(of=kind)(logits, x) for kind in ("sum", "mean"))
    torch.testing.assert_close(means * logits.numel() ** 2, sums)


def test_a_flat_discriminator_has_finite_gradients(x):
    w = torch.zeros(2, 1, 1, dtype=torch.float64, requires_grad=True)
    WganGP()((w * x).sum(dim=(1, 2, 3)), x).backward()
    assert torch.isfinite(w.grad).all()


def test_they_say_that_they_differentiate():
    for name in ("r1", "r2", "wgan_gp"):
        loss = LOSSES.get(name)
        assert (loss.contract, loss.arity, loss.differentiates) == ("names", 2, True)
        assert not loss.same_shape
