"""Every recipe with every variant of each of its slots: it trains, or is refused with a reason."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from munit_zoo.config import Config, domains_of, list_configs, load_config
from munit_zoo.engine.acceleration import in_format
from munit_zoo.engine.devices import make_fabric
from munit_zoo.engine.step import Trainer, build_optimizers
from munit_zoo.errors import ConfigError, ContractError, GraphError, MunitZooError
from munit_zoo.models import assemble, rehearse
from munit_zoo.registry import MODELS, registry
from munit_zoo.testing.recipes import random_inputs

SIDE = 64
DIM = 8
NETWORKS = (
    "content_encoder",
    "style_encoder",
    "decoder",
    "generator",
    "mapping",
    "discriminator",
)
# what a variant wants said at this size and these widths
NEEDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("content_encoder", "timm"): ("MODEL=resnet10t", "OUT_INDEX=1"),
    ("style_encoder", "timm"): ("MODEL=resnet10t",),
    ("content_encoder", "preactivation"): ("DIM=8",),
    ("content_encoder", "unet"): ("DIM=8", "BLOCKS=1"),
    ("decoder", "spade_resnet"): ("DIM=8",),
    ("style_encoder", "bicyclegan_conv"): ("HALVINGS=3", "DIM=8"),
    ("style_encoder", "bicyclegan_resnet"): ("HALVINGS=3", "DIM=8"),
    ("style_encoder", "starganv2"): ("SIZE=64", "CHANNEL_BUDGET=512", "MAX_DIM=16"),
    ("generator", "unet"): ("LEVELS=5", "DIM=8"),
    ("generator", "styled_unet"): ("LEVELS=5", "DIM=8"),
    ("generator", "starganv2"): ("SIZE=64", "CHANNEL_BUDGET=512", "MAX_DIM=16"),
    ("discriminator", "projected"): ("MODEL=resnet10t", "DIM=8", "MIX_DIM=8"),
    ("discriminator", "residual"): ("DIM=8",),
    ("discriminator", "residual_classes"): ("DIM=8",),
    ("discriminator", "unet"): ("DIM=8",),
    ("discriminator", "stargan"): ("SIZE=64", "DIM=8", "LAYERS=4"),
    ("discriminator", "starganv2"): ("SIZE=64", "CHANNEL_BUDGET=512", "MAX_DIM=16"),
    ("discriminator", "imaginaire_residual"): ("DIM=8", "LAYERS=4"),
    ("discriminator", "pyramid_patch"): ("DIM=8", "LAYERS=2"),
    ("decoder", "styled_resnet"): ("DIM=8", "MAPPING.DIM=8"),
    ("norm", "group"): ("GROUPS=4",),
}
NOT_OURS = ("TypeError", "RuntimeError", "Calculated", "size of tensor", "must match", "Expected")
"""Words of Python's and torch's own errors."""
MISTAKES = ("has no key", "is required")
"""What a refusal says where this file names the wrong keys."""

Choice = tuple[str, str, str]
"""Dotted path of a slot, its kind, and a component's name."""


def recipes() -> list[str]:
    """Our recipes that have a config for the synthetic shapes."""
    ours = [entry.name for entry in MODELS.entries() if entry.origin == "builtin"]
    return [name for name in ours if f"{name}/shapes" in list_configs()]


def smaller(node: Mapping[str, Any], path: str = "MODEL") -> Iterator[str]:
    """What makes a config for shapes of 32 pixels one of 64, and narrow."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from smaller(value, f"{path}.{key}")
        elif key == "SIZE":
            yield f"{path}.SIZE={SIDE}"
        elif key == "HALVINGS":
            yield f"{path}.HALVINGS={value + 1}"
        elif key == "DIM" and value and value > DIM:
            yield f"{path}.DIM={DIM}"
        elif key == "MAX_DIM":
            yield f"{path}.MAX_DIM={2 * DIM}"


def slots(recipe: str) -> list[tuple[str, str, str]]:
    """Of a recipe's config and its parts: dotted path, kind, and what is there."""

    def walk(node: Mapping[str, Any], path: str, kind: str) -> Iterator[tuple[str, str, str]]:
        for setting in registry(kind).signature(node["NAME"]).settings.values():
            if setting.slot is not None and node[setting.key] is not None:
                below = f"{path}.{setting.key}"
                yield below, setting.slot, node[setting.key]["NAME"]
                yield from walk(node[setting.key], below, setting.slot)

    return list(walk(load_config(f"{recipe}/shapes").MODEL, "MODEL", "model"))


