"""What a training changes: captured, restored, averaged, upgraded."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from munit_zoo.blocks.conv import conv2d
from munit_zoo.engine.runs import Run
from munit_zoo.engine.state import Average, Captured, TrainingState, not_finite, upgrade
from munit_zoo.errors import CheckpointError, ContractError


class Model(nn.Module):
    """Two domains that share an encoder, one with a batch norm; a judge."""

    def __init__(self) -> None:
        super().__init__()
        shared = nn.Conv2d(3, 4, 3)
        self.a = nn.ModuleDict({"encoder": shared, "decoder": nn.Conv2d(4, 3, 1)})
        self.b = nn.ModuleDict({"encoder": shared, "decoder": nn.BatchNorm2d(4)})
        self.judge = nn.Conv2d(3, 1, 1)

    def networks(self) -> dict[str, nn.Module]:
        found = {f"{d}.{n}": m for d in "ab" for n, m in getattr(self, d).items()}
        return {**found, "judge": self.judge}


class Queue(nn.Module):
    """A criterion that trains nothing, and remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("queue", torch.empty(0, 2))
        self.frozen = nn.Linear(50, 50).requires_grad_(False)

    def forward(self) -> None:
        self.seen += 1
        self.queue = torch.cat([self.queue, torch.full((1, 2), float(self.seen))])


def training(*, momentum: float = 0.0, channels_last: bool = False) -> TrainingState:
    torch.manual_seed(0)
    model = Model()
    if channels_last:
        model.to(memory_format=torch.channels_last)
    queue, head = Queue(), nn.Linear(2, 2)
    generators = [*model.a.parameters(), *model.b["decoder"].parameters()]
    optimizers = {
        "generators": torch.optim.Adam(generators, lr=0.1, fused=True),
        "judge": torch.optim.SGD(model.judge.parameters(), lr=0.1, momentum=momentum),
        "head": torch.optim.RMSprop(head.parameters(), lr=0.1),
    }
    networks = model.networks()
    kept = {path: network for path, network in networks.items() if path != "judge"}
    average = Average(model, kept, 0.9, others=[model.judge])
    criteria = {"queue": queue, "head": head}
    return TrainingState(model, list(networks), criteria, optimizers, average)


def step(state: TrainingState) -> None:
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(state.iteration))
    model, head = state.networks, state.criteria["head"]
    code = model.a["encoder"](x.contiguous(memory_format=torch.channels_last))
    image = model.a["decoder"](code)
    loss = image.square().mean() + model.b["decoder"](code).pow(4).mean()
    loss = loss + model.judge(image).square().mean() + head(x[:, 0, 0, :2]).square().mean()
    for optimizer in state.optimizers.values():
        optimizer.zero_grad()
    loss.backward()
    for optimizer in state.optimizers.values():
        optimizer.step()
    state.criteria["queue"]()
    state.advance()


def everything(state: TrainingState) -> dict[str, torch.Tensor]:
    captured = state.capture()
    return {
        f"{part}.{name}": value.clone()
        for part in ("networks", "average", "criteria", "optimizers")
        for name, value in captured.part(part).items()
    }


@pytest.mark.parametrize("channels_last", [False, True])
def test_restored_from_disk_it_goes_on_exactly(tmp_path, channels_last):
    """Shared networks, criteria that only remember, fused moments in both memory formats."""
    state = training(momentum=0.5, channels_last=channels_last)
    for _ in range(3):
        step(state)
    snapshot = Run(tmp_path).save(state.capture(), {})
    other = training(momentum=0.5, channels_last=channels_last)
    step(other)  # whatever it was before
    other.restore(snapshot.read(), "here")
    assert other.iteration == 3
    for _ in range(2):
        step(state)
        step(other)
    ours, expected = everything(other), everything(state)
    assert ours.keys() == expected.keys()
    assert [name for name in ours if not torch.equal(ours[name], expected[name])] == []
    assert other.networks.a["encoder"] is other.networks.b["encoder"]
    assert other.criteria["queue"].queue.shape == (5, 2)


def test_each_shared_tensor_is_saved_once(tmp_path):
    state = training()
    step(state)
    captured = state.capture()
    assert captured.aliases["networks"]["b.encoder.weight"] == "a.encoder.weight"
    assert "networks/b.encoder" not in captured.files
    snapshot = Run(tmp_path).save(captured, {})
    assert not (snapshot.folder / "networks/b.encoder.safetensors").exists()
    only = snapshot.read("networks", only=["b.encoder"]).part("networks")
    assert torch.equal(only["b.encoder.weight"], state.networks.b["encoder"].weight)
    assert not any("decoder" in name for name in only)


def test_frozen_networks_of_criteria_are_left_out_and_counters_are_not():
    names = training().capture().files["criteria"]
    assert {"queue.seen", "queue.queue", "head.weight", "head.bias"} == set(names)


def test_rates_of_a_snapshot_do_not_come_back(tmp_path):
    state = training()
    step(state)
    for optimizer in state.optimizers.values():
        optimizer.param_groups[0]["lr"] = 1e-9  # where a schedule had got to
    snapshot = Run(tmp_path).save(state.capture(), {})
    fresh = training()
    fresh.restore(snapshot.read(), "here")
    assert [o.param_groups[0]["lr"] for o in fresh.optimizers.values()] == [0.1, 0.1, 0.1]


