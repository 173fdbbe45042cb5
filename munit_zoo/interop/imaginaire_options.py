"""Options of the reference implementation of the improved MUNIT and UNIT, as a config has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from munit_zoo.errors import CheckpointError, suggest

__all__ = [
    "UNKNOWN",
    "config_of_options",
    "losses_of_options",
    "notes_of_options",
    "optim_of_options",
    "read_options",
    "schedule_of",
    "settings_of_options",
    "with_defaults",
]

UNKNOWN = "data/unknown"
"""Folder of images in a config of options that do not say it."""

_GEN = {
    "num_filters": 64,
    "max_num_filters": 256,
    "num_filters_mlp": 256,
    "latent_dim": 8,
    "num_res_blocks": 4,
    "num_mlp_blocks": 2,
    "num_downsamples_style": 4,
    "num_downsamples_content": 2,
    "num_image_channels": 3,
    "content_norm_type": "instance",
    "style_norm_type": "none",
    "decoder_norm_type": "instance",
    "weight_norm_type": "none",
    "output_nonlinearity": "none",
    "pre_act": False,
    "apply_noise": False,
}
_DIS = {
    "patch_wise": True,
    "num_discriminators": 3,
    "kernel_size": 3,
    "num_filters": 64,
    "num_layers": 4,
    "max_num_filters": 512,
    "activation_norm_type": "none",
    "weight_norm_type": "none",
    "first_kernel_size": 1,
    "order": "pre_act",
    "anti_aliased": False,
    "aggregation": "conv",
}
_OPT = {
    "type": "adam",
    "lr": 1e-4,
    "adam_beta1": 0.0,
    "adam_beta2": 0.999,
    "eps": 1e-8,
    "clip_grad_norm": None,
    "lr_policy": {"type": "constant", "iteration_mode": False},
}
_TRAINER = {
    "gan_mode": "hinge",
    "gan_recon": False,
    "aug_policy": "",
    "perceptual_mode": "vgg19",
    "perceptual_layers": "relu_4_1",
    "loss_weight": {},
    "init": {"type": "orthogonal", "gain": 1},
    "model_average_config": {"enabled": False, "beta": 0.9999, "start_iteration": 1000},
}
_DEFAULTS: dict[str, Any] = {
    "trainer": _TRAINER,
    "gen": _GEN,
    "dis": _DIS,
    "gen_opt": _OPT,
    "dis_opt": {**_OPT, "lr": 4e-4},
    "max_iter": 200000,
    "image_save_iter": 1000,
    "snapshot_save_iter": 5000,
    "data": {},
}


def with_defaults(options: Mapping[str, Any], *, unit: bool = False) -> dict[str, Any]:
    """All options: those given, and the original's defaults for the others."""
    found: dict[str, Any] = {}
    for section, default in _DEFAULTS.items():
        given = options.get(section)
        if isinstance(default, Mapping):
            found[section] = {**default, **(given if isinstance(given, Mapping) else {})}
        else:
            found[section] = default if given is None else given
    if unit and not (options.get("trainer") or {}).get("init"):
        found["trainer"]["init"] = {"type": "normal", "gain": 0.02}
    for key in ("init", "model_average_config"):
        found["trainer"][key] = {**_TRAINER[key], **(found["trainer"][key] or {})}  # type: ignore[dict-item]
    if "patch_dis" in found["dis"]:  # UNIT's word for it
        found["dis"]["patch_wise"] = found["dis"]["patch_dis"]
    for section in ("gen_opt", "dis_opt"):
        found[section]["lr_policy"] = {**_OPT["lr_policy"], **(found[section]["lr_policy"] or {})}  # type: ignore[dict-item]
    return found


