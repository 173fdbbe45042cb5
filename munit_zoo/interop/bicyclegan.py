"""Checkpoints and options of the reference implementation of BicycleGAN.

Its files: `EPOCH_net_NAME.pth`, each the state_dict of one network: G, E (mean and log-variance of
a code), D, which judges encoded results, and D2, which judges random ones; `opt.txt`, its options,
which shapes do not tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from munit_zoo.errors import CheckpointError
from munit_zoo.interop import cyclegan, cyclegan_options
from munit_zoo.interop.checkpoints import (
    ReadNetworks,
    Shapes,
    load,
    number,
    renamed,
    shapes_of,
    tensors_of,
    whole,
)

__all__ = [
    "DEFAULTS",
    "config_of_options",
    "names_of",
    "options_of_weights",
    "read_checkpoint",
    "settings_of_options",
]

DEFAULTS: Mapping[str, Any] = {
    **cyclegan_options.SHARED,
    "batch_size": 2,
    "conditional_D": False,
    "dataroot": "data/edges2shoes",
    "gan_mode": "lsgan",
    "init_type": "xavier",
    "input_nc": 1,
    "lambda_GAN": 1.0,
    "lambda_GAN2": 1.0,
    "lambda_L1": 10.0,
    "lambda_kl": 0.01,
    "lambda_z": 0.5,
    "load_size": 256,
    "n_epochs": 30,
    "n_epochs_decay": 30,
    "nef": 64,
    "netD": "basic_256_multi",
    "netD2": "basic_256_multi",
    "netE": "resnet_256",
    "netG": "unet_256",
    "nl": "relu",
    "norm": "instance",
    "num_Ds": 2,
    "nz": 8,
    "output_nc": 3,
    "upsample": "basic",
    "use_dropout": True,
    "use_same_D": False,
    "where_add": "all",
}
"""Options as published for edges to shoes, unless given."""

_GENERATORS = {"unet_128": 7, "unet_256": 8}
_ENCODERS = {
    "resnet_128": ("bicyclegan_resnet", 4),
    "resnet_256": ("bicyclegan_resnet", 5),
    "conv_128": ("bicyclegan_conv", 4),
    "conv_256": ("bicyclegan_conv", 5),
}
_DISCRIMINATORS = {"basic_128_multi": 2, "basic_256_multi": 3}
_ACTIVATIONS = {"relu": "relu", "lrelu": "lrelu", "elu": "elu"}


def settings_of_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Nodes and keys of MODEL, as a config has them; DISCRIMINATOR2 without `use_same_D` alone.

    options: by the original's names, typed as there. Raises CheckpointError for what it lacks.
    """
    common = {"NORM": {"NAME": options["norm"]}, **cyclegan_options.init_of_options(options)}

    def critic(key: str) -> dict[str, Any]:
        return {
            "NAME": "multiscale_patchgan",
            "DIM": options["ndf"],
            "LAYERS": _known(options, key, _DISCRIMINATORS),
            "SCALES": options["num_Ds"],
            **common,
        }

    encoder, halvings = _known(options, "netE", _ENCODERS)
    nodes: dict[str, object] = {
        "GENERATOR": {
            "NAME": "styled_unet",
            "LEVELS": _known(options, "netG", _GENERATORS),
            "DIM": options["ngf"],
            "INJECT": options["where_add"],
            "UPSAMPLE": {"basic": "transposed", "bilinear": "bilinear"}[options["upsample"]],
            "ACTIVATION": {"NAME": _known(options, "nl", _ACTIVATIONS)},
            "DROPOUT": 0.5 if options["use_dropout"] else 0.0,
            **common,
        },
        "STYLE_ENCODER": {
            "NAME": encoder,
            "HALVINGS": halvings,
            "DIM": options["nef"],
            "PARTS": 2,
            **common,
        },
        "DISCRIMINATOR": critic("netD"),
        "STYLE_DIM": options["nz"],
        "CONDITIONAL": options["conditional_D"],
        "SAME_DISCRIMINATOR": options["use_same_D"],
    }
    if not options["use_same_D"]:
        nodes["DISCRIMINATOR2"] = critic("netD2")
    return nodes


