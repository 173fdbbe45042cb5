"""Schedules: the factor on the learning rate as a function of the iteration, without state."""

from __future__ import annotations

import math

from munit_zoo.registry.ranges import Count, Fraction, NonNegative, Positive

__all__ = ["Constant", "Cosine", "Linear", "Step"]


class Constant:
    """The learning rate as it is."""

    def factor(self, iteration: int, iterations: int) -> float:
        """1 at every iteration."""
        return 1.0


class Step:
    """Multiplied by `gamma` after every `every` iterations: the reference's schedule.

    The update of (0-based) iteration i has the factor gamma ** floor((i + 1) / every).
    """

    def __init__(self, *, every: Positive = 100_000, gamma: NonNegative = 0.5) -> None:
        self.every, self.gamma = every, gamma

    def factor(self, iteration: int, iterations: int) -> float:
        """Factor at a 0-based iteration."""
        return float(self.gamma ** ((iteration + 1) // self.every))


class Linear:
    """Constant, then linear to `final` over the last part of training.

    start: share of the iterations after which it falls. final: factor at the end.
    """

    def __init__(self, *, start: Fraction = 0.5, final: NonNegative = 0.0) -> None:
        self.start, self.final = start, final

    def factor(self, iteration: int, iterations: int) -> float:
        """Factor at a 0-based iteration of `iterations`."""
        begin = self.start * iterations
        if iteration <= begin:
            return 1.0
        done = min(1.0, (iteration - begin) / max(1e-9, iterations - begin))
        return 1.0 + (self.final - 1.0) * done


class Cosine:
    """Half a cosine from 1 to `final` (Loshchilov & Hutter 2017), after a linear warm-up.

    warmup: iterations over which the factor rises to 1.
    """

    def __init__(self, *, warmup: Count = 0, final: NonNegative = 0.0) -> None:
        self.warmup, self.final = warmup, final

    def factor(self, iteration: int, iterations: int) -> float:
        """Factor at a 0-based iteration of `iterations`."""
        if iteration < self.warmup:
            return (iteration + 1) / self.warmup
        done = min(1.0, (iteration - self.warmup) / max(1, iterations - self.warmup))
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * done))
