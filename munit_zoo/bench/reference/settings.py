"""Hyperparameters of the benchmark's yardstick: their defaults, and those that a config stands for.

A config of ours that asks for anything the 2018 implementation does not have is refused, so that
both arms of a benchmark compute the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from munit_zoo.bench.reference.networks import ACTIVATIONS, GAN_LOSSES, INITS, PADS
from munit_zoo.config import Config, resolve_data
from munit_zoo.errors import UsageError
from munit_zoo.interop import nvlabs_options

__all__ = ["GENERALISED", "Kind", "completed", "hyperparameters_of"]

Kind = Literal["munit", "unit"]


# Defaults


def completed(gen: Mapping[str, object]) -> dict[str, Any]:
    """Hyperparameters of the generators with all defaults."""
    full = {"dim": 64, "mlp_dim": 256, "style_dim": 8, "activ": "relu", "n_downsample": 2}
    full |= {"n_res": 4, "pad_type": "reflect", "up_kernel_size": 5, "style_n_downsample": 4}
    full |= {f"{part}_kernel_size": 7 for part in ("content", "style", "decoder")}
    full |= gen
    return {"style_width": full["dim"], "decoder_n_res": full["n_res"], **full}


# Configs

# Where our configs have the reference's hyperparameters
_KEYS = {
    "DOMAINS.A.CHANNELS": "input_dim_a",
    "DOMAINS.B.CHANNELS": "input_dim_b",
    "MODEL.STYLE_DIM": "gen.style_dim",
    "MODEL.CONTENT_ENCODER.DIM": "gen.dim",
    "MODEL.CONTENT_ENCODER.DOWNSAMPLES": "gen.n_downsample",
    "MODEL.CONTENT_ENCODER.BLOCKS": "gen.n_res",
    "MODEL.CONTENT_ENCODER.ACTIVATION.NAME": "gen.activ",
    "MODEL.CONTENT_ENCODER.PAD_TYPE": "gen.pad_type",
    "MODEL.CONTENT_ENCODER.INIT": "init",
    "MODEL.DECODER.MAPPING.DIM": "gen.mlp_dim",
    "MODEL.DISCRIMINATOR.DIM": "dis.dim",
    "MODEL.DISCRIMINATOR.LAYERS": "dis.n_layer",
    "MODEL.DISCRIMINATOR.SCALES": "dis.num_scales",
    "MODEL.DISCRIMINATOR.NORM.NAME": "dis.norm",
    "MODEL.DISCRIMINATOR.WEIGHT_NORM": "dis.norm",
    "MODEL.DISCRIMINATOR.ACTIVATION.NAME": "dis.activ",
    "MODEL.DISCRIMINATOR.PAD_TYPE": "dis.pad_type",
    "LOSSES.ADVERSARIAL.NAME": "dis.gan_type",
    "LOSSES.ADVERSARIAL.WEIGHT": "gan_w",
    "LOSSES.IMAGE_RECON.WEIGHT": "recon_x_w",
    "LOSSES.STYLE_RECON.WEIGHT": "recon_s_w",
    "LOSSES.CONTENT_RECON.WEIGHT": "recon_c_w",
    "LOSSES.CYCLE_RECON.WEIGHT": "recon_x_cyc_w",
    "LOSSES.KL.WEIGHT": "recon_kl_w",
    "LOSSES.CYCLE_KL.WEIGHT": "recon_kl_cyc_w",
    "LOSSES.PERCEPTUAL.WEIGHT": "vgg_w",
    "OPTIM.DEFAULT.LR": "lr",
    "OPTIM.DEFAULT.WEIGHT_DECAY": "weight_decay",
}
# What it calls our values; other values of these keys it does not have
_VALUES: dict[str, Mapping[str, Any]] = {
    "activ": {name: name for name in ACTIVATIONS},
    "pad_type": {name: name for name in PADS},
    "init": {name: name for name in INITS},
    "gan_type": {name: name for name in GAN_LOSSES},
    "norm": {"instance": "in", "batch": "bn", "layer": "ln", "spectral_legacy": "sn"},
}
# Where the config may differ from the reference, and the key of `gen` that says so
GENERALISED = {
    "MODEL.CONTENT_ENCODER.KERNEL_SIZE": "content_kernel_size",
    "MODEL.STYLE_ENCODER.KERNEL_SIZE": "style_kernel_size",
    "MODEL.STYLE_ENCODER.DIM": "style_width",
    "MODEL.STYLE_ENCODER.DOWNSAMPLES": "style_n_downsample",
    "MODEL.DECODER.KERNEL_SIZE": "decoder_kernel_size",
    "MODEL.DECODER.UPSAMPLE_KERNEL_SIZE": "up_kernel_size",
    "MODEL.DECODER.BLOCKS": "decoder_n_res",
}
_COMPONENTS = (
    "MODEL.CONTENT_ENCODER.NAME",
    "MODEL.STYLE_ENCODER.NAME",
    "MODEL.DECODER.NAME",
    "MODEL.DECODER.MAPPING.NAME",
    "MODEL.DISCRIMINATOR.NAME",
)
_COMPARED = ("MODEL.", "LOSSES.", "OPTIM.DEFAULT.", "OPTIM.NETWORKS.")
# Where weights lie and how Adam runs is no part of the mathematics
_FREE = frozenset(
    [f"LOSSES.PERCEPTUAL.{key}" for key in ("WEIGHTS", "DOWNLOAD", "CHANNELS")]
    + ["OPTIM.DEFAULT.FUSED", "OPTIM.NETWORKS.DISCRIMINATOR.FUSED"]
)

OF_2018 = ("munit", "unit")
"""The recipes that the 2018 implementation has."""


def hyperparameters_of(config: Config) -> tuple[dict[str, Any], Kind]:
    """The reference's hyperparameters of a resolved config, and its kind.

    The inverse of `nvlabs_options.config_from_hyperparameters`, with the keys that generalise (see
    ReferenceTrainer) where the config has other than the reference's values there. Data, engine and
    the schedule are left out: an iteration costs the same with any.

    Raises UsageError for the first key, in the config's order, whose value the 2018 implementation
    does not have.
    """
    kind = config.MODEL.NAME
    if kind not in OF_2018:
        raise _foreign("MODEL.NAME", kind, "munit")
    leaves, its = dict(_leaves(config)), _described({}, kind)
    for letter, name in zip("AB", config.DOMAINS, strict=True):  # whatever the user calls them
        leaves[f"DOMAINS.{letter}.CHANNELS"] = config.DOMAINS[name].CHANNELS
    for path in _COMPONENTS:
        if path in its and leaves[path] != its[path]:
            raise _foreign(path, leaves[path], its[path])
    hyper: dict[str, Any] = {"gen": {}, "dis": {}}
    for path, key in _KEYS.items():
        section, _, name = key.rpartition(".")
        known = _VALUES.get(name)
        if path in leaves and (known is None or leaves[path] in known):
            into = hyper[section] if section else hyper
            into[name] = known[leaves[path]] if known else leaves[path]
    if "OPTIM.DEFAULT.BETAS" in leaves:
        hyper["beta1"], hyper["beta2"] = leaves["OPTIM.DEFAULT.BETAS"]
    its = _described(hyper, kind)  # wherever the config differs, the reference does not have it
    for path, value in leaves.items():
        ignored = path in _FREE or not path.startswith(_COMPARED)
        if ignored or (path.startswith("LOSSES.") and not _weight_of(leaves, path)):
            continue
        there = path.replace("OPTIM.NETWORKS.DISCRIMINATOR.", "OPTIM.DEFAULT.")  # it has but one
        if there not in its:
            raise _foreign(path, value)
        if value != its[there] and path not in GENERALISED:
            raise _foreign(path, value, its[there])
        if value != its[there]:
            hyper["gen"][GENERALISED[path]] = value
    for path in ("DOMAINS.A.CHANNELS", "DOMAINS.B.CHANNELS"):
        if hyper.get("vgg_w") and leaves[path] not in (1, 3):
            raise _foreign(path, leaves[path], 3)
    return hyper, kind


def _described(hyper: Mapping[str, object], kind: str) -> dict[str, Any]:
    """Leaves of the config that hyperparameters stand for."""
    tree = nvlabs_options.config_from_hyperparameters(hyper, kind, source="the 2018 reference")
    return dict(_leaves(resolve_data(tree, origin="the 2018 reference").config))


def _leaves(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and values, in order."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _weight_of(leaves: Mapping[str, Any], path: str) -> float:
    """Weight of the loss term that a path belongs to."""
    return float(leaves[".".join([*path.split(".")[:2], "WEIGHT"])])


def _foreign(path: str, value: object, default: object = None) -> UsageError:
    needed = "it left out" if default is None else f"the default there ({default!r})"
    return UsageError(
        f"{path} is {value!r}, which the 2018 implementation does not have: the reference arm "
        f"needs {needed}"
    )
