"""Small recipes, and iterations of them: as planned, and in the plainest way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from munit_zoo.domains import Domain
from munit_zoo.losses import AdversarialLoss, NamesLoss
from munit_zoo.models import Critic, Fool, Graph, Objective, Term, TranslationModel, Values
from munit_zoo.models.bicyclegan import BicycleGan
from munit_zoo.models.cyclegan import CycleGan
from munit_zoo.models.cyclegan_noise import CycleGanNoise
from munit_zoo.models.drit import Drit
from munit_zoo.models.funit import Funit
from munit_zoo.models.imaginaire_munit import ImaginaireMunit
from munit_zoo.models.imaginaire_unit import ImaginaireUnit
from munit_zoo.models.munit import Munit
from munit_zoo.models.outline import own_terms
from munit_zoo.models.pix2pix import Pix2Pix
from munit_zoo.models.recipe import names_of
from munit_zoo.models.rehearsal import Look, look
from munit_zoo.models.stargan import StarGan, StarGanAttributes, StarGanJoint
from munit_zoo.models.starganv2 import StarGanV2
from munit_zoo.models.unit import Unit
from munit_zoo.models.views import frozen_twin, views
from munit_zoo.registry import slot
from munit_zoo.testing.recipes import random_inputs

DAY, NIGHT, DUSK = Domain("day"), Domain("night"), Domain("dusk")
TWO = (DAY, NIGHT)


# The zoo's recipes, small


def _content(**more: Any) -> Any:
    return slot("resnet", **{"dim": 4, "blocks": 1, "downsamples": 1, "kernel_size": 3, **more})


def _judge() -> Any:
    return slot("multiscale_patch", dim=4, layers=2, scales=2)


def munit(
    domains: tuple[Domain, ...] = TWO, *, recipe: type[Munit] = Munit, **settings: Any
) -> Munit:
    chosen = {
        "style_dim": 4,
        "content_encoder": _content(),
        "style_encoder": slot("conv", dim=4, downsamples=2, kernel_size=3),
        "decoder": slot("adain_resnet", blocks=1, kernel_size=3, mapping=slot("mlp", dim=8)),
        "discriminator": _judge(),
    }
    return recipe(domains, **{**chosen, **settings})


def unit(domains: tuple[Domain, ...] = TWO, **settings: Any) -> Unit:
    chosen = {
        "content_encoder": _content(),
        "decoder": slot("resnet", blocks=1, kernel_size=3),
        "discriminator": _judge(),
    }
    return Unit(domains, **{**chosen, **settings})


def cyclegan(domains: tuple[Domain, ...] = TWO, **settings: Any) -> CycleGan:
    chosen = {
        "generator": slot("resnet", dim=2, blocks=1),
        "discriminator": slot("patch", dim=2, layers=1),
        "pool_size": 3,
    }
    return CycleGan(domains, **{**chosen, **settings})


def cyclegan_noise(domains: tuple[Domain, ...] = TWO, **settings: Any) -> CycleGanNoise:
    chosen = {
        "style_dim": 3,
        "generator": slot("unet", dim=2, levels=3, norm=slot("instance")),
        "discriminator": slot("patch", dim=2, layers=1),
        "pool_size": 3,
    }
    return CycleGanNoise(domains, **{**chosen, **settings})


def pix2pix(domains: tuple[Domain, ...] = TWO, **settings: Any) -> Pix2Pix:
    chosen = {
        "generator": slot("unet", dim=2, levels=3, dropout=0.0),
        "discriminator": slot("patch", dim=2, layers=1),
    }
    return Pix2Pix(domains, **{**chosen, **settings})


def bicyclegan(domains: tuple[Domain, ...] = TWO, **settings: Any) -> BicycleGan:
    judge = slot("multiscale_patchgan", dim=2, layers=1)
    chosen = {
        "style_dim": 3,
        "generator": slot("styled_unet", dim=2, levels=3),
        "style_encoder": slot("bicyclegan_resnet", dim=2, halvings=2, parts=2),
        "discriminator": judge,
        "discriminator2": judge,
    }
    return BicycleGan(domains, **{**chosen, **settings})


def drit(domains: tuple[Domain, ...] = TWO, **settings: Any) -> Drit:
    encoder = slot("bicyclegan_resnet", dim=2, halvings=2, parts=2, mean="all", norm=slot("none"))
    chosen = {
        "style_dim": 3,
        "every": 1,
        "content_encoder": slot("drit", dim=2, downsamples=1, blocks=1, kernel_size=3),
        "style_encoder": encoder,
        "decoder": slot("drit", blocks=1),
        "discriminator": slot("multiscale_patch", dim=2, layers=2, scales=1),
        "content_discriminator": slot("content", layers=1, kernel_size=3),
    }
    return Drit(domains, **{**chosen, **settings})


def _told(labels: int) -> dict[str, Any]:
    return {
        "generator": slot("stargan", dim=2, blocks=1, downsamples=1),
        "discriminator": slot("stargan", size=16, labels=labels, dim=2, layers=2),
    }


def stargan(domains: tuple[Domain, ...] = (DAY, NIGHT, DUSK), **settings: Any) -> StarGan:
    return StarGan(domains, **{**_told(len(domains)), **settings})


def stargan_attributes(domains: tuple[Domain, ...] = (DAY,), **settings: Any) -> StarGanAttributes:
    names = ("Blond_Hair", "Gray_Hair", "Smiling")
    return StarGanAttributes(domains, **{"attributes": names, **_told(3), **settings})


def stargan_joint(domains: tuple[Domain, ...] = TWO, **settings: Any) -> StarGanJoint:
    names = ("Blond_Hair", "Smiling")
    return StarGanJoint(domains, **{"attributes": names, "classes": 3, **_told(5), **settings})


def funit(domains: tuple[Domain, ...] = (DAY,), **settings: Any) -> Funit:
    chosen = {
        "style_dim": 4,
        "classes": 3,
        "content_encoder": _content(),
        "style_encoder": slot("conv", dim=4, downsamples=2, kernel_size=3),
        "decoder": slot("adain_resnet", blocks=1, kernel_size=3, mapping=slot("mlp", dim=8)),
        "discriminator": slot("funit", dim=4, blocks=2),
    }
    return Funit(domains, **{**chosen, **settings})


def imaginaire_munit(domains: tuple[Domain, ...] = TWO, **settings: Any) -> ImaginaireMunit:
    chosen = {
        "style_dim": 4,
        "content_encoder": _content(block="pre_activation"),
        "style_encoder": slot("conv", dim=4, downsamples=2, kernel_size=3),
        "decoder": slot("styled_resnet", dim=8, blocks=1, kernel_size=3),
        "discriminator": slot("imaginaire_residual", dim=4, layers=3, weight_norm="none"),
    }
    return ImaginaireMunit(domains, **{**chosen, **settings})


def imaginaire_unit(domains: tuple[Domain, ...] = TWO, **settings: Any) -> ImaginaireUnit:
    chosen = {
        "content_encoder": _content(block="pre_activation"),
        "decoder": slot("resnet", blocks=1, kernel_size=3),
        "discriminator": slot(
            "pyramid_patch", dim=4, layers=1, scales=2, shared=True, weight_norm="none"
        ),
    }
    return ImaginaireUnit(domains, **{**chosen, **settings})


def starganv2(domains: tuple[Domain, ...] = (DAY, NIGHT, DUSK), **settings: Any) -> StarGanV2:
    sizes: dict[str, Any] = {"size": 32, "channel_budget": 128, "max_dim": 4}
    chosen = {
        "latent_dim": 3,
        "style_dim": 4,
        "generator": slot("starganv2", **sizes),
        "mapping": slot("starganv2", dim=4),
        "style_encoder": slot("starganv2", **sizes),
        "discriminator": slot("starganv2", **sizes),
    }
    return StarGanV2(domains, **{**chosen, **settings})


ZOO: dict[str, Callable[..., TranslationModel]] = {
    "munit": munit,
    "unit": unit,
    "cyclegan": cyclegan,
    "cyclegan_noise": cyclegan_noise,
    "pix2pix": pix2pix,
    "bicyclegan": bicyclegan,
    "drit": drit,
    "starganv2": starganv2,
    "stargan": stargan,
    "funit": funit,
    "imaginaire_munit": imaginaire_munit,
    "imaginaire_unit": imaginaire_unit,
    "stargan_attributes": stargan_attributes,
    "stargan_joint": stargan_joint,
}


# Losses


class Mean(NamesLoss):
    """The mean of one tensor."""

    arity = 1

    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


class Logits(AdversarialLoss):
    """Fakes up for a generator; fakes down and reals up for a discriminator."""

    def generator(self, fakes: list[Tensor]) -> Tensor:
        return -sum(part.mean() for part in fakes)

    def discriminator(self, fakes: list[Tensor], reals: list[Tensor]) -> Tensor:
        return sum(f.mean() - r.mean() for f, r in zip(fakes, reals, strict=True))


class Slope(NamesLoss):
    """Mean squared gradient of a first tensor, or list, by a second."""

    same_shape = False
    differentiates = True

    def forward(self, result: Any, by: Tensor) -> Tensor:
        parts = [result] if isinstance(result, Tensor) else result
        (gradient,) = torch.autograd.grad(sum(part.sum() for part in parts), by, create_graph=True)
        return gradient.square().mean()


# Iterations


def looked_at(model: TranslationModel, side: int = 32, batch: int = 2) -> Look:
    """What a look at a copy of a model on `meta` shows."""
    shadow = copy.deepcopy(model).to("meta")
    shadow._graph = None
    side = _side(model, side)
    return look(shadow, {domain.name: (side, side) for domain in model.domains}, batch)


def objective_of(
    model: TranslationModel, terms: list[Term] | None = None, *, side: int = 32, **options: Any
) -> Objective:
    """A model's updates; with losses of the tests' own where `terms` is left out."""
    found = looked_at(model, side)
    chosen = own_terms(model.graph(), found) if terms is None else terms
    return Objective(model, chosen, calls=found.calls, **options)


def _side(model: TranslationModel, side: int) -> int:
    """The side of a model's images, where a network takes one alone."""
    asked = (getattr(network, "input_size", None) for network in model.networks().values())
    return next((s for s in asked if s), side)


