"""Checkpoints and options of the reference implementation of StarGAN v2.

Its files: `%06d_nets.ckpt`, {generator, mapping_network, style_encoder, discriminator} with a
state_dict each, and `%06d_nets_ema.ckpt`, the moving averages of the first three. With a high pass
both also hold a face network, `fan`, which is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from munit_zoo.errors import CheckpointError
from munit_zoo.interop._files import ReadNetworks, load, renamed, tensors_of

__all__ = [
    "NETWORKS",
    "names_of",
    "read_checkpoint",
    "settings_of_options",
    "settings_of_weights",
]

NETWORKS = {
    "generator": "generator",
    "mapping_network": "mapping",
    "style_encoder": "style_encoder",
    "discriminator": "discriminator",
}
"""The original's names of networks, and ours."""

PUBLISHED = {"channel_budget": 2**14, "max_conv_dim": 512, "mapping_width": 512}
"""What the original has no options for."""


def settings_of_options(
    options: Mapping[str, Any], constants: Mapping[str, int] = PUBLISHED
) -> dict[str, Any]:
    """Nodes and keys of MODEL, as a config has them: networks, STYLE_DIM and LATENT_DIM.

    options: by the original's names. constants: what it has no options for.
    """
    sized = {
        "NAME": "starganv2",
        "SIZE": options["img_size"],
        "CHANNEL_BUDGET": constants["channel_budget"],
        "MAX_DIM": constants["max_conv_dim"],
    }
    return {
        "GENERATOR": {**sized, "HIGH_PASS": max(float(options["w_hpf"]), 0.0)},
        "MAPPING": {"NAME": "starganv2", "DIM": constants["mapping_width"]},
        "STYLE_ENCODER": dict(sized),
        "DISCRIMINATOR": dict(sized),
        "STYLE_DIM": options["style_dim"],
        "LATENT_DIM": options["latent_dim"],
    }


# Names


def names_of(network: str, names: Iterable[str]) -> dict[str, str]:
    """The original's names of a network's parameters, to ours.

    network: by the original's name. Left out is what it never uses: with a high pass, the filter
    and the 1×1 convolutions on the way up. Raises CheckpointError for a name that is not in there.
    """
    names = list(names)
    unused = r"hpf\.filter|decode\.\d+\.conv1x1\.\w+" if "hpf.filter" in names else r"(?!)"
    rules = _rules(network, names)
    found = {}
    for name in names:
        if re.fullmatch(unused, name):
            continue
        layer, _, leaf = name.rpartition(".")
        match = next((m for pattern in rules if (m := re.fullmatch(pattern, layer))), None)
        if match is None:
            raise CheckpointError(f"{name} is no name in a {network} of the reference")
        place = match.expand(rules[match.re.pattern])
        found[name] = ".".join([*(_BLOCK.get(part, part) for part in place.split("/")), leaf])
    return found


_BLOCK = {
    "conv1": "first",
    "conv2": "second",
    "conv1x1": "shortcut",
    "norm1": "first_norm",
    "norm2": "second_norm",
    "norm1.fc": "first_norm.linear",
    "norm2.fc": "second_norm.linear",
}
_PART = r"(" + "|".join(map(re.escape, _BLOCK)) + r")"


def _rules(network: str, names: Iterable[str]) -> dict[str, str]:
    """Patterns of the original's layers to ours; a part of a block stands behind a `/`."""
    if network == "generator":
        return {
            r"from_rgb": "stem",
            rf"encode\.(\d+)\.{_PART}": r"down.\1/\2",
            rf"decode\.(\d+)\.{_PART}": r"up.\1/\2",
            r"to_rgb\.([02])": r"head.\1",
        }
    if network == "mapping_network":
        return {r"(shared\.\d+)": r"\1", r"unshared\.(\d+\.\d+)": r"heads.\1"}
    stack = "main" if network == "discriminator" else "shared"
    numbers = [int(m[1]) for name in names if (m := re.match(rf"{stack}\.(\d+)\.", name))]
    end = max(numbers, default=0)
    # the convolution over the whole map; D's linear head follows, after an activation
    last = end - 2 if network == "discriminator" else end
    rules = {rf"{stack}\.0": "trunk.stem", rf"{stack}\.{last}": "trunk.last.1"}
    rules |= {rf"{stack}\.{k}\.{_PART}": rf"trunk.down.{k - 1}/\1" for k in range(1, last)}
    if network == "discriminator":
        return rules | {rf"{stack}\.{end}": "head"}
    return rules | {r"unshared\.(\d+)": r"heads.\1"}


# What names and shapes tell


def settings_of_weights(networks: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any]:
    """As `settings_of_options`, of what generator, mapping_network and style_encoder hold.

    Widths that do not reach their limit do not tell it: it is taken as published. Raises
    CheckpointError where they are not the original's.
    """
    try:
        generator, mapping, encoder = (
            networks[name] for name in ("generator", "mapping_network", "style_encoder")
        )
        exponent = max(int(m[1]) for name in encoder if (m := re.match(r"shared\.(\d+)\.", name)))
        size, first = 2**exponent, encoder["shared.0.weight"].shape[0]
        widest = encoder[f"shared.{exponent}.weight"].shape[0]
        limited = widest < first * 2 ** (exponent - 2)
        kernel = generator.get("hpf.filter")
        options = {
            "img_size": size,
            "w_hpf": 0.0 if kernel is None else round(8 / float(kernel[1, 1]), 6),
            "style_dim": mapping["unshared.0.6.weight"].shape[0],
            "latent_dim": mapping["shared.0.weight"].shape[1],
        }
        constants = {
            "channel_budget": generator["from_rgb.weight"].shape[0] * size,
            "max_conv_dim": widest if limited else max(widest, PUBLISHED["max_conv_dim"]),
            "mapping_width": mapping["shared.0.weight"].shape[0],
        }
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"the weights are not StarGAN v2's: {error}") from None
    return settings_of_options(options, constants)


# Files


def read_checkpoint(path: Path) -> ReadNetworks:
    """The networks in one of its files, by the original's names.

    Raises CheckpointError for a file that cannot be read or is of another form.
    """
    content = load(path)
    if not isinstance(content, Mapping) or "generator" not in content:
        raise CheckpointError(f"{path} holds no networks of StarGAN v2: there is no generator")
    networks = {
        name: tensors_of(content[name], f"{path.name}: {name}")
        for name in NETWORKS
        if name in content
    }
    settings = settings_of_weights(networks)
    if "discriminator" not in networks:
        del settings["DISCRIMINATOR"]
    weights = {
        name: renamed(tensors, partial(names_of, name)) for name, tensors in networks.items()
    }
    return ReadNetworks(settings, weights, {"generator": (3, 3)})
