"""Run by test_distributed: a few steps in float64 in a number of processes."""

import json
import sys

import torch
from lightning_fabric import Fabric

from munit_zoo.config import bind, domains_of, load_config
from munit_zoo.data.stream import Batches
from munit_zoo.engine.devices import allow_unused_parameters, ddp_strategy, leave_group
from munit_zoo.engine.step import Trainer, build_optimizers, draw_inputs
from munit_zoo.models import assemble


def work(fabric: Fabric, out: str, iterations: int, batch: int, overrides: list[str]) -> None:
    with leave_group(fabric):
        _work(fabric, out, iterations, batch, overrides)


def _work(fabric: Fabric, out: str, iterations: int, batch: int, overrides: list[str]) -> None:
    config = load_config("munit/shapes", *overrides)
    datasets = {d.name: bind("dataset", config.DATA)(d, "train") for d in domains_of(config)}
    sizes = {name: dataset.size for name, dataset in datasets.items()}
    torch.set_default_dtype(torch.float64)
    model, objective, rehearsal = assemble(config, sizes, processes=fabric.world_size)
    model.train()
    first = {name: value.clone() for name, value in model.state_dict().items()}
    if rehearsal.partial:
        allow_unused_parameters(fabric)
    groups = build_optimizers(config, model, objective)
    trainer = Trainer(fabric, model, objective, groups, iterations=iterations)
    stream = Batches(
        datasets,
        model.graph().inputs,
        {letter: domain.name for letter, domain in model.letters.items()},
        seed=0,
        batch_size=batch,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        want=set(objective.inputs),
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
        env = {name: value.double() for name, value in {**images, **drawn}.items()}
        parts = fabric.all_reduce(trainer.step(env, iteration), reduce_op="mean")
        losses.append({name: float(value) for name, value in parts.items()})
    if fabric.is_global_zero:
        torch.save(
            {"losses": json.dumps(losses), "weights": model.state_dict(), "first": first}, out
        )


def main() -> None:
    out, processes, iterations, batch, *overrides = sys.argv[1:]
    torch.set_num_threads(1)
    strategy = "auto"
    if int(processes) > 1:
        strategy = ddp_strategy(process_group_backend="gloo", start_method="spawn")
    fabric = Fabric(accelerator="cpu", devices=int(processes), strategy=strategy)
    fabric.launch(work, out, int(iterations), int(batch), overrides)


if __name__ == "__main__":
    main()
