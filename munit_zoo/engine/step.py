"""One training iteration: the generators' forward, the discriminators' step, the generators'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from munit_zoo.config import Config, bind, entry_of
from munit_zoo.data.seeding import noise
from munit_zoo.engine.acceleration import (
    GraphedStep,
    Step,
    check_acceleration,
    compile_networks,
    make_capturable,
    networks_in,
    networks_of,
)
from munit_zoo.models import Objective, TranslationModel

__all__ = ["Trainer", "build_optimizers", "draw_noise", "optimizer_nodes", "trained_parameters"]


def trained_parameters(
    model: TranslationModel, objective: Objective
) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Parameters that are trained, by name: the generators' side and the discriminators'.

    A criterion's own parameters (`loss.<term>.…`) belong to its side.
    """
    sides = (
        (model.generators, objective.losses.criteria),
        (model.discriminators, objective.critics.criteria),
    )
    found: list[dict[str, nn.Parameter]] = []
    for networks, criteria in sides:
        named = dict(networks.named_parameters())
        named |= {f"loss.{name}": parameter for name, parameter in criteria.named_parameters()}
        found.append({name: p for name, p in named.items() if p.requires_grad})
    return found[0], found[1]


def optimizer_nodes(config: Config) -> tuple[Config, Config]:
    """OPTIM's entries for the generators and for the discriminators."""
    default = config.OPTIM.DEFAULT
    return default, entry_of(config.OPTIM.NETWORKS, "discriminator", default)


def build_optimizers(
    config: Config, model: TranslationModel, objective: Objective
) -> list[torch.optim.Optimizer]:
    """The optimizers of the generators' side and of the discriminators', as OPTIM has them."""
    sides = optimizer_nodes(config)
    return [
        bind("optimizer", node)().build(parameters.values() or [torch.zeros(())])
        for node, parameters in zip(sides, trained_parameters(model, objective), strict=True)
    ]


class Trainer:
    """Updates a model's discriminators and generators, once an iteration.

    model, objective: on the device, in training mode. optimizers: as `build_optimizers` makes them.
    With several processes, each sees its own share of the batch; gradients are averaged.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: TranslationModel,
        objective: Objective,
        optimizers: Sequence[torch.optim.Optimizer],
    ) -> None:
        self.fabric, self.model, self.objective = fabric, model, objective
        self.generators = self._setup(objective.generators)
        self.losses = self._setup(objective.losses)
        self.critics = self._setup(objective.critics)
        wrapped = [fabric.setup_optimizers(optimizer) for optimizer in optimizers]
        self.optimizers: tuple[Any, Any] = (wrapped[0], wrapped[1])
        self._recorded: Step | None = None

    def accelerate(self, config: Config) -> None:
        """Compile the networks and record the step, where ENGINE asks for it: the same maths.

        Raises UsageError as `check_acceleration` does.
        """
        check_acceleration(config, self.fabric.device, self.fabric.world_size)
        networks = [*networks_of(self.model), *networks_in(self.objective)]
        compile_networks(networks, config.ENGINE.COMPILE)
        if config.ENGINE.CUDA_GRAPHS:
            for optimizer in self.optimizers:
                make_capturable(optimizer.optimizer, self.fabric.device)
            self._recorded = GraphedStep(self._step)

    def _setup(self, module: nn.Module) -> Any:
        """The module on the device, wrapped where it has something to train."""
        if any(p.requires_grad for p in module.parameters()):
            return self.fabric.setup_module(module)
        return self.fabric.to_device(module)

    def step(self, env: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One iteration on the tensors of `objective.plan.inputs`.

        Returns the unweighted parts of both losses by name, and the weighted totals
        `total/discriminator` and `total/generator`, detached.
        """
        return self._step(env) if self._recorded is None else self._recorded(env)

    def _step(self, env: Mapping[str, Tensor]) -> dict[str, Tensor]:
        for_generators, for_critics = self.optimizers
        names, fakes = self.generators(env)
        parts: dict[str, Tensor] = {}
        if self.objective.has_critics:
            with self.fabric.autocast():
                loss, found = self.critics(fakes, env)
            parts |= {f"discriminator/{name}": value for name, value in found.items()}
            parts["total/discriminator"] = loss.detach()
            for_critics.zero_grad()
            self.fabric.backward(loss)
            for_critics.step()
        with _frozen(self.model.discriminators), self.fabric.autocast():
            loss, found = self.losses(names, self.model.discriminators)
            parts |= found
            parts["total/generator"] = loss.detach()
            for_generators.zero_grad()
            self.fabric.backward(loss)
        for_generators.step()
        return parts


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """No gradients for a module's parameters, while they flow through it."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def draw_noise(
    model: TranslationModel,
    objective: Objective,
    sizes: Mapping[str, tuple[int, int]],
    *,
    seed: int,
    iteration: int,
    first: int,
    count: int,
) -> dict[str, Tensor]:
    """The random inputs of an iteration for samples first … first + count - 1 of the batch."""
    return {
        name: noise(
            model.noise_shape(name, sizes),
            name=name,
            seed=seed,
            iteration=iteration,
            first=first,
            count=count,
        )
        for name in objective.plan.inputs
        if model.is_noise(name)
    }
