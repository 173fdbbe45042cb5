"""Checkpoints of the reference implementation of CycleGAN and pix2pix.

Its files: `EPOCH_net_NAME.pth`, each the state_dict of one network: G_A (A to B), G_B, D_A (which
judges images of B) and D_B, or G and D.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from munit_zoo.errors import CheckpointError
from munit_zoo.interop.checkpoints import (
    ReadNetworks,
    Shapes,
    load,
    renamed,
    shapes_of,
    tensors_of,
)
from munit_zoo.interop.cyclegan_options import PUBLISHED_DROPOUT, init_of_options

__all__ = [
    "checked",
    "discriminator_names",
    "discriminator_settings",
    "generator_channels",
    "generator_names",
    "generator_settings",
    "network_of",
    "read_checkpoint",
]


def generator_names(names: Iterable[str]) -> dict[str, str]:
    """The original's names of a generator's parameters and buffers, to ours.

    Names of fixed filters, which we do not save, are left out. Raises CheckpointError for a name
    that no generator has.
    """
    names = [name for name in names if not name.endswith(".filt")]
    unet = any(name.startswith("model.model.") for name in names)
    return _unet_names(names) if unet else _resnet_names(names)


def _resnet_names(names: list[str]) -> dict[str, str]:
    blocks = re.compile(r"model\.(\d+)\.conv_block\.(\d+)\.(\w+)")
    second = _second_convolution(names)
    parts = {1: "first.conv", 2: "first.norm", second: "second.conv", second + 1: "second.norm"}
    found = {}
    for name in names:
        inner = blocks.fullmatch(name)
        plain = re.fullmatch(r"model\.(\d+)\.(\w+)", name)
        if inner and int(inner[2]) in parts:
            found[name] = f"layers.{inner[1]}.{parts[int(inner[2])]}.{inner[3]}"
        elif plain:
            found[name] = f"layers.{plain[1]}.{plain[2]}"
        else:
            raise _stranger(name, "generator")
    return found


def _second_convolution(names: Iterable[str]) -> int:
    """Number of a residual block's second convolution: a dropout before it counts, too."""
    return 5 if any(re.search(r"\.conv_block\.5\.weight$", name) for name in names) else 6


_UNET = re.compile(r"model\.model\.1\.model((?:\.3\.model)*)\.(\d+)\.(\w+)")


def _unet_names(names: list[str]) -> dict[str, str]:
    levels = _levels(names)
    outer = {"0": "downs.0.conv", "3": "ups.0.conv"}
    found = {}
    for name in names:
        top = re.fullmatch(r"model\.model\.([03])\.(\w+)", name)
        match = _UNET.fullmatch(name)
        place = ""
        if top:
            place = f"{outer[top[1]]}.{top[2]}"
        elif match:
            level = 2 + match[1].count("3")
            inner = {"1": "downs.conv", "5": "ups.conv", "2": "downs.norm", "6": "ups.norm"}
            if level == levels:
                inner = {"1": "downs.conv", "3": "ups.conv", "4": "ups.norm"}
            way, _, part = inner.get(match[2], "").partition(".")
            place = f"{way}.{level - 1}.{part}.{match[3]}" if way else ""
        if not place:
            raise _stranger(name, "generator")
        found[name] = place
    return found


def _levels(names: Iterable[str]) -> int:
    """Levels of a U-Net."""
    matches = (_UNET.fullmatch(name) for name in names)
    return max((2 + match[1].count("3") for match in matches if match), default=1)


def discriminator_names(names: Iterable[str]) -> dict[str, str]:
    """The original's names of a discriminator's parameters and buffers, to ours.

    As `generator_names`.
    """
    found = {}
    for name in names:
        match = re.fullmatch(r"(?:model|net)\.(\d+)\.(\w+)", name)
        if not match:
            raise _stranger(name, "discriminator")
        if match[2] != "filt":
            found[name] = f"layers.{match[1]}.{match[2]}"
    return found


def _stranger(name: str, kind: str) -> CheckpointError:
    return CheckpointError(f"{name} is no name in a {kind} of the reference implementation")


# What names and shapes tell


def generator_settings(shapes: Shapes) -> dict[str, object]:
    """The node GENERATOR of MODEL that a generator's names and shapes tell.

    A U-Net's do not tell its dropout: it is left out. Raises CheckpointError where they are of no
    generator.
    """
    try:
        if "model.model.0.weight" in shapes:
            return {
                "NAME": "unet",
                "LEVELS": _levels(shapes),
                "DIM": shapes["model.model.0.weight"][0],
                "NORM": {"NAME": _norm(shapes, "model.model.1.model.1.bias")},
            }
        blocks = sorted(
            {int(m[1]) for name in shapes if (m := re.match(r"model\.(\d+)\.conv_block\.", name))}
        )
        if not blocks:
            raise CheckpointError("no generator of the reference has such names: no residual block")
        after = blocks[-1] + 1
        return {
            "NAME": "resnet",
            "BLOCKS": len(blocks),
            "DIM": shapes["model.1.weight"][0],
            "DOWNSAMPLE": "blur" if blocks[0] == 12 else "strided",
            "UPSAMPLE": "transposed" if f"model.{after}.weight" in shapes else "bilinear",
            "NORM": {"NAME": _norm(shapes, "model.1.bias")},
            "DROPOUT": 0.0 if _second_convolution(shapes) == 5 else PUBLISHED_DROPOUT,
        }
    except KeyError as error:
        raise CheckpointError(
            f"the weights are no generator of the reference: no {error}"
        ) from None


