"""Checkpoints and options of the reference implementation of StarGAN v2.

Its files: `%06d_nets.ckpt`, {generator, mapping_network, style_encoder, discriminator} with a
state_dict each; `%06d_nets_ema.ckpt`, the moving averages of the first three; `%06d_optims.ckpt`,
an Adam state for each network. With a high pass the first two also hold a face network, `fan`,
which is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from munit_zoo.domains import letter
from munit_zoo.errors import CheckpointError
from munit_zoo.interop.checkpoints import ReadNetworks, load, number, renamed, tensors_of, whole

__all__ = [
    "DEFAULTS",
    "NETWORKS",
    "config_of_options",
    "names_of",
    "read_checkpoint",
    "read_checkpoints",
    "read_options",
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

DEFAULTS: Mapping[str, object] = {
    "batch_size": 8,
    "beta1": 0.0,
    "beta2": 0.99,
    "ds_iter": 100000,
    "f_lr": 1e-6,
    "lambda_cyc": 1.0,
    "lambda_ds": 1.0,
    "lambda_reg": 1.0,
    "lambda_sty": 1.0,
    "lr": 1e-4,
    "save_every": 10000,
    "sample_every": 5000,
    "total_iters": 100000,
    "train_img_dir": "data/celeba_hq/train",
    "weight_decay": 1e-4,
}
"""Options, unless given; those that shapes tell are left out."""


def settings_of_options(
    options: Mapping[str, Any], constants: Mapping[str, int] = PUBLISHED
) -> dict[str, object]:
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


def read_options(path: Path) -> dict[str, object]:
    """Options in a YAML or JSON file, by the original's names; they may stand below `config`.

    The original writes no such file: it is one of one's own, of what training was started with.
    Raises CheckpointError where the file cannot be read.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path} cannot be read as options: {error}") from None
    content = content.get("config", content) if isinstance(content, Mapping) else content
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds no options: no `name: value`")
    return {str(name): _number_of(value) for name, value in content.items()}


