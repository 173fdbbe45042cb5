"""Options of the reference implementation of CycleGAN and pix2pix, as a config's sections.

CUT and BicycleGAN, which grew out of it, have most of them, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from munit_zoo.errors import CheckpointError
from munit_zoo.interop.checkpoints import number, whole

__all__ = [
    "CYCLEGAN",
    "PIX2PIX",
    "PUBLISHED_DROPOUT",
    "SHARED",
    "adversarial_of_options",
    "config_of_options",
    "critic_of_options",
    "init_of_options",
    "read_options",
    "settings_of_options",
    "training_of_options",
]

SHARED: Mapping[str, object] = {
    "batch_size": 1,
    "beta1": 0.5,
    "crop_size": 256,
    "direction": "AtoB",
    "init_gain": 0.02,
    "init_type": "normal",
    "load_size": 286,
    "lr": 0.0002,
    "lr_decay_iters": 50,
    "lr_policy": "linear",
    "n_epochs": 100,
    "n_epochs_decay": 100,
    "n_layers_D": 3,
    "ndf": 64,
    "netD": "basic",
    "ngf": 64,
    "no_flip": False,
}
"""Options of both, unless given."""
CYCLEGAN: Mapping[str, object] = {
    **SHARED,
    "dataroot": "data/horse2zebra",
    "gan_mode": "lsgan",
    "lambda_A": 10.0,
    "lambda_B": 10.0,
    "lambda_identity": 0.5,
    "netG": "resnet_9blocks",
    "no_dropout": True,
    "norm": "instance",
    "pool_size": 50,
}
"""Options of CycleGAN, unless given."""
PIX2PIX: Mapping[str, object] = {
    **SHARED,
    "dataroot": "data/facades",
    "gan_mode": "vanilla",
    "lambda_L1": 100.0,
    "netG": "unet_256",
    "no_dropout": False,
    "norm": "batch",
}
"""Options of pix2pix, unless given."""

EPOCH = {"cyclegan": 1334, "pix2pix": 400, "cut": 1334, "bicyclegan": 49825}
"""Images of an epoch of the published settings: the original counts in epochs, we in iterations."""

_PAIRED = ("pix2pix", "bicyclegan")
_GENERATORS = {
    "resnet_9blocks": {"NAME": "resnet", "BLOCKS": 9},
    "resnet_6blocks": {"NAME": "resnet", "BLOCKS": 6},
    "unet_256": {"NAME": "unet", "LEVELS": 8},
    "unet_128": {"NAME": "unet", "LEVELS": 7},
}
_INITS = {
    "normal": "gaussian",
    "xavier": "xavier",
    "kaiming": "kaiming",
    "orthogonal": "orthogonal",
}
_NORMS = {"instance": "instance", "batch": "batch", "none": "none"}
PUBLISHED_DROPOUT = 0.5


def read_options(path: Path) -> dict[str, object]:
    """The options in a `train_opt.txt`. Raises CheckpointError where the file cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read as options: {error}") from None
    matches = (re.match(r"\s*(\w+): (.*?)\s*(?:\[default: .*\])?$", line) for line in lines)
    found = {match[1]: _value(match[2]) for match in matches if match}
    if not found:
        raise CheckpointError(f"{path} holds no options: no line reads `name: value`")
    return {_NAMES_OF_2017.get(name, name): value for name, value in found.items()}


_NAMES_OF_2017 = {
    "batchSize": "batch_size",
    "fineSize": "crop_size",
    "loadSize": "load_size",
    "niter": "n_epochs",
    "niter_decay": "n_epochs_decay",
    "which_direction": "direction",
    "which_model_netD": "netD",
    "which_model_netG": "netG",
}
"""Options that were called otherwise at first."""


def _value(text: str) -> object:
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def settings_of_options(options: Mapping[str, object]) -> dict[str, Any]:
    """The nodes GENERATOR and DISCRIMINATOR of MODEL, as a config has them.

    options: by the original's names, typed as there. Raises CheckpointError for a network, norm or
    initialisation that it does not have.
    """
    norm = _known(options, "norm", _NORMS)
    generator = {
        **_known(options, "netG", _GENERATORS),
        "DIM": options["ngf"],
        "NORM": {"NAME": norm},
        "DROPOUT": 0.0 if options["no_dropout"] else PUBLISHED_DROPOUT,
        **init_of_options(options),
    }
    return {"GENERATOR": generator, "DISCRIMINATOR": critic_of_options(options, norm)}


def critic_of_options(options: Mapping[str, object], norm: str) -> dict[str, Any]:
    """The node DISCRIMINATOR, of a norm by our name."""
    layers = {"basic": 3, "n_layers": options["n_layers_D"], "pixel": None}
    kind = _known(options, "netD", layers)
    return {
        **({"NAME": "pixel"} if kind is None else {"NAME": "patch", "LAYERS": kind}),
        "DIM": options["ndf"],
        "NORM": {"NAME": norm},
        **init_of_options(options),
    }


