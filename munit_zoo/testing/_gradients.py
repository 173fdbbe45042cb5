"""Whether a component's gradients are its derivatives, however its tensors lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from munit_zoo.testing._kit import ConformanceError
from munit_zoo.testing.subjects import Subject, fail, tensors

__all__ = ["check_gradients"]

# Central differences in float64: rounding spoils 1e-8 to 1e-6 of a derivative, its curvature far
# less. Between the two points some units pass the kink of their relu or absolute value, the fewer
# the smaller the step: of tens of thousands a few, each by its small share. Of three directions the
# best counts, for what is wrong is so in all: a mistaken layout, sign or factor by 1e-2 to 1. Where
# units are millions, a smaller step decides, which rounding spoils more.
STEPS = (3e-8, 3e-9)
TOLERANCE = 1e-5
DIRECTIONS = 3

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def check_gradients(subject: Subject) -> None:
    """Gradients against finite differences, of two samples and of one, in both memory formats.

    subject: in float64, its inputs batches of two or more; is changed. Maps and convolutions'
    weights lie in either format, and so does the gradient that comes in from behind. A component
    that refuses a single sample is checked with two.

    A true attribute `detaches` says that the component holds something constant on purpose as it
    differentiates (detach, no_grad): its formats are compared with each other alone, in evaluation
    mode, as dropout depends on them.

    Raises ConformanceError that says how many samples, which formats and how far off.
    """
    for count in (2, 1):
        inputs = _each(subject.inputs, itemgetter(slice(count)))
        probe = _Probe(replace(subject, inputs=inputs))
        try:
            outputs = probe.outputs(inputs)
        except ConformanceError:
            return  # another check's business, or too few for it
        if any(t.dtype != torch.float64 or not torch.isfinite(t).all() for t in outputs):
            return  # another check's, as well
        _compare(probe, f"with {count} sample{'s' * (count > 1)}")


def _compare(probe: _Probe, where: str) -> None:
    """Fails where a gradient of a component is none."""
    held = bool(getattr(probe.subject.module, "detaches", False))
    expected = torch.zeros(DIRECTIONS)
    for of_maps in FORMATS:
        found = probe.gradients(of_maps)
        terms = probe.along(found["contiguous"])
        if not terms:
            return  # no gradient at all: another check's
        # beside its terms, as the sum may be small by chance
        size = torch.stack([t.norm() for t in terms]).clamp_min(torch.finfo().tiny)
        if not held:
            expected = probe.differences(of_maps, STEPS[0])  # in this format: dropout depends on it
        elif of_maps == "contiguous":
            expected = _sums(terms)
        for incoming, gradients in found.items():
            sums = _sums(probe.along(gradients))
            gap = float(((sums - expected).abs() / size).min())
            if gap > TOLERANCE and not held:
                closer = probe.differences(of_maps, STEPS[1])
                gap = min(gap, float(((sums - closer).abs() / size).min()))
            if gap <= TOLERANCE:
                continue
            message = (
                f"{where}, maps {of_maps} and the gradient of its output {incoming}, its own "
                f"gradient is off by {gap:.1g} of its size"
            )
            if of_maps == incoming == "contiguous":
                fail(
                    f"{message} from finite differences: is a backward of its own wrong? Where it "
                    "holds something constant on purpose (detach, no_grad), set detaches = True"
                )
            fail(
                f"{message}, and right where both are contiguous: an operation in it mistakes the "
                "one layout for the other (as F.instance_norm does on CPUs); write its formula"
            )


class _Probe:
    """A component at a point, with directions to leave it in.

    Its output counts as one number: the product with fixed random weights.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.modules = [subject.module, *subject.critics.values()]
        unique = {id(p): p for m in self.modules for p in m.parameters() if p.requires_grad}
        self.parameters = list(unique.values())
        self.before = [{n: b.clone() for n, b in m.named_buffers()} for m in self.modules]
        self.generator = torch.Generator().manual_seed(0)
        leaves = [*self.parameters, *_floating(subject.inputs)]
        away, *self.directions = (
            [self._direction(leaf) for leaf in leaves] for _ in range(1 + DIRECTIONS)
        )
        with torch.no_grad():
            # initial values such as zero put units on their kinks
            for parameter, move in zip(self.parameters, away, strict=False):
                parameter.add_(move, alpha=0.1)
        self.weights: list[Tensor] = []
        self.reached = [True] * len(leaves)

    def outputs(self, inputs: Any) -> list[Tensor]:
        """Its tensors of numbers, from the same state and the same chance each time."""
        with torch.no_grad():
            for module, before in zip(self.modules, self.before, strict=True):
                for name, buffer in module.named_buffers():
                    buffer.copy_(before[name])
        torch.manual_seed(1)
        outputs = _floating(replace(self.subject, inputs=inputs).output())
        self.weights = self.weights or [self._random(t) for t in outputs]
        return outputs

    def gradients(self, layout: str) -> dict[str, Sequence[Tensor | None]]:
        """By leaf, where one is reached, by the format of the gradient that comes in."""
        for module in self.modules:
            module.to(memory_format=FORMATS[layout])
        inputs = _each(self.subject.inputs, lambda t: _leaf(t, FORMATS[layout]))
        leaves = [*self.parameters, *_floating(inputs)]
        pairs = zip(self.outputs(inputs), self.weights, strict=True)
        reaching = [(y, weights) for y, weights in pairs if y.requires_grad]
        found: dict[str, Sequence[Tensor | None]] = dict.fromkeys(FORMATS, [None] * len(leaves))
        if not reaching:
            return found
        for name, incoming in FORMATS.items():
            found[name] = torch.autograd.grad(
                [y for y, _ in reaching],
                leaves,
                [_in_format(weights, incoming) for _, weights in reaching],
                retain_graph=True,
                allow_unused=True,
            )
            self.reached = [gradient is not None for gradient in found[name]]
        return found

    def along(self, gradients: Sequence[Tensor | None]) -> list[Tensor]:
        """By direction, the terms that add up to the derivative along it, if there are any."""
        if all(gradient is None for gradient in gradients):
            return []
        return [
            torch.cat(
                [
                    (gradient.detach() * move).flatten()
                    for gradient, move in zip(gradients, direction, strict=True)
                    if gradient is not None
                ]
            )
            for direction in self.directions
        ]

    def differences(self, layout: str, size: float) -> Tensor:
        """Derivatives by direction, as central differences, of leaves that a gradient reaches."""
        ahead, behind = (
            torch.tensor([self._value(along, step, layout) for along in self.directions])
            for step in (size, -size)
        )
        return (ahead - behind) / (2 * size)

    def _value(self, along: Sequence[Tensor], step: float, layout: str) -> float:
        """The output as one number, a step along a direction, its parameters as they lie."""
        moves = [d * (step * reached) for d, reached in zip(along, self.reached, strict=True)]
        count = len(self.parameters)
        before = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            for parameter, move in zip(self.parameters, moves[:count], strict=True):
                parameter.add_(move)
        rest = iter(moves[count:])

        def moved(x: Tensor) -> Tensor:
            return _in_format(x + next(rest), FORMATS[layout]) if _is_floating(x) else x

        outputs = self.outputs(_each(self.subject.inputs, moved))
        with torch.no_grad():
            for parameter, value in zip(self.parameters, before, strict=True):
                parameter.copy_(value)
        pairs = zip(outputs, self.weights, strict=True)
        return sum(float((y.detach() * weights).sum()) for y, weights in pairs)

    def _direction(self, leaf: Tensor) -> Tensor:
        """Random, of the size of what it moves."""
        size = leaf.detach().square().mean().sqrt().clamp_min(1e-2)
        return self._random(leaf) * size

    def _random(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator, dtype=like.dtype)


def _sums(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack([t.sum() for t in terms])


def _floating(value: object) -> list[Tensor]:
    return [t for t in tensors(value) if _is_floating(t)]


def _is_floating(x: Tensor) -> bool:
    return x.is_floating_point()


def _in_format(x: Tensor, layout: torch.memory_format) -> Tensor:
    return x.contiguous(memory_format=layout) if x.dim() == 4 else x


def _leaf(x: Tensor, layout: torch.memory_format) -> Tensor:
    x = _in_format(x.detach().clone(), layout)
    return x.requires_grad_() if _is_floating(x) else x


def _each(value: object, function: Callable[[Tensor], Tensor]) -> Any:
    """A nest of maps and lists with a function of each tensor, in the order of `tensors`."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: _each(part, function) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_each(part, function) for part in value)
    return value
