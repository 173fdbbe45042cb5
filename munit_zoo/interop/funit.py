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

from torch import Tensor

from munit_zoo.errors import CheckpointError
from munit_zoo.interop.checkpoints import load
from munit_zoo.interop.nvlabs import reference_name

__all__ = ["discriminator_names", "generator_names", "read_checkpoint", "settings_of_options"]


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
            **init,
        },
        "STYLE_DIM": gen["latent_dim"],
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
