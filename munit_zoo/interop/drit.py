"""Checkpoints of the reference implementation of DRIT and DRIT++.

Its files: `%05d.pth`, {disA, disA2, disB, disB2, disContent, enc_c, enc_a, gen}, each network's
optimizer beside it (`gen_opt`), the epoch and the number of iterations that trained all networks.
Its options are not saved: what names and shapes do not tell is as published.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from munit_zoo.errors import CheckpointError
from munit_zoo.interop.checkpoints import (
    ReadNetworks,
    Shapes,
    load,
    number,
    shapes_of,
    tensors_of,
    whole,
)

__all__ = [
    "DEFAULTS",
    "NETWORKS",
    "config_of_options",
    "converted",
    "names_of",
    "read_checkpoint",
    "settings_of_weights",
]

DEFAULTS: Mapping[str, Any] = {
    "batch_size": 2,
    "crop_size": 216,
    "d_iter": 3,
    "dataroot": "data/yosemite",
    "lr": 1e-4,
    "no_ms": False,
    "resize_size": 256,
}
"""Options as published, and the learning rate, which is none, unless given."""

NETWORKS = {
    "disA": "a.discriminator",
    "disA2": "a.discriminator2",
    "disB": "b.discriminator",
    "disB2": "b.discriminator2",
    "disContent": "content_discriminator",
    "enc_c, A": "a.content_encoder",
    "enc_c, B": "b.content_encoder",
    "enc_c, shared": "shared_encoder",
    "enc_a, A": "a.style_encoder",
    "enc_a, B": "b.style_encoder",
    "gen, A": "a.decoder",
    "gen, B": "b.decoder",
    "gen, shared": "shared_decoder",
}
"""Its networks, some of which are several of ours, and our paths."""

_HALF = {"1": "first", "5": "second", "2": "second"}


def _block(index: str, half: str, first: int = 0) -> str:
    return f"trunk.blocks.{int(index) - first}.{_HALF[half]}.conv"


_RULES: Mapping[str, Sequence[tuple[str, Callable[..., str]]]] = {
    "enc_c": (
        (r"conv([AB])\.0\.model\.1", lambda: "stem.conv"),
        (r"conv([AB])\.([12])\.model\.1", lambda i: f"downs.{int(i) - 1}.conv"),
        (r"conv([AB])\.(\d+)\.model\.([15])", lambda i, half: _block(i, half, 3)),
        (r"conv_share()\.(\d+)\.model\.([15])", _block),
    ),
    "enc_a": (
        (r"conv_([AB])\.1", lambda: "layers.0"),
        (r"conv_([AB])\.(\d+)\.conv\.2", lambda i: f"layers.{int(i) - 1}.residual.2"),
        (r"conv_([AB])\.(\d+)\.conv\.4\.1", lambda i: f"layers.{int(i) - 1}.residual.5"),
        (r"conv_([AB])\.(\d+)\.shortcut\.1", lambda i: f"layers.{int(i) - 1}.shortcut.1"),
        (r"fc_([AB])\.0", lambda: "heads.0"),
        (r"fcVar_([AB])\.0", lambda: "heads.1"),
        (r"model_([ab])\.1", lambda: "stem.conv"),
        (r"model_([ab])\.(4|7|10|13)", lambda i: f"downs.{(int(i) - 4) // 3}.conv"),
        (r"model_([ab])\.16", lambda: "head"),
    ),
    "gen": (
        (r"dec_share()\.(\d+)\.model\.([15])", _block),
        (r"dec([AB])1\.(\d+)\.model\.([15])", _block),
        (r"dec([AB])([23])\.0\.model\.0", lambda i: f"ups.{int(i) - 2}.conv"),
        (r"dec([AB])([23])\.0\.model\.1", lambda i: f"ups.{int(i) - 2}.norm"),
        (r"dec([AB])(?:4\.0|5\.2)", lambda: "out"),
        (r"mlp([AB])\.([024])", lambda i: f"mapping.linears.{int(i) // 2}"),
        (r"dec([AB])(\d)\.conv([12])\.0\.1", lambda i, h: f"blocks.{int(i) - 1}.{_HALF[h]}.conv"),
        (
            r"dec([AB])(\d)\.blk([12])\.([02])",
            lambda i, h, k: f"blocks.{int(i) - 1}.{_HALF[h]}_mix.{k}",
        ),
        (r"dec([AB])5\.([01])\.model\.0", lambda i: f"ups.{i}.conv"),
        (r"dec([AB])5\.([01])\.model\.1", lambda i: f"ups.{i}.norm"),
    ),
    "disContent": (
        (r"()model\.([012])\.model\.1", lambda i: f"layers.{i}.conv"),
        (r"()model\.3\.model\.1", lambda: "final.conv"),
        (r"()model\.4", lambda: "head"),
    ),
    "dis": (
        (r"()Diss\.(\d)\.(\d)\.model\.1", lambda s, i: f"scales.{s}.{i}.conv"),
        (r"()Diss\.(\d)\.4", lambda s: f"scales.{s}.4"),
        (r"()model\.(\d)\.model\.1", lambda i: f"scales.0.{i}.conv"),
        (r"()model\.6", lambda: "scales.0.6"),
    ),
}
"""Per network patterns of its layers' names, the domain first, to ours of the rest."""

