"""Golden cases: how far a computation is from what the 2018 reference recorded.

A case is `NAME.json` and `NAME.safetensors`. The measure is max|ours - golden| over
max(max|golden| of that tensor, 1e-6), the bound 1e-8. Whatever a case records is compared, by the
name it has there, and `worst` fails where something was left out. The exceptions, with their cause:

- *Gradients of zero.* A bias that a norm takes away again (of a convolution before an instance or
  batch norm, say) has a true gradient of zero, and a case holds rounding noise for it, in
  proportion to the numbers that cancelled. A gradient below 1e-10 of the largest of its layer is
  such noise: none of its digits can be compared. Ours has to be below 1e-10 of that, too.
- *What Adam makes of them.* Adam divides the noise by (its own size + 1e-8), so that a weight whose
  gradient is noise moves by up to lr · noise / 1e-8 an iteration, 1e-14 of the layer's largest
  gradient taken for the noise. That much is allowed on top for exactly these numbers.
- *Weights of zero.* The reference computes a term of weight 0 and multiplies; here it is not
  computed. Such losses are not compared, nor what the forward pass alone changes (spectral vectors,
  batch statistics) in discriminators with `gan_w: 0`. Gradients and weights are compared: Adam sees
  gradients of zero, and decays the weights (`zero_gradients`).
- *Dummies.* Statistics that the reference carries along and never reads: AdaIN's, and in files of
  torch 0.3 the instance norms'.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

BOUND = 1e-8
FLOOR = 1e-6
NEGLIGIBLE = 1e-10
"""Of a layer's largest gradient: below, a gradient is rounding noise."""
ROUNDING = 1e-14
"""Of a layer's largest gradient: what rounding in float64 amounts to (some 50 ulps)."""
ADAM_EPS = 1e-8

FOLDER = Path(os.environ.get("MUNIT_ZOO_GOLDEN", "../shared/golden"))
CASES = sorted(FOLDER.glob("*.json"))

STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")
STATE = (*STATISTICS, ".weight_u", ".weight_v")

LOSS_WEIGHTS = {
    "loss_dis": "gan_w",
    "loss_gen_adv": "gan_w",
    "loss_gen_recon_x": "recon_x_w",
    "loss_gen_recon_s": "recon_s_w",
    "loss_gen_recon_c": "recon_c_w",
    "loss_gen_cycrecon_x": "recon_x_cyc_w",
    "loss_gen_cyc_x": "recon_x_cyc_w",
    "loss_gen_recon_kl": "recon_kl_w",
    "loss_gen_recon_kl_cyc": "recon_kl_cyc_w",
    "loss_gen_vgg": "vgg_w",
}
"""A loss's name without its last word to the hyperparameter that is its weight."""


