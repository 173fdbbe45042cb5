"""The three loss contracts, each kept by a loss defined here and registered by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from munit_zoo.config import load_config
from munit_zoo.engine.step import trained_parameters
from munit_zoo.errors import ConfigError, ContractError, GraphError
from munit_zoo.models import assemble, rehearse
from munit_zoo.registry import DISCRIMINATORS, LOSSES

SIZES = {"a": (16, 16), "b": (16, 16)}


class Ratio(nn.Module):
    """A pair loss with a setting."""

    contract = "pair"

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


class GradientPenalty(nn.Module):
    """A named loss of the discriminators, which it is handed."""

    contract = "named"
    reads = ("x_a", "x_b")
    side = "discriminator"
    wants_critics = True

    def __init__(self) -> None:
        super().__init__()

    def forward(self, names, critics) -> Tensor:
        total = 0
        for domain in ("a", "b"):
            x = names[f"x_{domain}"].detach().requires_grad_()
            logits = sum(part.sum() for part in critics[domain](x))
            (gradient,) = torch.autograd.grad(logits, x, create_graph=True)
            total = total + gradient.square().sum((1, 2, 3)).mean()
        return total


class Projected(nn.Module):
    """A named loss with parameters of its own, made to measure of the shapes it reads."""

    contract = "named"
    reads = ("c_a", "c_ab")

    def __init__(self, shapes) -> None:
        super().__init__()
        self.head = nn.Linear(shapes["c_a"][1], 3)

    def forward(self, names, critics) -> Tensor:
        assert not critics
        first, second = (self.head(names[n].mean((2, 3))) for n in self.reads)
        return (first - second).square().mean()


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    losses = {
        "test_ratio": Ratio,
        "test_wasserstein": Wasserstein,
        "test_penalty": GradientPenalty,
        "test_projected": Projected,
    }
    for name, loss in losses.items():
        LOSSES.register(name)(loss)
    yield
    for name in losses:
        del LOSSES._local[name]


def env(model, objective, count: int = 2) -> dict[str, Tensor]:
    torch.manual_seed(0)
    shapes = {
        name: model.noise_shape(name, SIZES) if model.is_noise(name) else (3, 16, 16)
        for name in objective.plan.inputs
    }
    return {name: torch.randn(count, *shape) for name, shape in shapes.items()}


def losses_of(tiny, *overrides):
    config = load_config("munit/shapes", *tiny, *overrides)
    model, objective, _ = assemble(config, SIZES)
    names, fakes = objective.generators(env(model, objective))
    critics = objective.critics(fakes, env(model, objective))
    return model, objective, critics, objective.losses(names, model.discriminators), names


def test_a_pair_loss_on_pairs_of_the_users(tiny):
    term = "LOSSES.MINE={NAME: test_ratio, POWER: 2, WEIGHT: 4, PAIRS: [[x_ab, x_a], [x_ba, x_b]]}"
    _, _, _, (total, parts), names = losses_of(tiny, term, "LOSSES.IMAGE_RECON=null")
    expected = (names["x_ab"] - names["x_a"]).square().mean()
    torch.testing.assert_close(parts["mine/x_ab"], expected)
    weights = {"adversarial": 1, "style_recon": 3, "content_recon": 3, "mine": 4}
    by_hand = sum(weights[name.split("/")[0]] * value for name, value in parts.items())
    torch.testing.assert_close(total.detach(), by_hand)


def test_an_adversarial_loss_acts_on_every_critic(tiny):
    model, _, (loss, parts), (_, generator), names = losses_of(
        tiny, "LOSSES.ADVERSARIAL={NAME: test_wasserstein, WEIGHT: 0.5}"
    )
    assert set(parts) == {"adversarial/a", "adversarial/b"}
    torch.testing.assert_close(loss.detach(), 0.5 * sum(parts.values()))
    logits = model.discriminators["b"](names["x_ab"])
    torch.testing.assert_close(generator["adversarial/b"], -sum(x.mean() for x in logits).detach())


def test_a_named_loss_on_the_discriminators_side(tiny):
    model, _, (loss, parts), _, _ = losses_of(tiny, "LOSSES.R1={NAME: test_penalty, WEIGHT: 10}")
    assert parts["r1"] > 0
    loss.backward()
    assert all(p.grad is not None for p in model.discriminators.parameters())


def test_a_named_losss_own_parameters_are_trained_with_its_side(tiny):
    model, objective, _, (loss, parts), _ = losses_of(
        tiny, "LOSSES.HEAD={NAME: test_projected, WEIGHT: 2}"
    )
    generators, discriminators = trained_parameters(model, objective)
    assert {"loss.head.head.weight", "loss.head.head.bias"} <= set(generators)
    assert not any(name.startswith("loss.") for name in discriminators)
    assert "head" in parts
    loss.backward()
    assert generators["loss.head.head.weight"].grad is not None


def test_a_named_loss_that_reads_what_is_not_there(tiny, monkeypatch):
    monkeypatch.setattr(Projected, "reads", ("c_a", "c_q"))
    with pytest.raises(ConfigError, match="computes no 'c_q'"):
        load_config("munit/shapes", *tiny, "LOSSES.HEAD={NAME: test_projected}")


def test_a_loss_without_a_contract(tiny, monkeypatch):
    monkeypatch.delattr(Ratio, "contract")
    with pytest.raises(ConfigError, match="give the class the attribute contract"):
        load_config("munit/shapes", "LOSSES.MINE={NAME: test_ratio, PAIRS: [[x_ab, x_a]]}")


def test_different_shapes_are_not_broadcast_in_silence(tiny):
    config = load_config("munit/shapes", *tiny, "LOSSES.MINE={NAME: l1, PAIRS: [[c_a, x_a]]}")
    with pytest.raises(GraphError, match=r"term mine compares different shapes: c_a \(8, 8, 8\)"):
        rehearse(config, SIZES)


@pytest.mark.parametrize("side", ["gen", "critic", None])
def test_a_misspelt_side_does_not_remove_the_loss_in_silence(tiny, monkeypatch, side):
    monkeypatch.setattr(Projected, "side", side, raising=False)
    with pytest.raises(ConfigError, match="side is .*; it is 'generator' or 'discriminator'"):
        load_config("munit/shapes", *tiny, "LOSSES.HEAD={NAME: test_projected}")


@pytest.mark.parametrize(
    ("loss", "attribute", "value", "message"),
    [
        (Wasserstein, "discriminator", None, "is adversarial and lacks the method discriminator"),
        (Projected, "reads", "c_a", r'reads is a str; write a tuple: \("c_a",\)'),
        (Projected, "reads", ["c_a"], "names no tensors that it reads"),
    ],
)
def test_a_class_that_breaks_its_contract(tiny, monkeypatch, loss, attribute, value, message):
    monkeypatch.setattr(loss, attribute, value)
    name = "test_wasserstein" if loss is Wasserstein else "test_projected"
    with pytest.raises(ConfigError, match=message):
        load_config("munit/shapes", *tiny, f"LOSSES.ADVERSARIAL={{NAME: {name}}}")


def test_a_named_loss_that_reads_nothing(tiny, monkeypatch):
    monkeypatch.delattr(Projected, "reads")
    config = load_config("munit/shapes", *tiny, "LOSSES.HEAD={NAME: test_projected}")
    with pytest.raises(ContractError, match="names no tensors that it reads"):
        rehearse(config, SIZES)


@pytest.mark.parametrize(
    ("loss", "forward", "message"),
    [
        (
            Ratio,
            lambda self, x, y: (x - y).abs().mean((1, 2, 3)),
            r"returns \(2,\); a loss is",
        ),
        (Ratio, lambda self, x, y: 0.0, "returns float; a loss is a scalar"),
        (Projected, lambda self, names, critics: names["x_a"].mean(), "'x_a', which reads does n"),
        (Projected, lambda self, names, critics: critics["b"], "set wants_critics = True"),
        (Projected, lambda self, names, critics: names.nope, "AttributeError: .*nope"),
    ],
)
def test_a_wrong_call_is_found_before_training(tiny, monkeypatch, loss, forward, message):
    monkeypatch.setattr(loss, "forward", forward)
    term = (
        "LOSSES.IMAGE_RECON={NAME: test_ratio}"
        if loss is Ratio
        else "LOSSES.HEAD={NAME: test_projected}"
    )
    with pytest.raises((ContractError, GraphError), match=message):
        rehearse(load_config("munit/shapes", *tiny, term), SIZES)


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
