"""What is checked, kind by kind.

A subject is a component with inputs to call it with. Each check gets a fresh one, so that none
depends on another.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from munit_zoo.config import Config, dump, resolve_component
from munit_zoo.domains import Domain
from munit_zoo.errors import MunitZooError
from munit_zoo.registry import REGISTRIES
from munit_zoo.testing._kit import ConformanceError

__all__ = ["CHECKS"]

Run = Callable[[str, str, Mapping[str, Any]], None]
DOMAINS = (Domain("a"), Domain("b"))


@dataclass(frozen=True)
class Subject:
    """A built component and how to use it.

    module: what holds its parameters. call: gives its output for inputs. inputs: tensors to call
    it with. check: raises ConformanceError for a wrong output. compiles: whether the kind promises
    a graph without breaks.
    """

    module: nn.Module
    call: Callable[..., Any]
    inputs: tuple[Any, ...]
    check: Callable[[Any], None]
    compiles: bool = True


def _fail(message: str, cause: BaseException | None = None) -> None:
    raise ConformanceError(message) from cause


def _build(kind: str, name: str, settings: Mapping[str, Any], *wired: Any) -> Any:
    try:
        return REGISTRIES[kind].bind(name, **settings)(*wired)
    except MunitZooError as error:
        raise ConformanceError(str(error)) from error
    except TypeError as error:
        raise ConformanceError(
            f"cannot be built from its defaults: {error}. Give every setting a default, or name "
            "the required ones in the test: checks(kind, name, setting=value)"
        ) from error


def _subject(kind: str, name: str, settings: Mapping[str, Any]) -> Subject:
    """The component on the default device, weights drawn under a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    device = torch.empty(0).device

    def random(*shape: int) -> Tensor:
        if device.type == "meta":
            return torch.empty(shape)
        return torch.randn(shape, generator=generator, dtype=torch.get_default_dtype())

    torch.manual_seed(0)
    return _SUBJECTS[kind](kind, name, settings, random)


# Subjects


