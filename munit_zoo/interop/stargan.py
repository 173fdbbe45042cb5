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

from munit_zoo.errors import CheckpointError
from munit_zoo.interop.checkpoints import ReadNetworks, load, renamed, shapes_of

__all__ = ["NAMES", "read_checkpoint", "settings_of_options", "settings_of_weights"]


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


def settings_of_weights(networks: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any]:
    """As `settings_of_options`, of what G and, where there is one, D hold.

    Of RGB images, as the original's are. Raises CheckpointError where they are not the original's.
    """
    try:
        shapes = {name: shapes_of(tensors) for name, tensors in networks.items()}
        generator = shapes["G"]
        blocks = {m[1] for name in generator if (m := re.match(r"main\.(\d+)\.main\.", name))}
        first = generator["main.0.weight"]
        settings: dict[str, Any] = {
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
