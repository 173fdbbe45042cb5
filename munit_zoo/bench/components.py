"""Components alone: what to build one with and what to call it with, at the size of a real step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from munit_zoo.domains import Domain
from munit_zoo.errors import UsageError
from munit_zoo.models import meta_inputs
from munit_zoo.models.objective import shape_of
from munit_zoo.registry import DISCRIMINATORS, LOSSES, MODELS, registry

__all__ = ["KINDS", "Part", "build_component"]

KINDS = (
    "norm",
    "activation",
    "content_encoder",
    "style_encoder",
    "decoder",
    "generator",
    "mapping",
    "discriminator",
    "loss",
)

WIDTH, STRIDE, STYLE = 256, 4, 8
"""Channels and stride of a content code, length of a style code: MUNIT's as published."""


@dataclass(frozen=True)
class Part:
    """A component and its inputs. forward: from the inputs to whatever it returns."""

    module: Any
    forward: Callable[..., Any]
    inputs: tuple[Any, ...]


def build_component(
    label: str, batch: int, size: int, device: torch.device, *, channels_last: bool
) -> Part:
    """A component by `kind:name`, with random inputs of a step on `size`² images.

    On the device `meta` nothing is allocated. Raises UsageError for a named loss whose names no
    recipe computes, and whatever the component raises.
    """
    kind, _, name = label.partition(":")
    torch.manual_seed(0)

    def random(*shape: int) -> Tensor:
        x = torch.randn(shape, device=device)
        if channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return x.requires_grad_()

    with torch.device(device):
        part = _PARTS[kind](name, random, batch, size)
    if channels_last and isinstance(part.module, nn.Module):
        part.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return part


def _build(kind: str, name: str, *wired: Any) -> Any:
    return registry(kind).bind(name)(*wired)


def _norm(name: str, random: Any, batch: int, size: int) -> Part:
    norm = _build("norm", name, WIDTH)
    count = getattr(norm, "num_parameters", 0)
    x = random(batch, WIDTH, size // STRIDE, size // STRIDE)
    return Part(norm, norm, (x, random(batch, count)) if count else (x,))


def _activation(name: str, random: Any, batch: int, size: int) -> Part:
    activation = _build("activation", name)
    return Part(activation, activation, (random(batch, WIDTH, size // STRIDE, size // STRIDE),))


def _content_encoder(name: str, random: Any, batch: int, size: int) -> Part:
    encoder = _build("content_encoder", name, 3)
    return Part(encoder, encoder, (random(batch, 3, size, size),))


def _style_encoder(name: str, random: Any, batch: int, size: int) -> Part:
    encoder = _build("style_encoder", name, 3, STYLE)
    return Part(encoder, encoder, (random(batch, 3, size, size),))


def _decoder(name: str, random: Any, batch: int, size: int) -> Part:
    steered = "style_dim" in registry("decoder").signature(name).wired
    decoder = _build("decoder", name, WIDTH, 3, STRIDE, *((STYLE,) if steered else ()))
    content = random(batch, WIDTH, size // STRIDE, size // STRIDE)
    return Part(decoder, decoder, (content, random(batch, STYLE)) if steered else (content,))


def _generator(name: str, random: Any, batch: int, size: int) -> Part:
    steered = "style_dim" in registry("generator").signature(name).wired
    generator = _build("generator", name, 3, 3, *((STYLE,) if steered else ()))
    side = generator.stride * -(-size // generator.stride)
    image = random(batch, 3, side, side)
    return Part(generator, generator, (image, random(batch, STYLE)) if steered else (image,))


def _mapping(name: str, random: Any, batch: int, size: int) -> Part:
    mapping = _build("mapping", name, STYLE, 16 * WIDTH)  # 8 AdaIN layers: a weight and a bias each
    return Part(mapping, mapping, (random(batch, STYLE),))


def _discriminator(name: str, random: Any, batch: int, size: int) -> Part:
    discriminator = _build("discriminator", name, 3)
    return Part(discriminator, discriminator, (random(batch, 3, size, size),))


def _loss(name: str, random: Any, batch: int, size: int) -> Part:
    contract = getattr(LOSSES.get(name), "contract", None)
    if contract == "pair":
        loss = _build("loss", name)
        images = [random(batch, 3, size, size) for _ in range(getattr(loss, "arity", 2))]
        return Part(loss, loss, tuple(images))
    if contract == "adversarial":
        loss = _build("loss", name)
        fakes, reals = (_logits(random, batch, size) for _ in range(2))

        def both(fakes: list[Tensor], reals: list[Tensor]) -> Tensor:
            total: Tensor = loss.generator(fakes) + loss.discriminator(fakes, reals)
            return total

        return Part(loss, both, (fakes, reals))
    return _named(name, random, batch, size)


def _logits(random: Any, batch: int, size: int) -> list[Tensor]:
    """Random logits of the shapes that the default discriminator gives."""
    with torch.device("meta"):
        maps = DISCRIMINATORS.bind("multiscale_patch")(3)(torch.empty(batch, 3, size, size))
    return [random(*part.shape) for part in maps]


def _named(name: str, random: Any, batch: int, size: int) -> Part:
    """A named loss on random tensors in place of what the first recipe that has its names gives."""
    reads = tuple(LOSSES.get(name).reads)  # type: ignore[attr-defined]
    recipe = next((r for r in MODELS.list() if set(reads) <= _names(r)), None)
    if recipe is None:
        raise UsageError(f"no recipe computes what the loss {name} reads: {', '.join(reads)}")
    domains = (Domain("a"), Domain("b"))
    with torch.device("meta"):
        shadow = MODELS.bind(recipe)(domains)
        graph = shadow.graph()
        env = meta_inputs(shadow, {d.name: (size, size) for d in domains}, graph.inputs, batch)
        values, _ = graph.plan([n for n in reads if n in graph.nodes])(shadow.views(), env)
    shapes = {n: shape_of(value) for n, value in {**env, **values}.items()}
    wired = LOSSES.signature(name).wired
    loss = _build("loss", name, *((shapes,) if "shapes" in wired else ()))
    critics = {}
    if getattr(loss, "wants_critics", False):
        critics = dict(MODELS.bind(recipe)(domains).discriminators.requires_grad_(False).items())
    read = {n: _random_like(shapes[n], random) for n in reads}
    return Part(loss, lambda read: loss(read, critics), (read,))


def _names(recipe: str) -> set[str]:
    return set(MODELS.get(recipe).graph().names)  # type: ignore[attr-defined]


def _random_like(shape: Any, random: Any) -> Any:
    if all(isinstance(number, int) for number in shape):
        return random(*shape)
    return [_random_like(part, random) for part in shape]


_PARTS: dict[str, Callable[[str, Any, int, int], Part]] = {
    "norm": _norm,
    "activation": _activation,
    "content_encoder": _content_encoder,
    "style_encoder": _style_encoder,
    "decoder": _decoder,
    "generator": _generator,
    "mapping": _mapping,
    "discriminator": _discriminator,
    "loss": _loss,
}
