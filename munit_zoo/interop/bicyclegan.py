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
from munit_zoo.interop.checkpoints import ReadNetworks, load, renamed, tensors_of
from munit_zoo.interop.cyclegan import init_of_options, network_of

__all__ = ["names_of", "read_checkpoint", "settings_of_options"]

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
    """Nodes and keys of MODEL, as a config has them: GENERATOR, STYLE_ENCODER (mean and
    log-variance), DISCRIMINATOR, DISCRIMINATOR2 (none with `use_same_D`) and STYLE_DIM.

    options: by the original's names, typed as there. Raises CheckpointError for what it lacks.
    """
    common = {"NORM": {"NAME": options["norm"]}, **init_of_options(options)}

    def critic(key: str) -> dict[str, Any]:
        return {
            "NAME": "multiscale_patchgan",
            "DIM": options["ndf"],
            "LAYERS": _known(options, key, _DISCRIMINATORS),
            "SCALES": options["num_Ds"],
            **common,
        }

    encoder, halvings = _known(options, "netE", _ENCODERS)
    nodes: dict[str, Any] = {
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
    }
    if not options["use_same_D"]:
        nodes["DISCRIMINATOR2"] = critic("netD2")
    return nodes


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
    conv = "ups.{}.1.2" if late else "ups.{}.1"
    rules: dict[str, str] = {}
    for level in range(1, deepest + 1):
        up, innermost = conv.format(level - 1), level == deepest
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


# Files


def read_checkpoint(files: Iterable[Path], options: Mapping[str, Any]) -> ReadNetworks:
    """The networks in some of its files, by the files' names: G, E, D, D2.

    options: of its `opt.txt`. Raises CheckpointError for files that cannot be read or are of
    another form.
    """
    weights: dict[str, dict[str, Tensor]] = {}
    for path in files:
        network = network_of(path)
        tensors = tensors_of(load(path), path.name)
        weights[network] = renamed(tensors, partial(names_of, network))
    channels = {"G": (options["input_nc"], options["output_nc"])}
    return ReadNetworks(settings_of_options(options), weights, dict(channels))
