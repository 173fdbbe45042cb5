"""Schedules: a factor on learning rates, or on a loss term's weight, over iterations or epochs.

Without state: the factor is a function of the iteration, of how many there are and of how many make
an epoch, so that a resumed run goes on as if it had never stopped. Those that count in epochs
(`unit`) keep the factor of an epoch's first iteration throughout it.
"""

from __future__ import annotations

import math
from typing import Literal

from munit_zoo.errors import ContractError
from munit_zoo.registry.ranges import Count, Moment, NonNegative, Positive

__all__ = ["Constant", "Cosine", "Linear", "Step"]


Unit = Literal["iterations", "epochs"]


class Constant:
    """The rate or weight as it is."""

    unit: Unit = "iterations"

    def factor(self, iteration: int, iterations: int, epoch: int = 1) -> float:
        """1 at every iteration."""
        return 1.0


class _Counting:
    """A schedule over a count of iterations or epochs.

    unit: what is counted.
    """

    unit: Unit

    def factor(self, iteration: int, iterations: int, epoch: int = 1) -> float:
        """Factor at a 0-based iteration of `iterations`, of which `epoch` make an epoch."""
        if self.unit == "epochs":
            return self.at(iteration // epoch, iterations / epoch)
        return self.at(iteration, iterations)

    def at(self, count: int, total: float) -> float:
        """Factor at a 0-based count of a total."""
        raise NotImplementedError


class Step(_Counting):
    """Multiplied by `gamma` after every `every` iterations: the reference's schedule.

    The update of (0-based) iteration i has the factor gamma ** floor((i + 1) / every), that of i
    itself where `early` is off (torch's own counting).

    unit: `iterations`, or `epochs`: those of epoch e, from 0, have gamma ** floor(e / every).
    """

    def __init__(
        self,
        *,
        every: Positive = 100_000,
        gamma: NonNegative = 0.5,
        early: bool = True,
        unit: Unit = "iterations",
    ) -> None:
        self.every, self.gamma, self.early, self.unit = every, gamma, early, unit

    def at(self, count: int, total: float) -> float:
        """Factor at a 0-based count."""
        done = count + (self.early and self.unit == "iterations")
        return float(self.gamma ** (done // self.every))


class Linear(_Counting):
    """Constant, then a straight line from `initial` to `final`, then constant.

    start, stop: where the line begins and ends, each a share of training (up to 1) or a number of
    iterations (above 1). initial, final: the factor before and after it.
    every: the factor stays for so many iterations and then jumps to the line; 1: it follows it.

    With b and e the iterations that start and stop mean, iteration i (0-based) has the factor
    initial + (final - initial) · clamp((i' - b) / (e - b), 0, 1), where i' is the last multiple of
    `every` up to i.

    unit: `iterations`, or `epochs`: all of the above then counts epochs instead. 100 epochs at the
    full rate and 100 in which it falls to nothing (CycleGAN: 1 - max(0, e + 1 - 100) / 101 in
    epoch e, from 0) are `start` 99 and `stop` 200.
    """

    def __init__(
        self,
        *,
        start: Moment = 0.5,
        stop: Moment = 1.0,
        initial: NonNegative = 1.0,
        final: NonNegative = 0.0,
        every: Positive = 1,
        unit: Unit = "iterations",
    ) -> None:
        _in_order(start, stop)
        self.start, self.stop = start, stop
        self.initial, self.final, self.every, self.unit = initial, final, every, unit

    def at(self, count: int, total: float) -> float:
        """Factor at a 0-based count of a total."""
        begin, end = _moment(self.start, total), _moment(self.stop, total)
        done = count // self.every * self.every - begin
        if done <= 0:
            return self.initial
        return self.initial + (self.final - self.initial) * min(1.0, done / max(1e-9, end - begin))


class Cosine(_Counting):
    """Half a cosine from 1 to `final` (Loshchilov & Hutter 2017), after a linear warm-up.

    warmup: iterations over which the factor rises to 1. stop: where it reaches `final` and stays,
    a share of training (up to 1) or a number of iterations (above 1).
    unit: `iterations`, or `epochs`, which are counted instead.
    """

    def __init__(
        self,
        *,
        warmup: Count = 0,
        stop: Moment = 1.0,
        final: NonNegative = 0.0,
        unit: Unit = "iterations",
    ) -> None:
        if 1 < stop <= warmup:
            raise ContractError(f"STOP is {stop:.0f}: it comes after the WARMUP of {warmup}")
        self.warmup, self.stop, self.final, self.unit = warmup, stop, final, unit

    def at(self, count: int, total: float) -> float:
        """Factor at a 0-based count of a total."""
        if count < self.warmup:
            return (count + 1) / self.warmup
        length = _moment(self.stop, total) - self.warmup
        done = min(1.0, (count - self.warmup) / max(1, length))
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * done))


def _moment(moment: float, total: float) -> float:
    """The count that a moment of training means."""
    return moment * total if moment <= 1 else moment


def _in_order(start: float, stop: float) -> None:
    """Raises ContractError where a line would end before it begins, whatever the iterations."""
    if (start <= 1) == (stop <= 1) and stop <= start and start != 1.0:
        raise ContractError(f"STOP is {stop:g}: it comes after START, {start:g}")