def read_options(path: Path) -> dict[str, Any]:
    """Options in a YAML, as the original's training takes it.

    Raises CheckpointError where the file cannot be read or is of something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path} cannot be read as options: {error}") from None
    if not isinstance(content, Mapping) or not {"gen", "dis"} & set(content):
        raise CheckpointError(f"{path} holds no options: no sections gen and dis")
    return {str(name): _numbers(value) for name, value in content.items()}


def _numbers(value: Any) -> Any:
    """With numbers that YAML 1.1 takes for words, as `1e-4`, made numbers."""
    if isinstance(value, Mapping):
        return {name: _numbers(inner) for name, inner in value.items()}
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


# Networks


def settings_of_options(options: Mapping[str, Any], *, unit: bool) -> dict[str, Any]:
    """Nodes and keys of MODEL, as a config has them.

    options: all of them (`with_defaults`). unit: whether they are of UNIT, which has no styles.
    Raises CheckpointError for an option of no meaning here.
    """
    gen, trainer = options["gen"], options["trainer"]
    drawn = _init(trainer["init"])
    made: dict[str, Any] = {"WEIGHT_NORM": _weight_norm(gen), **drawn}
    block = {"BLOCK": "pre_activation" if gen["pre_act"] else "activated"}
    found: dict[str, Any] = {
        "CONTENT_ENCODER": {
            "NAME": "resnet",
            "DIM": gen["num_filters"],
            "MAX_DIM": gen["max_num_filters"],
            "DOWNSAMPLES": gen["num_downsamples_content"],
            "BLOCKS": gen["num_res_blocks"],
            "NORM": _norm(gen["content_norm_type"]),
            **block,
            **made,
        }
    }
    decoder = {
        "BLOCKS": gen["num_res_blocks"],
        "OUTPUT_ACTIVATION": {"NAME": gen["output_nonlinearity"] or "none"},
        "NOISE": bool(gen["apply_noise"]),
        "WEIGHT_NORM_LAST": False,
        **block,
        **made,
    }
    judge = {"DISCRIMINATOR": _judge(options["dis"], drawn, shared=unit)}
    if unit:
        norm = _norm(gen["decoder_norm_type"])
        return {
            **found,
            "DECODER": {"NAME": "resnet", "NORM": norm, "UPSAMPLE_NORM": norm, **decoder},
            **judge,
        }
    width, layers = gen["num_filters_mlp"], max(2, gen["num_mlp_blocks"])
    mapping = {"NAME": "mlp", "DIM": width, "LAYERS": layers, "ACTIVATE_LAST": True, **drawn}
    return {
        **found,
        "STYLE_ENCODER": {
            "NAME": "conv",
            "DIM": gen["num_filters"],
            "DOWNSAMPLES": gen["num_downsamples_style"],
            "DOUBLINGS": 2,
            "NORM": _norm(gen["style_norm_type"]),
            **made,
        },
        "DECODER": {
            "NAME": "styled_resnet",
            "DIM": width,
            "NORM": _norm(gen["decoder_norm_type"], affine=False),
            "MAPPING": mapping,
            **decoder,
        },
        **judge,
        "STYLE_DIM": gen["latent_dim"],
        "GAN_RECON": bool(trainer["gan_recon"]),
        "AUGMENT": [name for name in str(trainer["aug_policy"] or "").split(",") if name],
    }


def _judge(dis: Mapping[str, Any], drawn: Mapping[str, Any], *, shared: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "DIM": dis["num_filters"],
        "MAX_DIM": dis["max_num_filters"],
        "LAYERS": dis["num_layers"],
        "NORM": _norm(dis["activation_norm_type"]),
        "WEIGHT_NORM": _weight_norm(dis),
        **drawn,
    }
    if dis["patch_wise"]:
        return {
            "NAME": "pyramid_patch",
            "SCALES": dis["num_discriminators"],
            "KERNEL_SIZE": dis["kernel_size"],
            "SHARED": shared,
            **found,
        }
    return {
        "NAME": "imaginaire_residual",
        "KERNEL_SIZE": dis["first_kernel_size"],
        "BLOCK": _one_of(_ORDERS, dis["order"], "order"),
        "ANTI_ALIASED": bool(dis["anti_aliased"]),
        "AGGREGATION": dis["aggregation"],
        **found,
    }


_ORDERS = {
    "pre_act": "pre_activation",
    "NACNAC": "pre_activation",
    "CNACNA": "activated",
    "CNACN": "resnet",
}
_WEIGHT_NORMS = {"none": "none", "spectral": "spectral_hook"}


def _norm(kind: object, *, affine: bool = True) -> dict[str, Any]:
    """A norm by the original's name. affine: whether it has weights of its own."""
    kinds: dict[str, dict[str, Any]] = {
        "none": {"NAME": "none"},
        "instance": {"NAME": "instance", "AFFINE": affine},
        "layer_2d": {"NAME": "layer", "AFFINE": affine, "DRAWN": False},
        "batch": {"NAME": "batch", "AFFINE": affine},
        "group": {"NAME": "group", "AFFINE": affine, "GROUPS": 4},
    }
    return dict(_one_of(kinds, kind or "none", "…norm_type"))


