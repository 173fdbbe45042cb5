"""Keys of a config that belong to no component: a term's, an update's, a domain's, the engine's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from munit_zoo.registry import MAY_CHANGE, Schedule, Slot, slot
from munit_zoo.registry.ranges import Count, NonEmpty, Positive, PositiveFloat, Share, ValueRange

__all__ = ["AugmentSettings", "DomainSettings", "EngineSettings", "TermSettings", "UpdateSettings"]


@dataclass(frozen=True, kw_only=True)
class TermSettings:
    """A loss term's own keys, which stay when its criterion is exchanged.

    weight: factor in the sum, of either sign; a term of weight 0 is not computed, nor is what only
        it reads.
    critic_weight: the weight where the term trains a discriminator; null: `weight` there, too.
    schedule: factor on both weights over the iterations.
    pairs: names of the recipe's graph that the criterion compares, `[[x_ab, x_a], …]`; left out
        for terms that the recipe itself knows. The term is the sum over its pairs.
    updates: the recipe's updates in which it acts; null: those that the recipe says.
    every: it acts in every so-many-th iteration of those in which its update takes place, with so
        many times its weight.
    """

    weight: float = 1.0
    critic_weight: float | None = None
    schedule: Slot[Schedule] = slot("constant")
    pairs: NonEmpty[tuple[NonEmpty[tuple[str, ...]], ...]] | None = None
    updates: NonEmpty[tuple[str, ...]] | None = None
    every: Positive = 1


@dataclass(frozen=True, kw_only=True)
class UpdateSettings:
    """How one of a recipe's updates takes place.

    every: in every so-many-th iteration; null: as the recipe has it.
    clip: the most that the gradient of each network may measure (its L2 norm); null: as the recipe
        has it. clip_total: the same of all its networks together.
    """

    every: Positive | None = None
    clip: PositiveFloat | None = None
    clip_total: PositiveFloat | None = None


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """AUGMENT's own keys, which stay when the augmentation is exchanged.

    networks: the discriminators that see through it, by names as in OPTIM.NETWORKS; null: all that
        judge images.
    """

    networks: NonEmpty[tuple[str, ...]] | None = None


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
    """How training runs. Keys marked MAY_CHANGE may be others when a run is resumed.

    iterations: passes through the recipe's updates.
    batch_size: samples an update, over all processes together.
    accumulate: equal parts in which each process computes its share of the batch, one after the
        other, for one step: the gradient of the whole batch in the memory of a part.
    recompute: activation checkpointing: of each named tensor of the recipe, only what it is
        computed from is kept until the backward pass, which computes the rest again.
    seed: of weights, sampling, augmentation and noise.
    workers: loader processes; 0 loads in the training process.
    precision: fp32, tf32 (CUDA), bf16 or fp16 autocast; in fp16 losses are scaled.
    share: what updates take over from each other: `derived`, whatever is equal because nothing it
        is computed from was stepped or drawn anew (the same maths); `fakes`, also translations
        with the styles of the update before (cheaper, but both see the same styles); or `none`.
    ema: decay of the averaged weights that translate and evaluate use; null keeps none.
    ema_warmup: the average forgets its first, untrained weights: after t updates the decay is
        min(ema, (1 + t) / (10 + t)).
    ema_start: updates through which the average only follows the networks, before it averages.
    ema_networks: decay by network's name where it differs, `{GENERATOR: 0.99, MAPPING: null}`;
        null: that network is not averaged.
    log_every, grid_every, snapshot_every: iterations between log lines, image grids, snapshots
        (0: only at the end).
    keep: newest snapshots kept; null keeps all. keep_every: beside them, those of each iteration
        that so many divide. keep_best: beside them, the one with the lowest of a logged loss, a
        term's name (`image_recon`; `generators/total`), averaged since the snapshot before.
    on_nan: what becomes of an iteration in which a loss or a gradient is not finite: `stop` says
        where that began; `skip` leaves the update out and goes on, 20 times in a row at most;
        `rollback` goes back to the last snapshot, and on with the images that come after.
    display: images in a grid. display_styles: translations of each.
    channels_last: memory format of images and convolutions, but on MPS.
    compile: `default` or `max-autotune` compile each network with torch.compile, which takes
        minutes once and is kept on disk.
    cuda_graphs: record the whole step as one CUDA graph (one process, adam, adamw or rmsprop).
    """

    iterations: Annotated[Positive, MAY_CHANGE] = 1_000_000
    batch_size: Positive = 1
    accumulate: Positive = 1
    recompute: Annotated[bool, MAY_CHANGE] = False
    seed: int = 0
    workers: Annotated[Count, MAY_CHANGE] = 2
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    share: Literal["none", "derived", "fakes"] = "derived"
    ema: Share | None = None
    ema_warmup: bool = True
    ema_start: Count = 0
    ema_networks: dict[str, Share | None] = field(default_factory=dict)
    log_every: Annotated[Positive, MAY_CHANGE] = 10
    grid_every: Annotated[Count, MAY_CHANGE] = 500
    snapshot_every: Annotated[Count, MAY_CHANGE] = 10_000
    keep: Annotated[Positive | None, MAY_CHANGE] = None
    keep_every: Annotated[Positive | None, MAY_CHANGE] = None
    keep_best: Annotated[str | None, MAY_CHANGE] = None
    on_nan: Annotated[Literal["stop", "skip", "rollback"], MAY_CHANGE] = "stop"
    display: Annotated[Positive, MAY_CHANGE] = 8
    display_styles: Annotated[Positive, MAY_CHANGE] = 4
    channels_last: bool = True
    compile: Literal["off", "default", "max-autotune"] = "off"
    cuda_graphs: bool = False