def test_the_average_warms_up_and_takes_buffers_over():
    state = training()
    average, model = state.average, state.networks
    assert [round(average.decay_at(t, 0.9), 4) for t in (0, 1, 1000)] == [0.1, 0.1818, 0.9]
    before = model.a["decoder"].weight.detach().clone()
    step(state)
    after = model.a["decoder"].weight.detach()
    torch.testing.assert_close(average.model.a["decoder"].weight, before.lerp(after, 0.9))
    assert torch.equal(average.model.b["decoder"].running_mean, model.b["decoder"].running_mean)
    assert not torch.equal(average.model.b["decoder"].running_mean, torch.zeros(4))
    assert int(average.model.b["decoder"].num_batches_tracked) == 1
    assert not any("judge" in name for name in average.model.state_dict())


def test_a_parameter_that_networks_share_moves_once():
    state = training()
    before = state.networks.a["encoder"].weight.detach().clone()
    step(state)
    after = state.networks.a["encoder"].weight.detach()
    torch.testing.assert_close(state.average.model.b["encoder"].weight, before.lerp(after, 0.9))


def test_decays_of_single_networks():
    model = Model()
    networks = {"a.decoder": model.a["decoder"], "b.decoder": model.b["decoder"]}
    average = Average(model, networks, {"a.decoder": 0.75}, warm_up=False)
    start = copy.deepcopy(average.model)
    with torch.no_grad():
        model.a["decoder"].weight += 1
        model.b["decoder"].weight += 1
    average.update()
    moved = average.model.a["decoder"].weight - start.a["decoder"].weight
    torch.testing.assert_close(moved, torch.full_like(moved, 0.25))
    assert torch.equal(average.model.b["decoder"].weight, model.b["decoder"].weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.files.pop("networks/judge"), "missing: judge.weight"),
        (lambda c: c.files["networks/judge"].update({"judge.more": torch.ones(1)}), "left over"),
        (
            lambda c: c.files["criteria"].pop("queue.seen"),
            "criteria have another state.*queue.seen",
        ),
        (
            lambda c: c.files["optimizers/judge"].update({"judge.x/exp": torch.ones(1)}),
            "nothing trains judge.x",
        ),
        (
            lambda c: c.files["optimizers/judge"].update(
                {"judge.weight/momentum_buffer": torch.ones(7)}
            ),
            r"momentum_buffer of judge.weight in here is \(7,\), the parameter \(1, 3, 1, 1\)",
        ),
        (lambda c: c.facts.pop("optimizers"), "here holds weights but no optimizer state"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    state = training(momentum=0.5)
    step(state)
    captured = state.capture()
    captured = Captured(1, copy.deepcopy(captured.files), captured.aliases, dict(captured.facts))
    change(captured)
    with pytest.raises(CheckpointError, match=message):
        training(momentum=0.5).restore(captured, "here")


def test_state_that_is_no_tensor_is_refused():
    class Extra(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"seen": 1}

        def set_extra_state(self, state: dict[str, int]) -> None:
            pass

    state = TrainingState(nn.ModuleDict({"net": Extra(2, 2)}), ["net"])
    with pytest.raises(ContractError, match="keeps state that is no tensor .net._extra_state"):
        state.capture()


def test_the_first_tensor_that_is_not_finite():
    state = training()
    assert not_finite(state.capture()) is None
    with torch.no_grad():
        state.networks.a["decoder"].bias[1] = torch.inf
    assert not_finite(state.capture()) == "networks a.decoder.bias"


def test_snapshots_of_before_are_upgraded():
    """Generators and discriminators in a file each, moments by number."""
    ones = torch.ones(2)
    parts = {
        "generators": {"a.encoder.weight": ones},
        "discriminators": {"a.scales.weight": 2 * ones},
        "ema": {"a.encoder.weight": 3 * ones},
        "losses": {"generator.nce.head.weight": 4 * ones},
    }
    moments = [{"state": {1: {"exp_avg": 5 * ones, "step": torch.tensor(7.0)}}}, {"state": {}}]
    captured = upgrade(40, parts, moments)
    assert captured.iteration == captured.facts["average_updates"] == 40
    assert torch.equal(captured.part("criteria")["nce.head.weight"], 4 * ones)
    assert len(captured.part("networks")) == 2
    assert len(captured.part("average")) == 1
    assert set(captured.part("optimizers")) == {"generators#1/exp_avg", "generators#1/step"}
    assert "optimizers" not in upgrade(40, parts, None).facts


class Normalised(nn.Module):
    """A network with a weight that is averaged normalised, shared by both paths."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(conv2d(3, 4, 3, weight_norm="spectral_hook"))
        self.second = self.first

    def networks(self) -> dict[str, nn.Module]:
        return {"first": self.first, "second": self.second}


def test_normalised_weights_are_averaged_as_they_are_used():
    torch.manual_seed(0)
    model = Normalised().double()
    layer, x = model.first[0], torch.randn(1, 3, 8, 8, dtype=torch.float64)
    average = Average(model, model.networks(), 0.75, warm_up=False, start=1)
    found = [layer.averaged()["weight"]]
    for _ in range(3):
        torch.testing.assert_close(average.model.first[0].weight, found[-1])
        model.train()
        layer(x)
        with torch.no_grad():
            layer.weight += torch.randn_like(layer.weight)
        average.update()
        used = layer.averaged()["weight"]
        model.eval()
        torch.testing.assert_close(layer(x), F.conv2d(x, used, layer.bias))
        decay = 0.75 if len(found) > 1 else 0.0  # the first update only follows
        found.append(decay * found[-1] + (1 - decay) * used)
    torch.testing.assert_close(average.model.first[0].weight, found[-1])
    expected = F.conv2d(x, found[-1], average.model.first[0].bias)
    torch.testing.assert_close(average.model.first(x), expected)
    assert not average.model.first[0].u.any()
