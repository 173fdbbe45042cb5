"""Activation checkpointing: the same gradients in less memory."""

from __future__ import annotations

import pytest
import torch
from _recipes import ZOO, inputs_of, objective_of, run_updates

from munit_zoo.config import load_config
from munit_zoo.errors import ConfigError
from munit_zoo.models import Values, rehearse


@pytest.mark.parametrize("name", ["cyclegan", pytest.param("starganv2", marks=pytest.mark.slow)])
def test_recomputing_changes_no_gradient(name):
    found = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = ZOO[name]()
        objective = objective_of(model, recompute=recompute)
        torch.manual_seed(1)
        inputs = inputs_of(objective)
        found.append(run_updates(objective, inputs, rate=0.1))
    for (_, parts, gradients), (_, ours, own) in zip(*found, strict=True):
        assert all(torch.equal(parts[key], ours[key]) for key in parts)
        assert gradients.keys() == own.keys()
        assert all(torch.equal(gradients[key], own[key]) for key in gradients)


def test_less_is_kept():
    saved = []
    for recompute in (False, True):
        torch.manual_seed(0)
        objective = objective_of(ZOO["munit"](), recompute=recompute)
        inputs, total = inputs_of(objective), 0

        def pack(value):
            nonlocal total
            total += value.numel() * value.element_size()
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            code = objective.codes(objective.pattern(0))[0]
            weights = {key: torch.ones(()) for key in objective.weights(0, 1)}
            objective.steps[code.index](code, Values(inputs), weights)
        saved.append(total)
    assert saved[1] < saved[0] / 2


def test_networks_with_state_are_refused(tiny):
    more = ["ENGINE.RECOMPUTE=true", "ENGINE.SHARE=none"]
    spectral = "MODEL.CONTENT_ENCODER.WEIGHT_NORM=spectral_legacy"
    config = load_config("munit/shapes", *tiny, *more, spectral)
    with pytest.raises(ConfigError, match=r"ENGINE.RECOMPUTE.*computes c_. twice"):
        rehearse(config, {"a": (16, 16), "b": (16, 16)})
    both = "MODEL.GENERATOR={NAME: unet, LEVELS: 6, DIM: 2, NORM: {NAME: batch}, DROPOUT: 0.5}"
    judge = "MODEL.DISCRIMINATOR.NORM={NAME: instance}"
    config = load_config("pix2pix/shapes", both, judge, "ENGINE.RECOMPUTE=true")
    with pytest.raises(ConfigError, match=r"x_ab twice, but .* changes its"):
        rehearse(config, {"a": (64, 64), "b": (64, 64)})
    rehearse(load_config("munit/shapes", *tiny, *more), {"a": (16, 16), "b": (16, 16)})