def discriminator_settings(shapes: Shapes) -> dict[str, object]:
    """The node DISCRIMINATOR of MODEL that a discriminator's names and shapes tell.

    Raises CheckpointError where they are of no discriminator.
    """
    try:
        if "net.0.weight" in shapes:
            norm = _norm(shapes, "net.2.bias")
            return {"NAME": "pixel", "DIM": shapes["net.0.weight"][0], "NORM": {"NAME": norm}}
        convolutions = sorted(
            int(name.split(".")[1])
            for name, shape in shapes.items()
            if len(shape) == 4
            if name.endswith(".weight")
        )
        strided = convolutions[1] == 2
        return {
            "NAME": "patch",
            "LAYERS": len(convolutions) - 2,
            "DIM": shapes["model.0.weight"][0],
            "DOWNSAMPLE": "strided" if strided else "blur",
            "NORM": {"NAME": _norm(shapes, f"model.{convolutions[1]}.bias")},
        }
    except (KeyError, IndexError):
        raise CheckpointError("the weights are no discriminator of the reference") from None


def _norm(shapes: Shapes, bias: str) -> str:
    """batch has weights of its own; before instance norms, convolutions have a bias (`bias`)."""
    if any(name.endswith(".weight") and len(shape) == 1 for name, shape in shapes.items()):
        return "batch"
    return "instance" if bias in shapes else "none"


# Files


def network_of(path: Path) -> str:
    """The network in a file, as its name says: `G_A` of `latest_net_G_A.pth`.

    Raises CheckpointError for a file that is not called so.
    """
    return _parts_of(path)[1]


def _parts_of(path: Path) -> tuple[str, str]:
    """Epoch and network in a file, as its name says."""
    match = re.fullmatch(r"(\w+)_net_(\w+)\.pth", path.name)
    if not match:
        raise CheckpointError(
            f"{path.name} does not say which network it holds: the original calls its files "
            "EPOCH_net_NAME.pth, as latest_net_G.pth"
        )
    return match[1], match[2]


def checked(files: Iterable[Path]) -> list[Path]:
    """Files of one state of one training, a network each. Raises CheckpointError for others."""
    files = list(files)
    parts = [_parts_of(path) for path in files]
    epochs, networks = (list(dict.fromkeys(column)) for column in zip(*parts, strict=True))
    if len(epochs) > 1:
        raise CheckpointError(f"the files are of several epochs: {', '.join(epochs)}")
    if len(networks) < len(files):
        twice = next(n for n in networks if [name for _, name in parts].count(n) > 1)
        raise CheckpointError(f"two of the files hold the network {twice}")
    return files


def read_checkpoint(
    files: Iterable[Path], options: Mapping[str, object] | None = None
) -> ReadNetworks:
    """The networks in some of its files, by the files' names: G_A, G_B, D_A, D_B, or G and D.

    options: of its `train_opt.txt`, for what shapes do not tell: how the networks were initialised
    and a U-Net's dropout. Without them that is as published: pix2pix's (G) has dropout.
    Raises CheckpointError for files that cannot be read, are of another form or do not fit.
    """
    files = checked(files)
    nodes: dict[str, dict[str, object]] = {}
    weights: dict[str, dict[str, Tensor]] = {}
    channels: dict[str, tuple[int | None, int | None]] = {}
    for path in files:
        network = network_of(path)
        tensors = tensors_of(load(path), path.name)
        shapes = shapes_of(tensors)
        if network.startswith("G"):
            kind, node = "GENERATOR", generator_settings(shapes)
            dropout = network == "G" if options is None else not options["no_dropout"]
            node.setdefault("DROPOUT", PUBLISHED_DROPOUT if dropout else 0.0)
            channels[network] = generator_channels(shapes)
            weights[network] = renamed(tensors, generator_names)
        elif network.startswith("D"):
            kind, node = "DISCRIMINATOR", discriminator_settings(shapes)
            first = next(s for n, s in shapes.items() if len(s) == 4 and n.endswith(".weight"))
            channels[network] = (first[1], None)
            weights[network] = renamed(tensors, discriminator_names)
        else:
            raise CheckpointError(
                f"{path.name}: the original has no network {network}, only G… and D…"
            )
        node |= init_of_options(options) if options is not None else {}
        if nodes.setdefault(kind, node) != node:
            raise CheckpointError(f"{path.name} is built unlike another {kind.lower()} beside it")
    return ReadNetworks(dict(nodes), weights, channels, iteration=_iteration(files))


def _iteration(files: Iterable[Path]) -> int:
    """The iteration in names such as `iter_5000_net_G.pth`; 0 where they count epochs."""
    match = next((re.match(r"iter_(\d+)_net_", path.name) for path in files), None)
    return int(match[1]) if match else 0


def generator_channels(shapes: Shapes) -> tuple[int, int]:
    """Channels of a generator's input and output."""
    if "model.model.0.weight" in shapes:
        return shapes["model.model.0.weight"][1], shapes["model.model.3.weight"][1]
    convolutions = [s for name, s in shapes.items() if len(s) == 4 and name.endswith(".weight")]
    return shapes["model.1.weight"][1], convolutions[-1][0]
