"""The loss contracts, each kept by a loss defined here and registered by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from _recipes import ZOO, Logits, Slope, inputs_of, objective_of, starganv2
from lightning_fabric import Fabric
from torch import Tensor, nn

from munit_zoo.config import load_config
from munit_zoo.engine.step import Trainer, build_optimizers, draw_inputs
from munit_zoo.errors import ConfigError, ContractError, GraphError
from munit_zoo.losses.reconstruction import L1
from munit_zoo.models import Objective, Term, Values, assemble, create_terms, rehearse
from munit_zoo.registry import DISCRIMINATORS, LOSSES

SIZES = {"a": (16, 16), "b": (16, 16)}


class Ratio(nn.Module):
    """Compares two tensors; with a setting."""

    contract = "names"

    def __init__(self, *, power: float = 1.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs().pow(self.power).mean()


class Wasserstein(nn.Module):
    """An adversarial loss."""

    contract = "adversarial"

    def __init__(self) -> None:
        super().__init__()

    def generator(self, fakes: list[Tensor]) -> Tensor:
        return -sum(fake.mean() for fake in fakes)

    def discriminator(self, fakes: list[Tensor], reals: list[Tensor]) -> Tensor:
        return sum(f.mean() - r.mean() for f, r in zip(fakes, reals, strict=True))


class Projected(nn.Module):
    """Any number of names, projected by parameters of its own, made to measure."""

    contract = "names"
    arity = None
    same_shape = False

    def __init__(self, shapes: Any) -> None:
        super().__init__()
        self.head = nn.Linear(shapes["c_a"][1], 3)

    def forward(self, *names: Tensor) -> Tensor:
        first, *others = (self.head(name.mean((2, 3))) for name in names)
        return torch.stack([(first - other).square().mean() for other in others]).sum()


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    losses = {
        "test_ratio": Ratio,
        "test_wasserstein": Wasserstein,
        "test_slope": Slope,
        "test_projected": Projected,
    }
    for name, loss in losses.items():
        LOSSES.register(name)(loss)
    yield
    for name in losses:
        del LOSSES._local[name]


def assembled(tiny, *overrides: str) -> tuple[Any, Objective, dict[str, Tensor], Any]:
    config = load_config("munit/shapes", *tiny, "ENGINE.SHARE=derived", *overrides)
    model, objective, rehearsal = assemble(config, SIZES)
    torch.manual_seed(0)
    inputs = {
        name: torch.rand(2, 3, 16, 16) if name.startswith("x") else torch.randn(2, 4)
        for name in objective.inputs
    }
    return model, objective, inputs, rehearsal


def losses_of(objective: Objective, inputs: dict[str, Tensor], iteration: int = 0):
    """Per update its loss and its parts."""
    weights = {k: torch.tensor(w) for k, w in objective.weights(iteration, 100).items()}
    values, found = Values(inputs), {}
    for code in objective.codes(objective.pattern(iteration)):
        name = objective.graph.updates[code.index].name
        found[name] = objective.steps[code.index](code, values, weights)
        values.forget(code)
    return found


# Names


def test_a_loss_on_names_of_the_users(tiny):
    term = "LOSSES.MINE={NAME: test_ratio, POWER: 2, WEIGHT: 4, PAIRS: [[x_ab, x_a], [x_ba, x_b]]}"
    model, objective, inputs, _ = assembled(tiny, term, "LOSSES.IMAGE_RECON=null")
    total, parts = losses_of(objective, inputs)["generators"]
    x_ab = model.b.decoder(model.a.content_encoder(inputs["x_a"]), inputs["z_b"])
    torch.testing.assert_close(parts["mine/x_ab"], (x_ab - inputs["x_a"]).square().mean().detach())
    weights = {"adversarial": 1, "style_recon": 3, "content_recon": 3, "mine": 4}
    by_hand = sum(weights[name.split("/")[0]] * value for name, value in parts.items())
    torch.testing.assert_close(total.detach(), by_hand)


def test_any_number_of_names_with_parameters_of_its_own(tiny):
    term = "LOSSES.HEAD={NAME: test_projected, WEIGHT: 2, PAIRS: [[c_a, c_ab, c_b]]}"
    model, objective, inputs, _ = assembled(tiny, term)
    total, parts = losses_of(objective, inputs)["generators"]
    assert "head/c_a" in parts
    total.backward()
    head = objective.criteria["head"].head
    assert head.weight.grad is not None
    config = load_config("munit/shapes", *tiny, "ENGINE.SHARE=derived", term)
    groups = build_optimizers(config, model, objective)
    owners = [group.updates for group in groups if "loss.head.head.weight" in group.parameters]
    assert owners == [(1,)]


def test_a_term_may_be_called_as_a_network_is(tiny):
    config = load_config("munit/shapes", *tiny)
    term = Term("generator", Projected({"c_a": (1, 3)}), pairs=(("x", "x_trg"),))
    model = starganv2()
    objective = objective_of(
        model, [Term("adversarial", Logits()), dataclasses.replace(term, updates=("generator_z",))]
    )
    groups = build_optimizers(config, model, objective)
    trained = {name for group in groups for name in group.parameters}
    assert {f"generator.{name}" for name, _ in model.generator.named_parameters()} <= trained
    assert "loss.generator.head.weight" in trained


def test_two_pairs_that_begin_alike_are_logged_apart(tiny):
    term = "LOSSES.MINE={NAME: test_ratio, PAIRS: [[x_ab, x_a], [x_ab, x_b], [x_aa, x_a]]}"
    _, objective, inputs, _ = assembled(tiny, term)
    _, parts = losses_of(objective, inputs)["generators"]
    mine = {name for name in parts if name.startswith("mine/")}
    assert mine == {"mine/x_ab~x_a", "mine/x_ab~x_b", "mine/x_aa"}


def test_different_shapes_are_not_broadcast_in_silence(tiny):
    config = load_config("munit/shapes", *tiny, "LOSSES.MINE={NAME: l1, PAIRS: [[c_a, x_a]]}")
    with pytest.raises(GraphError, match=r"term mine compares different shapes: c_a \(8, 8, 8\)"):
        rehearse(config, SIZES)
    either = "LOSSES.MINE={NAME: test_projected, PAIRS: [[c_a, c_ab]]}"
    assert rehearse(load_config("munit/shapes", *tiny, either), SIZES).objective.terms["mine"]


@pytest.mark.parametrize("name", ["type", "training", "forward", "networks"])
def test_a_term_may_be_called_like_a_modules_attribute(tiny, name: str):
    term = f"LOSSES.{name.upper()}={{NAME: test_projected, PAIRS: [[c_a, c_ab]]}}"
    _, objective, inputs, _ = assembled(tiny, term)
    total, parts = losses_of(objective, inputs)["generators"]
    assert f"{name}/c_a" in parts
    total.backward()
    assert objective.steps[1].training is True


# Adversarial


def test_an_adversarial_loss_acts_on_every_entry_of_its_sides(tiny):
    model, objective, inputs, _ = assembled(
        tiny, "LOSSES.ADVERSARIAL={NAME: test_wasserstein, WEIGHT: 0.5, CRITIC_WEIGHT: 2}"
    )
    found = losses_of(objective, inputs)
    loss, parts = found["discriminators"]
    assert set(parts) == {"adversarial/d_ab", "adversarial/d_ba"}
    torch.testing.assert_close(loss.detach(), 2 * sum(parts.values()))
    _, generators = found["generators"]
    x_ab = model.b.decoder(model.a.content_encoder(inputs["x_a"]), inputs["z_b"])
    logits = model.b.discriminator(x_ab)
    expected = -sum(x.mean() for x in logits).detach()
    torch.testing.assert_close(generators["adversarial/d_ab"], expected)


def test_an_adversarial_term_of_ones_own_acts_where_the_recipes_does(tiny):
    own = "LOSSES.SECOND={NAME: hinge, WEIGHT: 0.5}"
    _, objective, inputs, _ = assembled(tiny, own)
    for update in ("discriminators", "generators"):
        _, parts = losses_of(objective, inputs)[update]
        assert {"second/d_ab", "second/d_ba"} <= set(parts)


# Penalties


def test_a_penalty_reaches_the_discriminators(tiny):
    term = (
        "LOSSES.R1={NAME: test_slope, WEIGHT: 10, PAIRS: [[d_a, x_a], [d_b, x_b]], "
        "UPDATES: [discriminators]}"
    )
    model, objective, inputs, _ = assembled(tiny, term, "LOSSES.ADVERSARIAL=null")
    loss, parts = losses_of(objective, inputs)["discriminators"]
    assert set(parts) == {"r1/d_a", "r1/d_b"}
    x = inputs["x_a"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(sum(d.sum() for d in model.a.discriminator(x)), x)
    torch.testing.assert_close(parts["r1/d_a"], gradient.square().mean())
    loss.backward()
    assert any(p.grad is not None for p in model.a.discriminator.parameters())
    assert all(p.grad is None for p in model.a.content_encoder.parameters())


def test_updates_are_named_in_either_case(tiny):
    own = "LOSSES.MINE={NAME: l1, PAIRS: [[x_ab, x_a]], UPDATES: [GENERATORS]}"
    _, objective, _, _ = assembled(tiny, own)
    assert "mine" in objective.terms_of(1)


def test_a_term_that_trains_nothing_where_it_acts_is_told_where_it_would(tiny):
    """One's own term acts where no discriminator is judged, unless it says so."""
    message = (
        "LOSSES.R1: R1 trains nothing in the update 'generators': .* makes d_a, x_a. "
        r"Write UPDATES: \[discriminators\]"
    )
    with pytest.raises(ConfigError, match=message):
        assembled(tiny, "LOSSES.R1={NAME: test_slope, PAIRS: [[d_a, x_a]]}")
    with pytest.raises(ConfigError, match="none of the networks .* makes x_a, x_b. Leave it out"):
        assembled(tiny, "LOSSES.MINE={NAME: l1, PAIRS: [[x_a, x_b]]}")
    fakes = "LOSSES.R2={NAME: test_slope, PAIRS: [[d_ab, x_ab]]}"
    assert assembled(tiny, fakes)[1].terms_of(1)[-1] == "r2"