_LEAVES = {"weight_orig": "weight", "weight_u": "u"}


def names_of(network: str, names: Iterable[str]) -> dict[str, str]:
    """The original's names of a network's parameters, to ours within one of our networks.

    network: of NETWORKS; of `enc_c, A`, those of enc_c that are domain A's. Left out are names of
    its other parts, and weights that follow from those beside them (of spectral norm).
    Raises CheckpointError for a name that is not in there.
    """
    names = list(names)
    whole_network, _, part = network.partition(", ")
    wanted = {"": "", "A": "A", "B": "B", "shared": ""}[part]
    rules = _RULES["dis" if re.fullmatch(r"dis[AB]2?", whole_network) else whole_network]
    found = {}
    for name in names:
        layer, _, leaf = name.rpartition(".")
        matches = (
            (match, ours) for pattern, ours in rules if (match := re.fullmatch(pattern, layer))
        )
        match, ours = next(matches, (None, None))
        if match is None or ours is None:
            raise CheckpointError(f"{name} is no name in {whole_network} of DRIT")
        domain, *places = match.groups()
        derived = leaf == "weight" and f"{layer}.weight_orig" in names
        if domain.upper() == wanted and not derived:
            found[name] = f"{ours(*places)}.{_LEAVES.get(leaf, leaf)}"
    return found


