"""Checkpoints and options of the reference implementation of the improved MUNIT and UNIT.

A file `epoch_%05d_iteration_%09d_checkpoint.pt` holds net_G and net_D (both domains in each, names
behind `module.`), their optimizers opt_G and opt_D, schedules and counters. With a moving average,
net_G has trained networks (`module.module.`) and averages (`module.averaged_model.`), which are of
normalised weights. Options are a YAML with sections trainer, gen, dis, gen_opt and dis_opt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from munit_zoo.errors import CheckpointError
from munit_zoo.interop.checkpoints import ReadNetworks, load, renamed

__all__ = ["MUNIT", "UNIT", "names_of", "read_checkpoint"]

_GENERATOR = ("content_encoder", "style_encoder", "decoder")
MUNIT = {f"{s}.{part}": f"{s}.{part}" for s in "ab" for part in (*_GENERATOR, "discriminator")}
UNIT = {name: path for name, path in MUNIT.items() if not name.endswith("style_encoder")}
"""Names of networks: in the original both domains' are one."""

_LEAVES = {
    "conv.weight_orig": "conv.weight",
    "conv.weight_u": "conv.u",
    "conv.weight_v": "conv.v",
    "norm.gamma": "norm.weight",
    "norm.beta": "norm.bias",
    "norm.fc.layers.conv.weight": "norm.linear.weight",
    "norm.fc.layers.conv.bias": "norm.linear.bias",
}
_PARTS = {"conv_block_0": "first", "conv_block_1": "second", "conv_block_s": "shortcut"}


def names_of(network: str, names: Iterable[str]) -> dict[str, str]:
    """The original's names of one network's tensors, to ours.

    network: a key of MUNIT. names: of net_G or net_D; those of other networks are left out, and so
    are constants (blurs). Raises CheckpointError for a name that is not in there.
    """
    letter, _, part = network.partition(".")
    names = list(names)
    if part == "discriminator":
        return _judge(names, f"discriminator_{letter}.")
    found = {}
    prefix = f"autoencoder_{letter}.{part}.{'decoder' if part == 'decoder' else 'model'}."
    places = _places([n.removeprefix(prefix) for n in names if n.startswith(prefix)], part)
    for name in names:
        if name.startswith(prefix):
            index, _, rest = name.removeprefix(prefix).partition(".")
            found[name] = _joined(places[int(index)], rest)
        mapped = re.fullmatch(
            rf"autoencoder_{letter}\.mlp\.model\.(\d+)\.layers\.conv\.(\w+)", name
        )
        if mapped and part == "decoder":
            found[name] = f"mapping.linears.{mapped[1]}.{mapped[2]}"
    return found


def _places(names: Sequence[str], part: str) -> dict[int, str]:
    """Our place of each numbered layer of a part of the generator."""
    numbers = sorted({int(name.partition(".")[0]) for name in names})
    if not numbers:
        return {}
    blocks = sorted({int(name.partition(".")[0]) for name in names if ".conv_block_" in name})
    plain = [number for number in numbers if number not in blocks]
    places = {number: f"trunk.blocks.{index}" for index, number in enumerate(blocks)}
    if part == "decoder":
        ups = {number: f"head.ups.{index}.block" for index, number in enumerate(plain)}
        return {**places, **ups, plain[-1]: "head.out"}
    places |= {number: f"downs.{index - 1}" for index, number in enumerate(plain)}
    places[plain[0]] = "stem"
    return places | ({plain[-1]: "head"} if part == "style_encoder" else {})


def _judge(names: Sequence[str], prefix: str) -> dict[str, str]:
    """As `names_of`, of a discriminator: patches at scales, or residual blocks."""
    found = {}
    mine = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    patches = {
        name: re.match(r"discriminators?(?:\.(\d+))?\.layer(\d+)\.0\.", name) for name in mine
    }
    last = max((int(match[2]) for match in patches.values() if match), default=0)
    blocks = sorted({int(name.split(".")[1]) for name in mine if ".conv_block_" in name})
    for name, match in patches.items():
        if match:
            place = f"scales.{match[1] or 0}.{match[2]}"
            ours = _joined(place, name[match.end() :])
            found[prefix + name] = ours.replace(".conv.", ".") if int(match[2]) == last else ours
            continue
        layer = re.match(r"model\.(\d+)\.(?=layers|conv_block)", name)
        if name.startswith("classifier."):
            found[prefix + name] = name.replace("classifier", "head")
        elif layer:
            number = int(layer[1])
            place = f"blocks.{blocks.index(number)}" if number in blocks else "last"
            found[prefix + name] = _joined("stem" if number == 0 else place, name[layer.end() :])
        elif not re.match(r"model\.\d+\.", name):
            raise CheckpointError(f"{prefix}{name} is no name in a discriminator of the reference")
    return found


