"""Training as `train` builds it, on batches that a test gives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from munit_zoo.config import resolve_data
from munit_zoo.engine.acceleration import in_format, memory_format
from munit_zoo.engine.devices import make_fabric
from munit_zoo.engine.step import Trainer, build_optimizers
from munit_zoo.models import assemble


class Training:
    """The model, objective, optimizers and trainer of a config, in the default dtype.

    gradients: per update, in turn, what its first step stepped, by parameter.
    """

    def __init__(
        self, tree: Mapping[str, Any], sizes: Mapping[str, tuple[int, int]], *overrides: str
    ) -> None:
        self.config = resolve_data(dict(tree), overrides, origin="a test").config
        self.fabric = make_fabric("cpu", "fp32")
        self.model, self.objective, self.rehearsal = assemble(self.config, sizes)
        self.layout = memory_format(self.config, "cpu")
        self.model.to(torch.get_default_dtype()).to(memory_format=self.layout).train()
        self.groups = build_optimizers(self.config, self.model, self.objective)
        self.trainer = Trainer(
            self.fabric,
            self.model,
            self.objective,
            self.groups,
            iterations=self.config.ENGINE.ITERATIONS,
        )
        self.trainer.accelerate(self.config)
        self.gradients: dict[int, dict[str, Tensor]] = defaultdict(dict)
        self._stepped: dict[str, int] = defaultdict(int)
        for group in self.groups:
            group.optimizer.register_step_pre_hook(self._watch(group))

    def _watch(self, group: Any) -> Any:
        def note(*_: Any) -> None:
            turn = self._stepped[group.name]
            self._stepped[group.name] += 1
            if turn < len(group.updates):
                self.gradients[group.updates[turn]] |= {
                    name: parameter.grad.clone()
                    for name, parameter in group.parameters.items()
                    if parameter.grad is not None
                }

        return note

    def step(
        self, inputs: Mapping[str, Any], iteration: int, *, rate: float | None = None
    ) -> dict[str, Tensor]:
        """One iteration; rate: the learning rate of all groups, where the test says it."""
        if rate is not None:
            for group in self.groups:
                for settings in group.optimizer.param_groups:
                    settings["lr"] = rate
        known = {n: v for n, v in inputs.items() if isinstance(v, Tensor)}
        return self.trainer.step({**inputs, **in_format(known, self.layout)}, iteration)
