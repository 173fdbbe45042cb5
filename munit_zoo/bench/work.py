"""From an arm to something that can be called again and again: one iteration a call."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from munit_zoo.bench.components import build_component
from munit_zoo.bench.measure import allow_tf32, bytes_of
from munit_zoo.bench.original import original_arm
from munit_zoo.bench.plan import Arm
from munit_zoo.bench.reference import OF_2018, ReferenceTrainer, hyperparameters_of
from munit_zoo.config import Config, bind, domains_of, engine_settings, load_config
from munit_zoo.data.stream import Batches
from munit_zoo.engine.acceleration import (
    GraphedStep,
    compile_networks,
    in_format,
    memory_format,
)
from munit_zoo.engine.devices import make_fabric
from munit_zoo.engine.step import Trainer, build_optimizers, draw_inputs
from munit_zoo.errors import UsageError
from munit_zoo.inputs import Image
from munit_zoo.models import (
    Objective,
    Rehearsal,
    TranslationModel,
    assemble,
    create_model,
    meta_inputs,
    simulate,
)
from munit_zoo.models.translation import Translator

__all__ = ["Work", "build_work"]

INPUTS = 2
"""Random batches that an arm takes in turn."""


@dataclass(frozen=True)
class Work:
    """One iteration of an arm.

    call: does it. images: how many it processes: pairs of images in training and loading,
    translations in translating and decoding, samples for a component.
    flop: operations of an iteration, counted. held: bytes that are kept between calls.
    outcome: its result on a fixed input, to compare with the others of its group.
    size: side of the images, None where they are not square. channels_last: their format.
    """

    call: Callable[[], object]
    images: int
    flop: float | None = None
    held: Callable[[], int] = lambda: 0
    outcome: Callable[[], Tensor] | None = None
    size: int | None = None
    channels_last: bool | None = None


def build_work(arm: Arm, device: torch.device) -> Work:
    """Build what an arm measures. Raises whatever makes it impossible: a size that the model
    cannot take, a precision that the device does not have, memory that is not there."""
    if arm.precision == "tf32" and device.type != "cuda":
        raise UsageError(f"tf32 is for CUDA; the device is {device.type}")
    if arm.compile == "graphs" and device.type != "cuda":
        raise UsageError(f"CUDA graphs are for CUDA; the device is {device.type}")
    if arm.compile == "graphs" and arm.mode == "component":
        raise UsageError("CUDA graphs are of whole steps: leave them out for components")
    if arm.mode == "component":
        work = _component(arm, device)
    elif arm.reference and load_config(arm.config, *arm.overrides).MODEL.NAME in OF_2018:
        work = _reference(arm, device)
    elif arm.reference:
        work = _BUILDERS[arm.mode](original_arm(arm), device)
    else:
        work = _BUILDERS[arm.mode](arm, device)

    def call() -> object:
        allow_tf32(arm.precision == "tf32")
        torch.backends.cudnn.benchmark = True  # as the 2018 implementation has it, too
        return work.call()

    return replace(work, call=call)


def _config(arm: Arm) -> Config:
    own = [f"ENGINE.BATCH_SIZE={arm.batch}", f"ENGINE.PRECISION={arm.precision}"]
    if arm.channels_last is not None:
        own.append(f"ENGINE.CHANNELS_LAST={str(arm.channels_last).lower()}")
    if arm.compile == "graphs":
        own += ["ENGINE.COMPILE=default", "ENGINE.CUDA_GRAPHS=true"]
    elif arm.compile != "off":
        own.append(f"ENGINE.COMPILE={arm.compile}")
    return load_config(arm.config, *arm.overrides, *own, *arm.variant)


def _sizes(arm: Arm, config: Config) -> dict[str, tuple[int, int]]:
    domains = domains_of(config)
    if arm.size is not None:
        return {domain.name: (arm.size, arm.size) for domain in domains}
    factory = bind("dataset", config.DATA)
    return {domain.name: factory(domain, "train").size for domain in domains}


def _side(arm: Arm, config: Config) -> int | None:
    """The side of the images, where all are squares of one size."""
    sides = {side for size in _sizes(arm, config).values() for side in size}
    return sides.pop() if len(sides) == 1 else None


def _facts(arm: Arm, config: Config, device: torch.device) -> dict[str, Any]:
    """What a config leaves to be found out: size and memory format."""
    layout = memory_format(config, device)
    return {"size": _side(arm, config), "channels_last": layout == torch.channels_last}


def _images(arm: Arm, config: Config, device: torch.device, seed: int) -> dict[str, Tensor]:
    """Random images in [-1, 1] by domain, the same for every arm of a group."""
    generator = torch.Generator().manual_seed(seed)
    sizes = _sizes(arm, config)
    return {
        d.name: (2 * torch.rand(arm.batch, d.channels, *sizes[d.name], generator=generator) - 1).to(
            device
        )
        for d in domains_of(config)
    }


# Training


def _train(arm: Arm, device: torch.device) -> Work:
    config = _config(arm)
    fabric = make_fabric(device.type, arm.precision)  # type: ignore[arg-type]
    model, objective, rehearsal = assemble(config, _sizes(arm, config))
    layout = memory_format(config, device)
    model.to(memory_format=layout)
    model.train()
    fabric.to_device(model)
    groups = build_optimizers(config, model, objective)
    iterations = engine_settings(config).iterations
    trainer = Trainer(fabric, model, objective, groups, iterations=iterations)
    trainer.accelerate(config)
    batches = [
        in_format(_batch(arm, model, objective, rehearsal, device, seed), layout)
        for seed in range(INPUTS)
    ]
    turns = itertools.cycle(enumerate(batches))

    def step() -> object:
        iteration, batch = next(turns)
        return trainer.step(batch, iteration)

    def held() -> int:
        states = [s for group in groups for s in group.optimizer.state.values()]
        kept = [v for s in states for v in s.values() if isinstance(v, Tensor)]
        inputs = [value for batch in batches for value in batch.values()]
        parts = (model, *objective.criteria.values())
        own = [t for part in parts for t in (*_tensors(part), *_gradients(part.parameters()))]
        return bytes_of([*own, *kept, *inputs])

    flop = training_flop(rehearsal)
    return Work(step, arm.batch, flop, held, **_facts(arm, config, device))


def _batch(
    arm: Arm,
    model: TranslationModel,
    objective: Objective,
    rehearsal: Rehearsal,
    device: torch.device,
    seed: int,
) -> dict[str, Tensor]:
    """Random inputs of an iteration: images in [-1, 1], labels and draws; the same for every arm
    of a group."""
    generator = torch.Generator().manual_seed(seed)
    draws = draw_inputs(
        model,
        objective,
        rehearsal.draws,
        seed=seed,
        iteration=0,
        first=0,
        count=arm.batch,
        batch_size=arm.batch,
    )
    found = dict(draws)
    for name in objective.inputs:
        if name in draws:
            continue
        shape = (arm.batch, *rehearsal.shapes[name][1:])
        if isinstance(model.graph().inputs[name], Image):
            found[name] = 2 * torch.rand(shape, generator=generator) - 1
        elif len(shape) == 1:
            found[name] = torch.arange(arm.batch) % len(model.domains)
        else:
            found[name] = torch.randint(2, shape, generator=generator).float()
    return {name: value.to(device) for name, value in found.items()}


def training_flop(rehearsal: Rehearsal) -> float:
    """Operations of a training iteration, counted on the `meta` device.

    Of a rehearsal for one process: its batch is the whole one.
    """
    env = meta_inputs(rehearsal.objective, rehearsal.found.values)
    with _Operations() as counter:
        for _, loss in simulate(rehearsal.objective, env):
            if loss.requires_grad:
                loss.backward()
    return float(counter.get_total_flops())


# Translating and decoding


def _model(arm: Arm, config: Config, device: torch.device) -> TranslationModel:
    """The model of a config with weights drawn under a fixed seed, ready to translate."""
    torch.manual_seed(0)
    model = create_model(config).eval().to(device)
    model.to(memory_format=memory_format(config, device))
    compile_networks(model.networks().values(), engine_settings(config).compile)
    return model


def _recorded(arm: Arm, call: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function of one tensor, as one CUDA graph where the arm asks for it."""
    if arm.compile != "graphs":
        return call
    step = GraphedStep(lambda env: {"y": call(env["x"])})
    return lambda x: step({"x": x})["y"]


