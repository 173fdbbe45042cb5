"""fp16: losses are scaled, an update that overflows is left out, and resuming knows the scale."""

from __future__ import annotations

import pytest
import torch
from _recipes import inputs_of
from _training import STARGAN_V2, Training

from munit_zoo.config import load_config, resolve
from munit_zoo.engine.devices import make_fabric
from munit_zoo.engine.runs import Run
from munit_zoo.engine.step import Trainer, build_optimizers
from munit_zoo.engine.train import train
from munit_zoo.errors import UsageError
from munit_zoo.models import assemble


class Half(Training):
    """A training in fp16."""

    def __init__(self, config, sizes) -> None:
        super().__init__(config.plain(), sizes)
        fabric = make_fabric("cpu", "fp16")
        self.model, self.objective, _ = assemble(config, sizes)
        groups = build_optimizers(config, self.model, self.objective)
        self.trainer = Trainer(fabric, self.model, self.objective, groups)


@pytest.fixture
def half(tiny):
    return Half(load_config("munit/shapes", *tiny), {"a": (16, 16), "b": (16, 16)})


def test_training_resumes_to_the_bit_with_its_scale(tmp_path, tiny):
    more = [*tiny, "ENGINE.PRECISION=fp16", "ENGINE.WORKERS=0"]
    train(resolve("munit/shapes", more), tmp_path / "whole", device="cpu")
    whole = Run(tmp_path / "whole")
    facts = whole.newest().read().facts["scalers"]
    assert facts.keys() == {"discriminators", "generators"}
    assert all(own["scale"] <= 2**16 for own in facts.values())
    middle = whole.snapshots()[0]
    train(None, tmp_path / "part", resume_from=middle.folder, device="cpu")
    expected, ours = (Run(tmp_path / n).newest().read() for n in ("whole", "part"))
    for part in ("networks", "optimizers"):
        for name, value in expected.part(part).items():
            assert value.dtype in (torch.float32, torch.int64), name
            assert torch.equal(ours.part(part)[name], value), name
    assert ours.facts["scalers"] == facts


def test_half_precision_is_near_the_full(tiny):
    config = load_config("munit/shapes", *tiny)
    sizes = {"a": (16, 16), "b": (16, 16)}
    full, half = Training(config.plain(), sizes), Half(config, sizes)
    inputs = inputs_of(full.objective, 16, 2)
    ours, theirs = half.step(inputs, 0), full.step(inputs, 0)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=2e-2, atol=2e-3, msg=name)
    assert any(not torch.equal(ours[name], value) for name, value in theirs.items())


def test_an_overflow_halves_the_scale_and_leaves_one_update_out(half):
    inputs = inputs_of(half.objective, 16, 2)
    for name in half.trainer.scalers:
        half.trainer.scalers[name] = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    half.step(inputs, 0)
    half.trainer.scalers["generators"]._scale.fill_(2.0**100)  # gradients overflow
    before = {name: value.clone() for name, value in half.model.state_dict().items()}
    half.step(inputs, 1)
    moved = {n for n, v in half.model.state_dict().items() if not torch.equal(v, before[n])}
    assert moved
    assert all("discriminator" in name for name in moved)
    assert half.trainer.scalers["generators"].get_scale() == 2.0**99
    assert half.trainer.skipped == 0  # which is about losses that are no numbers


def test_what_no_scale_mends_ends_training(half):
    with torch.no_grad():
        next(half.model.b.decoder.parameters()).fill_(torch.inf)
    with pytest.raises(UsageError, match="the first tensor that holds a NaN is x_ab"):
        half.step(inputs_of(half.objective, 16, 2), 0)


@pytest.mark.slow
def test_what_is_differentiated_twice_is_computed_in_fp32():
    config = load_config(*STARGAN_V2, "ENGINE.BATCH_SIZE=2")
    sizes = {name.lower(): (32, 32) for name in config.DOMAINS}
    half = Half(config, sizes)
    found = {}
    for path, network in half.model.networks().items():
        network.register_forward_hook(
            lambda module, inputs, output, path=path: found.setdefault(path, []).append(
                torch.is_autocast_enabled("cpu")
            )
        )
    half.step(inputs_of(half.objective, 32, 2), 0)
    assert not any(found["discriminator"][:2])  # R1
    assert any(found["generator"])
