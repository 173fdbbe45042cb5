"""The improved MUNIT and UNIT: which calls an update makes, and a training of theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from _recipes import imaginaire_munit, imaginaire_unit, inputs_of, looked_at, objective_of
from _training import Training

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.config import load_config
from munit_zoo.engine.runs import Run
from munit_zoo.errors import ConfigError, ContractError
from munit_zoo.models import Objective, UpdateOptions, rehearse
from munit_zoo.models.outline import own_terms
from munit_zoo.registry import slot

SPECTRAL = {"weight_norm": "spectral_hook"}


def computed(model) -> list[list[str]]:
    """What each update computes where nothing is shared."""
    found = looked_at(model)
    terms = [t for t in own_terms(model.graph(), found) if t.name in ("adversarial", "image_recon")]
    objective = Objective(model, terms, calls=found.calls, share="none", stateful=found.impure)
    codes = objective.codes(objective.pattern())
    return [[operation.node.name for operation in code.operations] for code in codes]


def test_calls_for_the_state_of_networks_alone():
    styles = slot("conv", dim=4, downsamples=2, kernel_size=3, **SPECTRAL)
    first, second = computed(imaginaire_munit(style_encoder=styles))
    assert {"s_a", "s_b"} <= set(first)
    assert {"s_ab", "s_ba"} <= set(second)
    assert not {"c_ab", "c_ba"} & set(second)  # the content encoder keeps no state here
    first, second = computed(imaginaire_munit())
    assert not {"s_a", "x_aa"} & set(first)
    assert not {"s_ab", "s_ba"} & set(second)


def test_reconstructions_pass_discriminators_with_state():
    judge = slot("imaginaire_residual", dim=4, layers=3, **SPECTRAL)
    first, second = computed(imaginaire_munit(gan_recon=True, discriminator=judge))
    assert first[-6:] == ["d_ba", "d_ab", "d_a", "d_b", "d_aa", "d_bb"]
    assert {"d_aa", "d_made_a"} <= set(second)
    first, _ = computed(imaginaire_munit(gan_recon=True))
    assert "d_aa" not in first


def test_unit_always_reconstructs_where_generators_keep_state():
    decoder = slot("resnet", blocks=1, kernel_size=3, **SPECTRAL)
    assert "x_aba" in computed(imaginaire_unit(decoder=decoder))[1]
    assert "x_aba" not in computed(imaginaire_unit())[1]


def test_all_of_an_updates_networks_are_clipped_together():
    objective = objective_of(imaginaire_unit(), options={"generators": UpdateOptions(clip_total=2)})
    assert (objective.clip_total(0), objective.clip_total(1)) == (None, 2)


def test_the_gradient_of_all_of_them_is_scaled(tiny_unit):
    config = load_config("unit/shapes", *tiny_unit, "ENGINE.BATCH_SIZE=1", "DATA.SIZE=16")
    found = []
    for limit in ([], ["UPDATES.GENERATORS.CLIP_TOTAL=0.5"]):
        torch.manual_seed(0)
        training = Training(config.plain(), {"a": (16, 16), "b": (16, 16)}, *limit)
        torch.manual_seed(0)
        training.step(inputs_of(training.objective, 16, 1), 0)
        found.append(training.gradients[1])
    free, clipped = ([gradient.flatten() for gradient in one.values()] for one in found)
    whole = torch.cat(free)
    assert float(whole.norm()) > 1
    torch.testing.assert_close(torch.cat(clipped), whole / whole.norm() / 2)


def test_consistency_wants_features():
    model = imaginaire_munit(discriminator=slot("pyramid_patch", dim=4, layers=1, scales=2))
    with pytest.raises(ContractError, match="CONSISTENCY compares features .*=imaginaire_residual"):
        model.features(model.a.discriminator, torch.zeros(1, 3, 32, 32))


SMALL = (
    "MODEL.CONTENT_ENCODER.DIM=4",
    "MODEL.CONTENT_ENCODER.BLOCKS=1",
    "MODEL.STYLE_ENCODER.DIM=4",
    "MODEL.STYLE_ENCODER.DOWNSAMPLES=2",
    "MODEL.DECODER.BLOCKS=1",
    "MODEL.DECODER.DIM=8",
    "MODEL.DECODER.MAPPING.DIM=8",
    "MODEL.DECODER.NOISE=true",
    "MODEL.DISCRIMINATOR={NAME: imaginaire_residual, DIM: 4, LAYERS: 3}",
    "MODEL.AUGMENT=[color, translation, cutout]",
    "MODEL.GAN_RECON=true",
    "LOSSES.CONSISTENCY={NAME: mse, WEIGHT: 1}",
    "DATA.COUNT=20",
    "DATA.TEST_COUNT=6",
    "ENGINE.BATCH_SIZE=2",
    "ENGINE.EMA=0.5",
    "ENGINE.GRID_EVERY=0",
    "UPDATES.GENERATORS.CLIP_TOTAL=10",
)


def weights(run: Path) -> dict[str, torch.Tensor]:
    captured = Run(run).newest().read()
    return {n: t for part in ("networks", "average") for n, t in captured.part(part).items()}


@pytest.mark.slow
def test_training_resumes_to_the_bit_and_the_run_is_of_use(tmp_path):
    config, cpu = "imaginaire_munit/shapes", ["--device", "cpu"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command = ["train", config, *SMALL, "ENGINE.ITERATIONS=4", "ENGINE.SNAPSHOT_EVERY=2"]
    assert main([*command, "--run", str(whole), *cpu]) == 0
    half = str(Run(whole).snapshots()[0].folder)
    assert main(["train", "--resume-from", half, "--run", str(parts), *cpu]) == 0
    first, second = weights(whole), weights(parts)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    average = mz.load_model(whole)
    assert not average.a.content_encoder.stem.conv.u.any()
    out = average.translate(torch.zeros(2, 3, 32, 32), "b", 3)
    assert out.shape == (2, 3, 3, 32, 32)
    assert torch.isfinite(out).all()
    inputs = str(tmp_path / "inputs")
    samples = ["samples", str(whole / "config.yaml"), "--domain", "a", "--count", "2"]
    assert main([*samples, "--out", inputs]) == 0
    assert main(["translate", str(whole), inputs, "--to", "b", "--styles", "2"]) == 0
    assert main(["evaluate", str(whole), *cpu]) == 0


def test_sharing_is_refused_where_vectors_move():
    config = load_config("imaginaire_munit/shapes", "ENGINE.SHARE=derived")
    with pytest.raises(ConfigError, match="changes its u.*ENGINE.SHARE=none"):
        rehearse(config, {"a": (32, 32), "b": (32, 32)})