def config_of_options(
    options: Mapping[str, object], read: ReadNetworks, channels: tuple[int, int]
) -> dict[str, Any]:
    """The sections of a config but MODEL.

    options: all of them. read: from the files. channels: of G's input and output.
    A batch of theirs holds the pairs of two of ours: those that are translated, and those that
    are only shown to the second discriminator.
    """
    pairs = max(1, whole(options, "batch_size") // 2)
    # of a single scale, their adversarial loss is a sum over the samples
    samples = pairs if read.settings["DISCRIMINATOR"]["SCALES"] == 1 else 1
    mode = {
        "NAME": cyclegan_options.adversarial_of_options(options)["NAME"],
        "CRITIC_WEIGHT": samples,
    }
    weights = {key: number(options, f"lambda_{key}") for key in ("GAN", "GAN2", "L1", "kl", "z")}
    tree = cyclegan_options.training_of_options(options, "bicyclegan", channels)
    tree["ENGINE"]["BATCH_SIZE"] = pairs
    return tree | {
        "LOSSES": {
            "ADVERSARIAL": {**mode, "WEIGHT": samples * weights["GAN"]},
            "ADVERSARIAL2": {**mode, "WEIGHT": samples * weights["GAN2"]},
            "IMAGE_RECON": {"NAME": "l1", "WEIGHT": weights["L1"]},
            "KL": {"NAME": "vae_kl", "WEIGHT": pairs * weights["kl"]},
            "STYLE_RECON": {"NAME": "l1", "WEIGHT": weights["z"]},
        }
    }


def _known(options: Mapping[str, Any], key: str, known: Mapping[str, Any]) -> Any:
    try:
        return known[options[key]]
    except KeyError:
        raise CheckpointError(
            f"the option {key} is {options.get(key)!r}; known are {', '.join(known)}"
        ) from None


# Names


def names_of(network: str, names: Iterable[str]) -> dict[str, str]:
    """The original's names of a network's parameters and buffers, to ours.

    network: G, E, D or D2. Raises CheckpointError for a name that is not in there.
    """
    names = list(names)
    rules = {"G": _generator_rules, "E": _encoder_rules}.get(network, _critic_rules)(names)
    found = {}
    for name in names:
        layer, _, leaf = name.rpartition(".")
        match = next((m for pattern in rules if (m := re.fullmatch(pattern, layer))), None)
        if match is None:
            raise CheckpointError(f"{name} is no name in a {network} of the reference")
        found[name] = f"{match.expand(rules[match.re.pattern])}.{leaf}"
    return found


def _generator_rules(names: list[str]) -> dict[str, str]:
    nested = any(".down." in name for name in names)
    marks = r"submodule\." if nested else r"\.3\.model"
    deepest = max(len(re.findall(marks, name)) for name in names) + (1 if nested else 2)
    # a bilinear layer's convolution stands behind an interpolation and a padding
    outer = "model.up.3.weight" if nested else "model.model.5.weight"
    late = 2 if outer in names else 0
    rules: dict[str, str] = {}
    for level in range(1, deepest + 1):
        up, innermost = f"ups.{level - 1}.1", level == deepest
        if nested:
            place = "model" + ".submodule" * (level - 1)
            found = {f"up.{1 + late}": up, f"up.{2 + late}": f"ups.{level - 1}.2"}
            found |= {f"down.{int(level > 1)}": f"downs.{level - 1}.conv"}
            found |= {"down.2": f"downs.{level - 1}.norm"}
        elif level == 1:
            place, found = "model.model", {"0": "downs.0.conv", f"{3 + late}": up}
        else:
            place = "model.model.1.model" + ".3.model" * (level - 2)
            first = 3 if innermost else 5
            found = {"1": f"downs.{level - 1}.conv", f"{first + late}": up}
            found |= {f"{first + 1 + late}": f"ups.{level - 1}.2"}
            found |= {} if innermost else {"2": f"downs.{level - 1}.norm"}
        rules |= {re.escape(f"{place}.{part}"): ours for part, ours in found.items()}
    return rules


def _encoder_rules(names: list[str]) -> dict[str, str]:
    return {
        r"conv\.(\d+)": r"layers.\1",
        r"conv\.(\d+)\.conv\.([023])": r"layers.\1.residual.\2",
        r"conv\.(\d+)\.conv\.5\.0": r"layers.\1.residual.5",
        r"conv\.(\d+)\.shortcut\.1": r"layers.\1.shortcut.1",
        r"fc\.0": "heads.0",
        r"fcVar\.0": "heads.1",
    }


def _critic_rules(names: list[str]) -> dict[str, str]:
    return {
        r"model\.(\d+)": r"scales.0.layers.\1",
        r"model_(\d+)\.(\d+)": r"scales.\1.layers.\2",
    }


# What names and shapes tell


def options_of_weights(
    networks: Mapping[str, Shapes], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The options, with those that names and shapes tell as they tell them.

    networks: shapes by the original's names, for each network there is. Raises CheckpointError
    where they are of no such network.
    """
    found = dict(options)
    readers = {"E": _told_by_encoder, "G": _told_by_generator}
    for network in ("E", "G", "D", "D2"):
        if network in networks:
            tell = readers.get(network, _told_by_critic)
            try:
                found |= tell(network, networks[network], found)
            except (KeyError, IndexError) as error:
                raise CheckpointError(
                    f"the weights of {network} are not BicycleGAN's: no {error}"
                ) from None
    judged = networks["D"][_first(networks["D"])][1] if "D" in networks else None
    if judged is not None:
        found["conditional_D"] = judged == found["input_nc"] + found["output_nc"]
    return found


def _first(shapes: Shapes) -> str:
    return next(name for name, shape in shapes.items() if len(shape) == 4)


def _norm(shapes: Shapes) -> dict[str, str]:
    batch = any(name.endswith(".running_mean") for name in shapes)
    return {"norm": "batch" if batch else "instance"}


def _told_by_encoder(network: str, shapes: Shapes, options: Mapping[str, Any]) -> dict[str, object]:
    dim, channels = shapes["conv.0.weight"][:2]
    blocks = {m[1] for name in shapes if (m := re.match(r"conv\.(\d+)\.shortcut", name))}
    plain = [name for name, shape in shapes.items() if len(shape) == 4]
    kind, halvings = ("resnet", len(blocks) + 1) if blocks else ("conv", len(plain))
    told = {"nef": dim, "output_nc": channels, "nz": shapes["fc.0.weight"][0], **_norm(shapes)}
    return {**told, "netE": f"{kind}_{8 * 2**halvings}"}


def _told_by_generator(
    network: str, shapes: Shapes, options: Mapping[str, Any]
) -> dict[str, object]:
    nested = "model.down.0.weight" in shapes
    outer, mark = ("model.", ".submodule") if nested else ("model.model.", ".3.model")
    first = shapes[f"{outer}down.0.weight" if nested else f"{outer}0.weight"]
    depth = max(name.count(mark) for name in shapes) + (1 if nested else 2)
    ups = ("up.1", "up.3") if nested else ("3", "5")
    bilinear = f"{outer}{ups[1]}.weight" in shapes
    up = shapes[f"{outer}{ups[bilinear]}.weight"]
    nz = options["nz"]
    if nested:
        nz = shapes["model.submodule.down.1.weight"][1] - first[0]
    return {
        "ngf": first[0],
        "nz": nz,
        "input_nc": first[1] - nz,
        "output_nc": up[0 if bilinear else 1],
        "netG": f"unet_{2**depth}",
        "upsample": "bilinear" if bilinear else "basic",
        "where_add": "all" if nested else "input",
        **_norm(shapes),
    }


def _told_by_critic(
    network: str, shapes: Shapes, options: Mapping[str, object]
) -> dict[str, object]:
    scales = {m[1] for name in shapes if (m := re.match(r"model_(\d+)\.", name))} or {""}
    first = re.escape(_first(shapes).split(".")[0])
    layers = sum(
        bool(re.fullmatch(rf"{first}\.\d+\.weight", name)) and len(shape) == 4
        for name, shape in shapes.items()
    )
    kinds = {depth: name for name, depth in _DISCRIMINATORS.items()}
    return {
        "ndf": shapes[_first(shapes)][0],
        "num_Ds": len(scales),
        f"net{network}": kinds.get(layers - 2, f"{layers - 2} layers"),
    }


# Files


def read_checkpoint(files: Iterable[Path], options: Mapping[str, object]) -> ReadNetworks:
    """The networks in some of its files, by the files' names: G, E, D, D2.

    options: of its `opt.txt`, for what names and shapes do not tell. Raises CheckpointError for
    files that cannot be read, are of another form or do not fit together.
    """
    weights: dict[str, dict[str, Tensor]] = {}
    shapes: dict[str, Shapes] = {}
    for path in cyclegan.checked(files):
        network = cyclegan.network_of(path)
        if network not in ("G", "E", "D", "D2"):
            raise CheckpointError(f"{path.name}: the original has no network {network}")
        tensors = tensors_of(load(path), path.name)
        shapes[network] = shapes_of(tensors)
        weights[network] = renamed(tensors, partial(names_of, network))
    if "G" not in weights:
        raise CheckpointError("the files hold no generator: name …_net_G.pth, too")
    told = options_of_weights(shapes, options)
    channels = {"G": (told["input_nc"], told["output_nc"])}
    return ReadNetworks(settings_of_options(told), weights, dict(channels))