def _number_of(value: object) -> object:
    """A value that is a number, as `1e-4` is, which YAML 1.1 takes for a word."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def config_of_options(
    options: Mapping[str, object], domains: int, *, size: int, high_pass: bool
) -> dict[str, object]:
    """The sections of a config, of MODEL only the NAME.

    options: all of them. size: side of the images. high_pass: whether there is one. Domains are
    called by letters: the original numbers folders by name.
    """
    l1 = {"NAME": "l1"}
    weights = {key: number(options, f"lambda_{key}") for key in ("cyc", "ds", "reg", "sty")}
    losses: dict[str, object] = {
        "ADVERSARIAL": {"NAME": "nsgan", "WEIGHT": 1.0},
        "R1": {"NAME": "r1", "WEIGHT": weights["reg"]},
        "STYLE_RECON": {**l1, "WEIGHT": weights["sty"]},
        "CYCLE_RECON": {**l1, "WEIGHT": weights["cyc"]},
    }
    if weights["ds"]:
        fall = {"NAME": "linear", "START": 0, "STOP": max(2, whole(options, "ds_iter"))}
        losses["DIVERSITY"] = {**l1, "WEIGHT": -weights["ds"], "SCHEDULE": fall}
    folder = Path(str(options["train_img_dir"]))
    names = [letter(index).upper() for index in range(domains)]
    return {
        "MODEL": {"NAME": "starganv2_high_pass" if high_pass else "starganv2"},
        "LOSSES": losses,
        "DOMAINS": {name: {"CHANNELS": 3} for name in names},
        "DATA": {"NAME": "image_folder", "ROOT": str(folder.parent), "SIZE": size},
        "OPTIM": {
            "DEFAULT": {
                "NAME": "adam",
                "LR": number(options, "lr"),
                "BETAS": [number(options, "beta1"), number(options, "beta2")],
                "WEIGHT_DECAY": number(options, "weight_decay"),
            },
            "NETWORKS": {"MAPPING": {"LR": number(options, "f_lr")}},
        },
        "ENGINE": {
            "ITERATIONS": whole(options, "total_iters"),
            "BATCH_SIZE": whole(options, "batch_size"),
            "EMA": 0.999,
            "GRID_EVERY": whole(options, "sample_every"),
            "SNAPSHOT_EVERY": whole(options, "save_every"),
        },
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


def settings_of_weights(networks: Mapping[str, Mapping[str, Tensor]]) -> dict[str, object]:
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
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(f"the weights are not StarGAN v2's: no {error}") from None
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


def read_checkpoints(files: Iterable[Path]) -> ReadNetworks:
    """The state in some of its files, in any order: networks, their averages, moments.

    A file's content says which it is. Raises CheckpointError for files that cannot be read, are of
    another form or of several iterations, and for averages or moments that are of other networks.
    """
    live: ReadNetworks | None = None
    average: ReadNetworks | None = None
    states: Mapping[str, object] | None = None
    files = list(files)
    iterations = {m[1] for path in files if (m := re.match(r"(\d+)_", path.name))}
    if len(iterations) > 1:
        listed = ", ".join(sorted(iterations))
        raise CheckpointError(f"the files are of several iterations: {listed}")
    orders: dict[str, list[str]] = {}
    for path in files:
        content = load(path)
        kind = _kind_of(content)
        if kind == "optims" and states is None:
            states = content
        elif kind == "nets" and live is None:
            live = read_checkpoint(path)
            orders = {name: list(content[name]) for name in NETWORKS}
        elif kind == "nets_ema" and average is None:
            average = read_checkpoint(path)
        else:
            why = f"a second {kind}" if kind else "neither nets, nets_ema nor optims"
            raise CheckpointError(f"{path} is {why} of StarGAN v2")
    first = live or average
    if first is None:
        raise CheckpointError("the files hold no networks: name …_nets.ckpt or …_nets_ema.ckpt")
    if live and average and _told(live) != _told(average):
        raise CheckpointError("the averages are of other networks than those beside them")
    moments = None
    if states is not None:
        if live is None:
            raise CheckpointError(
                "the optimizers' state is of networks that are not there: name …_nets.ckpt, too"
            )
        moments = {name: _moments(name, states[name], orders[name]) for name in NETWORKS}
    return ReadNetworks(
        {"DISCRIMINATOR": first.settings["STYLE_ENCODER"], **first.settings},
        first.weights,
        first.channels,
        averages=average.weights if average and live else {},
        moments=moments,
        iteration=int(next(iter(iterations), 0)),
    )


def _kind_of(content: object) -> str | None:
    """Which of its files holds this; None for none of them."""
    if not isinstance(content, Mapping) or not set(NETWORKS) - {"discriminator"} <= set(content):
        return None
    known = [content[name] for name in NETWORKS if name in content]
    if not all(isinstance(value, Mapping) for value in known):
        return None
    if all("param_groups" in value and "state" in value for value in known):
        return "optims" if set(NETWORKS) <= set(content) else None
    return "nets" if "discriminator" in content else "nets_ema"


def _told(read: ReadNetworks) -> dict[str, object]:
    return {key: value for key, value in read.settings.items() if key != "DISCRIMINATOR"}


def _moments(network: str, state: Any, names: list[str]) -> dict[str, dict[str, Tensor]]:
    """An Adam's moments by our names of the network's parameters.

    names: of its tensors, in the original's order: that of the optimizer, too.
    """
    parameters = [name for name in names if name != "hpf.filter"]  # a buffer
    places = names_of(network, names)
    try:
        order = [index for group in state["param_groups"] for index in group["params"]]
        if len(order) != len(parameters):
            raise CheckpointError(
                f"the optimizer of {network} is of {len(order)} parameters, the network has "
                f"{len(parameters)}: the files are not of one training"
            )
        found = {}
        for name, index in zip(parameters, order, strict=True):
            kept = state["state"].get(index)
            if name in places and kept:
                found[places[name]] = {
                    "step": torch.as_tensor(kept["step"], dtype=torch.float32).reshape(()),
                    "exp_avg": kept["exp_avg"],
                    "exp_avg_sq": kept["exp_avg_sq"],
                }
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the optimizer of {network} holds no state of Adam: {error}"
        ) from None
    return found