def variants(kind: str) -> list[str]:
    return [entry.name for entry in registry(kind).entries() if entry.origin == "builtin"]


def choices(recipe: str) -> list[Choice]:
    """Each variant of each slot of a recipe, but what is there already; of the slots inside of its
    parts (norms, activations) one, drawn."""
    found: list[Choice] = []
    for path, kind, there in slots(recipe):
        others = [name for name in variants(kind) if name != there]
        if path.count(".") > 1:
            others = random.Random(path + recipe).sample(others, min(1, len(others)))
        found += [(path, kind, name) for name in others]
    return found


def overrides(recipe: str, chosen: list[Choice]) -> list[str]:
    found = [*smaller(load_config(f"{recipe}/shapes").MODEL)]
    for path, kind, name in chosen:
        found = [text for text in found if not text.startswith(f"{path}.")]
        found.append(f"{path}.NAME={name}")
        found += [f"{path}.{need}" for need in NEEDS.get((kind, name), ())]
    return [*found, "ENGINE.BATCH_SIZE=2", "ENGINE.SHARE=none"]


def refusal(recipe: str, chosen: list[Choice], *, train: bool) -> str | None:
    """Why a combination is refused; None where it trains, or can be rehearsed.

    Fails for a reason that is not ours: a shape error from inside torch, say.
    """
    own = overrides(recipe, chosen)
    base = f"{recipe}/shapes"
    refused: MunitZooError | None = None
    try:
        config = load_config(base, *own)
        sizes = {domain.name: (SIDE, SIDE) for domain in domains_of(config)}
        built = assemble(config, sizes) if train else rehearse(config, sizes)
    except (ConfigError, ContractError, GraphError) as error:
        refused = error
    if refused is not None:
        cause, reason = refused.__cause__, str(refused)
        assert cause is None or isinstance(cause, MunitZooError) or "multiples of" in reason, reason
        assert not any(word in reason for word in (*NOT_OURS, *MISTAKES)), f"{own}: {reason}"
        return reason
    if train:
        parts = step(config, *built)
        assert all(bool(torch.isfinite(value).all()) for value in parts.values()), own
    return None


def step(config: Config, model: Any, objective: Any, rehearsal: Any) -> dict[str, Tensor]:
    """An iteration on random inputs, by what `train` builds."""
    fabric, layout = make_fabric("cpu", "fp32"), torch.channels_last
    model.train().to(memory_format=layout)
    groups = build_optimizers(config, model, objective)
    meta = {slot: rehearsal.found.values[slot.rstrip("'")] for slot in objective.inputs}
    inputs = random_inputs(model, meta, 2, lambda *shape: torch.rand(shape) * 2 - 1)
    return Trainer(fabric, model, objective, groups).step(in_format(inputs, layout), 0)


def combinations(count: int, seed: int) -> Iterator[tuple[str, list[Choice]]]:
    """Full combinations: of each network of a recipe, and of what stands in it, one drawn."""
    rng = random.Random(seed)
    for _ in range(count):
        recipe = rng.choice(recipes())
        chosen: list[Choice] = []
        for path, kind, there in slots(recipe):
            inside = any(path.startswith(f"{known}.") for known, _, _ in chosen)
            name = rng.choice(variants(kind))
            if not inside and name != there:
                chosen.append((path, kind, name))
        yield recipe, chosen


@pytest.mark.parametrize(("recipe", "chosen"), [*combinations(12, seed=0)])
def test_combinations_are_sound_or_refused(recipe, chosen):
    refusal(recipe, chosen, train=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "path", "kind", "name"),
    [(recipe, *choice) for recipe in recipes() for choice in choices(recipe)],
)
def test_each_variant_of_each_slot_trains_or_is_refused(recipe, path, kind, name):
    """A recipe's own slots are trained; norms and activations inside of them are rehearsed."""
    refusal(recipe, [(path, kind, name)], train=path.count(".") == 1)


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "chosen"), [*combinations(60, seed=1)])
def test_full_combinations_train_or_are_refused(recipe, chosen):
    refusal(recipe, chosen, train=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"),
    [(k, name) for k in NETWORKS for name in variants(k) if name != "ones"],  # a mask
)
def test_each_network_goes_with_some_recipe(kind, name):
    """Refusing everything is no answer."""
    places = [
        (recipe, (path, kind, name))
        for recipe in recipes()
        for path, known, _ in slots(recipe)
        if known == kind
    ]
    reasons = []
    for recipe, choice in places:
        reasons.append(refusal(recipe, [choice], train=False))
        if reasons[-1] is None:
            return
    pytest.fail("\n".join(map(str, reasons)))
