"""One training iteration: a recipe's updates in turn, each a loss, a backward pass, a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from munit_zoo.config import Config, bind, engine_settings, entry_of
from munit_zoo.data.seeding import draw
from munit_zoo.engine.acceleration import (
    GraphedStep,
    check_acceleration,
    compile_networks,
    make_capturable,
    networks_in,
)
from munit_zoo.engine.devices import is_half
from munit_zoo.engine.finite import Diverged, OnNan, gradients_finite, trace
from munit_zoo.engine.state import set_buffer
from munit_zoo.errors import UsageError
from munit_zoo.models import Code, Objective, TranslationModel, Values

__all__ = [
    "PATIENCE",
    "Trainer",
    "TrainingGroup",
    "build_optimizers",
    "draw_inputs",
    "parts_of",
]

PATIENCE = 20
"""Iterations in a row that may be left out."""


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
            path = f"loss.{term}"  # a term may be called as a network is
            named[path] = own
            updates[path] = tuple(
                i for i in range(len(objective.steps)) if term in objective.terms_of(i)
            )
    held = {path: {id(p) for p in own.values()} for path, own in named.items()}
    # what paths share is stepped by the updates of each of them
    updates = {
        path: tuple(sorted({i for o in named if held[path] & held[o] for i in updates[o]}))
        for path in named
    }
    members: dict[tuple[tuple[int, ...], str], list[str]] = {}
    nodes: dict[tuple[tuple[int, ...], str], Config] = {}
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
            others = {*named, *(g.name for g in groups)}  # a network may be called as an update is
            name = name if name not in others else "+".join(paths)
        groups.append(TrainingGroup(name, parameters, key[0], optimizer, nodes[key].LR))
    return groups


class Trainer:
    """Takes a recipe's updates, once an iteration.

    model, objective: on the device, in training mode. groups: as `build_optimizers` makes them.
    iterations: how many there are in all, for schedules of weights, and epoch: how many make an
    epoch. accumulate: parts of a batch.
    on_nan: what becomes of an update whose losses or gradients are not finite: none is stepped.
        `stop` and `rollback` raise Diverged, which says where that began; `skip` goes on with the
        next update, networks' buffers as before, and raises after PATIENCE iterations in a row.
    With several processes, each sees its own share of the batch; gradients are averaged, and the
    averages decide what is finite: everywhere the same.

    skipped: iterations so far in which an update was left out. scalers: of losses, by update, where
    the precision is fp16.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: TranslationModel,
        objective: Objective,
        groups: Sequence[TrainingGroup],
        *,
        iterations: int = 1,
        epoch: int = 1,
        accumulate: int = 1,
        on_nan: OnNan = "stop",
    ) -> None:
        self.fabric, self.model, self.objective = fabric, model, objective
        self.groups, self.accumulate = list(groups), accumulate
        self.iterations, self.epoch = iterations, epoch
        self.on_nan, self.skipped, self._in_a_row = on_nan, 0, 0
        for criterion in objective.criteria.values():
            fabric.to_device(criterion)
        self.steps = [self._setup(step) for step in objective.steps]
        self.optimizers: list[Any] = [fabric.setup_optimizers(g.optimizer) for g in self.groups]
        self._weights: dict[tuple[str, bool], Tensor] = {
            key: torch.ones((), device=fabric.device) for key in objective.weights(0, 1)
        }
        self._recorded: dict[object, GraphedStep] | None = None
        self.scalers: dict[str, GradScaler] = {}
        if is_half(fabric):
            device = fabric.device.type
            names = [update.name for update in objective.graph.updates]
            self.scalers = {name: GradScaler(device) for name in names}

    def accelerate(self, config: Config) -> None:
        """Compile the networks and record the step, where ENGINE asks for it: the same maths.

        Raises UsageError as `check_acceleration` does.
        """
        engine = engine_settings(config)
        check_acceleration(config, self.fabric.device, self.fabric.world_size)
        if engine.compile != "off":
            networks = [*self.model.networks().values(), *self.objective.planner.all_twins()]
            compile_networks([*networks, *networks_in(self.objective)], engine.compile)
        if engine.cuda_graphs:
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
        weighted `update/total`, detached. Raises Diverged as `on_nan` says.
        """
        pattern = self.objective.pattern(iteration)
        weights = self.objective.weights(iteration, self.iterations, self.epoch)
        for key, weight in weights.items():
            self._weights[key].fill_(weight)
        if self._recorded is None:
            before = self._buffers() if self.on_nan == "skip" else []
            found, trouble = self._updates(inputs, pattern)
            self._skip(trouble, before)
            return found
        if pattern not in self._recorded:
            self._recorded[pattern] = GraphedStep(
                lambda env: self._updates(env, pattern, watched=False)[0]
            )
        found = self._recorded[pattern](inputs)
        wrong = [name for name, value in found.items() if not torch.isfinite(value)]
        if wrong:
            raise Diverged(f"the loss is not finite: {', '.join(wrong)}")
        return found

    def restored(self) -> None:
        """The weights and moments were set from outside: what was recorded of them is void."""
        if self._recorded is not None:
            self._recorded = {}
            for group in self.groups:
                make_capturable(group.optimizer, self.fabric.device)

    def _skip(self, trouble: str | None, before: Sequence[tuple[nn.Module, str, Tensor]]) -> None:
        """After an iteration in which an update may have been left out."""
        if trouble is None:
            self._in_a_row = 0
            return
        self.skipped, self._in_a_row = self.skipped + 1, self._in_a_row + 1
        if self._in_a_row >= PATIENCE:
            raise Diverged(f"for {PATIENCE} iterations in a row, the last time {trouble}")
        for module, name, value in before:
            set_buffer(module, name, value)

    def _buffers(self) -> list[tuple[nn.Module, str, Tensor]]:
        """What networks and criteria keep beside weights, as it is now."""
        return [
            (module, name, value.clone())
            for part in (self.model, *self.objective.criteria.values())
            for module in part.modules()
            for name, value in module._buffers.items()
            if value is not None
        ]

    def _updates(
        self, inputs: Mapping[str, Tensor], pattern: Any, *, watched: bool = True
    ) -> tuple[dict[str, Tensor], str | None]:
        """The losses, and what was not finite in an update that was left out.

        watched: whether each update is looked at before its step.
        """
        shares = [Values(part) for part in parts_of(inputs, self.accumulate)]
        found: dict[str, Tensor] = {}
        left_out: str | None = None
        for code in self.objective.codes(pattern):
            name = self.objective.graph.updates[code.index].name
            mine = [i for i, group in enumerate(self.groups) if code.index in group.updates]
            trained = {n: p for i in mine for n, p in self.groups[i].parameters.items()}
            for i in mine:
                self.optimizers[i].zero_grad()
            trouble: str | None = None
            for number, values in enumerate(shares, start=1):
                step = self.steps[code.index]
                with self._without_sync(step, number < len(shares)):
                    with self._autocast(code):
                        loss, parts = step(code, values, self._weights)
                    self._backward(name, loss / len(shares) if len(shares) > 1 else loss)
                if number < len(shares):
                    if watched and trouble is None and not torch.isfinite(loss):
                        trouble = trace(name, code, values.slots, parts, trained)
                    values.forget(code)
                for label, part in [*parts.items(), ("total", loss.detach())]:
                    share = part / len(shares) if len(shares) > 1 else part
                    key = f"{name}/{label}"
                    found[key] = found[key] + share if key in found else share
            sound = self._sound(name, mine, trained, loss, trouble) if watched else True
            if sound or sound is None:
                shares[-1].forget(code)
            if sound:
                self._clip(code.index)
                for i in mine:
                    self.optimizers[i].step()
            elif sound is not None:  # None: fp16 was scaled too much, this once
                trouble = trouble or trace(name, code, shares[-1].slots, parts, trained)
                trouble = self._agreed(trouble)
                if self.on_nan != "skip":
                    raise Diverged(trouble)
                left_out = left_out or trouble
                shares[-1].forget(code)
        self.objective.adapt()
        return found, left_out

    def _autocast(self, code: Code) -> AbstractContextManager[object]:
        """The precision of an update's forward. What is differentiated twice loses too much in
        fp16, whose scale only helps the last gradient: such an update computes in fp32."""
        if self.scalers and any(loss.use.differentiates for loss in code.losses):
            return nullcontext()
        return self.fabric.autocast()

    def _backward(self, update: str, loss: Tensor) -> None:
        if self.scalers:
            loss = self.scalers[update].scale(loss)
        self.fabric.backward(loss)

    def _sound(
        self,
        update: str,
        mine: Sequence[int],
        trained: Mapping[str, nn.Parameter],
        loss: Tensor,
        trouble: str | None,
    ) -> bool | None:
        """Whether an update's gradients, unscaled by this, may be stepped with. None: not, as fp16
        was scaled too much, which is less the next time.

        loss: of the last part of the batch. trouble: what was found in the parts before.
        """
        alone = self.fabric.world_size == 1  # of several, the averaged gradients say it to all
        own = [loss.detach()] if alone else []
        if not self.scalers:
            return (trouble is None or not alone) and gradients_finite(trained.values(), *own)
        scaler = self.scalers[update]
        for i in mine:
            scaler.unscale_(self.groups[i].optimizer)
        finite = gradients_finite(trained.values())
        was = scaler.get_scale()
        if any(parameter.grad is not None for parameter in trained.values()):
            scaler.update()
        if alone and (trouble is not None or not torch.isfinite(loss)):
            return False
        return None if not finite and was > 1 else finite

    def _agreed(self, trouble: str) -> str:
        """What all processes found, where that differs: only some may have met it first."""
        if self.fabric.world_size == 1:
            return trouble
        said: list[str | None] = [None] * self.fabric.world_size
        torch.distributed.all_gather_object(said, trouble)
        lost = [text for text in said if text and " loss " in text]
        return str((lost or said)[0])

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
        total = self.objective.clip_total(index)
        if total is not None:
            step = self.objective.steps[index]
            nn.utils.clip_grad_norm_(step.networks.parameters(), total)


def parts_of(inputs: Mapping[str, Tensor], count: int) -> list[Mapping[str, Tensor]]:
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