def init_of_options(options: Mapping[str, object]) -> dict[str, Any]:
    """The settings INIT and INIT_GAIN."""
    gain = number(options, "init_gain")
    return {"INIT": _known(options, "init_type", _INITS), "INIT_GAIN": gain}


def config_of_options(
    options: Mapping[str, object], recipe: str, channels: tuple[int, int]
) -> dict[str, Any]:
    """The sections of a config but MODEL, and what of MODEL is no network.

    options: all of them. recipe: `cyclegan` or `pix2pix`. channels: of real_A and real_B.
    """
    adversarial = adversarial_of_options(options)
    l1 = {"NAME": "l1"}
    if recipe == "pix2pix":
        weight = number(options, "lambda_L1")
        losses = {"ADVERSARIAL": adversarial, "IMAGE_RECON": {**l1, "WEIGHT": weight}}
        return {"LOSSES": losses, **training_of_options(options, recipe, channels)}
    losses = {"ADVERSARIAL": adversarial}
    identity = number(options, "lambda_identity") if channels[0] == channels[1] else 0.0
    for letter in ("A", "B"):
        weight = number(options, f"lambda_{letter}")
        losses[f"CYCLE_{letter}"] = {**l1, "WEIGHT": weight}
        if identity:
            losses[f"IDENTITY_{letter}"] = {**l1, "WEIGHT": identity * weight}
    return {
        "MODEL": {"POOL_SIZE": whole(options, "pool_size")},
        "LOSSES": losses,
        **training_of_options(options, recipe, channels),
    }


_MODES = {"lsgan": "lsgan", "vanilla": "nsgan", "nonsaturating": "nsgan", "wgangp": "wgan"}


def adversarial_of_options(options: Mapping[str, object]) -> dict[str, object]:
    """The term ADVERSARIAL: the discriminator's loss is the mean of both halves."""
    return {"NAME": _known(options, "gan_mode", _MODES), "WEIGHT": 1.0, "CRITIC_WEIGHT": 0.5}


def training_of_options(
    options: Mapping[str, object], recipe: str, channels: tuple[int, int]
) -> dict[str, Any]:
    """The sections DOMAINS, DATA, OPTIM and ENGINE.

    A is real_A, what the generator G (or G_A) takes: of the direction BtoA that is the data's B.
    Iterations are those of the published number of images an epoch.
    """
    size, crop = whole(options, "load_size"), whole(options, "crop_size")
    root, turned = str(options["dataroot"]), {"AtoB": False, "BtoA": True}
    data: dict[str, Any] = {
        "NAME": "side_by_side" if recipe in _PAIRED else "image_folder",
        "SIZE": size,
        "CROP": [crop, crop],
        "FLIP": not options["no_flip"],
        "INTERPOLATION": "bicubic",
    }
    kept, falling = whole(options, "n_epochs"), whole(options, "n_epochs_decay")
    epoch = -(-EPOCH[recipe] // max(1, whole(options, "batch_size")))
    schedules = {
        "linear": {"NAME": "linear", "START": kept / max(1, kept + falling), "EVERY": epoch},
        "step": {
            "NAME": "step",
            "EVERY": max(1, whole(options, "lr_decay_iters")) * epoch,
            "GAMMA": 0.1,
        },
        "cosine": {"NAME": "cosine"},
        "plateau": {"NAME": "constant"},
    }
    policy = _known(options, "lr_policy", {name: name for name in schedules})
    policy = "plateau" if policy == "linear" and not falling else policy
    if not _known(options, "direction", turned):
        data["ROOT"] = root
    elif recipe in _PAIRED:
        data |= {"ROOT": root, "PANELS": ["B", "A"]}
    else:
        data["FOLDERS"] = {"A": f"{root}/trainB", "B": f"{root}/trainA"}
        data["TEST_FOLDERS"] = {"A": f"{root}/testB", "B": f"{root}/testA"}
    betas = [number(options, "beta1"), number({"beta2": 0.999, **options}, "beta2")]
    return {
        "DOMAINS": {name: {"CHANNELS": count} for name, count in zip("AB", channels, strict=True)},
        "DATA": data,
        "OPTIM": {
            "DEFAULT": {"NAME": "adam", "LR": number(options, "lr"), "BETAS": betas},
            "SCHEDULE": schedules[policy],
        },
        "ENGINE": {
            "ITERATIONS": max(1, kept + falling) * epoch,
            "BATCH_SIZE": whole(options, "batch_size"),
            "GRID_EVERY": epoch,
            "SNAPSHOT_EVERY": 5 * epoch,
        },
    }


def _known(options: Mapping[str, Any], key: str, known: Mapping[str, Any]) -> Any:
    try:
        return known[options[key]]
    except (KeyError, TypeError):
        raise CheckpointError(
            f"the option {key} is {options.get(key)!r}; known are {', '.join(known)}"
        ) from None