# Weights


def test_weights_may_be_negative_and_fall(tiny):
    mine = (
        "LOSSES.MINE={NAME: test_ratio, WEIGHT: -2, PAIRS: [[x_ab, x_a]], "
        "SCHEDULE: {NAME: linear, START: 0.0}}"
    )
    _, objective, _, rehearsal = assembled(tiny, mine)
    weights = [objective.weights(i, 100)["mine", False] for i in (0, 50, 99)]
    assert weights[0] == -2
    assert weights[0] < weights[1] < weights[2] <= 0
    terms = create_terms(load_config("munit/shapes", *tiny), rehearsal.shapes)
    assert all(term.factor is None for term in terms)


def test_a_lazy_term_weighs_more_where_it_acts(tiny):
    mine = "LOSSES.MINE={NAME: test_ratio, WEIGHT: 2, PAIRS: [[x_ab, x_a]], EVERY: 4}"
    _, objective, inputs, _ = assembled(tiny, mine)
    found = [losses_of(objective, inputs, i)["generators"] for i in (0, 1)]
    assert "mine/x_ab" in found[0][1]
    assert "mine/x_ab" not in found[1][1]
    difference = found[0][0] - found[1][0]
    torch.testing.assert_close(difference.detach(), 8 * found[0][1]["mine/x_ab"])


