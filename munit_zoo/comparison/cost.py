"""What a config costs: parameters, operations, speed and memory, from a short measurement."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from munit_zoo.bench.measure import peak_memory, take_turns, warm_up
from munit_zoo.bench.plan import Arm
from munit_zoo.bench.work import build_work
from munit_zoo.config import engine_settings, load_config
from munit_zoo.engine.devices import choose_device
from munit_zoo.engine.files import write_text
from munit_zoo.models import create_model, translating_networks

__all__ = ["COSTS", "Cost", "cells", "cost_of", "remembered_cost"]


@dataclass(frozen=True)
class Cost:
    """What training a config costs on a device.

    parameters: of all networks; translating: of those that translate. gflop: 10⁹ operations an
    iteration takes for each image (of each domain) of its batch. seconds: an iteration, the fastest
    of a few, loading of images left out. memory: bytes at the peak, None where the device does not
    tell.
    """

    parameters: int
    translating: int
    gflop: float | None
    seconds: float
    batch: int
    memory: int | None
    device: str
    threads: int

    @property
    def images_per_second(self) -> float:
        """Images (of each domain) that training takes in a second."""
        return self.batch / self.seconds


COSTS = ("parameters (M)", "of those that translate (M)", "GFLOP an image", "img/s", "memory (MiB)")
"""Titles of what `Cost.cells` shows."""


def cells(cost: Cost) -> tuple[str, ...]:
    """A cost as a table shows it, in the order of COSTS."""
    return (
        f"{cost.parameters / 1e6:.3g}",
        f"{cost.translating / 1e6:.3g}",
        "–" if cost.gflop is None else f"{cost.gflop:.3g}",
        f"{cost.images_per_second:.3g}",
        "–" if cost.memory is None else f"{cost.memory / 2**20:.0f}",
    )


def cost_of(source: str, overrides: Sequence[str] = (), *, device: str = "auto") -> Cost:
    """Measure a config: a few iterations on random images.

    source: a config's name or file. Raises whatever makes it impossible to train.
    """
    config = load_config(source, *overrides)
    where = torch.device(choose_device(device))
    arm = Arm(
        source,
        "train",
        engine_settings(config).batch_size,
        None,
        engine_settings(config).precision,
        overrides=tuple(overrides),
    )
    with torch.device("meta"):
        model = create_model(config)
    networks = model.networks()
    sizes = {path: sum(p.numel() for p in net.parameters()) for path, net in networks.items()}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        work = build_work(arm, where)
        timing = warm_up(work.call, where, most=4)
        take_turns([work.call], [timing], where, rounds=4, seconds=0, told=lambda _: None)
        memory = peak_memory(work.call, where, work.held())
    return Cost(
        parameters=sum(sizes.values()),
        translating=sum(sizes[path] for path in translating_networks(model)),
        gflop=None if work.flop is None else work.flop / arm.batch / 1e9,
        seconds=min(timing.seconds),
        batch=arm.batch,
        memory=memory,
        device=str(where),
        threads=torch.get_num_threads(),
    )


def remembered_cost(
    folder: Path | None, source: str, overrides: Sequence[str], *, device: str = "auto"
) -> Cost:
    """The same, measured once for each folder, config and kind of device; None: kept nowhere."""
    if folder is None:
        return cost_of(source, overrides, device=device)
    where = choose_device(device)
    digest = load_config(source, *overrides, "METRICS=null", "ENGINE.SEED=0").digest()
    key = hashlib.sha256(f"{digest} {where} {torch.get_num_threads()}".encode()).hexdigest()[:16]
    file = folder / f"{key}.json"
    try:
        return Cost(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        pass
    cost = cost_of(source, overrides, device=device)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(asdict(cost)))
    return cost
