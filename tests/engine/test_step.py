"""What a config says of single updates and networks reaches the step."""

from __future__ import annotations

from typing import Any

import torch
from _recipes import inputs_of
from _training import STARGAN_V2, Training

from munit_zoo.config import load_config
from munit_zoo.engine.setup import averaged
from munit_zoo.models import create_model


def test_the_gradient_of_each_network_is_clipped(tiny):
    limit = 1e-3
    config = load_config("munit/shapes", *tiny, f"UPDATES.GENERATORS.CLIP={limit}")
    training = Training(config.plain(), {"a": (16, 16), "b": (16, 16)})
    training.step(inputs_of(training.objective, 16), 0)

    def norm(update: int, path: str) -> float:
        found = training.gradients[update].items()
        return float(torch.stack([g.norm() for n, g in found if n.startswith(f"{path}.")]).norm())

    for path in ("a.content_encoder", "b.style_encoder", "a.decoder"):
        assert 0.9 * limit < norm(1, path) <= limit
    assert norm(0, "a.discriminator") > limit


def moves(config: Any) -> dict[str, float]:
    """By how much an average's networks follow weights that all grow by 1, once."""
    model = create_model(config)
    average = averaged(config, model)
    before = {n: p.detach().clone() for n, p in average.model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    average.update()
    found: dict[str, set[float]] = {}
    for name, parameter in average.model.named_parameters():
        by = round(float((parameter - before[name]).mean()), 3)
        found.setdefault(name.split(".")[0], set()).add(by)
    return {path: by for path, (by,) in found.items()}


EMA = ("ENGINE.EMA=0.9", "ENGINE.EMA_WARMUP=false")


def test_how_fast_each_network_is_averaged():
    decays = "ENGINE.EMA_NETWORKS={GENERATOR: 0.5, MAPPING: null}"
    name, *small = STARGAN_V2
    found = moves(load_config(name, *small, *EMA, decays))
    assert found == {"generator": 0.5, "style_encoder": 0.1, "mapping": 1.0}  # which is taken over


def test_a_recipe_says_which_of_its_networks_are_averaged():
    """Attributes are read by the discriminator, too, whose average nobody wants."""
    networks = ["GENERATOR.DIM=2", "DISCRIMINATOR={NAME: stargan, LABELS: 5, DIM: 2}"]
    more = [
        "MODEL.NAME=stargan_attributes",
        *(f"MODEL.{key}" for key in networks),
        "DOMAINS={A: {}}",
        "LOSSES=null",
        "LOSSES.CYCLE_RECON={NAME: l1}",
    ]
    found = moves(load_config("stargan/shapes", *more, *EMA))
    assert found == {"generator": 0.1, "discriminator": 1.0}
