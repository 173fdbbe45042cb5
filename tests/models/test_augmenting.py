"""Augmentation of what discriminators see, as part of the graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from _training import CYCLEGAN, PIX2PIX, STARGAN_V2, Training

from munit_zoo.config import load_config
from munit_zoo.engine.step import draw_inputs
from munit_zoo.errors import ConfigError
from munit_zoo.models import rehearse
from munit_zoo.models.outline import describe_iteration

SIZES = {"a": (16, 16), "b": (16, 16)}
DIFF = "AUGMENT.NAME=diffaugment"


def munit(tiny, *overrides: str) -> Training:
    config = load_config("munit/shapes", *tiny, "ENGINE.SHARE=derived", DIFF, *overrides)
    return Training(config.plain(), SIZES)


def fed(training: Training, iteration: int = 0, batch: int = 2) -> dict[str, Any]:
    inputs: dict[str, Any] = draw_inputs(
        training.model,
        training.objective,
        training.rehearsal.draws,
        seed=0,
        iteration=iteration,
        first=0,
        count=batch,
        batch_size=batch,
    )
    generator = torch.Generator().manual_seed(iteration)
    for name in ("x_a", "x_b"):
        inputs[name] = torch.rand(batch, 3, 16, 16, generator=generator) * 2 - 1
    return inputs


@pytest.fixture(scope="module")
def plain(tiny) -> Training:
    """MUNIT with DiffAugment. To be stepped at rate 0 alone."""
    return munit(tiny)


def test_discriminators_see_augmented_images_and_generators_learn_through_it(plain):
    training = plain
    model, inputs = training.model, fed(training)
    seen: list[torch.Tensor] = []
    hook = model.b.discriminator.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].detach())
    )
    training.step(inputs, 0, rate=0.0)
    hook.remove()
    through = model.seen_through.before_b_discriminator
    x_ab = model.b.decoder(model.a.content_encoder(inputs["x_a"]), inputs["z_b'"])
    expected = (
        through(x_ab, inputs["augment_d_ab'"]),
        through(inputs["x_b"], inputs["augment_d_b'"]),
    )
    for one, other in zip(expected, seen, strict=False):
        torch.testing.assert_close(one.detach(), other, atol=1e-5, rtol=1e-4)
    assert any(name.startswith("a.content_encoder") for name in training.gradients[1])


def test_each_update_and_each_image_has_numbers_of_its_own(plain):
    training = plain
    inputs = fed(training)
    drawn = {name: value for name, value in inputs.items() if name.startswith("augment")}
    # the discriminators' side, reals and fakes of both; then the generators', which judges fakes
    assert sorted(drawn) == [
        "augment_d_a'",
        "augment_d_ab",
        "augment_d_ab'",
        "augment_d_b'",
        "augment_d_ba",
        "augment_d_ba'",
    ]
    rows = torch.cat(list(drawn.values()))
    assert rows.shape == (12, 10)
    assert len(rows.unique(dim=0)) == 12
    alone = draw_inputs(  # of a process that has the second sample alone
        training.model,
        training.objective,
        training.rehearsal.draws,
        seed=0,
        iteration=0,
        first=1,
        count=1,
        batch_size=2,
    )
    assert all(torch.equal(alone[name][0], value[1]) for name, value in drawn.items())


def test_the_probability_adapts_and_counts_from_the_losses_middle(tiny):
    adaptive = ("AUGMENT={NAME: adaptive_diffaugment, EVERY: 1, IMAGES: 8, TARGET: 0.0}",)
    training = munit(tiny, *adaptive)
    for domain, bias in (("a", 0.6), ("b", 0.4)):  # lsgan: reals are taken for real above ½
        for parameter in getattr(training.model, domain).discriminator.parameters():
            parameter.data.zero_()
        for scale in getattr(training.model, domain).discriminator.scales:
            scale[-1].bias.data.fill_(bias)
    through = training.model.seen_through
    for iteration in range(2):
        training.step(fed(training, iteration), iteration, rate=0.0)
    assert float(through.before_a_discriminator.probability) == pytest.approx(0.5)
    assert float(through.before_b_discriminator.probability) == 0.0
    assert int(through.before_a_discriminator.iterations) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "nodes"),
    [
        (CYCLEGAN, {"d_a", "d_b", "d_ab", "d_ba", "d_pool_ab", "d_pool_ba"}),
        (PIX2PIX, {"d_ab", "d_b"}),
        (STARGAN_V2, {"d_real", "d_z", "d_ref"}),
    ],
)
def test_what_discriminators_see_in_other_recipes(config, nodes: set[str]):
    loaded = load_config(*config, DIFF, "ENGINE.SHARE=none")
    side = loaded.DATA.SIZE
    sizes = {name.lower(): (side, side) for name in loaded.DOMAINS}
    rehearsal = rehearse(loaded, sizes)
    inputs = {name.rstrip("'") for name in rehearsal.objective.inputs}
    assert {name for name in inputs if name.startswith("augment")} <= {
        f"augment_{n}" for n in nodes
    }
    augmented = {name for name in rehearsal.objective.graph.inputs if name.startswith("augment")}
    assert augmented == {f"augment_{node}" for node in nodes}


@pytest.mark.slow
def test_only_the_networks_that_are_named(tiny):
    def rehearsed(name: str) -> Any:
        config = load_config("munit/shapes", *tiny, DIFF, f"AUGMENT.NETWORKS=[{name}]")
        return rehearse(config, SIZES).objective

    one = rehearsed("a_discriminator")
    assert set(one.model.seen_through) == {"before_a_discriminator"}
    drawn = {name.rstrip("'") for name in one.inputs if name.startswith("augment")}
    assert drawn == {"augment_d_a", "augment_d_ba"}
    with pytest.raises(ConfigError, match="has no discriminator 'a_discriminatr'. Did you mean"):
        rehearsed("a_discriminatr")


@pytest.mark.slow
def test_none_changes_nothing(tiny):
    plain = rehearse(load_config("munit/shapes", *tiny), SIZES)
    assert not [name for name in plain.objective.graph.inputs if name.startswith("augment")]
    assert not [
        path for path in plain.objective.planner.networks if path.startswith("seen_through")
    ]


@pytest.mark.slow
def test_penalties_and_features_go_through_it(tiny):
    training = munit(
        tiny,
        "LOSSES.R1={NAME: r1, PAIRS: [[d_b, x_b]], UPDATES: [discriminators]}",
        "LOSSES.GP={NAME: wgan_gp, PAIRS: [[between_d_ab, between_x_ab]]}",
        "LOSSES.GP.UPDATES=[discriminators]",
        "LOSSES.FM={NAME: feature_matching, PAIRS: [[features_d_ab, features_d_b]]}",
    )
    assert {"augment_features_d_ab", "augment_between_d_ab'"} <= set(training.objective.inputs)
    parts = training.step(fed(training), 0)
    assert all(torch.isfinite(value) for value in parts.values())


def test_it_is_described(plain):
    text = describe_iteration(plain.objective)
    assert "d_ab <- x_ab, augment_d_ab'  What the target's discriminator says" in text
    assert "augment_d_ab  drawn from [0, 1) (10); drawn 2 times" in text