def _translate(arm: Arm, device: torch.device) -> Work:
    config = _config(arm)
    model = _model(arm, config, device)
    source, target = model.ways[0]
    styles = _styles(arm, model.style_dim, device)
    layout = memory_format(config, device)
    batches = [
        _images(arm, config, device, seed)[source].contiguous(memory_format=layout)
        for seed in range(INPUTS)
    ]

    def translate(model: TranslationModel, x: Tensor, styles: Tensor) -> Tensor:
        with _autocast(arm, x.device):
            return model.translate(x, target, styles if model.style_dim else 1, source=source)

    turns = itertools.cycle(batches)
    with torch.device("meta"):
        shadow = create_model(config).eval()
    flop = _flop(lambda: translate(shadow, batches[0].to("meta"), styles.to("meta")))
    call = _recorded(arm, lambda x: translate(model, x, styles))
    return Work(
        lambda: call(next(turns)),
        arm.batch * (arm.styles if model.style_dim else 1),
        flop,
        lambda: bytes_of([*_tensors(model), *batches]),
        lambda: call(batches[0]).float(),
        **_facts(arm, config, device),
    )


def _styles(arm: Arm, style_dim: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(arm.styles, style_dim, generator=generator).to(device)


def _decode(arm: Arm, device: torch.device) -> Work:
    config = _config(arm)
    model = _model(arm, config, device)
    x = _images(arm, config, device, 0)[model.ways[0][0]]
    x = x.contiguous(memory_format=memory_format(config, device))
    with torch.device("meta"):
        shadow = create_model(config).eval()
    codes = [torch.randn(arm.batch, model.style_dim, device=device) for _ in range(INPUTS)]
    decode = _recorded(arm, _decoder(arm, model, x))
    count = _decoder(arm, shadow, x.to("meta"))
    turns = itertools.cycle(codes)
    return Work(
        lambda: decode(next(turns)),
        arm.batch,
        _flop(lambda: count(codes[0].to("meta"))),
        lambda: bytes_of([*_tensors(model), x]),
        **_facts(arm, config, device),
    )


@torch.no_grad()
def _decoder(arm: Arm, model: TranslationModel, x: Tensor) -> Callable[[Tensor], Tensor]:
    """From style codes to translations of images whose content is encoded already."""
    translator = Translator(model)
    way = translator.ways()[0]
    if way.translation.style is None:
        raise UsageError(f"{type(model).__name__} has no style to decode with: measure translate")
    before, after = translator.halves(way)
    with _autocast(arm, x.device):
        known = translator.run(before, {way.translation.source: x}, way)

    @torch.no_grad()
    def decode(code: Tensor) -> Tensor:
        with _autocast(arm, x.device):
            values = {**known, str(way.translation.style): code}
            result: Tensor = translator.run(after, values, way)[way.translation.output]
        return result

    return decode


# The reference


def _reference(arm: Arm, device: torch.device) -> Work:
    config = load_config(arm.config, *arm.overrides, f"ENGINE.BATCH_SIZE={arm.batch}")
    hyper, kind = hyperparameters_of(config)
    weights = _vgg(config) if hyper.get("vgg_w") else None
    torch.manual_seed(0)
    model = create_model(config)
    trainer = ReferenceTrainer(hyper, kind, vgg_weights=weights)
    trainer.load_from(model)
    trainer.to(device).train(arm.mode == "train")
    batches = [_images(arm, config, device, seed) for seed in range(INPUTS)]
    turns = itertools.cycle(batches)
    with torch.device("meta"):
        shadow = ReferenceTrainer(hyper, kind, vgg_weights=weights).to("meta")
    a, b = (domain.name for domain in domains_of(config))
    x_a, x_b = (batches[0][name].to("meta") for name in (a, b))

    def held() -> int:
        optimizers = (trainer.gen_opt, trainer.dis_opt)
        states = [s for o in optimizers for s in o.state.values()]
        kept = [v for s in states for v in s.values() if isinstance(v, Tensor)]
        inputs = [x for batch in batches for x in batch.values()]
        return bytes_of([*_tensors(trainer), *_gradients(trainer.parameters()), *kept, *inputs])

    facts: dict[str, Any] = {"size": _side(arm, config), "channels_last": False}
    if arm.mode == "train":

        def step() -> object:
            batch = next(turns)
            return trainer.step(batch[a], batch[b])

        return Work(step, arm.batch, _flop(lambda: shadow.step(x_a, x_b)), held, **facts)
    styles = _styles(arm, hyper["gen"].get("style_dim", 0), device) if kind == "munit" else None

    def translate(trainer: ReferenceTrainer, x: Tensor, styles: Tensor | None) -> Tensor:
        return trainer.translate(x, "a2b", styles)

    coded = None if styles is None else styles.to("meta")
    return Work(
        lambda: translate(trainer, next(turns)[a], styles),
        arm.batch * (arm.styles if styles is not None else 1),
        _flop(lambda: translate(shadow, x_a, coded)),
        held,
        lambda: translate(trainer, batches[0][a], styles),
        **facts,
    )


def _vgg(config: Config) -> Mapping[str, Tensor]:
    """The perceptual term's VGG-16, under torchvision's names."""
    criterion = bind("loss", config.LOSSES.PERCEPTUAL)()
    numbers = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    return {
        f"features.{number}.{name}": value
        for number, convolution in zip(numbers, criterion.vgg.convolutions, strict=False)
        for name, value in convolution.state_dict().items()
    }


# Components and data


def _component(arm: Arm, device: torch.device) -> Work:
    layout = bool(arm.channels_last)
    size = arm.size or 256
    part = build_component(arm.config, arm.batch, size, device, channels_last=layout)
    shadow = build_component(
        arm.config, arm.batch, size, torch.device("meta"), channels_last=layout
    )
    compile_networks([part.module], arm.compile)  # type: ignore[arg-type]
    held = [part.module, *part.critics.values()]
    parameters = [
        p for module in held if isinstance(module, nn.Module) for p in module.parameters()
    ]
    leaves = [*parameters, *(leaf for leaf in _leaves(part.inputs) if leaf.requires_grad)]

    def both(forward: Callable[..., object], inputs: tuple[object, ...]) -> Any:
        for leaf in leaves:  # a gradient that is there would be read and added to
            leaf.grad = None
        with _autocast(arm, device):
            output = forward(*inputs)
        total = torch.stack([o.float().sum() for o in _leaves(output)]).sum()
        total.backward()
        return total

    return Work(
        lambda: both(part.call, part.inputs),
        arm.batch,
        _flop(lambda: both(shadow.call, shadow.inputs)),
        lambda: bytes_of([*_tensors(part.module), *_leaves(part.inputs), *_gradients(leaves)]),
        size=size,
        channels_last=layout,
    )


def _data(arm: Arm, device: torch.device) -> Work:
    """One worker's share: decode and transform the images of a batch, in this process."""
    config = load_config(arm.config, *arm.overrides, *arm.variant, f"ENGINE.BATCH_SIZE={arm.batch}")
    factory = bind("dataset", config.DATA)
    datasets = {domain.name: factory(domain, "train") for domain in domains_of(config)}
    for dataset in datasets.values():
        dataset.prepare()
    stream = Batches(
        datasets,
        {f"x_{name}": Image(name) for name in datasets},
        {name: name for name in datasets},
        seed=engine_settings(config).seed,
        batch_size=arm.batch,
    )
    batches = stream.batches(0, 2**31)
    return Work(lambda: next(batches), arm.batch, size=_side(arm, config))


_BUILDERS: dict[str, Callable[[Arm, torch.device], Work]] = {
    "train": _train,
    "translate": _translate,
    "decode": _decode,
    "data": _data,
}


# Parts of them


def _autocast(arm: Arm, device: torch.device) -> AbstractContextManager[object]:
    if arm.precision != "bf16" or device.type == "meta":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


class _Operations(FlopCounterMode):
    """Counts floating-point operations, without asking which module they are of: torch's way of
    finding out does not go with gradients of gradients (R1 and other penalties)."""

    def __init__(self) -> None:
        super().__init__(display=False)
        self.mod_tracker = _NoModules()  # type: ignore[assignment]


class _NoModules(nullcontext[None]):
    parents = ("Global",)


def _flop(call: Callable[[], object]) -> float:
    with _Operations() as counter:
        call()
    return float(counter.get_total_flops())


def _leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value
    return [leaf for part in parts for leaf in _leaves(part)]


def _tensors(module: object) -> list[Tensor]:
    if not isinstance(module, nn.Module):
        return []
    return [*module.parameters(), *module.buffers()]


def _gradients(tensors: Iterable[Tensor]) -> list[Tensor]:
    return [tensor.grad for tensor in tensors if tensor.grad is not None]
