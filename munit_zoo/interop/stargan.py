"""Checkpoints and options of the reference implementation of StarGAN.

Its files: `ITERATION-G.ckpt` and `ITERATION-D.ckpt`, the state_dict of one network each. They do
not name the attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from munit_zoo.domains import letter
from munit_zoo.errors import CheckpointError
from munit_zoo.interop.checkpoints import ReadNetworks, load, number, renamed, shapes_of, whole

__all__ = [
    "DEFAULTS",
    "NAMES",
    "config_of_options",
    "critic_of",
    "model_of_options",
    "read_checkpoint",
    "schedule_of_options",
    "settings_of_options",
    "settings_of_weights",
]

DEFAULTS: Mapping[str, object] = {
    "attr_path": "data/celeba/list_attr_celeba.txt",
    "batch_size": 16,
    "beta1": 0.5,
    "beta2": 0.999,
    "c2_dim": 8,
    "celeba_image_dir": "data/celeba/images",
    "d_lr": 1e-4,
    "dataset": "CelebA",
    "d_conv_dim": 64,
    "d_repeat_num": 6,
    "g_lr": 1e-4,
    "image_size": 128,
    "lambda_cls": 1.0,
    "lambda_gp": 10.0,
    "lambda_rec": 10.0,
    "lr_update_step": 1000,
    "model_save_step": 10000,
    "n_critic": 5,
    "num_iters": 200000,
    "num_iters_decay": 100000,
    "rafd_image_dir": "data/RaFD/train",
    "sample_step": 1000,
    "selected_attrs": ["Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"],
}
"""Options, unless given; those that shapes tell are left out."""

_RECIPES = {"CelebA": "stargan_attributes", "RaFD": "stargan", "Both": "stargan_joint"}


def settings_of_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Nodes and keys of MODEL, as a config has them: GENERATOR, DISCRIMINATOR and LABEL_DIM, the
    length of the label that the generator is told.

    options: by the original's names, typed as there.
    """
    labels = told = options["c_dim"]
    if options.get("dataset") == "Both":
        labels += options["c2_dim"]
        told = labels + 2  # which of the data sets is meant
    return {
        "GENERATOR": {
            "NAME": "stargan",
            "DIM": options["g_conv_dim"],
            "BLOCKS": options["g_repeat_num"],
        },
        "DISCRIMINATOR": {
            "NAME": "stargan",
            "SIZE": options["image_size"],
            "LABELS": labels,
            "DIM": options["d_conv_dim"],
            "LAYERS": options["d_repeat_num"],
        },
        "LABEL_DIM": told,
    }


def model_of_options(options: Mapping[str, Any], told: int) -> dict[str, object]:
    """Keys of MODEL that are no networks: NAME, CRITICS, and of which labels there are.

    options: all of them. told: length of the label that the generator is told. Raises
    CheckpointError where they do not fit together.
    """
    kind, attributes = options["dataset"], list(options["selected_attrs"])
    if kind not in _RECIPES:
        raise CheckpointError(f"the option dataset is {kind!r}; known are {', '.join(_RECIPES)}")
    found: dict[str, Any] = {"NAME": _RECIPES[kind], "CRITICS": whole(options, "n_critic")}
    if kind == "RaFD":
        return found
    due = told if kind == "CelebA" else told - 2 - whole(options, "c2_dim")
    if len(attributes) != due:
        raise CheckpointError(
            f"the networks know {due} attributes, the option selected_attrs has {len(attributes)}: "
            "give them by --options"
        )
    found["ATTRIBUTES"] = attributes
    if kind == "Both":
        found["CLASSES"] = whole(options, "c2_dim")
    return found


def critic_of(options: Mapping[str, object], told: int, size: int) -> dict[str, Any]:
    """The node DISCRIMINATOR, for files that hold none. told, size: as `config_of_options`."""
    return {
        "NAME": "stargan",
        "SIZE": size,
        "LABELS": told - 2 if options["dataset"] == "Both" else told,
        "DIM": options["d_conv_dim"],
        "LAYERS": options["d_repeat_num"],
    }


def schedule_of_options(options: Mapping[str, object]) -> dict[str, object]:
    """OPTIM.SCHEDULE. In the last `num_iters_decay` iterations the rate falls by one
    num_iters_decay-th, but only each `lr_update_step` iterations: with 1000, hardly at all."""
    iterations, falling = whole(options, "num_iters"), whole(options, "num_iters_decay")
    every = max(1, whole(options, "lr_update_step"))
    if not falling or (every > iterations and falling >= iterations):
        return {"NAME": "constant"}
    start = max(0, iterations - falling)
    done = min(falling, iterations) / falling
    return {
        "NAME": "linear",
        "START": start / max(1, iterations),
        "FINAL": 1 - done / every,
        "EVERY": every,
    }


