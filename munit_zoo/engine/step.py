"""One training iteration: a recipe's updates in turn, each a loss, a backward pass, a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from munit_zoo.config import Config, bind, entry_of
from munit_zoo.data.seeding import draw
from munit_zoo.engine.acceleration import (
    GraphedStep,
    check_acceleration,
    compile_networks,
    make_capturable,
    networks_in,
)
from munit_zoo.errors import UsageError
from munit_zoo.models import Objective, TranslationModel, Values

__all__ = ["Trainer", "TrainingGroup", "build_optimizers", "draw_inputs"]


@dataclass(frozen=True)
class TrainingGroup:
    """Networks that the same updates train with the same settings, and their optimizer.

    name: the network's or term's path, or the update's where it is of several.
    parameters: by name, in the optimizer's order (`a.decoder.…`, `loss.<term>.…`).
    updates: indices of the updates that step it. rate: learning rate before the schedule's factor.
    """

    name: str
    parameters: dict[str, nn.Parameter]
    updates: tuple[int, ...]
    optimizer: torch.optim.Optimizer
    rate: float


def build_optimizers(
    config: Config, model: TranslationModel, objective: Objective
) -> list[TrainingGroup]:
    """The optimizers of all that is trained, as OPTIM has them: one for the networks that the same
    updates train with the same settings, which is the same maths as one each, and faster."""
    named: dict[str, dict[str, nn.Parameter]] = {}
    updates: dict[str, tuple[int, ...]] = {}
    planner = objective.planner
    for path, network in planner.networks.items():
        trained = tuple(i for i, paths in enumerate(planner.trains) if path in paths)
        own = {f"{path}.{n}": p for n, p in network.named_parameters() if p.requires_grad}
        if trained and own:
            named[path], updates[path] = own, trained
    for term, criterion in objective.criteria.items():
        own = {f"loss.{term}.{n}": p for n, p in criterion.named_parameters() if p.requires_grad}
        if own:
            named[term] = own
            updates[term] = tuple(
                i for i in range(len(objective.steps)) if term in objective.terms_of(i)
            )
    members: dict[Any, list[str]] = {}
    nodes: dict[Any, Any] = {}
    for path in named:
        node = entry_of(config.OPTIM.NETWORKS, path, config.OPTIM.DEFAULT)
        key = (updates[path], node.dump())
        members.setdefault(key, []).append(path)
        nodes[key] = node
    groups: list[TrainingGroup] = []
    seen: set[int] = set()  # a network that two paths share has one owner
    for key, paths in members.items():
        parameters = {}
        for path in paths:
            for name, parameter in named[path].items():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    parameters[name] = parameter
        if not parameters:
            continue
        optimizer = bind("optimizer", nodes[key])().build(parameters.values())
        name = paths[0]
        if len(paths) > 1:
            name = "+".join(objective.graph.updates[i].name for i in key[0])
            name = name if name not in {g.name for g in groups} else "+".join(paths)
        groups.append(TrainingGroup(name, parameters, key[0], optimizer, nodes[key].LR))
    return groups


class Trainer:
    """Takes a recipe's updates, once an iteration.

    model, objective: on the device, in training mode. groups: as `build_optimizers` makes them.
    iterations: how many there are in all, for schedules of weights.
    partial: whether some update leaves parameters of its networks without a gradient.
    With several processes, each sees its own share of the batch; gradients are averaged.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: TranslationModel,
        objective: Objective,
        groups: Sequence[TrainingGroup],
        *,
        iterations: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.fabric, self.model, self.objective = fabric, model, objective
        self.groups, self.iterations, self.accumulate = list(groups), iterations, accumulate
        for criterion in objective.criteria.values():
            fabric.to_device(criterion)
        self.steps = [self._setup(step) for step in objective.steps]
        self.optimizers: list[Any] = [fabric.setup_optimizers(g.optimizer) for g in self.groups]
        self._weights: dict[tuple[str, bool], Tensor] = {
            key: torch.ones((), device=fabric.device) for key in objective.weights(0, 1)
        }
        self._recorded: dict[Any, GraphedStep] | None = None

    def accelerate(self, config: Config) -> None:
        """Compile the networks and record the step, where ENGINE asks for it: the same maths.

        Raises UsageError as `check_acceleration` does.
        """
        check_acceleration(config, self.fabric.device, self.fabric.world_size)
        if config.ENGINE.COMPILE != "off":
            networks = [*self.model.networks().values(), *self.objective.planner.all_twins()]
            compile_networks([*networks, *networks_in(self.objective)], config.ENGINE.COMPILE)
        if config.ENGINE.CUDA_GRAPHS:
            for group in self.groups:
                make_capturable(group.optimizer, self.fabric.device)
            self._recorded = {}

    def _setup(self, module: nn.Module) -> Any:
        """An update's module, wrapped for data parallelism where several processes train it."""
        if self.fabric.world_size > 1 and any(p.requires_grad for p in module.parameters()):
            return self.fabric.setup_module(module)
        return module

    def step(self, inputs: Mapping[str, Tensor], iteration: int) -> dict[str, Tensor]:
        """One iteration on the inputs that `objective.inputs` names.

        Returns the unweighted parts of the losses as `update/term/label`, and each update's
        weighted `update/total`, detached.
        """
        pattern = self.objective.pattern(iteration)
        for key, weight in self.objective.weights(iteration, self.iterations).items():
            self._weights[key].fill_(weight)
        if self._recorded is None:
            return self._updates(inputs, pattern)
        if pattern not in self._recorded:
            self._recorded[pattern] = GraphedStep(lambda env: self._updates(env, pattern))
        return self._recorded[pattern](inputs)

    def _updates(self, inputs: Mapping[str, Tensor], pattern: Any) -> dict[str, Tensor]:
        shares = [Values(part) for part in _parts(inputs, self.accumulate)]
        found: dict[str, Tensor] = {}
        for code in self.objective.codes(pattern):
            name = self.objective.graph.updates[code.index].name
            optimizers = [
                optimizer
                for group, optimizer in zip(self.groups, self.optimizers, strict=True)
                if code.index in group.updates
            ]
            for optimizer in optimizers:
                optimizer.zero_grad()
            for number, values in enumerate(shares, start=1):
                step = self.steps[code.index]
                with self._without_sync(step, number < len(shares)):
                    with self.fabric.autocast():
                        loss, parts = step(code, values, self._weights)
                    self.fabric.backward(loss / len(shares) if len(shares) > 1 else loss)
                values.forget(code)
                for label, part in [*parts.items(), ("total", loss.detach())]:
                    share = part / len(shares) if len(shares) > 1 else part
                    key = f"{name}/{label}"
                    found[key] = found[key] + share if key in found else share
            self._clip(code.index)
            for optimizer in optimizers:
                optimizer.step()
        return found

    def _without_sync(self, step: Any, waiting: bool) -> Any:
        """Gradients are averaged over processes once, with the last part of the batch."""
        if waiting and self.fabric.world_size > 1:
            return self.fabric.no_backward_sync(step)
        return nullcontext()

    def _clip(self, index: int) -> None:
        limit = self.objective.clip(index)
        if limit is not None:
            for path in self.objective.planner.trains[index]:
                network = self.objective.planner.networks[path]
                nn.utils.clip_grad_norm_(network.parameters(), limit)


