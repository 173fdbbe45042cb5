"""Checkpoints and options of the reference implementation of CUT and FastCUT.

Its files: `EPOCH_net_NAME.pth`, each the state_dict of one network: G, D, and F, the projection of
G's features; `train_opt.txt`, its options. Much is CycleGAN's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from munit_zoo.errors import CheckpointError
from munit_zoo.interop import cyclegan, cyclegan_options
from munit_zoo.interop.checkpoints import ReadNetworks, load, number, renamed, shapes_of, tensors_of

__all__ = [
    "DEFAULTS",
    "NAMES",
    "config_of_options",
    "projector_names",
    "read_checkpoint",
    "settings_of_options",
]

DEFAULTS: Mapping[str, object] = {
    **cyclegan_options.SHARED,
    "dataroot": "data/horse2zebra",
    "CUT_mode": "CUT",
    "flip_equivariance": False,
    "gan_mode": "lsgan",
    "init_type": "xavier",
    "lambda_GAN": 1.0,
    "lambda_NCE": 1.0,
    "n_epochs": 200,
    "n_epochs_decay": 200,
    "nce_T": 0.07,
    "nce_idt": True,
    "nce_includes_all_negatives_from_minibatch": False,
    "nce_layers": "0,4,8,12,16",
    "netF_nc": 256,
    "netG": "resnet_9blocks",
    "no_dropout": True,
    "no_antialias": False,
    "no_antialias_up": False,
    "normD": "instance",
    "normG": "instance",
    "num_patches": 256,
}
"""Options of CUT, unless given."""

PUBLISHED_LAYERS = (0, 4, 8, 12, 16)
"""The option `nce_layers`, unless given."""


def settings_of_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Nodes and keys of MODEL, as a config of the recipe `cut` has them.

    options: by the original's names, typed as there. Raises CheckpointError for a network, norm or
    initialisation that it does not have.
    """
    named = {**options, "norm": options["normG"]}
    nodes = cyclegan_options.settings_of_options(named)
    nodes["DISCRIMINATOR"] = cyclegan_options.critic_of_options(options, options["normD"])
    downsample = {"DOWNSAMPLE": "strided" if options["no_antialias"] else "blur"}
    nodes["GENERATOR"] |= downsample
    nodes["GENERATOR"]["UPSAMPLE"] = "transposed" if options["no_antialias_up"] else "bilinear"
    if nodes["DISCRIMINATOR"]["NAME"] == "patch":
        nodes["DISCRIMINATOR"] |= downsample
    try:
        layers = [int(layer) for layer in str(options["nce_layers"]).split(",")]
    except ValueError:
        raise CheckpointError(
            f"the option nce_layers is {options['nce_layers']!r}, not numbers as 0,4,8"
        ) from None
    return {
        **nodes,
        "LAYERS": layers,
        "PATCHES": options["num_patches"],
        "PROJECTOR_DIM": options["netF_nc"],
        "IDENTITY": options["nce_idt"],
        "FLIP": options["flip_equivariance"],
    }


def config_of_options(
    options: Mapping[str, object], channels: tuple[int, int]
) -> dict[str, object]:
    """The sections of a config but MODEL, as `cyclegan_options.config_of_options`."""
    identity = bool(options["nce_idt"])
    nce = {
        "NAME": "patch_nce",
        "WEIGHT": number(options, "lambda_NCE") * (0.5 if identity else 1.0),
        "TEMPERATURE": number(options, "nce_T"),
        "ALL_NEGATIVES": bool(options["nce_includes_all_negatives_from_minibatch"]),
    }
    adversarial = cyclegan_options.adversarial_of_options(options)
    losses = {
        "ADVERSARIAL": {**adversarial, "WEIGHT": number(options, "lambda_GAN")},
        "NCE": nce,
        **({"NCE_IDENTITY": nce} if identity else {}),
    }
    return {"LOSSES": losses, **cyclegan_options.training_of_options(options, "cut", channels)}


def projector_names(names: Iterable[str]) -> dict[str, str]:
    """The original's names of F's parameters, to ours.

    Raises CheckpointError for a name that is not in there.
    """
    found = {}
    for name in names:
        match = re.fullmatch(r"mlp_(\d+)\.([02])\.(\w+)", name)
        if not match:
            raise CheckpointError(f"{name} is no name in an F of the reference implementation")
        found[name] = f"heads.{match[1]}.{match[2]}.{match[3]}"
    return found


NAMES = {
    "G": cyclegan.generator_names,
    "D": cyclegan.discriminator_names,
    "F": projector_names,
}
"""How the names in each of its networks become ours."""


def read_checkpoint(
    files: Iterable[Path], options: Mapping[str, object] | None = None
) -> ReadNetworks:
    """The networks in some of its files, by the files' names: G, D, F.

    options: of its `train_opt.txt`, for what shapes do not tell: how the networks were initialised,
    the layers that F projects and how. Without them that is as published.
    Raises CheckpointError for files that cannot be read, are of another form or do not fit.
    """
    files = cyclegan.checked(files)
    networks = [path for path in files if cyclegan.network_of(path) != "F"]
    if not networks:
        raise CheckpointError("the files hold no generator: name …_net_G.pth")
    read = cyclegan.read_checkpoint(networks, options)
    settings, weights = read.settings, dict(read.weights)
    for path in files:
        if path in networks:
            continue
        tensors = tensors_of(load(path), path.name)
        weights["F"] = renamed(tensors, projector_names)
        settings |= _projection(tensors, path, options)
    if options is not None:
        known = settings_of_options(options)
        settings |= {key: known[key] for key in ("PATCHES", "IDENTITY", "FLIP")}
    return replace(read, settings=settings, weights=weights)


def _projection(
    tensors: Mapping[str, Tensor], path: Path, options: Mapping[str, object] | None
) -> dict[str, object]:
    """LAYERS and PROJECTOR_DIM of an F."""
    layers = PUBLISHED_LAYERS if options is None else settings_of_options(options)["LAYERS"]
    heads = {name.partition(".")[0] for name in tensors}
    if len(heads) != len(layers):
        raise CheckpointError(
            f"{path.name} projects {len(heads)} layers, the options name {len(layers)}: "
            "give the checkpoint's train_opt.txt"
        )
    shapes = shapes_of(tensors)
    if len(shapes.get("mlp_0.0.weight", ())) != 2:
        raise CheckpointError(f"{path.name} is no F of the original: it has no mlp_0.0.weight")
    return {"LAYERS": list(layers), "PROJECTOR_DIM": shapes["mlp_0.0.weight"][0]}