def config_of_options(options: Mapping[str, Any], told: int, size: int) -> dict[str, Any]:
    """The sections of a config, of MODEL only what is no network.

    options: all of them. told: length of the label that the generator is told. size: of the images.
    """
    model = model_of_options(options, told)
    kind = options["dataset"]
    bce, entropy = {"NAME": "attribute_bce"}, {"NAME": "cross_entropy"}
    labels = {
        "CelebA": {"LABELS": bce},
        "RaFD": {"LABELS": entropy},
        "Both": {"LABELS_A": bce, "LABELS_B": entropy},
    }[kind]
    weight = number(options, "lambda_cls")
    faces, classes = str(options["celeba_image_dir"]), Path(str(options["rafd_image_dir"]))
    table = {"TABLE": str(options["attr_path"]), "ATTRIBUTES": list(options["selected_attrs"])}
    data: dict[str, object] = {"NAME": "image_folder", "SIZE": size}
    if kind == "CelebA":
        names, data = ["FACES"], {**data, "FOLDERS": {"FACES": faces}, **table}
    elif kind == "RaFD":
        names = [letter(index).upper() for index in range(told)]
        data["ROOT"] = str(classes.parent)
    else:
        names = ["FACES", "CLASSES"]
        data |= {"FOLDERS": {"FACES": faces, "CLASSES": str(classes)}, **table}
        data |= {"TABLE": {"FACES": table["TABLE"]}, "CLASSES": {"CLASSES": True}}
    betas = [number(options, "beta1"), number(options, "beta2")]
    return {
        "MODEL": model,
        "LOSSES": {
            "ADVERSARIAL": {"NAME": "wgan", "WEIGHT": 1.0},
            "GRADIENT_PENALTY": {"NAME": "wgan_gp", "WEIGHT": number(options, "lambda_gp")},
            **{term: {**loss, "WEIGHT": weight} for term, loss in labels.items()},
            "CYCLE_RECON": {"NAME": "l1", "WEIGHT": number(options, "lambda_rec")},
        },
        "DOMAINS": {name: {"CHANNELS": 3} for name in names},
        "DATA": data,
        "OPTIM": {
            "DEFAULT": {"NAME": "adam", "LR": number(options, "g_lr"), "BETAS": betas},
            "NETWORKS": {"DISCRIMINATOR": {"LR": number(options, "d_lr")}},
            "SCHEDULE": schedule_of_options(options),
        },
        "ENGINE": {
            "ITERATIONS": max(1, whole(options, "num_iters")),
            "BATCH_SIZE": whole(options, "batch_size"),
            "GRID_EVERY": whole(options, "sample_step"),
            "SNAPSHOT_EVERY": whole(options, "model_save_step"),
        },
    }


# Names


def generator_names(names: Iterable[str]) -> dict[str, str]:
    """The original's names of G's parameters, to ours.

    Left out are the running statistics of its instance norms, which are never to be read. Raises
    CheckpointError for a name that is not in there.
    """
    parts = {"0": "first.conv", "1": "first.norm", "3": "second.conv", "4": "second.norm"}
    found = {}
    for name in names:
        if name.endswith((".running_mean", ".running_var", ".num_batches_tracked")):
            continue
        match = re.fullmatch(r"main\.(\d+)(?:\.main\.([0134]))?\.(weight|bias)", name)
        if not match:
            raise CheckpointError(f"{name} is no name in a G of the reference")
        inner = f".{parts[match[2]]}" if match[2] else ""
        found[name] = f"layers.{match[1]}{inner}.{match[3]}"
    return found


def discriminator_names(names: Iterable[str]) -> dict[str, str]:
    """The original's names of D's parameters, to ours.

    Raises CheckpointError for a name that is not in there.
    """
    heads = {"conv1.weight": "patches.weight", "conv2.weight": "labels.weight"}
    found = {}
    for name in names:
        match = re.fullmatch(r"main\.(\d+)\.(weight|bias)", name)
        if name not in heads and not match:
            raise CheckpointError(f"{name} is no name in a D of the reference")
        found[name] = heads[name] if name in heads else f"layers.{name.removeprefix('main.')}"
    return found


NAMES = {"G": generator_names, "D": discriminator_names}
"""How the names in each of its networks become ours."""


# Files


def settings_of_weights(networks: Mapping[str, Mapping[str, Tensor]]) -> dict[str, object]:
    """As `settings_of_options`, of what G and, where there is one, D hold.

    Of RGB images, as the original's are. Raises CheckpointError where they are not the original's.
    """
    try:
        shapes = {name: shapes_of(tensors) for name, tensors in networks.items()}
        generator = shapes["G"]
        blocks = {m[1] for name in generator if (m := re.match(r"main\.(\d+)\.main\.", name))}
        first = generator["main.0.weight"]
        settings: dict[str, object] = {
            "GENERATOR": {"NAME": "stargan", "DIM": first[0], "BLOCKS": len(blocks)},
            "LABEL_DIM": first[1] - 3,
        }
        if "D" in shapes:
            layers = sum(bool(re.fullmatch(r"main\.\d+\.weight", name)) for name in shapes["D"])
            labels = shapes["D"]["conv2.weight"]
            settings["DISCRIMINATOR"] = {
                "NAME": "stargan",
                "SIZE": labels[2] * 2**layers,
                "LABELS": labels[0],
                "DIM": shapes["D"]["main.0.weight"][0],
                "LAYERS": layers,
            }
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"the weights are not StarGAN's: no {error}") from None
    return settings


def read_checkpoint(files: Iterable[Path]) -> ReadNetworks:
    """The networks in its two files, or in G's alone, by the original's names: G and D.

    Raises CheckpointError for files that cannot be read or are of another form.
    """
    networks: dict[str, dict[str, Tensor]] = {}
    for path in files:
        match = re.search(r"-([GD])\.ckpt$", path.name)
        content = load(path)
        if not match or not isinstance(content, Mapping):
            raise CheckpointError(f"{path.name}: expected ITERATION-G.ckpt or ITERATION-D.ckpt")
        networks[match[1]] = {name.removeprefix("module."): t for name, t in content.items()}
    weights = {name: renamed(tensors, NAMES[name]) for name, tensors in networks.items()}
    return ReadNetworks(settings_of_weights(networks), weights, {"G": (3, 3)})
