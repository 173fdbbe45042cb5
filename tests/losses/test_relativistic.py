"""Relativistic losses, and scales summed or averaged."""

from __future__ import annotations

import pytest
import torch
from _recipes import cyclegan, funit, inputs_of, objective_of, run_plainly, run_updates
from torch.nn import functional as F

from munit_zoo.errors import GraphError
from munit_zoo.losses.adversarial import LSGAN, NSGAN, WGAN, Hinge, RaGAN, RpGAN
from munit_zoo.models import Critic, Fool, Term
from munit_zoo.models.placing import place_term


def logits(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [3 * torch.randn(2, 1, s, s, generator=generator, dtype=torch.float64) for s in (4, 2)]


FORMS = {
    "nsgan": lambda d: F.softplus(-d),
    "lsgan": lambda d: (d - 1) ** 2,
    "hinge": lambda d: (1 - d).clamp_min(0),
}


@pytest.mark.parametrize("form", FORMS)
def test_reals_are_above_the_mean_fake_and_fakes_below_the_mean_real(form: str):
    fakes, reals, f = logits(0), logits(1), FORMS[form]
    judge = sum(
        f(real - fake.mean()).mean() + f(-(fake - real.mean())).mean()
        for fake, real in zip(fakes, reals, strict=True)
    )
    maker = sum(
        f(fake - real.mean()).mean() + f(-(real - fake.mean())).mean()
        for fake, real in zip(fakes, reals, strict=True)
    )
    torch.testing.assert_close(RaGAN(form=form).discriminator(fakes, reals), judge)
    torch.testing.assert_close(RaGAN(form=form).generator(fakes, reals), maker)


@pytest.mark.parametrize("form", FORMS)
def test_pairs(form: str):
    fakes, reals, f = logits(0), logits(1), FORMS[form]
    pairs = list(zip(fakes, reals, strict=True))
    loss = RpGAN(form=form)
    torch.testing.assert_close(
        loss.discriminator(fakes, reals), sum(f(real - fake).mean() for fake, real in pairs)
    )
    torch.testing.assert_close(
        loss.generator(fakes, reals), sum(f(fake - real).mean() for fake, real in pairs)
    )
    with pytest.raises(GraphError, match="do not pair up"):
        loss.discriminator([torch.zeros(2, 1, 4, 4)], [torch.zeros(2, 1, 4, 5)])


@pytest.mark.parametrize("loss", [LSGAN, NSGAN, Hinge, WGAN, RaGAN, RpGAN])
def test_scales_are_summed_or_averaged(loss):
    fakes, reals = logits(0), logits(1)
    told = (fakes, reals) if loss.relative else (fakes,)
    for side, arguments in (("discriminator", (fakes, reals)), ("generator", told)):
        total, mean = (getattr(loss(scales=s), side)(*arguments) for s in ("sum", "mean"))
        torch.testing.assert_close(total, 2 * mean)


def test_verdicts_are_above_zero_where_reals_pass_for_real():
    fakes, reals = logits(0), logits(1)
    for loss, expected in (
        (NSGAN(), reals[0]),
        (LSGAN(), reals[0] - 0.5),
        (RaGAN(), reals[0] - fakes[0].mean()),
        (RpGAN(), reals[0] - fakes[0]),
    ):
        torch.testing.assert_close(loss.verdicts(fakes, reals)[0], expected)


def test_a_generator_is_told_what_is_said_of_reals_where_its_loss_asks():
    graph = cyclegan().graph()
    plain, _ = place_term(graph, "adversarial", LSGAN(), None, None)
    assert plain["generators"] == (Fool("d_ab"), Fool("d_ba"))
    assert plain["discriminators"] == (Critic("d_pool_ab", "d_b"), Critic("d_pool_ba", "d_a"))
    relative, _ = place_term(graph, "adversarial", RaGAN(), None, None)
    assert relative["generators"] == (Fool("d_ab", "d_b"), Fool("d_ba", "d_a"))
    assert place_term(funit().graph(), "adversarial", RpGAN(), None, None)[0]["generator"] == (
        Fool("d_trans", "d_cls"),
        Fool("d_recon", "d_cls"),
    )


def test_a_recipe_that_does_not_say_which_reals_is_refused():
    graph = cyclegan().graph()
    graph.updates = tuple(
        type(u)(u.name, u.trains, {"adversarial": [Fool("x_ab")], "cycle_a": []})
        if u.name == "generators"
        else u
        for u in graph.updates
    )
    _, problems = place_term(graph, "adversarial", RaGAN(), None, None)
    assert problems[0][0] == "NAME"
    assert "does not say with which to compare 'x_ab'" in problems[0][1]


def test_an_iteration_is_what_the_recipe_says():
    """Against everything computed anew: frozen discriminators, reals that they just judged."""
    torch.manual_seed(0)
    objective = objective_of(cyclegan(), [Term("adversarial", RpGAN())])
    inputs = inputs_of(objective)
    before = {name: p.detach().clone() for name, p in objective.model.named_parameters()}
    planned = run_updates(objective, inputs, rate=0.1)
    with torch.no_grad():
        for name, parameter in objective.model.named_parameters():
            parameter.copy_(before[name])
    for pool in (objective.model.a.pool, objective.model.b.pool):
        pool.count.zero_()
    for (_, parts, mine), (_, others, theirs) in zip(
        planned, run_plainly(objective, inputs, rate=0.1), strict=True
    ):
        assert set(parts) == set(others)
        assert "adversarial/d_ab" in parts or "adversarial/d_pool_ab" in parts
        assert mine.keys() == theirs.keys()
        torch.testing.assert_close(mine, theirs)
