"""What is checked, kind by kind. Each check gets a fresh subject: none depends on another."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from munit_zoo.config import Config, dump, parse_text, resolve_component
from munit_zoo.errors import ConfigError, DataError, MunitZooError
from munit_zoo.registry import SlotDefault
from munit_zoo.testing._gradients import check_gradients
from munit_zoo.testing._kit import ConformanceError
from munit_zoo.testing.recipes import Iteration
from munit_zoo.testing.subjects import DOMAINS, KINDS, Subject, build, fail, subject_of, tensors
from munit_zoo.testing.subjects import takes as must_take

__all__ = ["checks_for"]

Run = Callable[[str, str, Mapping[str, Any]], None]


# Modules


def _defaults(kind: str, name: str, settings: Mapping[str, object]) -> None:
    subject_of(kind, name, settings)


def _shapes(kind: str, name: str, settings: Mapping[str, object]) -> None:
    for tensor in tensors(_checked(subject_of(kind, name, settings))):
        if tensor.dtype != torch.float32:
            fail(f"returns {tensor.dtype} for float32 inputs")
        if not torch.isfinite(tensor).all():
            fail("returns numbers that are not finite for standard normal inputs")


def _gradient(kind: str, name: str, settings: Mapping[str, object]) -> None:
    subject = subject_of(kind, name, settings)
    subject.module.train()
    inputs = [t.requires_grad_() for t in tensors(subject.inputs) if t.is_floating_point()]
    total = _total(_checked(subject))
    if not total.requires_grad:
        fail("no gradient reaches its inputs: is something detached, or computed under no_grad?")
    total.backward()
    named = subject.module.named_parameters()
    without = [n for n, p in named if p.requires_grad and p.grad is None]
    if without:
        fail(
            f"no gradient reaches {', '.join(without[:5])}: use it in forward, or do not make it a "
            "parameter (register_buffer, requires_grad_(False))"
        )
    for label, tensor in zip(subject.each, inputs, strict=False):
        if tensor.grad is None:
            fail(f"no gradient reaches its input {label}: is it ignored, or detached?")
    # a penalty trains these, and holds its image fixed
    trained = [p for critic in subject.critics.values() for p in critic.parameters()]
    if all(t.grad is None for t in [*inputs, *trained]):
        fail("no gradient reaches its inputs: is something detached?")


def _derivatives(kind: str, name: str, settings: Mapping[str, object]) -> None:
    with _default_dtype(torch.float64):
        subject = subject_of(kind, name, settings)
        subject.module.train(not getattr(subject.module, "detaches", False))
        check_gradients(subject)


def _updates(kind: str, name: str, settings: Mapping[str, object]) -> None:
    subject = subject_of(kind, name, settings)
    subject.module.train()
    _iteration(subject).check_gradients()


def _translates(kind: str, name: str, settings: Mapping[str, object]) -> None:
    _iteration(subject_of(kind, name, settings)).check_translations()


def _iteration(subject: Subject) -> Iteration:
    if not isinstance(subject.call, Iteration):
        raise ConformanceError(f"{type(subject.module).__name__} has no iteration: it is no recipe")
    return subject.call


def _state(kind: str, name: str, settings: Mapping[str, object]) -> None:
    first = subject_of(kind, name, settings)
    with torch.no_grad():
        for parameter in first.module.parameters():
            parameter.add_(0.1)
    second = subject_of(kind, name, settings)
    second.module.load_state_dict(copy.deepcopy(first.module.state_dict()))
    first.module.eval(), second.module.eval()
    torch.manual_seed(1)
    one = first.output()
    torch.manual_seed(1)
    if not _same(one, second.output()):
        fail(
            "a state_dict does not carry everything its output depends on: keep tensors as "
            "parameters or registered buffers"
        )


def _deterministic(kind: str, name: str, settings: Mapping[str, object]) -> None:
    outputs = []
    for _ in range(2):
        subject = subject_of(kind, name, settings)
        torch.manual_seed(1)
        outputs.append(subject.output())
    if not _same(*outputs):
        fail(
            "two builds under one torch seed differ: draw with torch's generator alone, not "
            "NumPy's, Python's or the time"
        )


def _meta(kind: str, name: str, settings: Mapping[str, object]) -> None:
    where = kind, name, settings
    advice = (
        "make tensors on the inputs' device and read no values (.item(), .tolist(), if tensor:) "
        "in __init__ or forward"
    )
    with _advised(where, "does not run on the meta device", advice), torch.device("meta"):
        _checked(subject_of(*where))
    advice = "keep tensors as parameters or registered buffers"
    with _advised(where, "does not move to another device", advice):
        subject = subject_of(*where)
        for module in (subject.module, *subject.critics.values()):
            module.to("meta")
        _checked(replace(subject, inputs=_on_meta(subject.inputs)))


def _modes(kind: str, name: str, settings: Mapping[str, object]) -> None:
    subject = subject_of(kind, name, settings)
    for training in (True, False):
        subject.module.train(training)
        _checked(subject)
    subject.module.eval()
    before = copy.deepcopy(subject.module.state_dict())
    torch.manual_seed(1)
    one = subject.output()
    subject.module.load_state_dict(before)
    torch.manual_seed(2)
    draws = kind == "loss"  # losses may sample in either mode (patches, pairs)
    if not _same(one, subject.output()) and not draws:
        fail("in evaluation mode the output depends on chance: use self.training")


def _compiles(kind: str, name: str, settings: Mapping[str, object]) -> None:
    import torch._dynamo

    torch._dynamo.reset()
    subject = subject_of(kind, name, settings)
    torch.manual_seed(1)
    plain = subject.output()
    fresh = subject_of(kind, name, settings)  # buffers may have moved
    torch.manual_seed(1)
    try:
        compiled = torch.compile(fresh.call, fullgraph=True, backend="eager")(*fresh.inputs)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        fail(
            f"torch.compile breaks its graph ({reason}): no data-dependent control flow, "
            "prints or .item() in forward",
            error,
        )
    if not _same(plain, compiled, tolerance=1e-4):
        fail("compiled, it computes something else")


def _double(kind: str, name: str, settings: Mapping[str, object]) -> None:
    where = kind, name, settings
    advice = "create tensors with the input's dtype"
    with _advised(where, "fails in float64", advice), _default_dtype(torch.float64):
        output = subject_of(*where).output()
    wrong = [t.dtype for t in tensors(output) if t.dtype != torch.float64]
    if wrong:
        fail(f"returns {wrong[0]} for float64 inputs: {advice}")


def _autocast(kind: str, name: str, settings: Mapping[str, object]) -> None:
    where = kind, name, settings
    subject = subject_of(*where)
    with (
        _advised(where, "fails under bf16 autocast", "do not mix dtypes by hand"),
        torch.autocast("cpu", torch.bfloat16),
    ):
        output = subject.output()
    if not all(torch.isfinite(t).all() for t in tensors(output)):
        fail("is not finite under bf16 autocast: do delicate sums in float32")


def _config(kind: str, name: str, settings: Mapping[str, object]) -> None:
    node = _resolved(kind, name, settings)
    written = parse_text(dump(node.plain()), "its config").plain()
    try:
        again = resolve_component(kind, written)
    except ConfigError as error:
        problems = "; ".join(map(str, error.problems))
        fail(f"a default is no value of its setting's type: {problems}", error)
    if again != node:
        fail("a config of it does not read back as written: are its defaults of their types?")


def _pickles(kind: str, name: str, settings: Mapping[str, object]) -> None:
    node = _resolved(kind, name, settings)
    if pickle.loads(pickle.dumps(node)) != node:
        fail("its config does not survive pickling")


def _resolved(kind: str, name: str, settings: Mapping[str, object]) -> Config:
    of_a_recipe = ("recipe", "reads") if kind == "loss" else ()
    keys = {k.upper(): _written(v) for k, v in settings.items() if k not in of_a_recipe}
    try:
        return resolve_component(kind, {"NAME": name, **keys})
    except MunitZooError as error:
        raise ConformanceError(str(error)) from error


def _written(value: object) -> object:
    """A setting as a config writes it."""
    if isinstance(value, SlotDefault):
        return {
            "NAME": value.name,
            **{k.upper(): _written(part) for k, part in value.settings.items()},
        }
    return value


_MODULE_CHECKS: dict[str, Run] = {
    "builds from defaults": _defaults,
    "shapes and dtypes": _shapes,
    "gradient reaches every parameter": _gradient,
    "gradient is its derivative in either layout": _derivatives,
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

_MODEL_CHECKS: dict[str, Run] = {
    **_MODULE_CHECKS,
    "gradient reaches every parameter": _updates,
    "translates": _translates,
}
del _MODEL_CHECKS["compiles without a break"]  # each update does, an iteration does not
# a recipe's networks are differentiated one by one: all together, at their sizes, take minutes
del _MODEL_CHECKS["gradient is its derivative in either layout"]


# Datasets


def _dataset(kind: str, name: str, settings: Mapping[str, object]) -> Any:
    dataset = build(kind, name, settings, DOMAINS[0], "train")
    dataset.prepare()
    return dataset


def _image(image: object, method: str) -> Tensor:
    """An image that a dataset returned, as it must be."""
    if not isinstance(image, Tensor):
        fail(f"{method}() returns {type(image).__name__}; a torch tensor is due")
    if image.dtype != torch.float32 or image.dim() != 3:
        fail(f"{method}() returns {image.dtype} {tuple(image.shape)}; float32 (C, h, w) is due")
    if len(image) != DOMAINS[0].channels:
        fail(f"{method}() returns {len(image)} channels; the domain has {DOMAINS[0].channels}")
    if image.abs().max() > 1 + 1e-4:
        fail(f"images are in [-1, 1]; {method}() returns {float(image.abs().max()):.2f}")
    return image


def _size(dataset: Any) -> tuple[int, int]:
    size = dataset.size
    if not isinstance(size, tuple) or [type(side) for side in size] != [int, int]:
        fail(f"size is {size!r}; (height, width) is due")
    return size


def _dataset_samples(kind: str, name: str, settings: Mapping[str, object]) -> None:
    dataset = _dataset(kind, name, settings)
    if not len(dataset):
        fail("has no image: name some in the test: checks('dataset', name, root='…')")
    image = _image(dataset.train(0, np.random.default_rng(0)), "train")
    if tuple(image.shape[1:]) != _size(dataset):
        fail(f"train() returns {tuple(image.shape[1:])} pixels, `size` says {dataset.size}")
    _image(dataset.test(0), "test")


def _dataset_chance(kind: str, name: str, settings: Mapping[str, object]) -> None:
    dataset = _dataset(kind, name, settings)
    first, second = (_image(dataset.train(0, np.random.default_rng(1)), "train") for _ in range(2))
    if not torch.equal(first, second):
        fail("train() depends on more than `rng`: draw from that generator alone")
    if not torch.equal(_image(dataset.test(0), "test"), _image(dataset.test(0), "test")):
        fail("test() depends on chance")


def _dataset_lazy(kind: str, name: str, settings: Mapping[str, object]) -> None:
    dataset = build(kind, name, settings, DOMAINS[0], "train")
    try:
        pickled = pickle.loads(pickle.dumps(dataset))
    except Exception as error:
        fail(
            f"cannot be pickled for worker processes ({error}): open nothing and keep no lambdas "
            "in __init__",
            error,
        )
    if _size(pickled) != _size(dataset):
        fail("`size` is not known before prepare()")


def _dataset_words(kind: str, name: str, settings: Mapping[str, object]) -> None:
    dataset = _dataset(kind, name, settings)
    try:
        json.dumps(dataset.describe())
    except TypeError as error:
        fail(f"describe() is not JSON: {error}", error)
    if not isinstance(dataset.name(0), str):
        fail("name() returns no str")


def _dataset_labels(kind: str, name: str, settings: Mapping[str, object]) -> None:
    """What a dataset may know of its images beside their domain: labels, and scenes."""
    dataset = _dataset(kind, name, settings)
    names = getattr(dataset, "label_names", ())
    if names:
        label = dataset.label(0)
        whole = type(label) is int and 0 <= label < len(names)
        attributes = isinstance(label, Tensor) and label.dtype == torch.float32
        if not whole and not (attributes and label.shape == (len(names),)):
            fail(
                f"label() returns {label!r}; a whole number below {len(names)} (a class of "
                f"label_names), or attributes float32 ({len(names)},) are due"
            )
    if not hasattr(dataset, "scene"):
        return
    try:
        scene = dataset.scene(0)
    except DataError:
        return  # it has no pairs, and says so
    if not isinstance(scene, str):
        fail(f"scene() returns {type(scene).__name__}; a str is due")


_DATASET_CHECKS: dict[str, Run] = {
    "samples": _dataset_samples,
    "chance comes from rng alone": _dataset_chance,
    "size is known at once": _dataset_lazy,
    "describes itself": _dataset_words,
    "labels and scenes": _dataset_labels,
    "config round trip": _config,
    "picklable config": _pickles,
}


# Metrics, optimizers, schedules


def _builds(kind: str, name: str, settings: Mapping[str, object]) -> None:
    component = build(kind, name, settings)
    if kind == "metric":
        call = "evaluate(translator, datasets, device=…, progress=…)"
        must_take(
            component.evaluate, f"it is called as {call}", None, {}, device="cpu", progress=None
        )


_PLAIN_CHECKS: dict[str, Run] = {
    "builds from defaults": _builds,
    "config round trip": _config,
    "picklable config": _pickles,
}


def checks_for(kind: str, component: type | None) -> dict[str, Run]:
    """The checks of a component's kind and contract, by name.

    component: None where it cannot be loaded: the first check says so.
    """
    found = _PLAIN_CHECKS
    if kind == "model":
        found = _MODEL_CHECKS
    elif kind in KINDS:
        found = _MODULE_CHECKS
    elif kind == "dataset":
        found = _DATASET_CHECKS
    if component is None:
        return dict([next(iter(found.items()))])
    # what differentiates inside a forward promises no graph without breaks
    eager = kind == "loss" and bool(getattr(component, "differentiates", False))
    return {label: run for label, run in found.items() if not (eager and run is _compiles)}


# Helpers


def _checked(subject: Subject) -> object:
    output = subject.output()
    subject.check(output)
    return output


@contextmanager
def _advised(
    where: tuple[str, str, Mapping[str, object]], what: str, advice: str
) -> Iterator[None]:
    """Gives advice on a failure in the block, unless the component fails without it, too."""
    try:
        yield
    except ConformanceError as error:
        _checked(subject_of(*where))
        fail(f"{what} ({error}): {advice}", error)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to("meta")
    if isinstance(value, Mapping):
        return {key: _on_meta(part) for key, part in value.items()}
    return type(value)(map(_on_meta, value))


def _total(output: object) -> Tensor:
    # weighted, since what is normalised sums to a constant
    return torch.stack(
        [(t * torch.linspace(0.5, 1.5, t.numel()).view(t.shape)).sum() for t in tensors(output)]
    ).sum()


def _same(first: object, second: object, tolerance: float = 0.0) -> bool:
    ones, others = tensors(first), tensors(second)
    if [(t.shape, t.dtype) for t in ones] != [(t.shape, t.dtype) for t in others]:
        return False
    # numbers that are not finite are another check's business
    return all(
        torch.allclose(a, b, atol=tolerance, rtol=tolerance, equal_nan=True)
        for a, b in zip(ones, others, strict=True)
    )
