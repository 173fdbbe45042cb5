"""An iteration as a recipe's original computes it, from the recipe's own plan.

For recipes without a yardstick of their own (`bench.reference` is MUNIT's and UNIT's): updates in
the original's order, which is the recipe's; computed once is only what the original computes once,
which the recipe says by `once`; upsampling and convolution apart, parameters stepped one by one,
channels first. Networks, norms and padding are the same as in the other arms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from munit_zoo.bench.plan import Arm
from munit_zoo.config import load_config

__all__ = ["original_arm"]

_SAVINGS = ("FOLD", "FUSED")


def original_arm(arm: Arm) -> Arm:
    """The arm of a recipe that measures what its original computes.

    arm: one with `reference`. Its config is of any recipe.
    """
    config = load_config(arm.config, *arm.overrides)
    plain = [
        "ENGINE.SHARE=none",
        "ENGINE.COMPILE=off",
        "ENGINE.CUDA_GRAPHS=false",
        *_switched_off(config.MODEL, "MODEL"),
        *_switched_off(config.OPTIM, "OPTIM"),
    ]
    return replace(arm, reference=False, channels_last=False, variant=(*arm.variant, *plain))


def _switched_off(node: Mapping[str, object], path: str) -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _switched_off(value, f"{path}.{key}")
        elif key in _SAVINGS and value is True:
            yield f"{path}.{key}=false"