def test_weights_reach_a_step_as_tensors_that_are_filled(tiny):
    """A compiled or recorded step reads the same tensor in every iteration."""
    mine = (
        "LOSSES.MINE={NAME: test_ratio, PAIRS: [[x_ab, x_a]], SCHEDULE: {NAME: linear, START: 0.0}}"
    )
    config = load_config("munit/shapes", *tiny, "ENGINE.SHARE=derived", mine)
    model, objective, rehearsal = assemble(config, SIZES)
    groups = build_optimizers(config, model, objective)
    trainer = Trainer(Fabric(accelerator="cpu", devices=1), model, objective, groups, iterations=10)
    draws = draw_inputs(
        model,
        objective,
        rehearsal.draws,
        seed=0,
        iteration=0,
        first=0,
        count=2,
        batch_size=2,
    )
    images = {name: torch.rand(2, 3, 16, 16) for name in objective.inputs if name not in draws}
    weight = trainer._weights["mine", False]
    seen = []
    for iteration in (0, 5):
        parts = trainer.step({**images, **draws}, iteration)
        assert "generators/mine/x_ab" in parts
        seen.append(float(weight))
    assert seen[0] == 1
    assert 0 < seen[1] < 1
    assert trainer._weights["mine", False] is weight


# Labels


def test_labels_reach_conditional_networks():
    """Each sample is judged as an image of the domain that its label says."""
    torch.manual_seed(0)
    model = starganv2()
    objective = objective_of(model, [Term("adversarial", Logits())])
    inputs = inputs_of(objective, batch=3)
    assert inputs["y_trg"].tolist() == [0, 1, 2]
    _, parts = losses_of(objective, inputs)["discriminator_z"]
    with torch.no_grad():
        style = model.mapping(inputs["z"], inputs["y_trg"])
        fake = model.discriminator(model.generator(inputs["x"], style), inputs["y_trg"])
        real = model.discriminator(inputs["x"], inputs["y"])
    expected = Logits().discriminator(fake, real)
    torch.testing.assert_close(parts["adversarial/d_z"], expected)
    turned = {**inputs, "y_trg": inputs["y_trg"].roll(1)}
    _, others = losses_of(objective, turned)["discriminator_z"]
    assert others["adversarial/d_z"] != parts["adversarial/d_z"]


