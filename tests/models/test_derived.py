"""Names that every recipe has without writing them, and terms that read them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from _recipes import bicyclegan, cyclegan, funit, munit, pix2pix, starganv2, unit

from munit_zoo.blocks.bicyclegan import MultiscalePatchGAN
from munit_zoo.blocks.discriminators import (
    MultiscalePatchDiscriminator,
    PatchClassDiscriminator,
    PatchDiscriminator,
    PixelDiscriminator,
)
from munit_zoo.blocks.residual_discriminators import (
    ResidualClassDiscriminator,
    ResidualDiscriminator,
    UnetDiscriminator,
)
from munit_zoo.blocks.stargan import StarGANDiscriminator
from munit_zoo.blocks.starganv2 import StarGANv2Discriminator
from munit_zoo.config import load_config
from munit_zoo.engine.step import draw_inputs
from munit_zoo.errors import ConfigError, ContractError
from munit_zoo.inputs import Draw
from munit_zoo.models import rehearse
from munit_zoo.models.plan import run, straight
from munit_zoo.models.views import views

SIZES = {"a": (16, 16), "b": (16, 16)}


def values(model: Any, want: list[str], side: int = 16) -> dict[str, Any]:
    """Names of a recipe's graph, computed once; MUNIT's inputs."""
    generator = torch.Generator().manual_seed(0)
    found: dict[str, Any] = {}
    for name in model.graph().inputs:
        if name.startswith("x_"):
            found[name] = torch.rand(2, 3, side, side, generator=generator)
        elif name.startswith("between"):
            found[name] = torch.rand(2, generator=generator)
        else:
            found[name] = torch.randn(2, model.style_dim, generator=generator)
    with torch.no_grad():
        run(straight(model.graph(), want, (), views(model)), found)
    return found


def test_again_draws_what_is_random_behind_a_name_and_nothing_else():
    model = munit()
    graph = model.graph()
    assert graph.admit("again_x_ab") is None
    assert graph.nodes["again_x_ab"].arguments == ("c_a", "again_z_b")
    assert graph.inputs["again_z_b"] == graph.inputs["z_b"]
    found = values(model, ["x_ab", "again_x_ab"])
    again = model.b.decoder(found["c_a"], found["again_z_b"])
    torch.testing.assert_close(found["again_x_ab"], again)
    assert not torch.equal(found["x_ab"], found["again_x_ab"])
    # the other way, with the domains exchanged; and a code behind it
    assert graph.admit("again_s_ba") is None
    assert graph.nodes["again_s_ba"].arguments == ("again_x_ba",)
    assert graph.nodes["again_x_ba"].exchanged


def test_again_of_what_no_chance_is_behind_is_refused():
    assert "nothing random is behind 'x_ab'" in (cyclegan().graph().admit("again_x_ab") or "")
    assert "computes no 'agian_x_ab'" in (munit().graph().admit("agian_x_ab") or "")


def test_again_of_other_recipes():
    graph = starganv2().graph()
    assert graph.admit("again_fake_z") is None
    assert graph.nodes["again_s_z"].arguments == ("again_z", "y_trg")
    latent = unit().graph()
    assert latent.admit("again_x_ab") is None
    assert latent.inputs["again_n_a"] == Draw("normal", like="h_a")


DISCRIMINATORS = {
    "multiscale_patch": MultiscalePatchDiscriminator(3, dim=2, layers=2, scales=2),
    "patch": PatchDiscriminator(3, dim=2, layers=2),
    "patch_blur": PatchDiscriminator(3, dim=2, layers=2, downsample="blur"),
    "patch_compared": PatchDiscriminator(3, dim=2, layers=2, minibatch_std=2),
    "patch_classes": PatchClassDiscriminator(3, 3, dim=2, layers=2),
    "pixel": PixelDiscriminator(3, dim=2),
    "pixel_compared": PixelDiscriminator(3, dim=2, minibatch_std=2),
    "residual": ResidualDiscriminator(3, dim=2, layers=2, max_dim=4, heads=2),
    "residual_classes": ResidualClassDiscriminator(3, 3, dim=2, layers=2, max_dim=4),
    "unet": UnetDiscriminator(3, dim=2, layers=2, max_dim=4),
    "multiscale_patchgan": MultiscalePatchGAN(3, dim=2, layers=1),
    "stargan": StarGANDiscriminator(3, size=32, dim=2, layers=3),
    "starganv2": StarGANv2Discriminator(3, 3, size=32, channel_budget=128, max_dim=4),
}


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_activations_end_with_the_logits(name: str):
    discriminator = DISCRIMINATORS[name].eval()
    told = name.endswith("classes") or name == "starganv2"
    rest = (torch.tensor([0, 2]),) if told else ()
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, scales = discriminator(x, *rest), discriminator.activations(x, *rest)
    assert len(scales) == len(logits)
    for judged, layers in zip(logits, scales, strict=True):
        assert torch.equal(judged, layers[-1])
    assert all(len(layers) > 1 for layers in scales[:1])


def test_features_are_those_of_the_discriminator_that_judges():
    model = munit()
    assert model.graph().admit("features_d_ba") is None
    found = values(model, ["d_ba", "features_d_ba"], side=32)
    with torch.no_grad():
        scales = model.a.discriminator.activations(found["x_ba"])
    expected = [layer for scale in scales for layer in scale[:-1]]
    assert len(expected) == len(found["features_d_ba"])
    for one, other in zip(expected, found["features_d_ba"], strict=True):
        torch.testing.assert_close(one, other)


def test_features_of_what_shows_none_are_refused(tiny):
    term = "LOSSES.FM={NAME: feature_matching, PAIRS: [[features_x_ab, features_x_ba]]}"
    with pytest.raises(ContractError, match="what computes x_ab shows no features"):
        rehearse(load_config("munit/shapes", *tiny, term), SIZES)
    assert "'x_a' is an input" in (munit().graph().admit("features_x_a") or "")


def test_between_a_fake_and_its_real():
    model = munit()
    graph = model.graph()
    assert graph.admit("between_d_ab") is None
    assert graph.nodes["between_d_ab"].arguments == ("between_x_ab",)
    found = values(model, ["between_d_ab"], side=32)
    share = found["between_x_ab_x_b"][:, None, None, None]
    mixed = share * found["x_b"] + (1 - share) * found["x_ab"]
    torch.testing.assert_close(found["between_x_ab"], mixed)
    with torch.no_grad():
        torch.testing.assert_close(found["between_d_ab"], model.b.discriminator(mixed))


def test_between_keeps_what_both_sides_are_told():
    graph = pix2pix().graph()
    assert graph.admit("between_d_ab") is None
    assert graph.nodes["between_d_ab"].arguments == ("x_a", "between_x_ab")
    pooled = cyclegan().graph()
    assert pooled.admit("between_d_pool_ab") is None
    for recipe, name in ((starganv2, "d_z"), (funit, "d_trans"), (bicyclegan, "x_bb")):
        problem = recipe().graph().admit(f"between_{name}")
        assert problem is None or "nothing is between" in problem


def test_what_a_recipe_writes_out_wins():
    graph = munit().graph()
    graph.nodes["again_x_ab"] = graph.nodes["x_ba"]
    assert graph.admit("again_x_ab") is None
    assert graph.nodes["again_x_ab"] is graph.nodes["x_ba"]


GENERATORS = "UPDATES: [generators]"
JUDGES = "UPDATES: [discriminators]"
TERMS = {
    "mode_seeking": "PAIRS: [[x_ab, again_x_ab, z_b, again_z_b]]",
    "diversity_sensitive": "PAIRS: [[x_ab, again_x_ab, z_b, again_z_b]]",
    "feature_matching": "PAIRS: [[features_d_ab, features_d_b]], COMPARE: means",
    "total_variation": "PAIRS: [[x_ab]]",
    "l1": "PAIRS: [[x_ab, x_a]]",
    "r1": f"PAIRS: [[d_b, x_b]], EVERY: 2, {JUDGES}",
    "r2": f"PAIRS: [[d_ab, x_ab]], {JUDGES}",
    "wgan_gp": f"PAIRS: [[between_d_ab, between_x_ab]], {JUDGES}",
}


def test_every_term_acts_in_munit_by_a_line_of_config(tiny):
    """All at once: each has a part that is finite, and reaches what its update trains."""
    from _training import Training

    lines = [f"LOSSES.MY_{name.upper()}={{NAME: {name}, {rest}}}" for name, rest in TERMS.items()]
    config = load_config("munit/shapes", *tiny, "ENGINE.SHARE=derived", *lines)
    training = Training(config.plain(), SIZES)
    names = ("x_a", "x_b")
    for iteration in range(2):
        inputs = draw_inputs(
            training.model,
            training.objective,
            training.rehearsal.draws,
            seed=0,
            iteration=iteration,
            first=0,
            count=2,
            batch_size=2,
        )
        generator = torch.Generator().manual_seed(iteration)
        inputs |= {name: torch.rand(2, 3, 16, 16, generator=generator) for name in names}
        parts = training.step(inputs, iteration)
    found = {name.split("/")[1] for name in parts}
    lazy = {"my_r1"}  # rests in the second iteration
    assert {f"my_{name}" for name in TERMS} - lazy <= found
    assert all(torch.isfinite(value) for value in parts.values())


def test_a_derived_name_is_told_where_a_config_misspells_it(tiny):
    term = "LOSSES.MS={NAME: mode_seeking, PAIRS: [[x_ab, again_x_aab, z_b, again_z_b]]}"
    with pytest.raises(ConfigError, match="computes no 'again_x_aab'"):
        load_config("munit/shapes", *tiny, term)
    pairs = "LOSSES.MS={NAME: mode_seeking, PAIRS: [[x_ab, x_a]]}"
    with pytest.raises(ConfigError, match="reads 4 tensors at a time"):
        load_config("munit/shapes", *tiny, pairs)
