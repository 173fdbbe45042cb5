"""A recorded case of the zoo, run through what `train` builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from _golden_zoo import BOUND, FLOOR, Case, error_of
from _parity import note
from _training import Training
from torch import Tensor

from munit_zoo.interop.checkpoints import renamed

ADVERSARIAL = {"lsgan": "lsgan", "vanilla": "nsgan", "wgangp": "wgan"}

ZERO = 1e-10
"""Of the layer's largest gradient: below, a recorded gradient is rounding noise of a true zero."""


class Replay:
    """A case, run through our training.

    networks: the original's name of each network (where several of ours are one of its: that, # and
    a word), our path of it, and how its names become ours. gradients_at: where the case has the
    first gradients of a network, if not in step 0.
    """

    def __init__(self, path: Path, tree: dict[str, Any], sizes: Any, **options: Any) -> None:
        self.case = Case(path)
        self.recipe = tree["MODEL"]["NAME"]
        self.training = Training(tree, sizes, **options)
        self.networks: dict[str, tuple[str, Any]] = {}
        self.gradients_at: dict[str, str] = {}

    def load(self, networks: dict[str, tuple[str, Any]]) -> None:
        """Take the case's first weights over."""
        self.networks = networks
        for net, (path, names) in networks.items():
            weights = renamed(self.case.under(f"init/{_recorded(net)}"), names)
            self.training.model.networks()[path].load_state_dict(weights)

    def gradients(self, index: int, nets: list[str], prefix: str = "step0/grad") -> None:
        """Compare the gradients that the update `index` steps first."""
        found = self.training.gradients[index]
        for net in nets:
            path, names = self.networks[net]
            ours = names(list(self.case.under(f"init/{_recorded(net)}")))
            recorded = self.case.under(f"{prefix}/{_recorded(net)}")
            largest = max((float(g.abs().max()) for g in recorded.values()), default=0.0)
            for name, gradient in recorded.items():
                if name not in ours:
                    continue  # of another of our networks
                key = f"{prefix}/{_recorded(net)}/{name}"
                mine = found.get(f"{path}.{ours[name]}", torch.zeros_like(gradient))
                if float(gradient.abs().max()) <= ZERO * largest:
                    self.case.errors[key] = (
                        0.0 if float(mine.abs().max()) <= ZERO * largest else 1.0
                    )
                else:
                    self.case.compare(key, mine)

    def final(self, nets: dict[str, Any] | None = None, loose: float = 1e-6) -> None:
        """Compare the last weights; those of true gradient zero, which Adam moves by rounding
        noise, at `loose`."""
        for net, (path, names) in self.networks.items():
            state = self.training.model.networks()[path].state_dict()
            ours = names(list(self.case.under(f"init/{_recorded(net)}")))
            for name, golden in self.case.under(f"final/{_recorded(net)}").items():
                if name.endswith("num_batches_tracked") or name not in ours:
                    continue  # weights that the original carries along and never uses
                zero, mine = self.is_zero(net, name, golden), state[ours[name]]
                error = error_of(mine, golden) * BOUND / loose
                error = max(error, error_of(mine.where(~zero, golden), golden))
                self.case.errors[f"final/{net}/{name}"] = error

    def is_zero(self, net: str, name: str, golden: Tensor) -> Tensor:
        """Where a parameter's recorded gradient is rounding noise: of a bias before a norm, or of
        what a convolution makes, before a norm, of a constant map away from its borders."""
        prefix = self.gradients_at.get(_recorded(net), "step0/grad")
        recorded = self.case.under(f"{prefix}/{_recorded(net)}")
        if name not in recorded:
            return torch.zeros_like(golden, dtype=torch.bool)
        largest = max(float(g.abs().max()) for g in recorded.values())
        return recorded[name].abs() <= ZERO * largest

    def losses(self, step: int, ours: dict[str, Any]) -> None:
        """Compare an iteration's losses by the original's names."""
        recorded = self.case.info["losses"][step]
        for name, value in ours.items():
            golden = recorded[name]
            error = abs(float(value) - golden) / max(abs(golden), FLOOR)
            self.case.errors[f"step{step}/{name}"] = error

    def check(self) -> None:
        """Everything that was compared is within the bound."""
        name, error = max(self.case.errors.items(), key=lambda item: item[1])
        note(self.recipe, error)
        assert error <= BOUND, f"{name} is off by {error:.2e}"


def _recorded(net: str) -> str:
    return net.partition("#")[0]


def adam(config: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"NAME": "adam", "LR": config["lr"], "BETAS": [config["beta1"], 0.999], **more}


def directed(case: Case, prefix: str) -> dict[str, Tensor]:
    """A batch as it enters: with `direction` BtoA, the data's B is real_A."""
    a, b = case[f"{prefix}A"], case[f"{prefix}B"]
    return {"x_a": b, "x_b": a} if case.config["direction"] == "BtoA" else {"x_a": a, "x_b": b}