def _weight_norm(section: Mapping[str, Any]) -> str:
    return str(_one_of(_WEIGHT_NORMS, section["weight_norm_type"] or "none", "weight_norm_type"))


def _init(init: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {"orthogonal": "orthogonal", "normal": "gaussian", "xavier": "xavier"}
    kinds |= {"kaiming": "kaiming", "none": "default"}
    kind = _one_of(kinds, init["type"] or "none", "init.type")
    return {"INIT": kind, "INIT_GAIN": float(init["gain"] or 1)}


def _one_of(known: Mapping[str, Any], value: object, option: str) -> Any:
    """What is known of an option's value. Raises CheckpointError for another one."""
    if value not in known:
        hint = suggest(str(value), known) or f"Known are {', '.join(known)}."
        raise CheckpointError(f"the option {option} is {value!r}. {hint}")
    return known[str(value)]


# Training


def losses_of_options(
    options: Mapping[str, Any], batch: int, *, perceptual: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """LOSSES of a config. batch: samples an update (its `kl` is a sum over them). perceptual:
    further keys of that term."""
    trainer = options["trainer"]
    weights = {name: float(value) for name, value in trainer["loss_weight"].items() if value}
    kind, factor = _one_of(_GANS, trainer["gan_mode"], "gan_mode")
    found: dict[str, Any] = {}
    if "gan" in weights:
        weight = factor * weights["gan"]
        found["ADVERSARIAL"] = {"NAME": kind, "SCALES": "mean", "WEIGHT": weight}
    for name in _L1:
        if name in weights:
            found[name.upper()] = {"NAME": "l1", "WEIGHT": weights[name]}
    if "kl" in weights:
        numbers = batch * options["gen"]["latent_dim"]
        found["KL"] = {"NAME": "gaussian_kl", "WEIGHT": 0.5 * numbers * weights["kl"]}
    if "consistency_reg" in weights:
        found["CONSISTENCY"] = {"NAME": "mse", "WEIGHT": weights["consistency_reg"]}
    if "perceptual" in weights:
        layers = trainer["perceptual_layers"]
        layers = [layers] if isinstance(layers, str) else list(layers)
        found["PERCEPTUAL"] = {
            "NAME": "vgg_perceptual",
            "NETWORK": trainer["perceptual_mode"],
            "LAYERS": [layer.replace("relu_", "relu") for layer in layers],
            "DISTANCE": "l1",
            "NORMALIZE": "imagenet",
            "WEIGHT": weights["perceptual"],
            **(perceptual or {}),
        }
    return found


_GANS = {
    "hinge": ("hinge", 1.0),
    "least_square": ("lsgan", 0.5),
    "non_saturated": ("nsgan", 1.0),
    "wasserstein": ("wgan", 1.0),
}
_L1 = (
    "image_recon",
    "style_recon",
    "content_recon",
    "cycle_recon",
    "style_recon_within",
    "content_recon_within",
)


def optim_of_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """OPTIM and UPDATES of a config. Of two schedules that differ, the generators'."""
    judge = _adam(options["dis_opt"])
    del judge["NAME"]
    found: dict[str, Any] = {
        "OPTIM": {"DEFAULT": _adam(options["gen_opt"]), "NETWORKS": {"DISCRIMINATOR": judge}}
    }
    schedule = schedule_of(options["gen_opt"]["lr_policy"], int(options["max_iter"]))
    if schedule is not None:
        found["OPTIM"]["SCHEDULE"] = schedule
    clips = {"GENERATORS": options["gen_opt"], "DISCRIMINATORS": options["dis_opt"]}
    updates = {
        name: {"CLIP_TOTAL": float(opt["clip_grad_norm"])}
        for name, opt in clips.items()
        if opt["clip_grad_norm"]
    }
    return found | ({"UPDATES": updates} if updates else {})


def _adam(opt: Mapping[str, Any]) -> dict[str, Any]:
    _one_of({"adam": "adam"}, opt["type"], "type of an optimizer")
    return {
        "NAME": "adam",
        "LR": float(opt["lr"]),
        "BETAS": [float(opt["adam_beta1"]), float(opt["adam_beta2"])],
        "EPS": float(opt["eps"]),
    }


def schedule_of(policy: Mapping[str, Any], iterations: int) -> dict[str, Any] | None:
    """A schedule, of so many iterations or of epochs; None for a constant rate."""
    if policy["type"] == "constant":
        return None
    if not policy["iteration_mode"]:
        return _by_epochs(policy)
    if policy["type"] == "step":
        every, gamma = int(policy["step_size"]), float(policy["gamma"])
        return {"NAME": "step", "EVERY": every, "GAMMA": gamma, "EARLY": False}
    _one_of({"linear": ""}, policy["type"], "lr_policy.type")
    start, stop = (float(policy[key]) for key in ("decay_start", "decay_end"))
    return {
        "NAME": "linear",
        "START": start / iterations if start <= 1 else start,  # up to 1, it is a share
        "STOP": stop / iterations if stop <= 1 else stop,
        "FINAL": float(policy["decay_target"]),
    }


def notes_of_options(options: Mapping[str, Any]) -> list[str]:
    """What a config leaves out of the options."""
    policies = [options[name]["lr_policy"] for name in ("gen_opt", "dis_opt")]
    if policies[0] == policies[1]:
        return []
    return ["discriminators have the generators' schedule: a config has one for all"]


def _by_epochs(policy: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"NAME": policy["type"], "UNIT": "epochs"}
    if policy["type"] == "step":
        return found | {"EVERY": int(policy["step_size"]), "GAMMA": float(policy["gamma"])}
    _one_of({"linear": ""}, policy["type"], "lr_policy.type")
    start, stop = (float(policy[key]) for key in ("decay_start", "decay_end"))
    return found | {"START": start, "STOP": stop, "FINAL": float(policy["decay_target"])}


def config_of_options(options: Mapping[str, Any], *, unit: bool) -> dict[str, Any]:
    """The sections of a config, of MODEL only the NAME.

    options: all of them. The images are not told: DATA names a folder that has none.
    """
    data = options["data"].get("train", {}) if isinstance(options["data"], Mapping) else {}
    batch = int(data.get("batch_size", 1)) if isinstance(data, Mapping) else 1
    channels = options["gen"]["num_image_channels"]
    average = options["trainer"]["model_average_config"]
    dis = options["dis"]
    side = 256 if dis["patch_wise"] else 4 * 2 ** int(dis["num_layers"])
    engine: dict[str, Any] = {
        "ITERATIONS": int(options["max_iter"]),
        "BATCH_SIZE": batch,
        "SHARE": "none",
        "GRID_EVERY": int(options["image_save_iter"]),
        "SNAPSHOT_EVERY": int(options["snapshot_save_iter"]),
    }
    if average["enabled"]:
        start = int(average["start_iteration"])
        engine |= {"EMA": float(average["beta"]), "EMA_WARMUP": False, "EMA_START": start}
    return {
        "MODEL": {"NAME": "imaginaire_unit" if unit else "imaginaire_munit"},
        "LOSSES": losses_of_options(options, batch),
        "DOMAINS": {name: {"CHANNELS": channels} for name in "AB"},
        "DATA": {"NAME": "image_folder", "ROOT": UNKNOWN, "SIZE": side, "CROP": [side, side]},
        **optim_of_options(options),
        "ENGINE": engine,
    }
