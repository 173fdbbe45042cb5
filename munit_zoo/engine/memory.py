"""How much memory a training takes, before it takes any: an iteration is run on the `meta` device,
where nothing is computed or allocated, and every tensor is counted as long as it lives."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from munit_zoo.config import Config, bind, engine_settings, entry_of
from munit_zoo.engine.devices import LESS
from munit_zoo.engine.setup import averaged
from munit_zoo.engine.step import parts_of
from munit_zoo.errors import sized
from munit_zoo.models import Rehearsal, Values, meta_inputs

__all__ = ["Estimate", "available", "estimate", "memory_notes", "process_size"]

SMALL = 1_000_000
"""Parameters of a model whose memory nobody asks for."""

ALLOCATOR = 1.2
"""What the C library holds over what lives: measured, 1.02 to 1.05 with every block mapped for
itself, 1.2 to 1.28 as it comes."""


@dataclass(frozen=True)
class Estimate:
    """Bytes of tensors: networks and criteria with their averages, gradients, the optimizers'
    moments, and the most that live at once in an iteration, all these included."""

    weights: int
    gradients: int
    moments: int
    peak: int

    def total(self, device: str, *, built: bool = False) -> int:
        """Bytes of the process on the CPU, with what it has in use now; of tensors elsewhere.

        built: whether the weights are among what it has in use.
        """
        if device != "cpu":
            return self.peak
        return process_size() - built * self.weights + round(ALLOCATOR * self.peak)


class _Footprint(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make inside the block, while they live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._sizes or not size:
            return
        self._sizes[key] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.now -= self._sizes.pop(key, 0)

    def __torch_dispatch__(
        self, func: Any, types: object, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self.note(value)
        return result


def estimate(config: Config, rehearsal: Rehearsal) -> Estimate:
    """The memory of one process's training, in 32 bits: autocast takes less.

    rehearsal: of the config, for the process's share of the batch. Its networks are used up: their
    gradients stay.
    """
    objective = rehearsal.objective
    model, planner = objective.model, objective.planner
    for name in rehearsal.unreached:
        model.get_parameter(name).requires_grad_(False)
    inputs = meta_inputs(objective, rehearsal.found.values)
    average, parts = averaged(config, model), engine_settings(config).accumulate
    kept: list[Tensor] = []
    stepped: set[str] = set()
    footprint = _Footprint()
    for module in (model, *objective.criteria.values(), *([average.model] if average else [])):
        for tensor in (*module.parameters(), *module.buffers()):
            footprint.note(tensor)
    weights = footprint.now
    for tensor in inputs.values():
        footprint.note(tensor)
    with footprint:
        factors = {key: torch.ones((), device="meta") for key in objective.weights(0, 1)}
        for first in (True, False):  # moments come to be with the first steps
            shares = [Values(part) for part in parts_of(inputs, parts)]
            for code in objective.codes(objective.pattern()):
                trained = [planner.networks[path] for path in planner.trains[code.index]]
                for parameter in _trained(trained):
                    parameter.grad = None
                for values in shares:
                    loss, _ = objective.steps[code.index](code, values, factors)
                    loss.backward()
                    del loss, _
                    values.forget(code)
                if first:
                    for path in planner.trains[code.index]:
                        count = 0 if path in stepped else _moments(config, path)
                        stepped.add(path)
                        for parameter in _trained([planner.networks[path]]):
                            kept += [torch.empty_like(parameter) for _ in range(count)]
    everything = list(_trained([model]))
    return Estimate(
        weights,
        sum(_bytes(p) for p in everything),
        sum(map(_bytes, kept)),
        footprint.peak,
    )


def memory_notes(config: Config, rehearsal: Rehearsal, fabric: Fabric) -> list[str]:
    """What a training of some size will take, and what helps where that is not there."""
    if sum(rehearsal.parameters.values()) < SMALL or not fabric.is_global_zero:
        return []
    found = estimate(config, rehearsal)
    kind = fabric.device.type
    total, there = found.total(kind, built=True), available(fabric.device)
    notes = [f"memory: about {sized(total)} of {'this process' if kind == 'cpu' else 'tensors'}"]
    if there is not None and total - (process_size() if kind == "cpu" else 0) > there:
        notes.append(f"{sized(there)} of memory are free: training may end for want of it. {LESS}")
    return notes


def _trained(networks: Iterable[nn.Module]) -> Iterator[nn.Parameter]:
    seen: set[int] = set()
    for network in networks:
        for parameter in network.parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _moments(config: Config, path: str) -> int:
    """Tensors of a parameter's size that the optimizer of a network keeps: found by a step."""
    node = entry_of(config.OPTIM.NETWORKS, path, config.OPTIM.DEFAULT)
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = bind("optimizer", node)().build([parameter])
    parameter.grad = torch.ones(3)
    optimizer.step()
    state = optimizer.state[parameter].values()
    return sum(isinstance(value, Tensor) and value.shape == (3,) for value in state)


def process_size() -> int:
    """Bytes of memory that this process has in use; 0 where the system does not say."""
    try:
        text = Path("/proc/self/statm").read_text()
    except OSError:
        return 0
    import resource

    return int(text.split()[1]) * resource.getpagesize()


def available(device: torch.device) -> int | None:
    """Bytes that a device has free; None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return found.get("MemAvailable")