@pytest.mark.parametrize("name", ZOO)
def test_every_recipe_logs_each_term_by_update_and_name(name: str):
    objective = objective_of(ZOO[name]())
    for index, uses in enumerate(objective.uses):
        labels = [f"{use.term}/{use.label}" for use in uses]
        assert len(labels) == len(set(labels))
        assert tuple(dict.fromkeys(use.term for use in uses)) == objective.terms_of(index)


# Half precision


def test_losses_are_computed_in_full_precision(tiny):
    class Noting(L1):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            self.seen = (x.dtype, y.dtype, torch.is_autocast_enabled("cpu"))
            return super().forward(x, y)

    objective = objective_of(ZOO["munit"](), [Term("image_recon", Noting())])
    inputs = inputs_of(objective)
    with torch.autocast("cpu", torch.bfloat16):
        losses_of(objective, inputs)
    assert objective.criteria["image_recon"].seen == (torch.float32, torch.float32, False)


@pytest.mark.parametrize("update", ["discriminators", "generators"])
def test_a_penalty_by_what_a_network_made_in_half_precision(update: str):
    """It differentiates by the tensor that was judged, not by a copy in full precision."""
    torch.manual_seed(0)
    terms = [Term("r2", Slope(), pairs=(("d_ab", "x_ab"),), updates=(update,))]
    objective = objective_of(ZOO["munit"](), terms)
    inputs = inputs_of(objective)
    _, expected = losses_of(objective, inputs)[update]
    with torch.autocast("cpu", torch.bfloat16):
        loss, found = losses_of(objective, inputs)[update]
        loss.backward()
    assert found["r2/d_ab"].dtype == torch.float32 or update == "generators"
    torch.testing.assert_close(found["r2/d_ab"].float(), expected["r2/d_ab"], rtol=0.1, atol=0)


# Mistakes


def test_a_loss_without_a_contract(tiny, monkeypatch):
    monkeypatch.delattr(Ratio, "contract")
    with pytest.raises(ConfigError, match="give the class the attribute contract"):
        load_config("munit/shapes", "LOSSES.MINE={NAME: test_ratio, PAIRS: [[x_ab, x_a]]}")