def _norm(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    norm = _build(kind, name, settings, 32)
    count = getattr(norm, "num_parameters", 0)
    x = random(2, 32, 6, 5)
    inputs = (x, random(2, count)) if count else (x,)
    return Subject(norm, norm, inputs, _of_shape((2, 32, 6, 5), "a norm keeps the shape"))


def _activation(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    activation = _build(kind, name, settings)
    check = _of_shape((2, 4, 6, 5), "an activation keeps the shape")
    return Subject(activation, activation, (random(2, 4, 6, 5),), check)


def _content_encoder(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    encoder = _build(kind, name, settings, 3)
    for attribute in ("out_channels", "stride"):
        if not isinstance(getattr(encoder, attribute, None), int):
            _fail(f"sets self.{attribute} to {getattr(encoder, attribute, None)!r}; an int is due")
    h, w = 96 // encoder.stride, 64 // encoder.stride
    check = _of_shape(
        (2, encoder.out_channels, h, w),
        "the content code is (N, self.out_channels, H/self.stride, W/self.stride)",
    )
    return Subject(encoder, encoder, (random(2, 3, 96, 64),), check)


def _style_encoder(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    encoder = _build(kind, name, settings, 3, 5)
    check = _of_shape((2, 5), "the style code is (N, style_dim)")
    return Subject(encoder, encoder, (random(2, 3, 96, 64),), check)


def _decoder(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    takes_style = "style_dim" in REGISTRIES[kind].signature(name).wired
    wired = (32, 3, 4, 5) if takes_style else (32, 3, 4)
    decoder = _build(kind, name, settings, *wired)
    if bool(getattr(decoder, "takes_style", takes_style)) != takes_style:
        _fail("takes_style does not say whether the constructor takes style_dim")
    inputs = (random(2, 32, 8, 6), random(2, 5)) if takes_style else (random(2, 32, 8, 6),)
    shape = _of_shape((2, 3, 32, 24), "the image is scale_factor times the content code")

    def check(image: Any) -> None:
        shape(image)
        if not image.is_meta and image.abs().max() > 1 + 1e-3:
            _fail(f"images are in [-1, 1]; got {float(image.abs().max()):.2f}. End with tanh.")

    return Subject(decoder, decoder, inputs, check)


def _mapping(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    mapping = _build(kind, name, settings, 5, 7)
    check = _of_shape((3, 7), "a mapping makes (N, out_features)")
    return Subject(mapping, mapping, (random(3, 5),), check)


def _discriminator(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    discriminator = _build(kind, name, settings, 3)

    def check(logits: Any) -> None:
        if not isinstance(logits, list) or not logits:
            _fail(f"returns {type(logits).__name__}; a list of logits is due, one tensor a scale")
        for scale, part in enumerate(logits):
            if not isinstance(part, Tensor) or part.shape[0] != 2:
                _fail(f"logits of scale {scale} are not a tensor (N, …)")

    return Subject(discriminator, discriminator, (random(2, 3, 128, 96),), check)


def _loss(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    settings = dict(settings)
    recipe = settings.pop("recipe", "munit")
    wired = REGISTRIES[kind].signature(name).wired
    contract = getattr(REGISTRIES[kind].get(name), "contract", None)
    check = _of_shape((), "a loss is a scalar")
    if contract == "pair":
        loss = _build(kind, name, settings)
        pair = tuple(random(2, 3, 64, 64) for _ in range(getattr(loss, "arity", 2)))
        return Subject(loss, loss, pair, check)
    if contract == "adversarial":
        loss = _build(kind, name, settings)
        fakes, reals = ([random(2, 1, 4, 4), random(2, 1, 2, 2)] for _ in range(2))

        def both(fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
            total: Tensor = loss.generator(fakes) + loss.discriminator(fakes, reals)
            return total

        return Subject(loss, both, (fakes, reals), check)
    if contract != "named":
        _fail("has no attribute contract = 'pair', 'adversarial' or 'named'")
    names, critics = _names(recipe, random)
    shapes = {key: _shape(value) for key, value in names.items()}
    loss = _build(kind, name, settings, *((shapes,) if "shapes" in wired else ()))
    missing = [key for key in loss.reads if key not in names]
    if missing:
        _fail(
            f"reads {', '.join(missing)}, which the recipe {recipe} does not compute; name the "
            "recipe it is for: checks('loss', name, recipe='…')"
        )
    given = critics if getattr(loss, "wants_critics", False) else {}
    read = {key: names[key] for key in loss.reads}
    return Subject(loss, lambda read: loss(read, given), (read,), check, compiles=False)


def _names(recipe: str, random: Any) -> tuple[dict[str, Any], Mapping[str, nn.Module]]:
    """Every named tensor of a recipe, computed once and detached."""
    model = _build("model", recipe, {}, DOMAINS)
    graph = model.graph()
    env = _model_inputs(model, random)
    with torch.no_grad():
        values, _ = graph.plan(graph.nodes)(model.views(), env)
    critics = {name: critic.requires_grad_(False) for name, critic in model.discriminators.items()}
    return {**env, **values}, critics


def _model_inputs(model: Any, random: Any) -> dict[str, Tensor]:
    sizes = {domain.name: (64, 64) for domain in DOMAINS}
    return {
        name: random(2, *(model.noise_shape(name, sizes) if model.is_noise(name) else (3, 64, 64)))
        for name in model.graph().inputs
    }


def _model(kind: str, name: str, settings: Mapping[str, Any], random: Any) -> Subject:
    model = _build(kind, name, settings, DOMAINS)
    graph = model.graph()
    plan = graph.plan(graph.nodes)
    env = _model_inputs(model, random)

    def call(env: Mapping[str, Tensor]) -> Any:
        names, _ = plan(model.views(), env)
        logits = [
            d(names[c.fake])
            for (_, d), c in zip(model.discriminators.items(), graph.critics.values(), strict=True)
        ]
        return [names, logits]

    def check(output: Any) -> None:
        names = {**env, **output[0]}
        for term, pairs in graph.terms.items():
            for pair in pairs:
                if len({_shape(names[n]) for n in pair}) > 1:
                    _fail(f"the term {term} compares different shapes: {', '.join(pair)}")
        for way, translation in graph.translations.items():
            if _shape(names[translation.output]) != _shape(env[translation.source]):
                _fail(f"the translation {way[0]} to {way[1]} changes the image's shape")

    return Subject(model, call, (env,), check, compiles=False)


_SUBJECTS: dict[str, Any] = {
    "norm": _norm,
    "activation": _activation,
    "content_encoder": _content_encoder,
    "style_encoder": _style_encoder,
    "decoder": _decoder,
    "mapping": _mapping,
    "discriminator": _discriminator,
    "loss": _loss,
    "model": _model,
}


# Checks of modules


def _defaults(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    _subject(kind, name, settings)


def _shapes(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    subject = _subject(kind, name, settings)
    output = _call(subject)
    subject.check(output)
    for tensor in _tensors(output):
        if tensor.dtype != torch.float32:
            _fail(f"returns {tensor.dtype} for float32 inputs")
        if not torch.isfinite(tensor).all():
            _fail("returns numbers that are not finite for standard normal inputs")


def _gradient(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    subject = _subject(kind, name, settings)
    _train(subject.module)
    inputs = [t.requires_grad_() for t in _tensors(subject.inputs) if t.is_floating_point()]
    total = _total(_call(subject))
    if not total.requires_grad:
        _fail("no gradient reaches its inputs: is something detached, or computed under no_grad?")
    total.backward()
    without = [n for n, p in _named(subject.module) if p.requires_grad and p.grad is None]
    if without:
        _fail(
            f"no gradient reaches {', '.join(without[:5])}: use it in forward, or do not make it a "
            "parameter (register_buffer, requires_grad_(False))"
        )
    if inputs and all(t.grad is None for t in inputs):
        _fail("no gradient reaches its inputs: is something detached?")


def _state(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    first = _subject(kind, name, settings)
    if not isinstance(first.module, nn.Module):
        return
    with torch.no_grad():
        for parameter in first.module.parameters():
            parameter.add_(0.1)
    second = _subject(kind, name, settings)
    second.module.load_state_dict(copy.deepcopy(first.module.state_dict()))
    first.module.eval(), second.module.eval()
    torch.manual_seed(1)
    one = _call(first)
    torch.manual_seed(1)
    if not _same(one, _call(second)):
        _fail(
            "a state_dict does not carry everything its output depends on: keep tensors as "
            "parameters or registered buffers"
        )


def _deterministic(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    outputs = []
    for _ in range(2):
        subject = _subject(kind, name, settings)
        torch.manual_seed(1)
        outputs.append(_call(subject))
    if not _same(*outputs):
        _fail(
            "two builds under one torch seed differ: draw with torch's generator alone, not "
            "NumPy's, Python's or the time"
        )


def _meta(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    try:
        with torch.device("meta"):
            subject = _subject(kind, name, settings)
            subject.check(_call(subject))
    except ConformanceError:
        raise
    except Exception as error:
        _fail(
            f"does not run on the meta device ({error}): make tensors on the inputs' device and "
            "read no values (.item(), .tolist(), if tensor:) in __init__ or forward",
            error,
        )


def _modes(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    subject = _subject(kind, name, settings)
    if not isinstance(subject.module, nn.Module):
        return
    for training in (True, False):
        subject.module.train(training)
        subject.check(_call(subject))
    subject.module.eval()
    before = copy.deepcopy(subject.module.state_dict())
    torch.manual_seed(1)
    one = _call(subject)
    subject.module.load_state_dict(before)
    torch.manual_seed(2)
    if not _same(one, _call(subject)) and not _draws(subject):
        _fail("in evaluation mode the output depends on chance: use self.training")


def _draws(subject: Subject) -> bool:
    """Losses may sample in either mode (patches, pairs)."""
    return hasattr(subject.module, "contract")


def _compiles(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    subject = _subject(kind, name, settings)
    if not subject.compiles:
        return
    import torch._dynamo

    torch._dynamo.reset()
    torch.manual_seed(1)
    plain = _call(subject)
    fresh = _subject(kind, name, settings)  # buffers may have moved
    try:
        torch.manual_seed(1)
        compiled = torch.compile(fresh.call, fullgraph=True, backend="eager")(*fresh.inputs)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        _fail(
            f"torch.compile breaks its graph ({reason}): no data-dependent control flow, "
            "prints or .item() in forward",
            error,
        )
        return
    if not _same(plain, compiled, tolerance=1e-4):
        _fail("compiled, it computes something else")


def _double(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        subject = _subject(kind, name, settings)
        output = _call(subject)
    except ConformanceError:
        raise
    except Exception as error:
        _fail(f"fails in float64 ({error}): create tensors with the input's dtype", error)
    finally:
        torch.set_default_dtype(before)
    wrong = [t.dtype for t in _tensors(output) if t.dtype != torch.float64]
    if wrong:
        _fail(f"returns {wrong[0]} for float64 inputs: create tensors with the input's dtype")


def _autocast(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    subject = _subject(kind, name, settings)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            output = _call(subject)
    except Exception as error:
        _fail(f"fails under bf16 autocast ({error}): do not mix dtypes by hand", error)
        return
    if not all(torch.isfinite(t).all() for t in _tensors(output)):
        _fail("is not finite under bf16 autocast: do delicate sums in float32")


def _config(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    node = _resolved(kind, name, settings)
    again = resolve_component(kind, _reread(node))
    if again != node:
        _fail(
            "a config of it does not read back as written: use int, float, bool, str, Literal, "
            "tuples, `X | None` or dict[str, X] as types of settings"
        )


def _pickles(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    node = _resolved(kind, name, settings)
    if pickle.loads(pickle.dumps(node)) != node:
        _fail("its config does not survive pickling")


def _resolved(kind: str, name: str, settings: Mapping[str, Any]) -> Config:
    keys = {k.upper(): v for k, v in settings.items() if k != "recipe"}
    try:
        return resolve_component(kind, {"NAME": name, **keys})
    except MunitZooError as error:
        raise ConformanceError(str(error)) from error


def _reread(node: Config) -> dict[str, Any]:
    import yaml

    tree: dict[str, Any] = yaml.safe_load(dump(node.plain()))
    return tree


_MODULE_CHECKS: dict[str, Run] = {
    "builds from defaults": _defaults,
    "shapes and dtypes": _shapes,
    "gradient reaches every parameter": _gradient,
    "state_dict round trip": _state,
    "deterministic under a seed": _deterministic,
    "builds on meta": _meta,
    "train and eval": _modes,
    "compiles without a break": _compiles,
    "float64": _double,
    "bf16 autocast": _autocast,
    "config round trip": _config,
    "picklable config": _pickles,
}


# Checks of datasets and metrics


def _dataset(settings: Mapping[str, Any], kind: str, name: str, split: str = "train") -> Any:
    dataset = _build(kind, name, settings, DOMAINS[0], split)
    dataset.prepare()
    return dataset


def _dataset_samples(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    dataset = _dataset(settings, kind, name)
    if not len(dataset):
        _fail("has no image: name some in the test: checks('dataset', name, root='…')")
    image = dataset.train(0, np.random.default_rng(0))
    if image.dtype != torch.float32 or image.dim() != 3:
        _fail(f"train() returns {image.dtype} {tuple(image.shape)}; float32 (C, h, w) is due")
    if tuple(image.shape[1:]) != tuple(dataset.size):
        _fail(f"train() returns {tuple(image.shape[1:])} pixels, `size` says {dataset.size}")
    if image.abs().max() > 1 + 1e-4:
        _fail(f"images are in [-1, 1]; got {float(image.abs().max()):.2f}")
    test = dataset.test(0)
    if test.dim() != 3 or len(test) != len(image):
        _fail(f"test() returns {tuple(test.shape)}; (C, H, W) is due")


def _dataset_chance(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    dataset = _dataset(settings, kind, name)
    first, second = (dataset.train(0, np.random.default_rng(1)) for _ in range(2))
    if not torch.equal(first, second):
        _fail("train() depends on more than `rng`: draw from that generator alone")
    if not torch.equal(dataset.test(0), dataset.test(0)):
        _fail("test() depends on chance")


def _dataset_lazy(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    dataset = _build(kind, name, settings, DOMAINS[0], "train")
    pickled = pickle.loads(pickle.dumps(dataset))
    if tuple(pickled.size) != tuple(dataset.size):
        _fail("`size` is not known before prepare()")


def _dataset_words(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    import json

    dataset = _dataset(settings, kind, name)
    try:
        json.dumps(dataset.describe())
    except TypeError as error:
        _fail(f"describe() is not JSON: {error}", error)
    if not isinstance(dataset.name(0), str):
        _fail("name() returns no str")


_DATASET_CHECKS: dict[str, Run] = {
    "samples": _dataset_samples,
    "chance comes from rng alone": _dataset_chance,
    "size is known at once": _dataset_lazy,
    "describes itself": _dataset_words,
    "config round trip": _config,
    "picklable config": _pickles,
}


def _metric_builds(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    _build(kind, name, settings)


_METRIC_CHECKS: dict[str, Run] = {
    "builds from defaults": _metric_builds,
    "config round trip": _config,
    "picklable config": _pickles,
}

CHECKS: dict[str, dict[str, Run]] = {
    **dict.fromkeys(_SUBJECTS, _MODULE_CHECKS),
    "dataset": _DATASET_CHECKS,
    "metric": _METRIC_CHECKS,
    "optimizer": _METRIC_CHECKS,
    "schedule": _METRIC_CHECKS,
}


# Helpers


def _call(subject: Subject) -> Any:
    return subject.call(*subject.inputs)


def _of_shape(expected: tuple[int, ...], rule: str) -> Callable[[Any], None]:
    def check(output: Any) -> None:
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if found != expected:
            _fail(f"returns {found}, expected {expected}: {rule}")

    return check


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [t for part in value.values() for t in _tensors(part)]
    if isinstance(value, (list, tuple)):
        return [t for part in value for t in _tensors(part)]
    return []


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else tuple(map(_shape, value))


def _named(module: Any) -> list[tuple[str, nn.Parameter]]:
    return list(module.named_parameters()) if isinstance(module, nn.Module) else []


def _train(module: Any) -> None:
    if isinstance(module, nn.Module):
        module.train()


def _total(output: Any) -> Tensor:
    # weighted, since what is normalised sums to a constant
    return torch.stack(
        [(t * torch.linspace(0.5, 1.5, t.numel()).view(t.shape)).sum() for t in _tensors(output)]
    ).sum()


def _same(first: Any, second: Any, tolerance: float = 0.0) -> bool:
    pairs = list(zip(_tensors(first), _tensors(second), strict=True))
    if tolerance:
        return all(torch.allclose(a, b, atol=tolerance, rtol=tolerance) for a, b in pairs)
    return all(torch.equal(a, b) for a, b in pairs)
