"""Hyperparameters of the 2018 reference implementation of MUNIT and UNIT, as our config.

They come as a YAML; or from the shapes of a checkpoint's weights, as far as those tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from munit_zoo.config import SCHEMA_VERSION
from munit_zoo.errors import CheckpointError, ConfigError, Problem
from munit_zoo.interop.nvlabs import STYLE_DOWNSAMPLES, Weights

__all__ = ["config_from_hyperparameters", "infer_hyperparameters"]

_NORMS = {"none": "none", "in": "instance", "bn": "batch", "ln": "layer", "sn": "none"}


def config_from_hyperparameters(
    hyper: Mapping[str, object], kind: str, *, source: str = "hyperparameters"
) -> dict[str, Any]:
    """Our config tree for a reference YAML.

    kind: `munit` or `unit`. Raises ConfigError that lists the values it does not know.
    """
    reader = _Reader(hyper, source)
    gen, dis = reader.section("gen"), reader.section("dis")
    init = reader.get(
        "init", "kaiming", choices=("kaiming", "xavier", "orthogonal", "gaussian", "default")
    )
    activation = {"NAME": gen.get("activ", "relu", choices=_ACTIVATIONS)}
    pad = gen.get("pad_type", "reflect", choices=("reflect", "replicate", "zero"))
    common = {"ACTIVATION": activation, "PAD_TYPE": pad, "INIT": init}
    dim, blocks = gen.get("dim", 64), gen.get("n_res", 4)
    model: dict[str, Any] = {
        "NAME": kind,
        "CONTENT_ENCODER": {
            "NAME": "resnet",
            "DIM": dim,
            "DOWNSAMPLES": gen.get("n_downsample", 2),
            "BLOCKS": blocks,
            **common,
        },
    }
    if kind == "munit":
        model["STYLE_DIM"] = gen.get("style_dim", 8)
        model["STYLE_ENCODER"] = {
            "NAME": "conv",
            "DIM": dim,
            "DOWNSAMPLES": STYLE_DOWNSAMPLES,
            **common,
        }
        mapping = {"NAME": "mlp", "DIM": gen.get("mlp_dim", 256), "ACTIVATION": activation}
        model["DECODER"] = {
            "NAME": "adain_resnet",
            "BLOCKS": blocks,
            "MAPPING": {**mapping, "INIT": init},
            **common,
        }
    else:
        model["DECODER"] = {"NAME": "resnet", "BLOCKS": blocks, **common}
    norm = dis.get("norm", "none", choices=tuple(_NORMS))
    model["DISCRIMINATOR"] = {
        "NAME": "multiscale_patch",
        "DIM": dis.get("dim", 64),
        "LAYERS": dis.get("n_layer", 4),
        "SCALES": dis.get("num_scales", 3),
        "NORM": {"NAME": _NORMS.get(norm, "none")},
        "WEIGHT_NORM": "spectral_legacy" if norm == "sn" else "none",
        "ACTIVATION": {"NAME": dis.get("activ", "lrelu", choices=_ACTIVATIONS)},
        "PAD_TYPE": dis.get("pad_type", "reflect", choices=("reflect", "replicate", "zero")),
    }
    gan = dis.get("gan_type", "lsgan", choices=("lsgan", "nsgan"))
    adam = {
        "NAME": "adam",
        "LR": reader.number("lr", 1e-4),
        "BETAS": [reader.number("beta1", 0.5), reader.number("beta2", 0.999)],
        "WEIGHT_DECAY": reader.number("weight_decay", 1e-4),
    }
    policy = reader.get("lr_policy", "constant", choices=("constant", "step"))
    schedule: dict[str, object] = {"NAME": "constant"}
    if policy == "step":
        schedule = {
            "NAME": "step",
            "EVERY": reader.get("step_size", 100_000),
            "GAMMA": reader.number("gamma", 0.5),
        }
    config = {
        "SCHEMA_VERSION": SCHEMA_VERSION,
        "MODEL": model,
        "LOSSES": _losses(reader, kind, gan),
        "DOMAINS": {
            "A": {"CHANNELS": reader.get("input_dim_a", 3)},
            "B": {"CHANNELS": reader.get("input_dim_b", 3)},
        },
        "DATA": _data(reader),
        "OPTIM": {"DEFAULT": adam, "SCHEDULE": schedule},
        "ENGINE": {
            "ITERATIONS": reader.get("max_iter", 1_000_000),
            "BATCH_SIZE": reader.get("batch_size", 1),
            "LOG_EVERY": reader.get("log_iter", 10),
            "GRID_EVERY": reader.get("image_save_iter", 10_000),
            "SNAPSHOT_EVERY": reader.get("snapshot_save_iter", 10_000),
            "WORKERS": reader.get("num_workers", 2),
            "DISPLAY": reader.get("display_size", 16),
        },
    }
    if reader.problems:
        raise ConfigError(reader.problems, source=source)
    return config


_ACTIVATIONS = ("relu", "lrelu", "prelu", "selu", "tanh", "none")


def _losses(reader: _Reader, kind: str, gan: str) -> dict[str, object]:
    def weight(key: str) -> float:
        return reader.number(key, 0)

    def l1(key: str) -> dict[str, object]:
        return {"NAME": "l1", "WEIGHT": weight(key)}

    losses: dict[str, Any] = {
        "ADVERSARIAL": {"NAME": gan, "WEIGHT": weight("gan_w")},
        "IMAGE_RECON": l1("recon_x_w"),
    }
    if kind == "munit":
        losses["STYLE_RECON"] = l1("recon_s_w")
        losses["CONTENT_RECON"] = l1("recon_c_w")
    else:
        losses["KL"] = {"NAME": "gaussian_kl", "WEIGHT": weight("recon_kl_w")}
        losses["CYCLE_KL"] = {"NAME": "gaussian_kl", "WEIGHT": weight("recon_kl_cyc_w")}
    losses["CYCLE_RECON"] = l1("recon_x_cyc_w")
    losses["PERCEPTUAL"] = {
        "NAME": "domain_invariant_vgg",
        "WEIGHT": weight("vgg_w"),
        "LAYERS": ["relu5_3"],
        "LEGACY": True,
    }
    return losses


def _data(reader: _Reader) -> dict[str, object]:
    """Where its images are; the synthetic ones where the YAML names none."""
    common = reader.get("new_size", None)
    sides = {d: reader.get(f"new_size_{d.lower()}", common) for d in ("A", "B")}
    sides = {domain: side for domain, side in sides.items() if side is not None}
    height, width = reader.get("crop_image_height", None), reader.get("crop_image_width", None)
    shape: dict[str, Any] = {}
    if sides:
        alike = len(sides) == 2 and sides["A"] == sides["B"]
        shape["SIZE"] = sides["A"] if alike else sides
    if height and width:
        shape["CROP"] = [height, width]
    root = reader.get("data_root", None)
    if root:
        return {"NAME": "image_folder", "ROOT": str(root), **shape}
    if reader.get("data_folder_train_a", None):
        data: dict[str, Any] = {"NAME": "image_list", "LISTS": {}, "ROOTS": {}, **shape}
        for split in ("train", "test"):
            for domain in ("a", "b"):
                folder = reader.get(f"data_folder_{split}_{domain}", None)
                listing = reader.get(f"data_list_{split}_{domain}", None)
                if folder and listing:
                    data["ROOTS"][f"{split}_{domain}".upper()] = str(folder)
                    data["LISTS"][f"{split}_{domain}".upper()] = str(listing)
        return data
    return {"NAME": "shapes", "SIZE": sides.get("A") or height or 256}


class _Reader:
    """Reads keys of a YAML tree and gathers what is wrong with them."""

    def __init__(
        self, tree: object, source: str, prefix: str = "", problems: list[Problem] | None = None
    ) -> None:
        self.problems: list[Problem] = [] if problems is None else problems
        self.source, self.prefix = source, prefix
        self.tree = tree if isinstance(tree, Mapping) else {}
        if not isinstance(tree, Mapping):
            self.complain("", "is not a map of keys")

    def section(self, key: str) -> _Reader:
        return _Reader(self.tree.get(key, {}), self.source, f"{key}.", self.problems)

    def get(self, key: str, default: Any, *, choices: tuple[str, ...] = ()) -> Any:
        value = self.tree.get(key, default)
        if choices and value not in choices:
            self.complain(key, f"got {value!r}, expected one of {', '.join(choices)}")
        return value

    def number(self, key: str, default: float) -> float:
        """A value that is a number, as `1e-4` is, which YAML 1.1 takes for a word."""
        value = self.get(key, default)
        try:
            return float(value)
        except (TypeError, ValueError):
            self.complain(key, f"got {value!r}, expected a number")
            return default

    def complain(self, key: str, message: str) -> None:
        self.problems.append(Problem(f"{self.prefix}{key}".rstrip("."), message, self.source))


def infer_hyperparameters(gen: Weights, dis: Weights | None) -> tuple[str, dict[str, object]]:
    """The recipe's name and the hyperparameters that a checkpoint's own shapes tell.

    What shapes cannot tell (activations other than PReLU, padding, losses) is the reference's
    default. Without `dis` its discriminators are the default ones.
    """
    a, b = gen["a"], gen["b"]
    kind = "munit" if any(name.startswith("enc_style.") for name in a) else "unit"
    encoder = "enc_content.model" if kind == "munit" else "enc.model"
    try:
        first = a[f"{encoder}.0.conv.weight"]
        strided = re.compile(re.escape(encoder) + r"\.[1-9]\d*\.conv\.weight")
        downsamples = sum(bool(strided.fullmatch(name)) for name in a)
        residual = {
            match[1] for name in a if (match := re.match(r"dec\.model\.0\.model\.(\d+)\.", name))
        }
        hyper: dict[str, Any] = {
            "input_dim_a": first.shape[1],
            "input_dim_b": b[f"{encoder}.0.conv.weight"].shape[1],
            "gen": {
                "dim": first.shape[0],
                "n_downsample": downsamples,
                "n_res": len(residual),
                "activ": "prelu" if any("activation.weight" in name for name in a) else "relu",
            },
        }
        if kind == "munit":
            hyper["gen"]["mlp_dim"], hyper["gen"]["style_dim"] = a["mlp.model.0.fc.weight"].shape
        if dis is not None:
            hyper["dis"] = _infer_discriminator(dis["a"])
    except KeyError as error:
        raise CheckpointError(
            f"the checkpoint is no generator of the reference: no {error}"
        ) from None
    weights: dict[str, float] = {"gan_w": 1, "recon_x_w": 10}
    weights |= {"recon_s_w": 1, "recon_c_w": 1} if kind == "munit" else {}
    weights |= (
        {} if kind == "munit" else {"recon_x_cyc_w": 10, "recon_kl_w": 0.01, "recon_kl_cyc_w": 0.01}
    )
    return kind, {**hyper, **weights, "lr_policy": "step"}


def _infer_discriminator(weights: Mapping[str, Tensor]) -> dict[str, object]:
    names = list(weights)
    scales = 1 + max(int(name.split(".")[1]) for name in names)
    layers = max(int(name.split(".")[2]) for name in names)
    norm = "none"
    if any("weight_bar" in name for name in names):
        norm = "sn"
    elif any(name.endswith(".norm.gamma") for name in names):
        norm = "ln"
    elif any(name.endswith(".norm.weight") for name in names):
        norm = "bn"
    elif any(name.endswith(".norm.running_mean") for name in names):
        norm = "in"
    first = weights["cnns.0.0.conv.weight"]
    prelu = any("activation.weight" in name for name in names)
    return {
        "dim": first.shape[0],
        "n_layer": layers,
        "num_scales": scales,
        "norm": norm,
        "activ": "prelu" if prelu else "lrelu",
    }


# Weights