def converted(network: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's tensors by our names, as `names_of` has them, and in our shapes."""
    found = {ours: flat(tensors[name]) for name, ours in names_of(network, tensors).items()}
    for name in [name for name in found if name.endswith(".u")]:
        layer = name.removesuffix(".u")
        matrix = found[f"{layer}.weight"].flatten(1)  # what v it follows from is not kept
        found[f"{layer}.v"] = F.normalize(matrix.T @ found[name], dim=0, eps=1e-12)
    return found


def flat(tensor: Tensor) -> Tensor:
    """The weights and biases of a norm, (C, 1, 1) there, as (C,)."""
    return tensor.flatten() if tensor.dim() == 3 else tensor


# What names and shapes tell


def settings_of_weights(networks: Mapping[str, Shapes]) -> dict[str, Any]:
    """Nodes and keys of MODEL, as a config has them.

    networks: shapes by the original's names, of the networks that there are; enc_c, enc_a and gen
    are among them. Raises KeyError where they are of no such networks.
    """
    content, attributes, generator = (networks[name] for name in ("enc_c", "enc_a", "gen"))
    featurewise = "mlpA.0.weight" in generator
    first = "model_a.1" if featurewise else "conv_A.1"
    dim = content["convA.0.model.1.weight"][0]
    sampled = "fcVar_A.0.weight" in attributes
    last = "fc_A.0" if sampled else "model_a.16"
    nodes: dict[str, Any] = {
        "STYLE_DIM": attributes[f"{last}.weight"][0],
        "SAMPLED": sampled,
        "CONTENT_ENCODER": {"NAME": "drit", "DIM": dim},
        "SHARED_ENCODER": {"NAME": "residual", "BLOCKS": 1},
        "SHARED_DECODER": {"NAME": "residual", "BLOCKS": 0 if featurewise else 1},
        "STYLE_ENCODER": {
            "DIM": attributes[f"{first}.weight"][0],
            "PAD_TYPE": "reflect",
            "INIT": "gaussian_convs",
        },
        "DECODER": {"NAME": "drit"},
        "CONTENT_DISCRIMINATOR": {"NAME": "content", "LEGACY": True},
    }
    if featurewise:
        nodes["STYLE_ENCODER"] |= {"NAME": "conv", "DOWNSAMPLES": 4, "DOUBLINGS": 2}
        wide = generator["mlpA.0.weight"][0]
        mapping = {"NAME": "mlp", "DIM": wide, "LAYERS": 3, "INIT": "default"}
        nodes["DECODER"] = {"NAME": "drit_featurewise", "MAPPING": mapping}
    else:
        nodes["STYLE_ENCODER"] |= {
            "NAME": "bicyclegan_resnet",
            "HALVINGS": 4,
            "PARTS": 2,
            "MEAN": "all",
            "NORM": {"NAME": "none"},
        }
    if "disA" in networks:
        nodes["DISCRIMINATOR"] = _critic(networks["disA"])
    return nodes


def _critic(shapes: Shapes) -> dict[str, Any]:
    scales = {m[1] for name in shapes if (m := re.match(r"Diss\.(\d)\.", name))}
    spectral = any(name.endswith(".weight_u") for name in shapes)
    layers, kernel = (4, 4) if scales else (6, 3)
    return {
        "NAME": "multiscale_patch",
        "DIM": next(shape[0] for shape in shapes.values() if len(shape) == 4),
        "LAYERS": layers,
        "KERNEL_SIZE": kernel,
        "SCALES": max(1, len(scales)),
        "ACTIVATION": {"NAME": "lrelu", "NEGATIVE_SLOPE": 0.01},
        "INIT": "gaussian_convs",
        "WEIGHT_NORM": "spectral_legacy" if spectral else "none",
        "WEIGHT_NORM_ENDS": spectral,
    }


def config_of_options(
    options: Mapping[str, Any], read: ReadNetworks | None = None
) -> dict[str, Any]:
    """The sections of a config, of MODEL only what is no network.

    read: what the files told; None for the networks as published.
    """
    sampled = read is None or bool(read.settings["SAMPLED"])
    channels = (3, 3) if read is None else (read.channels["a"][0], read.channels["b"][0])
    rate = number(options, "lr")
    adam = {"NAME": "adam", "BETAS": [0.5, 0.999], "WEIGHT_DECAY": 1e-4}
    seeking = not options["no_ms"]
    kl = {"KL": {"NAME": "vae_kl", "WEIGHT": 0.01}}
    return {
        "MODEL": {"MODE_SEEKING": seeking, "EVERY": whole(options, "d_iter")},
        "LOSSES": {
            "ADVERSARIAL": {"NAME": "nsgan"},
            "ADVERSARIAL2": {"NAME": "nsgan"},
            "CONTENT_ADVERSARIAL": {"NAME": "nsgan", "TARGET": 0.5},
            "CYCLE_RECON": {"NAME": "l1", "WEIGHT": 10.0},
            "IMAGE_RECON": {"NAME": "l1", "WEIGHT": 10.0},
            "CONTENT_KL": {"NAME": "gaussian_kl", "WEIGHT": 0.01},
            **(kl if sampled else {"STYLE_KL": {"NAME": "gaussian_kl", "WEIGHT": 0.01}}),
            "STYLE_RECON": {"NAME": "l1", "WEIGHT": 10.0},
            **({"MODE_SEEKING": {"NAME": "mode_seeking"}} if seeking else {}),
        },
        "DOMAINS": {name: {"CHANNELS": c} for name, c in zip("AB", channels, strict=True)},
        "DATA": {
            "NAME": "image_folder",
            "ROOT": str(options["dataroot"]),
            "SIZE": whole(options, "resize_size"),
            "CROP": [whole(options, "crop_size")] * 2,
            "INTERPOLATION": "bicubic",
        },
        "OPTIM": {
            "DEFAULT": {**adam, "LR": rate},
            "NETWORKS": {"CONTENT_DISCRIMINATOR": {"LR": rate / 2.5}},
            "SCHEDULE": {"NAME": "linear", "START": 0.5},
        },
        "ENGINE": {
            "ITERATIONS": 500000 * whole(options, "d_iter"),
            "BATCH_SIZE": max(1, whole(options, "batch_size") - 1),
        },
    }


# Files


def read_checkpoint(path: Path, options: Mapping[str, Any]) -> ReadNetworks:
    """The networks in one of its files, by the names of NETWORKS, and the optimizers' moments.

    Raises CheckpointError for a file that cannot be read or is of another form.
    """
    content = load(path)
    networks = dict.fromkeys(name.partition(", ")[0] for name in NETWORKS)
    if not isinstance(content, Mapping) or not {"enc_c", "enc_a", "gen"} <= set(content):
        raise CheckpointError(f"{path.name} holds no enc_c, enc_a and gen, as a file of DRIT does")
    there = {
        name: tensors_of(content[name], f"{name} of {path.name}")
        for name in networks
        if name in content
    }
    shapes = {name: shapes_of(tensors) for name, tensors in there.items()}
    weights, moments = {}, {}
    for name in NETWORKS:
        network = name.partition(", ")[0]
        if network not in there:
            continue
        own = converted(name, there[network])
        if own:
            weights[name] = own
            if f"{network}_opt" in content:
                moments[name] = _moments(name, content[f"{network}_opt"], there[network])
    channels = {
        letter: (shapes["enc_c"][f"conv{letter.upper()}.0.model.1.weight"][1], None)
        for letter in "ab"
    }
    iteration = int(content.get("total_it", 0)) * whole(options, "d_iter")
    complete = len(moments) == len(weights)
    return ReadNetworks(
        settings_of_weights(shapes),
        weights,
        dict(channels),
        moments=moments if complete else None,
        iteration=iteration,
    )


def _moments(
    network: str, state: Any, tensors: Mapping[str, Tensor]
) -> dict[str, dict[str, Tensor]]:
    """An Adam's moments by our names of the parameters, which it counts in the order of files."""
    places = names_of(network, tensors)
    spectral = {name for name in tensors if name.endswith(".weight_orig")}
    parameters = [
        name
        for name in tensors
        if not name.endswith(".weight_u") and f"{name}_orig" not in spectral  # a buffer then
    ]
    try:
        order = [index for group in state["param_groups"] for index in group["params"]]
        if len(order) != len(parameters):
            raise CheckpointError(
                f"the optimizer of {network.partition(', ')[0]} is of {len(order)} parameters, the "
                f"network has {len(parameters)}: the file is damaged"
            )
        found = {}
        for name, index in zip(parameters, order, strict=True):
            kept = state["state"].get(index)
            if name in places and kept:
                found[places[name]] = {
                    "step": torch.as_tensor(kept["step"], dtype=torch.float32).reshape(()),
                    "exp_avg": flat(kept["exp_avg"]),
                    "exp_avg_sq": flat(kept["exp_avg_sq"]),
                }
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the optimizer of {network} holds no state of Adam: {error}"
        ) from None
    return found