def _parts(inputs: Mapping[str, Tensor], count: int) -> list[Mapping[str, Tensor]]:
    """A batch in equal parts; draws that all samples share go to each of them."""
    if count == 1:
        return [inputs]
    batch = max(len(value) for value in inputs.values())
    if batch % count:
        raise UsageError(
            f"a batch of {batch} cannot be computed in {count} equal parts: change "
            "ENGINE.BATCH_SIZE or ENGINE.ACCUMULATE"
        )
    size = batch // count
    return [
        {
            name: value[first : first + size] if len(value) == batch else value
            for name, value in inputs.items()
        }
        for first in range(0, batch, size)
    ]


def draw_inputs(
    model: TranslationModel,
    objective: Objective,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    seed: int,
    iteration: int,
    first: int,
    count: int,
    batch_size: int,
) -> dict[str, Tensor]:
    """The random inputs of an iteration for samples first … first + count - 1 of a
    batch of batch_size over all processes.

    shapes: of one sample of each, as a rehearsal found them.
    """
    draws = model.graph().draws
    found = {}
    for slot in objective.inputs:
        name = slot.rstrip("'")
        if name in draws:
            spec = draws[name]
            below = getattr(model, spec.below) if isinstance(spec.below, str) else spec.below
            found[slot] = draw(
                spec,
                shapes[name],
                below=below,
                name=slot,
                seed=seed,
                iteration=iteration,
                first=first,
                count=count,
                batch_size=batch_size,
            )
    return found
