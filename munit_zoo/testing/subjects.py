"""Components with inputs to call them with, kind by kind, as the kit and the bench do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from munit_zoo.domains import Domain
from munit_zoo.errors import MunitZooError
from munit_zoo.models.objective import shape_of
from munit_zoo.registry import DISCRIMINATORS, REGISTRIES
from munit_zoo.testing._kit import ConformanceError

__all__ = [
    "DOMAINS",
    "KINDS",
    "Measures",
    "Subject",
    "build",
    "fail",
    "subject_of",
    "takes",
    "tensors",
]

DOMAINS = (Domain("a"), Domain("b"))


@dataclass(frozen=True)
class Measures:
    """How large the inputs are. By default no two sides are alike, so that none can be mistaken.

    image: of encoders and generators. judged: of discriminators. compared: of losses.
    features, width: sides and channels of a feature map. code, stride: sides of a content code, and
    how much larger the image is. style: length of a style code. out: channels of a generator's
    image. mapped: length of what a mapping makes, and of what one that is told the domain makes.
    domains: how many there are of those.
    """

    batch: int = 2
    image: tuple[int, int] = (96, 64)
    judged: tuple[int, int] = (128, 96)
    compared: tuple[int, int] = (64, 64)
    features: tuple[int, int] = (6, 5)
    width: int = 32
    code: tuple[int, int] = (8, 6)
    stride: int = 4
    style: int = 5
    out: int = 4
    mapped: tuple[int, int] = (7, 7)
    domains: int = 3


@dataclass(frozen=True)
class Subject:
    """A built component and how to use it.

    module: what holds its parameters. call: gives its output for inputs. inputs: tensors to call
    it with. check: raises ConformanceError for a wrong output. each: names of the inputs, where
    the output depends on every one of them. critics: discriminators that it is handed.
    method: how messages name the call.
    """

    module: nn.Module
    call: Callable[..., object]
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


def build(kind: str, name: str, settings: Mapping[str, object], *wired: object) -> Any:
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


def subject_of(
    kind: str,
    name: str,
    settings: Mapping[str, object],
    measures: Measures | None = None,
    random: Callable[..., Tensor] | None = None,
) -> Subject:
    """The component on the default device, weights drawn under a fixed seed.

    random: makes an input of a shape; standard normal numbers under a fixed seed by default.
    Raises ConformanceError where it cannot be built, or called as its kind is.
    """
    generator = torch.Generator().manual_seed(0)
    device = torch.empty(0).device

    def normal(*shape: int) -> Tensor:
        if device.type == "meta":
            return torch.empty(shape)
        return torch.randn(shape, generator=generator, dtype=torch.get_default_dtype())

    torch.manual_seed(0)
    part = _Part(kind, name, settings, measures or Measures(), random or normal)
    subject: Subject = KINDS[kind](part)
    return subject


@dataclass(frozen=True)
class _Part:
    """Which component, of what size its inputs are, and what makes them."""

    kind: str
    name: str
    settings: Mapping[str, Any]
    of: Measures
    random: Callable[..., Tensor]

    @property
    def wired(self) -> tuple[str, ...]:
        """Names of the parameters that it is wired with."""
        return REGISTRIES[self.kind].signature(self.name).wired

    def module(self, *wired: Any) -> Any:
        """The component. Raises ConformanceError where it is no module."""
        return _module(self.kind, self.name, self.settings, *wired)

    def told(self) -> tuple[tuple[int, ...], tuple[Tensor, ...]]:
        """What a component that is told the domain is wired with, and called with, beside the
        rest."""
        if "num_domains" not in self.wired:
            return (), ()
        device = torch.empty(0).device
        return (self.of.domains,), (torch.arange(self.of.batch, device=device) % self.of.domains,)

    def image(self, module: Any, sides: Iterable[int]) -> Tensor:
        """Images to call a module with. One that takes images of one size alone sets
        self.input_size to their side, one that takes multiples of a number self.stride."""
        fixed, stride = getattr(module, "input_size", None), getattr(module, "stride", 1)
        sides = (fixed, fixed) if fixed else (stride * -(-side // stride) for side in sides)
        return self.random(self.of.batch, 3, *sides)


def takes(method: Callable[..., Any], rule: str, *arguments: Any, **named: Any) -> None:
    """Fails with `rule` where a method cannot be called with these arguments."""
    try:
        inspect.signature(method).bind(*arguments, **named)
    except TypeError as error:
        fail(f"{rule}: {error}", error)


def tensors(value: object) -> list[Tensor]:
    """All tensors in a nest of maps and lists."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [t for part in value.values() for t in tensors(part)]
    if isinstance(value, (list, tuple)):
        return [t for part in value for t in tensors(part)]
    return []


