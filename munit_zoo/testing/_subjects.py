"""Components with inputs to call them with, kind by kind."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from munit_zoo.domains import Domain
from munit_zoo.errors import MunitZooError
from munit_zoo.losses import call_named
from munit_zoo.registry import REGISTRIES
from munit_zoo.testing._kit import ConformanceError

__all__ = ["DOMAINS", "KINDS", "Subject", "build", "fail", "subject_of", "takes", "tensors"]

DOMAINS = (Domain("a"), Domain("b"))


@dataclass(frozen=True)
class Subject:
    """A built component and how to use it.

    module: what holds its parameters. call: gives its output for inputs. inputs: tensors to call
    it with. check: raises ConformanceError for a wrong output. each: names of the inputs, where
    the output depends on every one of them. critics: discriminators that it is handed.
    method: how messages name the call.
    """

    module: nn.Module
    call: Callable[..., Any]
    inputs: tuple[Any, ...]
    check: Callable[[Any], None]
    each: tuple[str, ...] = ()
    critics: Mapping[str, nn.Module] = field(default_factory=dict)
    method: str = "forward"

    def output(self) -> Any:
        """What it gives. Raises ConformanceError for whatever it raises."""
        try:
            return self.call(*self.inputs)
        except MunitZooError as error:
            raise ConformanceError(str(error)) from error
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if "in-place operation" in reason:
                reason = "it changes its input, or a parameter, in place; work on a new tensor"
            shown = ", ".join(map(_shown, self.inputs))
            raise ConformanceError(f"{self.method}({shown}) fails: {reason}") from error


def fail(message: str, cause: BaseException | None = None) -> NoReturn:
    """Raises ConformanceError."""
    raise ConformanceError(message) from cause


def build(kind: str, name: str, settings: Mapping[str, Any], *wired: Any) -> Any:
    """The component. Raises ConformanceError where it cannot be built."""
    try:
        known = REGISTRIES[kind].signature(name).settings.values()
        missing = [s.name for s in known if s.required and s.name not in settings]
        if missing:
            fail(
                f"cannot be built from its defaults: {', '.join(missing)} is required. Give every "
                "setting a default, or name it in the test: checks(kind, name, setting=value)"
            )
        return REGISTRIES[kind].bind(name, **settings)(*wired)
    except ConformanceError:
        raise
    except MunitZooError as error:
        early = "before Module.__init__()" in str(error)
        hint = ". Call super().__init__() first in __init__" if early else ""
        raise ConformanceError(f"{error}{hint}") from error


def subject_of(kind: str, name: str, settings: Mapping[str, Any]) -> Subject:
    """The component on the default device, weights drawn under a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    device = torch.empty(0).device

    def random(*shape: int) -> Tensor:
        if device.type == "meta":
            return torch.empty(shape)
        return torch.randn(shape, generator=generator, dtype=torch.get_default_dtype())

    torch.manual_seed(0)
    subject: Subject = KINDS[kind](kind, name, settings, random)
    return subject


def takes(method: Callable[..., Any], rule: str, *arguments: Any, **named: Any) -> None:
    """Fails with `rule` where a method cannot be called with these arguments."""
    try:
        inspect.signature(method).bind(*arguments, **named)
    except TypeError as error:
        fail(f"{rule}: {error}", error)


