"""Runs with optimizers of other packages, adaptive augmentation and epochs: resumed bit for bit."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from munit_zoo.config import resolve
from munit_zoo.engine.runs import Run
from munit_zoo.engine.session import Silent
from munit_zoo.engine.state import Captured, TrainingState
from munit_zoo.engine.train import train
from munit_zoo.registry import OPTIMIZERS

SOME = ["torch.Adafactor", "torch.NAdam", "timm.lamb", "timm.adan", "timm.adafactorbv"]


def everything() -> list[str]:
    return [*OPTIMIZERS.list("torch.*"), *OPTIMIZERS.list("timm.*")]


def training(name: str) -> TrainingState:
    torch.manual_seed(0)
    model = nn.ModuleDict({"net": nn.Sequential(nn.Conv2d(3, 20, 3), nn.Conv2d(20, 18, 3))})
    model.to(memory_format=torch.channels_last)
    settings = {"lr": 1e-3} if OPTIMIZERS.signature(name).settings["LR"].required else {}
    optimizer = OPTIMIZERS.bind(name, **settings)().build(model.parameters())
    return TrainingState(model, ["net"], optimizers={"net": optimizer})


def steps(state: TrainingState, first: int, count: int) -> None:
    for number in range(first, first + count):
        generator = torch.Generator().manual_seed(number)
        for parameter in state.networks.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        state.optimizers["net"].step()
        state.advance()


def on_disk(captured: Captured) -> Captured:
    files = {
        stem: {name: value.contiguous().clone() for name, value in tensors.items()}
        for stem, tensors in captured.files.items()
    }
    facts = json.loads(json.dumps(captured.facts))
    return Captured(captured.iteration, files, captured.aliases, facts)


def resumes(name: str) -> None:
    whole, cut = training(name), training(name)
    steps(whole, 0, 7)
    steps(cut, 0, 4)
    again = training(name)
    again.restore(on_disk(cut.capture()), "a test")
    steps(again, 4, 3)
    for one, other in zip(whole.networks.parameters(), again.networks.parameters(), strict=True):
        assert torch.equal(one, other), name
        assert torch.isfinite(one).all()


@pytest.mark.parametrize("name", SOME)
def test_an_optimizer_goes_on_exactly(name: str):
    resumes(name)


@pytest.mark.slow
def test_every_optimizer_goes_on_exactly():
    names = everything()
    assert len(names) > 50
    for name in names:
        resumes(name)


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def started(self, start, iterations, device, notes):
        self.notes += notes


@pytest.mark.slow
def test_a_run_goes_on_exactly(tmp_path, tiny):
    overrides = (
        *tiny,
        "OPTIM.DEFAULT={NAME: timm.lamb, LR: 1.0e-3}",
        "OPTIM.NETWORKS.DISCRIMINATOR={NAME: torch.Adafactor, LR: 1.0e-3}",
        "OPTIM.SCHEDULE={NAME: step, EVERY: 1, UNIT: epochs}",
        "AUGMENT={NAME: adaptive_diffaugment, EVERY: 1, IMAGES: 10, START: 0.5}",
        "DATA.COUNT=4",  # and 2 a batch: epochs of 2 iterations
        "LOSSES.MS={NAME: mode_seeking, PAIRS: [[x_ab, again_x_ab, z_b, again_z_b]]}",
    )
    told = Told()
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(resolve("munit/shapes", overrides), whole, device="cpu", progress=told)
    short = (*overrides, "ENGINE.ITERATIONS=2")
    train(resolve("munit/shapes", short), cut, device="cpu")
    train(resolve("munit/shapes", overrides), cut, device="cpu", resume=True)
    one, two = (Run(folder).newest().read() for folder in (whole, cut))
    for part in ("networks", "optimizers"):
        first, second = one.part(part), two.part(part)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert one.facts.get("groups") == two.facts.get("groups")
    assert one.facts["groups"]  # lamb counts its steps there
    p = one.part("networks")["seen_through.before_a_discriminator.probability"]
    assert p != 0.5
    assert "schedules count epochs, of 2 iterations each: 2 in all" in told.notes
    lines = [json.loads(line) for line in (whole / "log.jsonl").open()]
    assert [line["epoch"] for line in lines] == [0.5, 1.0, 1.5, 2.0]
    assert [line["lr"] for line in lines] == [1e-3, 1e-3, 5e-4, 5e-4]
    plain = (*overrides, "AUGMENT={NAME: none}", "ENGINE.ITERATIONS=1")
    train(resolve("munit/shapes", plain), tmp_path / "on", device="cpu", init_from=whole)
    assert "epoch 2.00" in (whole / "index.html").read_text()


def test_an_epoch_is_the_largest_domain_once():
    from munit_zoo.data.stream import epoch_of
    from munit_zoo.inputs import Image

    sets = {"a": range(10), "b": range(25)}
    assert epoch_of(sets, {"x_a": Image("a"), "x_b": Image("b")}, 4) == 7
    mixed = {"x": Image(), "y": Image(like="x")}
    assert epoch_of(sets, mixed, 4) == 9