class Recorded:
    """A case, and the errors of what was compared with it, by the case's own names."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.info = json.loads(path.read_text())
        self.tensors = load_file(path.with_suffix(".safetensors"))
        self.config = self.info["config"]
        self.kind = self.info["kind"].lower()
        self.errors: dict[str, float] = {}

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below `prefix`, by the rest of their names."""
        prefix += "/"
        return {
            key.removeprefix(prefix): value
            for key, value in self.tensors.items()
            if key.startswith(prefix)
        }

    def compare(self, key: str, ours: Tensor) -> None:
        """Note the error of a tensor of the case, unless nothing reads it."""
        if self._unread(key):
            return
        golden = self.tensors[key].double()
        off = (ours.detach().double().reshape(golden.shape) - golden).abs()
        error = float((off / self._scale(key, golden)).max())
        self.errors[key] = math.inf if math.isnan(error) else error

    def compare_losses(self, step: int, ours: dict[str, Tensor]) -> None:
        """Note the errors of an iteration's losses; ours may have more of them."""
        for name, golden in self.info["losses"][step].items():
            if name in ours:
                error = abs(float(ours[name].detach()) - golden) / max(abs(golden), FLOOR)
                self.errors[f"step{step}/{name}"] = math.inf if math.isnan(error) else error

    def compare_gradient(self, key: str, ours: Tensor | None, parameter: nn.Parameter) -> None:
        """Note the error of a parameter's gradient; one that is not recorded has to be absent."""
        if key in self.tensors:
            self.compare(key, torch.zeros_like(parameter) if ours is None else ours)
        elif ours is not None and bool(ours.any()):
            self.errors[key] = math.inf

    def worst(self) -> tuple[str, float]:
        """What is furthest off, and by how much; infinitely, where a number was not compared."""
        errors = {**self.errors, **dict.fromkeys(self.left_out(), math.inf)}
        return max(errors.items(), key=lambda item: item[1])

    def left_out(self) -> list[str]:
        """What the case records and nothing was compared with."""
        due = [
            key
            for key in self.tensors
            if key.startswith(("fwd/", "step0/grad/", "final/"))
            and not key.startswith("fwd/z_")
            and not self._unread(key)
        ]
        due += [
            f"step{step}/{name}"
            for step, losses in enumerate(self.info["losses"])
            for name in losses
            if name != "lr" and not self._weightless(name)
        ]
        return [key for key in due if key not in self.errors]

    def _weightless(self, loss: str) -> bool:
        if loss in ("loss_dis_total", "loss_gen_total"):
            return False
        key = LOSS_WEIGHTS.get(loss.rpartition("_")[0])
        return key is not None and not self.config.get(key, 0)

    def _unread(self, key: str) -> bool:
        """Whether a tensor is the state of a norm that does not read it, or of an idle network."""
        part = key.split("/")[1]
        if part.startswith("dis_"):
            idle = not self.config.get("gan_w", 0) and key.endswith(STATE)
            return idle or (self.config["dis"].get("norm") != "bn" and key.endswith(STATISTICS))
        return key.startswith("final/") and key.endswith(STATISTICS)

    def _scale(self, key: str, golden: Tensor) -> Tensor | float:
        """What an error of a tensor is divided by, for each number or for all."""
        scale = max(float(golden.abs().max()), FLOOR)
        if key.startswith("step0/grad/"):
            layer = self._layer_gradient(key)
            negligible = float(golden.abs().max()) <= NEGLIGIBLE * layer
            return max(scale, NEGLIGIBLE / BOUND * layer) if negligible else scale
        gradient = self.tensors.get(key.replace("final/", "step0/grad/", 1))
        if not key.startswith("final/") or gradient is None:
            return scale
        layer = self._layer_gradient(key.replace("final/", "step0/grad/", 1))
        moved = self.info["iterations"] * self.config.get("lr", 1e-4) * ROUNDING * layer / ADAM_EPS
        return scale + (gradient.abs() <= NEGLIGIBLE * layer) * (moved / BOUND)

    def _layer_gradient(self, key: str) -> float:
        """The largest golden gradient of a parameter's layer (its weight's, mostly)."""
        layer = key.rpartition(".")[0] + "."
        return max(float(v.abs().max()) for k, v in self.tensors.items() if k.startswith(layer))


def zero_gradients(recorded: Recorded, named: Iterable[tuple[str, nn.Parameter]]) -> None:
    """Give parameters that no term reaches the gradient of zero that the reference's have.

    named: the case's key of each gradient, and the parameter.
    """
    for key, parameter in named:
        if parameter.grad is None and key in recorded.tensors:
            parameter.grad = torch.zeros_like(parameter)


def stand_in_vgg(network: str = "vgg16", deepest: str = "relu5") -> dict[str, Tensor]:
    """The fixtures' stand-in for trained VGG weights, under torchvision's names, to a stage."""
    stages = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}[network][: int(deepest[4])]
    widths, numbers = [3], []
    for stage, count in enumerate(stages):
        widths += [min(64 * 2**stage, 512)] * count
        numbers += [2 * (len(numbers) + index) + stage for index in range(count)]
    state = {}
    for layer, (fan, out) in enumerate(itertools.pairwise(widths)):
        k = np.arange(out * fan * 9, dtype=np.uint32)
        with np.errstate(over="ignore"):
            h = np.uint32(2654435761) * k + np.uint32(40503) * np.uint32(layer + 1)
            h ^= h >> np.uint32(15)
            h = np.uint32(2246822519) * h
            h ^= h >> np.uint32(13)
        weight = np.sqrt(6 / (9 * fan)) * (2 * (h.astype(np.float64) / 2**32) - 1)
        shaped = torch.from_numpy(weight.reshape(out, fan, 3, 3))
        state[f"features.{numbers[layer]}.weight"] = shaped
        state[f"features.{numbers[layer]}.bias"] = torch.zeros(out, dtype=torch.float64)
    return state
