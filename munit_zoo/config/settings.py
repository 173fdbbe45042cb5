"""Keys of a config that belong to no component: a term's, a domain's and the engine's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from munit_zoo.registry.ranges import Count, Positive, Share, ValueRange

__all__ = ["DomainSettings", "EngineSettings", "TermSettings"]


@dataclass(frozen=True, kw_only=True)
class TermSettings:
    """A loss term's own keys, which stay when its criterion is exchanged.

    weight: factor in the sum; a term of weight 0 is not computed, nor is what only it reads.
    pairs: names of the recipe's graph that the criterion compares, `[[x_ab, x_a], …]`; left out
        for terms that the recipe itself knows. The term is the sum over its pairs.
    """

    weight: float = 1.0
    pairs: tuple[tuple[str, ...], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class DomainSettings:
    """One domain's images.

    channels: 1 to N.
    value_range: measured values that map to [-1, 1]; null for the whole range of the files'
        integer type.
    """

    channels: Positive = 3
    value_range: ValueRange | None = None


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How training runs.

    iterations: updates of the discriminators and the generators.
    batch_size: pairs of images an update, over all processes together.
    seed: of weights, sampling, augmentation and noise.
    workers: loader processes; 0 loads in the training process.
    precision: fp32, tf32 (CUDA), or bf16 autocast.
    share: what the discriminators' step takes over from the generators': `content` codes (the
        same maths, half the encoding), `fakes` (also the translations: cheaper, but both steps
        then see the same styles), or `none`.
    ema: decay of the averaged weights that translate and evaluate use; null keeps none.
    log_every, grid_every, snapshot_every: iterations between log lines, image grids, snapshots
        (0: only at the end).
    keep: newest snapshots kept; null keeps all.
    display: images in a grid. display_styles: translations of each.
    channels_last: memory format of images and convolutions, but on MPS.
    compile: `default` or `max-autotune` compile each network with torch.compile, which takes
        minutes once and is kept on disk.
    cuda_graphs: record the whole step as one CUDA graph (one process, adam, adamw or rmsprop).
    """

    iterations: Positive = 1_000_000
    batch_size: Positive = 1
    seed: int = 0
    workers: Count = 2
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    share: Literal["none", "content", "fakes"] = "content"
    ema: Share | None = None
    log_every: Positive = 10
    grid_every: Count = 500
    snapshot_every: Count = 10_000
    keep: Positive | None = None
    display: Positive = 8
    display_styles: Positive = 4
    channels_last: bool = True
    compile: Literal["off", "default", "max-autotune"] = "off"
    cuda_graphs: bool = False