def inputs_of(objective: Objective, side: int = 32, batch: int = 2) -> dict[str, Tensor]:
    """Random inputs of an iteration."""
    found = looked_at(objective.model, side, batch)
    meta = {name: found.values[name.rstrip("'")] for name in objective.inputs}
    return random_inputs(objective.model, meta, batch, torch.randn)


def run_updates(
    objective: Objective,
    inputs: Mapping[str, Tensor],
    rate: float = 0.0,
    iteration: int | None = None,
) -> list[tuple[str, dict[str, Tensor], dict[str, Tensor]]]:
    """One iteration as planned: per update its name, its parts, and gradients by parameter.

    rate: of plain gradient descent after each update.
    """
    weights = {key: torch.ones(()) for key in objective.weights(0, 1)}
    values, found = Values(inputs), []
    for code in objective.codes(objective.pattern(iteration)):
        step = objective.steps[code.index]
        for parameter in objective.model.parameters():
            parameter.grad = None
        loss, parts = step(code, values, weights)
        loss.backward()
        values.forget(code)
        trained = _trained(objective, code.index)
        gradients = {n: p.grad.clone() for n, p in trained.items() if p.grad is not None}
        others = [
            name
            for name, p in objective.model.named_parameters()
            if p.grad is not None and name not in trained
        ]
        assert not others, f"gradients into what is not trained: {others}"
        with torch.no_grad():
            for parameter in trained.values():
                if parameter.grad is not None:
                    parameter -= rate * parameter.grad
        found.append((objective.graph.updates[code.index].name, parts, gradients))
    assert all(slot in inputs for slot in values.slots), "values outlive their last reader"
    return found


