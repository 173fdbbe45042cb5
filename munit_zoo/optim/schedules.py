"""Schedules: a factor on learning rates, or on a loss term's weight, over the iterations.

Without state and without epochs: the factor is a function of the iteration and of how many there
are, so that a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

import math

from munit_zoo.errors import ContractError
from munit_zoo.registry.ranges import Count, Moment, NonNegative, Positive

__all__ = ["Constant", "Cosine", "Linear", "Step"]


class Constant:
    """The rate or weight as it is."""

    def factor(self, iteration: int, iterations: int) -> float:
        """1 at every iteration."""
        return 1.0


class Step:
    """Multiplied by `gamma` after every `every` iterations: the reference's schedule.

    The update of (0-based) iteration i has the factor gamma ** floor((i + 1) / every), that of i
    itself where `early` is off (torch's own counting).
    """

    def __init__(
        self, *, every: Positive = 100_000, gamma: NonNegative = 0.5, early: bool = True
    ) -> None:
        self.every, self.gamma, self.early = every, gamma, early

    def factor(self, iteration: int, iterations: int) -> float:
        """Factor at a 0-based iteration."""
        return float(self.gamma ** ((iteration + self.early) // self.every))


class Linear:
    """Constant, then a straight line from `initial` to `final`, then constant.

    start, stop: where the line begins and ends, each a share of training (up to 1) or a number of
    iterations (above 1). initial, final: the factor before and after it.
    every: the factor stays for so many iterations and then jumps to the line; 1: it follows it.

    With b and e the iterations that start and stop mean, iteration i (0-based) has the factor
    initial + (final - initial) · clamp((i' - b) / (e - b), 0, 1), where i' is the last multiple of
    `every` up to i.
    """

    def __init__(
        self,
        *,
        start: Moment = 0.5,
        stop: Moment = 1.0,
        initial: NonNegative = 1.0,
        final: NonNegative = 0.0,
        every: Positive = 1,
    ) -> None:
        _in_order(start, stop)
        self.start, self.stop = start, stop
        self.initial, self.final, self.every = initial, final, every

    def factor(self, iteration: int, iterations: int) -> float:
        """Factor at a 0-based iteration of `iterations`."""
        begin, end = _iteration(self.start, iterations), _iteration(self.stop, iterations)
        done = iteration // self.every * self.every - begin
        if done <= 0:
            return self.initial
        return self.initial + (self.final - self.initial) * min(1.0, done / max(1e-9, end - begin))


class Cosine:
    """Half a cosine from 1 to `final` (Loshchilov & Hutter 2017), after a linear warm-up.

    warmup: iterations over which the factor rises to 1. stop: where it reaches `final` and stays,
    a share of training (up to 1) or a number of iterations (above 1).
    """

    def __init__(self, *, warmup: Count = 0, stop: Moment = 1.0, final: NonNegative = 0.0) -> None:
        if 1 < stop <= warmup:
            raise ContractError(f"STOP is {stop:.0f}: it comes after the WARMUP of {warmup}")
        self.warmup, self.stop, self.final = warmup, stop, final

    def factor(self, iteration: int, iterations: int) -> float:
        """Factor at a 0-based iteration of `iterations`."""
        if iteration < self.warmup:
            return (iteration + 1) / self.warmup
        length = _iteration(self.stop, iterations) - self.warmup
        done = min(1.0, (iteration - self.warmup) / max(1, length))
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * done))


def _iteration(moment: float, iterations: int) -> float:
    """The iteration that a moment of training means."""
    return moment * iterations if moment <= 1 else moment


def _in_order(start: float, stop: float) -> None:
    """Raises ContractError where a line would end before it begins, whatever the iterations."""
    if (start <= 1) == (stop <= 1) and stop <= start and start != 1.0:
        raise ContractError(f"STOP is {stop:g}: it comes after START, {start:g}")