def _joined(place: str, rest: str) -> str:
    """Our name of a tensor in a layer at `place`; rest: the original's name in the layer."""
    block, _, inner = rest.partition(".layers.")
    if rest.startswith("layers."):
        block, inner = "", rest.removeprefix("layers.")
    if not inner:
        return f"{place}.{rest}"
    if inner.endswith(".scale"):
        inner = "noise.scale"
    parts = [place, _PARTS.get(block, block), _LEAVES.get(inner, inner)]
    return ".".join(part for part in parts if part)


# Files


def read_checkpoint(
    files: Sequence[Path], settings: Mapping[str, Any], table: Mapping[str, str]
) -> ReadNetworks:
    """The state in one of its files: networks, their averages, moments.

    settings: nodes of MODEL. table: MUNIT or UNIT. Raises CheckpointError for a file that cannot be
    read or is of another form.
    """
    if len(files) != 1:
        raise CheckpointError(f"the state of a training is one file, not {len(files)}: name it")
    content = load(files[0])
    if not isinstance(content, Mapping) or not isinstance(content.get("net_G"), Mapping):
        raise CheckpointError(f"{files[0]} holds no net_G of NVIDIA's Imaginaire")
    own = {net: _state(content[net]) for net in ("net_G", "net_D") if net in content}
    averages: dict[str, Tensor] = {}
    prefix = "averaged_model."
    for name, value in own["net_G"].items():
        if name.startswith(prefix):
            averages[name.removeprefix(prefix)] = value
    if averages:
        live = {n: t for n, t in own["net_G"].items() if n.startswith("module.")}
        own["net_G"] = {name.removeprefix("module."): value for name, value in live.items()}
    weights: dict[str, dict[str, Tensor]] = {}
    averaged: dict[str, dict[str, Tensor]] = {}
    moments: dict[str, dict[str, dict[str, Tensor]]] = {}
    for name in table:
        net = "net_D" if name.endswith("discriminator") else "net_G"
        tensors = own.get(net, {})
        found = renamed(tensors, partial(names_of, name))
        if not found:
            continue
        weights[name] = found
        kept = content.get(net.replace("net", "opt"))
        if kept is not None:
            moments[name] = _moments(name, kept, list(tensors))
        if averages and net == "net_G":
            averaged[name] = _plain(renamed(averages, partial(names_of, name)), found)
    return ReadNetworks(
        dict(settings),
        weights,
        averages=averaged,
        moments=moments if len(moments) == len(weights) else None,
        iteration=int(content.get("current_iteration", 0)),
    )


def _state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _plain(average: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Averages of normalised weights, with vectors that say to use them as they are."""
    vectors = {
        name: torch.zeros_like(value)
        for name, value in trained.items()
        if name.endswith((".u", ".v"))
    }
    return {**average, **vectors}


_BUFFERS = ("weight_u", "weight_v", "running_mean", "running_var", "num_batches_tracked")


def _moments(
    network: str, state: Mapping[str, Any], names: Sequence[str]
) -> dict[str, dict[str, Tensor]]:
    """An Adam's moments by our names of a network's parameters.

    names: of net_G's or net_D's tensors, in the original's order: that of its optimizer, too.
    """
    parameters = [name for name in names if not name.endswith(_BUFFERS)]
    places = names_of(network, names)
    order = [index for group in state["param_groups"] for index in group["params"]]
    if len(order) != len(parameters):
        raise CheckpointError(
            f"the optimizer is of {len(order)} parameters, the networks have {len(parameters)}: "
            "the file is of no training that this reads"
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
    return found