def run_plainly(
    objective: Objective, inputs: Mapping[str, Tensor], rate: float = 0.0, *, redraw: bool = True
) -> list[tuple[str, dict[str, Tensor], dict[str, Tensor]]]:
    """The same with everything computed anew by each update, from the recipe alone."""
    model, graph = objective.model, objective.graph
    networks = model.networks()
    twins = {path: frozen_twin(network) for path, network in networks.items()}
    pair = views(model, lambda path, frozen: twins[path] if frozen else networks[path])
    drawn = dict.fromkeys(graph.draws, 0)
    latest: dict[str, Any] = {}
    found = []
    for index, update in enumerate(graph.updates):
        for name in update.redraw:
            drawn[name] += 1
        values = {name: latest[name] for name in update.takes if name in latest}

        value = _Lazily(graph, pair, inputs, dict(drawn) if redraw else None, values)
        needed = objective.planner.reached(index, objective.uses[index])
        for name in graph.nodes:  # in the order of definitions, as stateful networks are called
            if name in needed:
                value(name)
        parts, total = {}, torch.zeros(())
        for use in objective.uses[index]:
            criterion = objective.terms[use.term].criterion
            read = [value(name) for name in names_of(use.entry)]
            if isinstance(use.entry, Critic):
                part = criterion.discriminator(*read)
            elif isinstance(use.entry, Fool):
                part = criterion.generator(*read)
            else:
                part = criterion(*read)
            parts[f"{use.term}/{use.label}"] = part.detach()
            total = total + part
        trained = _trained(objective, index)
        wanted = [p for p in trained.values() if p.requires_grad]
        got = torch.autograd.grad(total, wanted, allow_unused=True)
        gradients = {}
        with torch.no_grad():
            for (name, parameter), gradient in zip(trained.items(), got, strict=True):
                if gradient is not None:
                    gradients[name] = gradient
                    parameter -= rate * gradient
        latest |= {name: _detached(value) for name, value in values.items()}
        found.append((update.name, parts, gradients))
    return found


