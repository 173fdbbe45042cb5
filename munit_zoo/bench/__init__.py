"""Throughput benchmarks of recipes and components."""

from munit_zoo.bench.plan import Arm, Request, plan_arms
from munit_zoo.bench.report import Result, compare_results, read_result, to_markdown
from munit_zoo.bench.run import run

__all__ = [
    "Arm",
    "Request",
    "Result",
    "compare_results",
    "plan_arms",
    "read_result",
    "run",
    "to_markdown",
]