@pytest.mark.parametrize("contract", ["pair", "named"])
def test_a_contract_of_an_earlier_version_is_told_todays(monkeypatch, contract: str):
    monkeypatch.setattr(Ratio, "contract", contract)
    with pytest.raises(ConfigError, match=f"contract '{contract}' of an earlier .*contract = 'nam"):
        load_config("munit/shapes", "LOSSES.MINE={NAME: test_ratio, PAIRS: [[x_ab, x_a]]}")


@pytest.mark.parametrize(
    ("loss", "attribute", "value", "message"),
    [
        (Wasserstein, "discriminator", None, "is adversarial and lacks the method discriminator"),
        (Projected, "arity", 0, "arity is 0; it is how many names the loss reads at a time"),
        (Slope, "arity", 1, "differentiates its first tensor by its second: arity is 2"),
    ],
)
def test_a_class_that_breaks_its_contract(tiny, monkeypatch, loss, attribute, value, message):
    monkeypatch.setattr(loss, attribute, value)
    name = f"test_{loss.__name__.lower()}"
    with pytest.raises(ConfigError, match=message):
        load_config("munit/shapes", *tiny, f"LOSSES.ADVERSARIAL={{NAME: {name}}}")


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("{NAME: l1, PAIRS: [[x_ab, x_c]]}", "LOSSES.MINE.PAIRS .*: Munit computes no 'x_c'"),
        (
            "{NAME: l1, PAIRS: [[x_ab]]}",
            r"MINE.PAIRS .*: the loss L1 reads 2 tensors .* got \[x_ab\]",
        ),
        ("{NAME: l1}", r"MINE.PAIRS .*: is required, as in \[\[x_ab, x_a\]\]: Munit itself knows"),
        (
            "{NAME: l1, PAIRS: [[x_ab, x_a]], UPDATES: [makers]}",
            "MINE.UPDATES .*: Munit has no updat",
        ),
        (
            "{NAME: lsgan, PAIRS: [[x_ab, x_a]]}",
            "MINE.PAIRS .*: are for losses that compare tensors",
        ),
        (
            "{NAME: test_slope, PAIRS: [[d_a, x_b]]}",
            "MINE.PAIRS .*: the loss Slope differentiates 'd_a' by 'x_b', of which it is not",
        ),
    ],
)
def test_a_term_that_does_not_fit_is_found_when_the_config_resolves(tiny, term, message):
    with pytest.raises(ConfigError, match=message):
        load_config("munit/shapes", *tiny, f"LOSSES.MINE={term}")


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda self, x, y: (x - y).abs().mean((1, 2, 3)), r"returns \(2,\); a loss is a scalar"),
        (lambda self, x, y: 0.0, "returns float; a loss is a scalar"),
        (lambda self, x, y: x.nope, "AttributeError: .*nope"),
    ],
)
def test_a_wrong_call_is_found_before_training(tiny, monkeypatch, forward, message):
    monkeypatch.setattr(Ratio, "forward", forward)
    with pytest.raises((ContractError, GraphError), match=message):
        rehearse(load_config("munit/shapes", *tiny, "LOSSES.IMAGE_RECON={NAME: test_ratio}"), SIZES)


def test_a_discriminator_that_returns_no_list_is_found_before_training(tiny, monkeypatch):
    cls = DISCRIMINATORS.get("multiscale_patch")
    whole = cls.forward
    monkeypatch.setattr(cls, "forward", lambda self, x: whole(self, x)[0])
    with pytest.raises(ContractError, match="returns Tensor; a list of logits is due"):
        rehearse(load_config("munit/shapes", *tiny), SIZES)


def test_what_a_constructor_raises_names_the_component(tiny, monkeypatch):
    monkeypatch.setattr(Ratio, "__init__", Wasserstein.__init__)  # super() of another class
    config = load_config("munit/shapes", *tiny, "LOSSES.IMAGE_RECON={NAME: test_ratio}")
    with pytest.raises(ContractError, match="loss 'test_ratio' cannot be built: TypeError"):
        rehearse(config, SIZES)
