"""Run by test_distributed: a few steps in float64 in a number of processes."""

import json
import sys

import torch
from lightning_fabric import Fabric

from munit_zoo.config import bind, domains_of, load_config
from munit_zoo.data.stream import Batches
from munit_zoo.engine.devices import ddp_strategy, leave_group
from munit_zoo.engine.step import Trainer, draw_noise, trained_parameters
from munit_zoo.inputs import Image
from munit_zoo.models import assemble


def work(fabric: Fabric, out: str, iterations: int, batch: int, overrides: list[str]) -> None:
    config = load_config("munit/shapes", *overrides)
    datasets = {d.name: bind("dataset", config.DATA)(d, "train") for d in domains_of(config)}
    sizes = {name: dataset.size for name, dataset in datasets.items()}
    torch.set_default_dtype(torch.float64)
    model, objective, _ = assemble(config, sizes)
    model.train()
    first = {name: value.clone() for name, value in model.state_dict().items()}
    optimizers = [
        bind("optimizer", config.OPTIM.DEFAULT)().build(named.values())
        for named in trained_parameters(model, objective)
    ]
    trainer = Trainer(fabric, model, objective, optimizers)
    stream = Batches(
        datasets,
        {f"x_{name}": Image(name) for name in datasets},
        {name: name for name in datasets},
        seed=0,
        batch_size=batch,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    losses = []
    for iteration, images in enumerate(stream.batches(0, iterations)):
        noise = draw_noise(
            model,
            objective,
            sizes,
            seed=0,
            iteration=iteration,
            first=stream.first,
            count=stream.count,
        )
        env = {name: value.double() for name, value in {**images, **noise}.items()}
        parts = fabric.all_reduce(trainer.step(env), reduce_op="mean")
        losses.append({name: float(value) for name, value in parts.items()})
    if fabric.is_global_zero:
        torch.save(
            {"losses": json.dumps(losses), "weights": model.state_dict(), "first": first}, out
        )
    leave_group(fabric)


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
