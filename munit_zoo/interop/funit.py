"""Checkpoints and options of the reference implementation of FUNIT.

Its files: `gen_%08d.pt`, {gen, gen_test} (trained weights and their moving average), and
`dis_%08d.pt`, {dis}; `config.yaml`, its options. The generator is MUNIT's, with the names of its
parts as there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from munit_zoo.config import bind, resolve_component
from munit_zoo.errors import CheckpointError
from munit_zoo.interop.checkpoints import ReadNetworks, load, number, whole
from munit_zoo.interop.nvlabs import reference_name

__all__ = [
    "DEFAULTS",
    "NETWORKS",
    "config_of_options",
    "discriminator_names",
    "generator_names",
    "read_checkpoint",
    "read_checkpoints",
    "settings_of_options",
]

DEFAULTS: Mapping[str, Any] = {
    "batch_size": 64,
    "crop_image_height": 128,
    "crop_image_width": 128,
    "data_folder_train": "data/animals",
    "dis": {"nf": 64, "n_res_blks": 10, "num_classes": 119},
    "fm_w": 1.0,
    "gan_w": 1.0,
    "gen": {
        "latent_dim": 64,
        "n_downs_class": 4,
        "n_downs_content": 3,
        "n_mlp_blks": 3,
        "n_res_blks": 2,
        "nf": 64,
        "nf_mlp": 256,
    },
    "image_save_iter": 2500,
    "init": "kaiming",
    "lr_dis": 1e-4,
    "lr_gen": 1e-4,
    "max_iter": 100000,
    "new_size": 140,
    "r_w": 0.1,
    "snapshot_save_iter": 5000,
    "weight_decay": 1e-4,
}
"""Options as published for animal faces, unless given."""

NETWORKS = {
    "content": "content_encoder",
    "class": "style_encoder",
    "decoder": "decoder",
    "dis": "discriminator",
}
"""Parts of the original's networks, and ours."""


def settings_of_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Nodes and keys of MODEL, as a config has them: CONTENT_ENCODER, STYLE_ENCODER (of classes),
    DECODER, DISCRIMINATOR and STYLE_DIM.

    options: by the original's names, with its sections `gen` and `dis`.
    """
    gen, dis = options["gen"], options["dis"]
    init = {"INIT": options.get("init", "kaiming")}
    mapping = {"NAME": "mlp", "DIM": gen["nf_mlp"], "LAYERS": gen["n_mlp_blks"], **init}
    return {
        "CONTENT_ENCODER": {
            "NAME": "resnet",
            "DIM": gen["nf"],
            "DOWNSAMPLES": gen["n_downs_content"],
            "BLOCKS": gen["n_res_blks"],
            **init,
        },
        "STYLE_ENCODER": {
            "NAME": "conv",
            "DIM": gen["nf"],
            "DOWNSAMPLES": gen["n_downs_class"],
            "DOUBLINGS": 2,
            **init,
        },
        "DECODER": {
            "NAME": "adain_resnet",
            "BLOCKS": gen["n_res_blks"],
            "UPSAMPLE_NORM": {"NAME": "instance"},
            "MAPPING": mapping,
            **init,
        },
        "DISCRIMINATOR": {
            "NAME": "funit",
            "DIM": dis["nf"],
            "BLOCKS": dis["n_res_blks"],
            "LEGACY": True,
            **init,
        },
        "STYLE_DIM": gen["latent_dim"],
    }


def config_of_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a config, of MODEL only what is no network.

    The original gives the option `lr_gen` to its discriminator and `lr_dis` to its generator.
    """
    adversarial = number(options, "gan_w")
    height, width = (whole(options, f"crop_image_{side}") for side in ("height", "width"))
    rmsprop = {"NAME": "rmsprop", "WEIGHT_DECAY": number(options, "weight_decay")}
    return {
        "MODEL": {"CLASSES": whole(options["dis"], "num_classes")},
        "LOSSES": {
            "ADVERSARIAL": {
                "NAME": "hinge",
                "WEIGHT": 0.5 * adversarial,
                "CRITIC_WEIGHT": adversarial,
            },
            "R1": {"NAME": "r1", "OF": "mean", "WEIGHT": 20.0},
            "IMAGE_RECON": {"NAME": "l1", "WEIGHT": number(options, "r_w")},
            "FEATURE_MATCHING": {"NAME": "l1", "WEIGHT": number(options, "fm_w")},
        },
        "DOMAINS": {"ANIMALS": {"CHANNELS": 3}},
        "DATA": {
            "NAME": "image_folder",
            "FOLDERS": {"ANIMALS": str(options["data_folder_train"])},
            "CLASSES": True,
            "SIZE": whole(options, "new_size"),
            "CROP": [height, width],
        },
        "OPTIM": {
            "DEFAULT": {**rmsprop, "LR": number(options, "lr_dis")},
            "NETWORKS": {"DISCRIMINATOR": {"LR": number(options, "lr_gen")}},
        },
        "ENGINE": {
            "ITERATIONS": whole(options, "max_iter"),
            "BATCH_SIZE": whole(options, "batch_size"),
            "EMA": 0.999,
            "GRID_EVERY": whole(options, "image_save_iter"),
            "SNAPSHOT_EVERY": whole(options, "snapshot_save_iter"),
        },
    }