def _module(kind: str, name: str, settings: Mapping[str, object], *wired: object) -> Any:
    module = build(kind, name, settings, *wired)
    if not isinstance(module, nn.Module):
        fail("is no nn.Module; subclass it")
    if "_parameters" not in vars(module):
        fail("does not call super().__init__(), which comes first in __init__")
    return module


def _whole(module: object, attribute: str, least: int, default: object = None) -> int:
    value = getattr(module, attribute, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        fail(f"sets self.{attribute} to {value!r}; an int of at least {least} is due")
    return value


def _norm(part: _Part) -> Subject:
    norm, of = part.module(part.of.width), part.of
    count = _whole(norm, "num_parameters", 0, default=0)
    inputs: tuple[Tensor, ...] = (part.random(of.batch, of.width, *of.features),)
    rule = (
        "num_parameters is 0 or unset, so it is called as forward(x); set self.num_parameters = P "
        "for forward(x, parameters)"
    )
    if count:
        inputs = (*inputs, part.random(of.batch, count))
        rule = f"num_parameters is {count}, so it is called as forward(x, parameters)"
    takes(norm.forward, rule, *inputs)
    check = _of_shape(shape_of(inputs[0]), "a norm keeps the shape")
    return Subject(norm, norm, inputs, check, each=("x", "parameters")[: len(inputs)])


def _activation(part: _Part) -> Subject:
    activation, of = part.module(), part.of
    x = part.random(of.batch, of.width, *of.features)
    takes(activation.forward, "an activation is called as forward(x)", x)
    check = _of_shape(shape_of(x), "an activation keeps the shape")
    return Subject(activation, activation, (x,), check, each=("x",))


def _content_encoder(part: _Part) -> Subject:
    encoder = part.module(3)
    channels, stride = _whole(encoder, "out_channels", 1), _whole(encoder, "stride", 1)
    x = part.image(encoder, part.of.image)
    takes(encoder.forward, "a content encoder is called as forward(x)", x)
    check = _of_shape(
        (len(x), channels, x.shape[2] // stride, x.shape[3] // stride),
        "the content code is (N, self.out_channels, H/self.stride, W/self.stride)",
    )
    return Subject(encoder, encoder, (x,), check, each=("x",))


def _style_encoder(part: _Part) -> Subject:
    wired, domains = part.told()
    encoder = part.module(3, part.of.style, *wired)
    inputs = (part.image(encoder, part.of.image), *domains)
    takes(encoder.forward, f"a style encoder is called as {_called(domains)}", *inputs)
    check = _of_shape((part.of.batch, part.of.style), "the style code is (N, style_dim)")
    return Subject(encoder, encoder, inputs, check, each=("x",))


def _decoder(part: _Part) -> Subject:
    of, styled = part.of, "style_dim" in part.wired
    decoder = part.module(of.width, 3, of.stride, *((of.style,) if styled else ()))
    if bool(getattr(decoder, "takes_style", styled)) != styled:
        fail("takes_style does not say whether the constructor takes style_dim")
    inputs: tuple[Tensor, ...] = (part.random(of.batch, of.width, *of.code),)
    rule = "the constructor takes no style_dim, so forward is called as forward(content)"
    if styled:
        inputs = (*inputs, part.random(of.batch, of.style))
        rule = "the constructor takes style_dim, so forward is called as forward(content, style)"
    takes(decoder.forward, rule, *inputs)
    shape = _of_shape(
        (of.batch, 3, *(of.stride * side for side in of.code)),
        "the image is scale_factor times the content code",
    )

    def check(image: Any) -> None:
        shape(image)
        if not image.is_meta and image.abs().max() > 1 + 1e-3:
            fail(f"images are in [-1, 1]; got {float(image.abs().max()):.2f}. End with tanh.")

    each = ("content", "style")[: len(inputs)]
    return Subject(decoder, decoder, inputs, check, each=each)


def _generator(part: _Part) -> Subject:
    of, styled = part.of, "style_dim" in part.wired
    generator = part.module(3, of.out, *((of.style,) if styled else ()))
    _whole(generator, "stride", 1)
    inputs: tuple[Tensor, ...] = (part.image(generator, of.image),)
    rule = "the constructor takes no style_dim, so forward is called as forward(x)"
    if styled:
        inputs = (*inputs, part.random(of.batch, of.style))
        rule = "the constructor takes style_dim, so forward is called as forward(x, style)"
    takes(generator.forward, rule, *inputs)
    shape = (of.batch, of.out, *inputs[0].shape[2:])
    check = _of_shape(shape, "the image is of the size of the input's")
    return Subject(generator, generator, inputs, check, each=("x", "style")[: len(inputs)])


def _called(domains: tuple[Tensor, ...]) -> str:
    """How a component that may be told the domain is called, for messages."""
    return "forward(x, y), as its constructor takes num_domains" if domains else "forward(x)"


def _mapping(part: _Part) -> Subject:
    wired, domains = part.told()
    out = part.of.mapped[bool(wired)]
    mapping = part.module(part.of.style, out, *wired)
    inputs = (part.random(part.of.batch, part.of.style), *domains)
    takes(mapping.forward, f"a mapping is called as {_called(domains)}", *inputs)
    check = _of_shape((part.of.batch, out), "a mapping makes (N, out_features)")
    return Subject(mapping, mapping, inputs, check, each=("x",))


def _discriminator(part: _Part) -> Subject:
    wired, domains = part.told()
    discriminator = part.module(3, *wired)
    inputs = (part.image(discriminator, part.of.judged), *domains)
    takes(discriminator.forward, f"a discriminator is called as {_called(domains)}", *inputs)
    count = part.of.batch

    def check(logits: object) -> None:
        if not isinstance(logits, list) or not logits:
            fail(f"returns {type(logits).__name__}; a list of logits is due, one tensor a scale")
        for scale, judged in enumerate(logits):
            if not isinstance(judged, Tensor):
                fail(f"logits of scale {scale} are no tensor ({type(judged).__name__})")
            if judged.dim() == 0 or judged.shape[0] != count:
                found = tuple(judged.shape) if judged.dim() else "a scalar"
                fail(f"logits of scale {scale} are {found} for {count} images; (N, …) is due")

    return Subject(discriminator, discriminator, inputs, check, each=("x",))


def _augmentation(part: _Part) -> Subject:
    augmentation, of = part.module(), part.of
    count = _whole(augmentation, "numbers", 0)
    x, numbers = part.random(of.batch, 3, *of.judged), part.random(of.batch, count).sigmoid()
    takes(augmentation.forward, "an augmentation is called as forward(x, numbers)", x, numbers)
    check = _of_shape(shape_of(x), "an augmentation keeps the shape")
    return Subject(augmentation, augmentation, (x, numbers.detach()), check, each=("x",))


def _loss(part: _Part) -> Subject:
    contract = getattr(REGISTRIES["loss"].get(part.name), "contract", None)
    return _adversarial_loss(part) if contract == "adversarial" else _names_loss(part)


def _adversarial_loss(part: _Part) -> Subject:
    loss, check = part.module(), _of_shape((), "a loss is a scalar")
    fakes, reals = (_logits(part) for _ in range(2))
    relative = bool(getattr(loss, "relative", False))
    called = "generator(fakes, reals), as it is relative" if relative else "generator(fakes)"
    told = (fakes, reals) if relative else (fakes,)
    takes(loss.generator, f"it is called as {called}", *told)
    takes(loss.discriminator, "it is called as discriminator(fakes, reals)", fakes, reals)

    def both(fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> object:
        told = (fakes, reals) if relative else (fakes,)
        sides = loss.generator(*told), loss.discriminator(fakes, reals)
        for side in sides:
            check(side)
        return sides[0] + sides[1]

    return Subject(loss, both, (fakes, reals), check, method="generator and discriminator")


def _logits(part: _Part) -> list[Tensor]:
    """Random logits of the shapes that the default discriminator gives."""
    with torch.device("meta"):
        image = torch.empty(part.of.batch, 3, *part.of.judged)
        maps = DISCRIMINATORS.bind("multiscale_patch")(3)(image)
    return [part.random(*logits.shape) for logits in maps]


def _names_loss(part: _Part) -> Subject:
    settings = dict(part.settings)
    recipe, reads = settings.pop("recipe", "munit"), tuple(settings.pop("reads", ()))
    of, check = part.of, _of_shape((), "a loss is a scalar")
    shapes: dict[str, object] = {}
    inputs: tuple[Any, ...] = ()
    if reads:
        from munit_zoo.testing.recipes import computed_names

        names = computed_names(recipe, part.random)
        missing = [name for name in reads if name not in names]
        if missing:
            fail(f"the recipe {recipe} computes no {', '.join(missing)}; it has {', '.join(names)}")
        shapes = {name: shape_of(value) for name, value in names.items()}
        inputs = tuple(names[name] for name in reads)
    elif "shapes" in part.wired:
        fail(
            "is made to measure of what it reads: name it, and the recipe that computes it, in the "
            "test: checks('loss', name, recipe='…', reads=('…', '…'))"
        )
    loss = _module("loss", part.name, settings, *((shapes,) if "shapes" in part.wired else ()))
    arity = getattr(loss, "arity", 2)
    if arity is not None:
        _whole(loss, "arity", 1, default=2)
    if getattr(loss, "differentiates", False):
        return _penalty(part, loss, check)
    if not inputs:
        count = 2 if arity is None else arity
        inputs = tuple(part.random(of.batch, 3, *of.compared) for _ in range(count))
    many = "None, for any number" if arity is None else str(arity)
    rule = f"arity is {many}, so forward is called with {len(inputs)} tensors"
    takes(loss.forward, rule, *inputs)
    return Subject(loss, loss, inputs, check)


def _penalty(part: _Part, loss: Any, check: Callable[[object], None]) -> Subject:
    """A loss that differentiates logits by an image, on a small discriminator."""
    critic = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Conv2d(4, 1, 3))
    x = part.random(part.of.batch, 3, *part.of.compared)
    rule = "it differentiates, so forward is called with logits and the image they are of"
    takes(loss.forward, rule, [x], x)

    def call(x: Tensor) -> Any:
        leaf = x.detach().requires_grad_()
        return loss([critic(leaf), critic(leaf).square()], leaf)

    return Subject(loss, call, (x,), check, critics={"discriminator": critic})


def _model(part: _Part) -> Subject:
    from munit_zoo.testing.recipes import Iteration  # which builds recipes as they are built here

    one = Iteration.of(part.name, part.settings, part.random)
    return Subject(one.model, one, (one.inputs,), one.check, method="an iteration of its updates")


KINDS: dict[str, Callable[[_Part], Subject]] = {
    "norm": _norm,
    "activation": _activation,
    "content_encoder": _content_encoder,
    "style_encoder": _style_encoder,
    "decoder": _decoder,
    "generator": _generator,
    "mapping": _mapping,
    "discriminator": _discriminator,
    "augmentation": _augmentation,
    "loss": _loss,
    "model": _model,
}


def _of_shape(expected: tuple[int, ...], rule: str) -> Callable[[object], None]:
    def check(output: object) -> None:
        if not isinstance(output, Tensor):
            fail(f"returns no tensor ({type(output).__name__}); forward must return one: {rule}")
        if tuple(output.shape) != expected:
            fail(f"returns {tuple(output.shape)}, expected {expected}: {rule}")

    return check


def _shown(value: Any) -> str:
    """The shapes of an input."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shown(part)}" for key, part in value.items()) + "}"
    return "[" + ", ".join(map(_shown, value)) + "]"