def tensors(value: Any) -> list[Tensor]:
    """All tensors in a nest of maps and lists."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [t for part in value.values() for t in tensors(part)]
    if isinstance(value, (list, tuple)):
        return [t for part in value for t in tensors(part)]
    return []


def _module(kind: str, name: str, settings: Mapping[str, Any], *wired: Any) -> Any:
    module = build(kind, name, settings, *wired)
    if not isinstance(module, nn.Module):
        fail("is no nn.Module; subclass it")
    if "_parameters" not in vars(module):
        fail("does not call super().__init__(), which comes first in __init__")
    return module


def _whole(module: Any, attribute: str, least: int, default: Any = None) -> int:
    value = getattr(module, attribute, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        fail(f"sets self.{attribute} to {value!r}; an int of at least {least} is due")
    return value


def _norm(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    norm = _module(kind, name, settings, 32)
    count = _whole(norm, "num_parameters", 0, default=0)
    inputs: tuple[Tensor, ...] = (random(2, 32, 6, 5),)
    rule = (
        "num_parameters is 0 or unset, so it is called as forward(x); set self.num_parameters = P "
        "for forward(x, parameters)"
    )
    if count:
        inputs = (*inputs, random(2, count))
        rule = f"num_parameters is {count}, so it is called as forward(x, parameters)"
    takes(norm.forward, rule, *inputs)
    check = _of_shape((2, 32, 6, 5), "a norm keeps the shape")
    return Subject(norm, norm, inputs, check, each=("x", "parameters")[: len(inputs)])


def _activation(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    activation = _module(kind, name, settings)
    x = random(2, 4, 6, 5)
    takes(activation.forward, "an activation is called as forward(x)", x)
    check = _of_shape((2, 4, 6, 5), "an activation keeps the shape")
    return Subject(activation, activation, (x,), check, each=("x",))


def _content_encoder(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    encoder = _module(kind, name, settings, 3)
    channels, stride = _whole(encoder, "out_channels", 1), _whole(encoder, "stride", 1)
    x = random(2, 3, 96, 64)
    takes(encoder.forward, "a content encoder is called as forward(x)", x)
    check = _of_shape(
        (2, channels, 96 // stride, 64 // stride),
        "the content code is (N, self.out_channels, H/self.stride, W/self.stride)",
    )
    return Subject(encoder, encoder, (x,), check, each=("x",))


def _style_encoder(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    wired, domains = _told(kind, name, random)
    encoder = _module(kind, name, settings, 3, 5, *wired)
    inputs = (random(2, 3, *_side(encoder, 96, 64)), *domains)
    takes(encoder.forward, f"a style encoder is called as {_called(domains)}", *inputs)
    check = _of_shape((2, 5), "the style code is (N, style_dim)")
    return Subject(encoder, encoder, inputs, check, each=("x",))


def _decoder(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    styled = "style_dim" in REGISTRIES[kind].signature(name).wired
    decoder = _module(kind, name, settings, *((32, 3, 4, 5) if styled else (32, 3, 4)))
    if bool(getattr(decoder, "takes_style", styled)) != styled:
        fail("takes_style does not say whether the constructor takes style_dim")
    inputs: tuple[Tensor, ...] = (random(2, 32, 8, 6),)
    rule = "the constructor takes no style_dim, so forward is called as forward(content)"
    if styled:
        inputs = (*inputs, random(2, 5))
        rule = "the constructor takes style_dim, so forward is called as forward(content, style)"
    takes(decoder.forward, rule, *inputs)
    shape = _of_shape((2, 3, 32, 24), "the image is scale_factor times the content code")

    def check(image: Any) -> None:
        shape(image)
        if not image.is_meta and image.abs().max() > 1 + 1e-3:
            fail(f"images are in [-1, 1]; got {float(image.abs().max()):.2f}. End with tanh.")

    each = ("content", "style")[: len(inputs)]
    return Subject(decoder, decoder, inputs, check, each=each)


def _generator(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    styled = "style_dim" in REGISTRIES[kind].signature(name).wired
    generator = _module(kind, name, settings, *((3, 4, 5) if styled else (3, 4)))
    stride = _whole(generator, "stride", 1)
    height, width = (stride * -(-side // stride) for side in (96, 64))
    inputs: tuple[Tensor, ...] = (random(2, 3, height, width),)
    rule = "the constructor takes no style_dim, so forward is called as forward(x)"
    if styled:
        inputs = (*inputs, random(2, 5))
        rule = "the constructor takes style_dim, so forward is called as forward(x, style)"
    takes(generator.forward, rule, *inputs)
    check = _of_shape((2, 4, height, width), "the image is of the size of the input's")
    return Subject(generator, generator, inputs, check, each=("x", "style")[: len(inputs)])


def _told(kind: str, name: str, random: Any) -> tuple[tuple[int, ...], tuple[Tensor, ...]]:
    """What a component that is told the domain is wired with, and called with, beside the rest."""
    if "num_domains" not in REGISTRIES[kind].signature(name).wired:
        return (), ()
    return (3,), (torch.arange(2, device=random(1).device) % 3,)


def _called(domains: tuple[Tensor, ...]) -> str:
    """How a component that may be told the domain is called, for messages."""
    return "forward(x, y), as its constructor takes num_domains" if domains else "forward(x)"


def _side(module: Any, *sides: int) -> tuple[int, ...]:
    """Height and width of the images that a component is called with.

    One that takes images of one size alone sets self.input_size to their side.
    """
    fixed = getattr(module, "input_size", None)
    return sides if fixed is None else (fixed, fixed)


def _mapping(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    wired, domains = _told(kind, name, random)
    mapping = _module(kind, name, settings, 5, 7, *wired)
    inputs = (random(2, 5), *domains)
    takes(mapping.forward, f"a mapping is called as {_called(domains)}", *inputs)
    check = _of_shape((2, 7), "a mapping makes (N, out_features)")
    return Subject(mapping, mapping, inputs, check, each=("x",))


def _discriminator(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    wired, domains = _told(kind, name, random)
    discriminator = _module(kind, name, settings, 3, *wired)
    inputs = (random(2, 3, *_side(discriminator, 128, 96)), *domains)
    takes(discriminator.forward, f"a discriminator is called as {_called(domains)}", *inputs)

    def check(logits: Any) -> None:
        if not isinstance(logits, list) or not logits:
            fail(f"returns {type(logits).__name__}; a list of logits is due, one tensor a scale")
        for scale, part in enumerate(logits):
            if not isinstance(part, Tensor):
                fail(f"logits of scale {scale} are no tensor ({type(part).__name__})")
            if part.dim() == 0 or part.shape[0] != 2:
                found = tuple(part.shape) if part.dim() else "a scalar"
                fail(f"logits of scale {scale} are {found} for 2 images; (N, …) is due")

    return Subject(discriminator, discriminator, inputs, check, each=("x",))


def _loss(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    settings = dict(settings)
    recipe = settings.pop("recipe", "munit")
    contract = getattr(REGISTRIES[kind].get(name), "contract", None)
    if contract == "named":
        return _named_loss(name, settings, recipe, random)
    loss = _module(kind, name, settings)
    check = _of_shape((), "a loss is a scalar")
    if contract == "pair":
        arity = _whole(loss, "arity", 1, default=2)
        pair = tuple(random(2, 3, 64, 64) for _ in range(arity))
        takes(loss.forward, f"arity is {arity}, so forward is called with {arity} tensors", *pair)
        return Subject(loss, loss, pair, check)
    fakes, reals = ([random(2, 1, 4, 4), random(2, 1, 2, 2)] for _ in range(2))
    takes(loss.generator, "it is called as generator(fakes)", fakes)
    takes(loss.discriminator, "it is called as discriminator(fakes, reals)", fakes, reals)

    def both(fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Any:
        parts = loss.generator(fakes), loss.discriminator(fakes, reals)
        for part in parts:
            check(part)
        return parts[0] + parts[1]

    return Subject(loss, both, (fakes, reals), check, method="generator and discriminator")


def _named_loss(name: str, settings: Mapping[str, Any], recipe: str, random: Any) -> Subject:
    model, names = _names(recipe, random)
    shapes = {key: _shape(value) for key, value in names.items()}
    wired = REGISTRIES["loss"].signature(name).wired
    loss = _module("loss", name, settings, *((shapes,) if "shapes" in wired else ()))
    missing = [key for key in loss.reads if key not in names]
    if missing:
        fail(
            f"reads {', '.join(missing)}, which the recipe {recipe} does not compute; name the "
            "recipe it is for: checks('loss', name, recipe='…')"
        )
    takes(loss.forward, "it is called as forward(names, critics)", {}, {})
    critics = dict(model.discriminators.items())
    if getattr(loss, "side", "generator") == "generator":
        model.discriminators.requires_grad_(False)  # as in the generators' step
    read = {key: names[key] for key in loss.reads}
    check = _of_shape((), "a loss is a scalar")
    return Subject(
        loss, lambda read: call_named(loss, read, critics), (read,), check, critics=critics
    )


def _names(recipe: str, random: Any) -> tuple[Any, dict[str, Any]]:
    """A recipe, and every named tensor of it, computed once and detached."""
    model = _module("model", recipe, {}, DOMAINS)
    graph = model.graph()
    env = _model_inputs(model, random)
    with torch.no_grad():
        values, _ = graph.plan(graph.nodes)(model.views(), env)
    return model, {**env, **values}


def _model_inputs(model: Any, random: Any) -> dict[str, Tensor]:
    sizes = {domain.name: (64, 64) for domain in DOMAINS}
    return {
        name: random(2, *(model.noise_shape(name, sizes) if model.is_noise(name) else (3, 64, 64)))
        for name in model.graph().inputs
    }


def _model(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    model = _module(kind, name, settings, DOMAINS)
    graph = model.graph()
    title = type(model).__name__
    if not graph.translations:
        fail(
            f"{title} declares no translations: set translations = "
            '{("a", "b"): Translation(source="x_a", output="x_ab")}'
        )
    for domain in graph.critics:
        if domain not in model.discriminators:
            fail(f"{title} has a critic of {domain!r} and no self.discriminators[{domain!r}]")
    plan = graph.plan(graph.nodes)
    env = _model_inputs(model, random)

    def call(env: Mapping[str, Tensor]) -> Any:
        names, _ = plan(model.views(), env)
        return [names, [model.discriminators[d](names[c.fake]) for d, c in graph.critics.items()]]

    def check(output: Any) -> None:
        names = {**env, **output[0]}
        for term, pairs in graph.terms.items():
            for pair in pairs:
                if len({_shape(names[n]) for n in pair}) > 1:
                    fail(f"the term {term} compares different shapes: {', '.join(pair)}")
        for way, translation in graph.translations.items():
            if _shape(names[translation.output]) != _shape(env[translation.source]):
                fail(f"the translation {way[0]} to {way[1]} changes the image's shape")

    return Subject(model, call, (env,), check, method="a step of its graph")


KINDS: dict[str, Any] = {
    "norm": _norm,
    "activation": _activation,
    "content_encoder": _content_encoder,
    "style_encoder": _style_encoder,
    "decoder": _decoder,
    "generator": _generator,
    "mapping": _mapping,
    "discriminator": _discriminator,
    "loss": _loss,
    "model": _model,
}


def _of_shape(expected: tuple[int, ...], rule: str) -> Callable[[Any], None]:
    def check(output: Any) -> None:
        if not isinstance(output, Tensor):
            fail(f"returns no tensor ({type(output).__name__}); forward must return one: {rule}")
        if tuple(output.shape) != expected:
            fail(f"returns {tuple(output.shape)}, expected {expected}: {rule}")

    return check


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else tuple(map(_shape, value))


def _shown(value: Any) -> str:
    """The shapes of an input."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shown(part)}" for key, part in value.items()) + "}"
    return "[" + ", ".join(map(_shown, value)) + "]"