def generator_names(names: Iterable[str], options: Mapping[str, Any]) -> dict[str, str]:
    """The original's names of the generator's parameters, to ours.

    names: ours, behind their network's: `content_encoder.stem.conv.weight`, `style_encoder.…`,
    `decoder.…`. options: the original's, which decide how it numbers layers.
    """
    found = {}
    for name in names:
        theirs = reference_name(
            name,
            downsamples=options["gen"]["n_downs_content"],
            style_downsamples=options["gen"]["n_downs_class"],
        )
        theirs = theirs.replace("ENC.", "enc_content.").replace("enc_style.", "enc_class_model.")
        found[theirs] = name
    return found


def discriminator_names(names: Iterable[str]) -> dict[str, str]:
    """The original's names of the discriminator's parameters, to ours.

    Raises CheckpointError for a name that is not in there.
    """
    parts = {"0": "first.conv", "1": "second.conv", "s": "shortcut"}
    ends = {"cnn_f.0.conv": "stem.conv", "cnn_c.0.conv": "head"}
    found = {}
    for name in names:
        layer, _, leaf = name.rpartition(".")
        match = re.fullmatch(r"cnn_f\.(\d+)\.conv_([01s])\.conv", layer)
        if layer not in ends and not match:
            raise CheckpointError(f"{name} is no name in a discriminator of the reference")
        if match:
            # of a stage's four places, two are blocks, two a padding and a pooling
            stage, block = divmod(int(match[1]) - 1, 4)
            found[name] = f"stages.{stage}.{block}.{parts[match[2]]}.{leaf}"
        else:
            found[name] = f"{ends[layer]}.{leaf}"
    return found


def read_checkpoint(path: Path) -> dict[str, dict[str, Tensor]]:
    """The state_dicts in one of its files: gen and gen_test, or dis, with the original's names.

    Left out are the dummy statistics of AdaIN. Raises CheckpointError for a file that cannot be
    read or is of another form.
    """
    content = load(path)
    if not isinstance(content, Mapping) or not set(content) <= {"gen", "gen_test", "dis"}:
        raise CheckpointError(f"{path.name} is no gen_*.pt or dis_*.pt of FUNIT")
    dummies = (".running_mean", ".running_var")
    return {
        network: {name: t for name, t in tensors.items() if not name.endswith(dummies)}
        for network, tensors in content.items()
    }


def read_checkpoints(files: Iterable[Path], options: Mapping[str, Any]) -> ReadNetworks:
    """The networks in some of its files, and their averages, by the names of NETWORKS.

    options: all of them. Raises CheckpointError for files that cannot be read, are of another form
    or do not fit the options.
    """
    found: dict[str, dict[str, Tensor]] = {}
    files = list(files)
    iterations = {m[1] for path in files if (m := re.search(r"_(\d{8})\.pt$", path.name))}
    if len(iterations) > 1:
        raise CheckpointError(f"the files are of several iterations: {', '.join(iterations)}")
    for path in files:
        found |= read_checkpoint(path)
    live = found.get("gen") or found.get("gen_test")
    if live is None:
        raise CheckpointError("the files hold no generator: name gen_….pt, too")
    nodes = settings_of_options(options)
    weights = _parts(live, nodes, options)
    averages = _parts(found["gen_test"], nodes, options) if "gen_test" in found else {}
    if "dis" in found:
        names = discriminator_names(found["dis"])
        weights["dis"] = {ours: found["dis"][name] for name, ours in names.items()}
    return ReadNetworks(
        nodes, weights, {}, averages=averages, iteration=int(next(iter(iterations), 0))
    )


def _parts(
    tensors: Mapping[str, Tensor], nodes: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, dict[str, Tensor]]:
    """The generator's tensors by our networks. Raises CheckpointError for those of no place."""
    style = nodes["STYLE_DIM"]
    with torch.device("meta"):

        def build(kind: str, *wired: int) -> Any:
            return bind(kind, resolve_component(kind, nodes[kind.upper()]))(*wired)

        content = build("content_encoder", 3)
        networks = {
            "content": content,
            "class": build("style_encoder", 3, style),
            "decoder": build("decoder", content.out_channels, 3, content.stride, style),
        }
    found: dict[str, dict[str, Tensor]] = {}
    left = set(tensors)
    for name, network in networks.items():
        own = [f"{NETWORKS[name]}.{key}" for key in network.state_dict()]
        places = generator_names(own, options)
        missing = sorted(set(places) - set(tensors))
        if missing:
            raise CheckpointError(
                f"the generator has no {missing[0]}, which the options ask for: give its "
                "config.yaml by --options"
            )
        found[name] = {
            ours.removeprefix(f"{NETWORKS[name]}."): tensors[theirs]
            for theirs, ours in places.items()
        }
        left -= set(places)
    if left:
        raise CheckpointError(f"the generator has {sorted(left)[0]}, for which there is no place")
    return found
