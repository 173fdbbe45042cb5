"""Faster forms of a step are the plain step."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from munit_zoo.config import load_config
from munit_zoo.engine.acceleration import (
    GraphedStep,
    in_format,
    make_capturable,
    memory_format,
    set_rate,
)
from munit_zoo.engine.devices import make_fabric
from munit_zoo.engine.step import Trainer, build_optimizers
from munit_zoo.errors import UsageError
from munit_zoo.models import assemble

SIZES = {"a": (16, 16), "b": (16, 16)}


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def train(*overrides: str, device: str = "cpu", steps: int = 2):
    """Losses of some steps in float64 on random images, and the weights after them."""
    config = load_config("munit/shapes", *overrides)
    model, objective, _ = assemble(config, SIZES)
    fabric = make_fabric(device, "fp32")
    model.double().train().to(fabric.device)
    layout = memory_format(config, fabric.device)
    model.to(memory_format=layout)
    trainer = Trainer(fabric, model, objective, build_optimizers(config, model, objective))
    trainer.accelerate(config)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for iteration in range(steps):
        env = {
            name: torch.randn(
                2, *((3, 16, 16) if name[0] == "x" else (4,)), generator=generator
            ).to(fabric.device)
            for name in objective.inputs
        }
        env = in_format(env, layout)
        losses.append({name: float(value) for name, value in trainer.step(env, iteration).items()})
    return losses, {name: value.cpu() for name, value in model.state_dict().items()}


def compare(first, second) -> None:
    for ours, expected in zip(first[0], second[0], strict=True):
        assert ours == pytest.approx(expected, rel=1e-9, abs=1e-12)
    for name, value in first[1].items():
        # a bias that an instance norm removes has a true gradient of zero; Adam scales its noise
        torch.testing.assert_close(value, second[1][name], rtol=0, atol=1e-7, msg=name)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    "variant",
    ["ENGINE.SHARE=none", "MODEL.DECODER.FOLD=false", "ENGINE.CHANNELS_LAST=false"],
)
def test_savings_of_equal_maths(tiny, variant):
    compare(train(*tiny, "ENGINE.SHARE=derived"), train(*tiny, "ENGINE.SHARE=derived", variant))


@pytest.mark.usefixtures("double")
def test_compiled_networks_train_as_written(tiny):
    """Also the discriminator, which one step calls on detached fakes and then on live ones."""
    smaller = (*tiny, "MODEL.CONTENT_ENCODER.BLOCKS=0", "MODEL.STYLE_ENCODER.DOWNSAMPLES=1")
    compare(train(*smaller, "ENGINE.COMPILE=default"), train(*smaller, "ENGINE.COMPILE=off"))


def test_no_compiler_is_said_before_training(tiny, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match=r"ENGINE.COMPILE default needs a C\+\+ compiler \(g\+\+"):
        train(*tiny, "ENGINE.COMPILE=default", steps=0)


def test_cuda_graphs_are_for_cuda(tiny):
    with pytest.raises(UsageError, match="CUDA_GRAPHS is for CUDA; the device is cpu"):
        train(*tiny, "ENGINE.CUDA_GRAPHS=true", steps=0)


def test_a_graphed_step_runs_then_records_then_replays():
    total = torch.zeros(())
    calls = []

    def step(env: Mapping[str, Tensor]) -> dict[str, Tensor]:
        calls.append("step")
        out.copy_(env["x"] * 2)
        total.add_(env["x"])
        return {"y": out}

    def capture(record):
        before = total.clone()
        record()  # CUDA records without computing: undo what recording did here
        total.copy_(before)

        def replay() -> None:
            calls.append("replay")
            out.copy_(graphed._inputs["x"] * 2)
            total.add_(graphed._inputs["x"])

        return replay

    out = torch.zeros(())
    graphed = GraphedStep(step, warm_up=2, capture=capture)
    found = [graphed({"x": torch.tensor(float(i))})["y"] for i in range(5)]
    assert calls == ["step", "step", "step", "replay", "replay", "replay"]
    # outputs of the replays are their own, not the recording's buffers
    assert [float(value) for value in found[2:]] == [4.0, 6.0, 8.0]
    assert float(total) == 0 + 1 + 2 + 3 + 4


def test_rates_change_in_place_where_a_graph_reads_them():
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.5)
    group = optimizer.param_groups[0]
    set_rate(group, 0.25)
    assert group["lr"] == 0.25
    make_capturable(optimizer, torch.device("cpu"))
    rate = group["lr"]
    set_rate(group, 0.125)
    assert group["lr"] is rate
    assert float(rate) == 0.125
    with pytest.raises(UsageError, match="SGD cannot be recorded; choose adam"):
        make_capturable(torch.optim.SGD([torch.zeros(1)], lr=1.0), torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("variant", ["ENGINE.CUDA_GRAPHS=true", "ENGINE.COMPILE=default"])
def test_on_cuda_too(tiny, variant):
    compare(train(*tiny, variant, device="cuda", steps=6), train(*tiny, device="cuda", steps=6))
