"""Golden cases of the zoo: what the original implementations of its systems computed.

A case is `SYSTEM/NAME.json` (options by the original's names) and `SYSTEM/NAME.safetensors`, in the
folder MUNIT_ZOO_GOLDEN_ZOO. The measure is max|ours - golden| over max(max|golden| of that tensor,
1e-6), the bound 1e-8; of checkpoints, which are in single precision, 1e-4.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor, nn

from munit_zoo.config import bind, resolve_component

BOUND = 1e-8
CHECKPOINT_BOUND = 1e-4
FLOOR = 1e-6

FOLDER = Path(os.environ.get("MUNIT_ZOO_GOLDEN_ZOO", "../shared/golden_zoo"))


def cases(system: str) -> list[Any]:
    """Every case of a system, as parameters of a test; one that skips where there is none."""
    found = sorted((FOLDER / system).glob("*.json"))
    if found:
        return [pytest.param(path, id=path.stem) for path in found]
    reason = f"no golden cases in {FOLDER / system} (set MUNIT_ZOO_GOLDEN_ZOO)"
    return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="none")]


def checkpoint(system: str) -> Path:
    """The folder of an original checkpoint; skips the test where there is none."""
    folder = FOLDER / system / "checkpoint"
    if not folder.is_dir():
        pytest.skip(f"no checkpoint in {folder} (set MUNIT_ZOO_GOLDEN_ZOO)")
    return folder


class Case:
    """A recorded case, and the errors of what was compared with it, by the case's own names."""

    def __init__(self, path: Path) -> None:
        self.info = json.loads(path.read_text())
        self.config: dict[str, Any] = self.info["config"]
        self.tensors = load_file(path.with_suffix(".safetensors"))
        self.errors: dict[str, float] = {}

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below `prefix`, by the rest of their names."""
        prefix += "/"
        return {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}

    def row(self, prefix: str) -> list[Tensor]:
        """The tensors `prefix/0`, `prefix/1` and so on."""
        found = self.under(prefix)
        return [found[str(index)] for index in range(len(found))]

    def compare(self, name: str, ours: Tensor) -> None:
        """Note the error of a tensor of the case."""
        self.errors[name] = error_of(ours, self.tensors[name])

    def worst(self, prefix: str, *, apart_from: tuple[str, ...] = ()) -> tuple[str, float]:
        """What is furthest off, and by how much; infinitely, where a tensor was not compared."""
        due = {n for n in self.tensors if n.startswith(prefix) and not n.startswith(apart_from)}
        errors = {**self.errors, **dict.fromkeys(due - set(self.errors), math.inf)}
        return max(errors.items(), key=lambda item: item[1])


def error_of(ours: Tensor, golden: Tensor) -> float:
    """By how much a tensor is off; infinitely, where it is of another shape or no number."""
    if ours.shape != golden.shape:
        return math.inf
    scale = max(float(golden.abs().max()), FLOOR)
    error = float((ours.detach().double() - golden.double()).abs().max()) / scale
    return math.inf if math.isnan(error) else error


def build(kind: str, node: Mapping[str, Any], *wired: Any) -> nn.Module:
    """A component as a config makes it."""
    built: nn.Module = bind(kind, resolve_component(kind, dict(node)))(*wired)
    return built


class RecordedDropout(nn.Module):
    """Dropout of one half by recorded masks, one a call."""

    def __init__(self, masks: list[Tensor]) -> None:
        super().__init__()
        self.masks = masks

    def forward(self, x: Tensor) -> Tensor:
        return x * self.masks.pop(0) * 2 if self.training else x


def replay_dropout(network: nn.Module, masks: list[Tensor]) -> None:
    """Replace a network's dropout by recorded masks, in the order in which they are met."""
    replay = RecordedDropout(list(masks))
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout):
                setattr(parent, name, replay)
