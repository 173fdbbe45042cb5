"""Run by test_distributed: a few steps of each case in float64 in a number of processes.

    python _two_processes.py CASES.json FOLDER PROCESSES

CASES.json: by name [config, iterations, batch size, overrides]. FOLDER gets NAME.pt a case.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from munit_zoo.config import bind, domains_of, load_config
from munit_zoo.engine.devices import allow_unused_parameters, ddp_strategy, leave_group
from munit_zoo.engine.setup import averaged, stream_of
from munit_zoo.engine.step import Trainer, build_optimizers, draw_inputs
from munit_zoo.models import assemble


def work(fabric: Fabric, cases: dict[str, Any], folder: str) -> None:
    with leave_group(fabric):
        for name, case in cases.items():
            found = _work(fabric, *case)
            if fabric.is_global_zero:
                torch.save(found, Path(folder) / f"{name}.pt")


def _work(
    fabric: Fabric, config_name: str, iterations: int, batch: int, overrides: list[str]
) -> dict[str, Any]:
    config = load_config(config_name, *overrides, f"ENGINE.BATCH_SIZE={batch}")
    datasets = {d.name: bind("dataset", config.DATA)(d, "train") for d in domains_of(config)}
    sizes = {name: dataset.size for name, dataset in datasets.items()}
    torch.set_default_dtype(torch.float64)
    model, objective, rehearsal = assemble(config, sizes, processes=fabric.world_size)
    model.train()
    first = {name: value.clone() for name, value in model.state_dict().items()}
    if fabric.world_size > 1:
        fabric.strategy._ddp_kwargs["find_unused_parameters"] = False  # of the case before
    if rehearsal.partial:
        allow_unused_parameters(fabric)
    average = averaged(config, model)
    groups = build_optimizers(config, model, objective)
    trainer = Trainer(
        fabric,
        model,
        objective,
        groups,
        iterations=iterations,
        accumulate=config.ENGINE.ACCUMULATE,
    )
    stream = stream_of(
        config, objective, datasets, rank=fabric.global_rank, world_size=fabric.world_size
    )
    losses = []
    for iteration, images in enumerate(stream.batches(0, iterations)):
        drawn = draw_inputs(
            model,
            objective,
            rehearsal.draws,
            seed=0,
            iteration=iteration,
            first=stream.first,
            count=stream.count,
            batch_size=batch,
        )
        env = {
            name: value.double() if value.is_floating_point() else value
            for name, value in {**images, **drawn}.items()
        }
        parts = fabric.all_reduce(trainer.step(env, iteration), reduce_op="mean")
        losses.append({name: float(value) for name, value in parts.items()})
        if average is not None:
            average.update()
    return {
        "losses": json.dumps(losses),
        "weights": model.state_dict(),
        "average": {} if average is None else average.model.state_dict(),
        "first": first,
    }


def main() -> None:
    cases, folder, processes = sys.argv[1:]
    torch.set_num_threads(1)
    strategy = "auto"
    if int(processes) > 1:
        strategy = ddp_strategy(process_group_backend="gloo", start_method="spawn")
    fabric = Fabric(accelerator="cpu", devices=int(processes), strategy=strategy)
    fabric.launch(work, json.loads(Path(cases).read_text()), folder)


if __name__ == "__main__":
    main()