class _Lazily:
    """Values by name, each computed when it is first asked for.

    drawn: how often each random input was redrawn so far; None: never, whatever updates say.
    """

    def __init__(
        self,
        graph: Graph,
        pair: tuple[Any, Any],
        inputs: Mapping[str, Tensor],
        drawn: Mapping[str, int] | None,
        values: dict[str, Any],
    ) -> None:
        self.graph, self.pair, self.inputs = graph, pair, inputs
        self.drawn, self.values = drawn, values

    def __call__(self, name: str) -> Any:
        if name not in self.values:
            self.values[name] = self._input(name) if name in self.graph.inputs else self._node(name)
        return self.values[name]

    def _input(self, name: str) -> Tensor:
        due = 0
        if self.drawn is not None:
            due = self.graph.redraws(name) - self.drawn.get(name, 0)
        value = self.inputs[name + "'" * due]
        differentiable = value.is_floating_point() and name not in self.graph.draws
        return value.clone().requires_grad_(differentiable)

    def _node(self, name: str) -> Any:
        node = self.graph.nodes[name]
        return node.method(self.pair[node.exchanged], *map(self, node.arguments))


def _trained(objective: Objective, index: int) -> dict[str, nn.Parameter]:
    return {
        f"{path}.{name}": parameter
        for path in objective.planner.trains[index]
        for name, parameter in objective.planner.networks[path].named_parameters()
    }


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else [_detached(part) for part in value]
