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

# A shipped config with overrides that make it small; MUNIT's are with the fixture `tiny`
MUNIT = ("munit/shapes", "ENGINE.SHARE=derived")
STARGAN_V2 = (
    "starganv2/shapes",
    "MODEL.LATENT_DIM=3",
    "MODEL.STYLE_DIM=4",
    "MODEL.GENERATOR.CHANNEL_BUDGET=128",
    "MODEL.GENERATOR.MAX_DIM=4",
    "MODEL.STYLE_ENCODER.CHANNEL_BUDGET=128",
    "MODEL.STYLE_ENCODER.MAX_DIM=4",
    "MODEL.DISCRIMINATOR.CHANNEL_BUDGET=128",
    "MODEL.DISCRIMINATOR.MAX_DIM=4",
    "MODEL.MAPPING.DIM=4",
    "DATA.COUNT=20",
)
CYCLEGAN = (
    "cyclegan/shapes",
    "MODEL.GENERATOR.DIM=2",
    "MODEL.GENERATOR.BLOCKS=1",
    "MODEL.DISCRIMINATOR.DIM=2",
    "MODEL.DISCRIMINATOR.LAYERS=1",
    "MODEL.DISCRIMINATOR.NORM={NAME: none}",  # so that each bias has a gradient
    "MODEL.POOL_SIZE=5",  # so that it is full, and swaps, from the second iteration on
    "LOSSES.IDENTITY_A={NAME: l1, WEIGHT: 5}",
    "DATA.SIZE=16",
    "DATA.COUNT=20",
)
# neither batch statistics nor dropout: those are of a process's own share of the batch
PIX2PIX = (
    "pix2pix/shapes",
    "MODEL.GENERATOR={NAME: unet, LEVELS: 3, DIM: 2, NORM: {NAME: instance}, DROPOUT: 0}",
    "MODEL.DISCRIMINATOR={NAME: patch, DIM: 2, LAYERS: 1, NORM: {NAME: none}}",
    "DATA.SIZE=16",
    "DATA.COUNT=20",
    "ENGINE.EMA=0.9",
)


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
            accumulate=self.config.ENGINE.ACCUMULATE,
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
