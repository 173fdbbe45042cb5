"""Checkpoints and hyperparameters of the 2018 reference implementation of MUNIT and UNIT.

Its files: `gen_%08d.pt` and `dis_%08d.pt`, each {"a": state_dict, "b": state_dict}; `optimizer.pt`,
{"gen": Adam state, "dis": Adam state}; a YAML of hyperparameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from munit_zoo.config import SCHEMA_VERSION
from munit_zoo.errors import CheckpointError, ConfigError, Problem

__all__ = [
    "config_from_hyperparameters",
    "convert_adam_state",
    "convert_weights",
    "downsamples_of",
    "infer_hyperparameters",
    "iteration_of",
    "part_of",
    "read_checkpoint",
    "reference_name",
    "targets_of",
]

Weights = Mapping[str, Mapping[str, Tensor]]


class TwoDomainModel(Protocol):
    """What of a model the conversion looks at (the recipes `munit` and `unit` have it)."""

    a: nn.ModuleDict
    b: nn.ModuleDict
    style_dim: int
    stride: int


STYLE_DOWNSAMPLES = 4  # whatever the content encoder does

_NORMS = {"none": "none", "in": "instance", "bn": "batch", "ln": "layer", "sn": "none"}


def read_checkpoint(path: Path, kind: str) -> dict[str, Any]:
    """The tensors of one of its `.pt` files, on the CPU.

    kind: `gen`, `dis` or `optimizer`. Only tensors and plain containers are read, never code.
    Raises CheckpointError for a file that is absent, unreadable or of another form or kind.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}") from error
    if not isinstance(content, dict) or set(content) not in ({"a", "b"}, {"gen", "dis"}):
        found = (
            ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        )
        raise CheckpointError(
            f"{path} is no checkpoint of the reference: expected the keys a and b (gen_*.pt, "
            f"dis_*.pt) or gen and dis (optimizer.pt), found {found[:200]}"
        )
    other = _kind_of(content)
    if other != kind:
        names = {"gen": "gen_*.pt", "dis": "dis_*.pt", "optimizer": "optimizer.pt"}
        what = {"gen": "generators", "dis": "discriminators", "optimizer": "optimizers"}[kind]
        hint = f"; is it {names[other]}?" if other else ""
        raise CheckpointError(f"{path} is no checkpoint of the reference's {what}{hint}")
    return content


def _kind_of(content: Mapping[str, object]) -> str | None:
    """`gen`, `dis` or `optimizer`; None for none of them."""
    if "gen" in content:
        return "optimizer"
    names = list(content["a"]) if isinstance(content["a"], Mapping) else []
    if any(name.startswith("cnns.") for name in names):
        return "dis"
    return "gen" if any(name.startswith(("dec.", "enc")) for name in names) else None


def iteration_of(path: Path) -> int:
    """Iteration in a file name such as `gen_00100000.pt`; 0 where it has none."""
    match = re.search(r"_(\d+)\.pt$", path.name)
    return int(match[1]) if match else 0


# Hyperparameters


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


def reference_name(
    name: str, *, downsamples: int, style_downsamples: int = STYLE_DOWNSAMPLES
) -> str:
    """The reference's name of one of our parameters or buffers.

    name: within a domain's generators (`content_encoder.stem.conv.weight`) or discriminator.
    downsamples: of the content encoder, which decides how the reference numbers its layers.
    """
    for pattern, replacement in _RULES:
        match = re.match(pattern, name)
        if match:
            place = replacement(match, downsamples, style_downsamples)
            return place + _leaf(name[match.end() :])
    raise CheckpointError(f"the reference has no counterpart of {name}")


def _rules() -> Iterator[tuple[str, Callable[[re.Match[str], int, int], str]]]:
    def conv(order: str | None) -> str:
        return {"first": "0", "second": "1", None: ""}[order]

    def trunk(match: re.Match[str], place: str) -> str:
        return f"{place}.model.{match[1]}.model.{conv(match[2])}"

    block = r"trunk\.blocks\.(\d+)\.(first|second)"
    yield r"content_encoder\.stem", lambda m, n, s: "ENC.model.0"
    yield r"content_encoder\.downs\.(\d+)", lambda m, n, s: f"ENC.model.{int(m[1]) + 1}"
    yield rf"content_encoder\.{block}", lambda m, n, s: trunk(m, f"ENC.model.{n + 1}")
    yield r"style_encoder\.stem", lambda m, n, s: "enc_style.model.0"
    yield r"style_encoder\.downs\.(\d+)", lambda m, n, s: f"enc_style.model.{int(m[1]) + 1}"
    yield r"style_encoder\.head", lambda m, n, s: f"enc_style.model.{s + 2}"
    yield rf"decoder\.{block}", lambda m, n, s: trunk(m, "dec.model.0")
    yield r"decoder\.head\.ups\.(\d+)\.block", lambda m, n, s: f"dec.model.{2 * int(m[1]) + 2}"
    yield r"decoder\.head\.out", lambda m, n, s: f"dec.model.{2 * n + 1}"
    yield r"decoder\.mapping\.linears\.(\d+)", lambda m, n, s: f"mlp.model.{m[1]}.fc"
    yield r"decoder\.mapping\.activations\.(\d+)", lambda m, n, s: f"mlp.model.{m[1]}.activation"
    yield r"scales\.(\d+)\.(\d+)", lambda m, n, s: f"cnns.{m[1]}.{m[2]}"


_RULES = tuple(_rules())


def _leaf(name: str) -> str:
    return {".norm.weight": ".norm.gamma", ".norm.bias": ".norm.beta"}.get(name, name)


def targets_of(module: nn.Module, kind: str, downsamples: int) -> dict[str, str]:
    """Our names to the reference's, for one domain's generators or one discriminator."""
    spectral = {
        name
        for name, layer in module.named_modules()
        if type(layer).__name__ == "LegacySpectralConv2d"
    }
    batch = {name for name, layer in module.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    targets = {}
    for name in module.state_dict():
        owner, _, leaf = name.rpartition(".")
        target = reference_name(name, downsamples=downsamples)
        target = target.replace("ENC.", "enc_content." if kind == "munit" else "enc.")
        if owner in batch:
            target = target.replace(".gamma", ".weight").replace(".beta", ".bias")
        if owner in spectral:
            leaf = {"weight": "weight_bar", "u": "weight_u", "v": "weight_v", "bias": "bias"}[leaf]
            target = f"{target.rpartition('.')[0]}.module.{leaf}"
        targets[name] = target
    return targets


def convert_weights(model: TwoDomainModel, gen: Weights, dis: Weights | None) -> dict[str, Tensor]:
    """Our tensors, by the model's own names, of the reference's.

    model: of the right shapes, on any device; its weights are not touched. dis: None leaves the
    discriminators out.
    Raises CheckpointError that lists missing names, names left over and shapes that differ. The
    dummy statistics of AdaIN, and of instance norms in files of torch 0.3, are dropped.
    """
    found: dict[str, Tensor] = {}
    kind, downsamples = _kind(model), downsamples_of(model)
    for domain in ("a", "b"):
        for side, weights in (("gen", gen), ("dis", dis)):
            if weights is None:
                continue
            prefix, module = part_of(model, domain, side)
            label = f"{side} {domain}"
            part = _convert(module, weights[domain], label, kind, downsamples)
            found |= {f"{prefix}{name}": value for name, value in part.items()}
    return found


def part_of(model: TwoDomainModel, domain: str, side: str) -> tuple[str, nn.Module]:
    """A domain's networks on one side, `gen` or `dis`, and what their names begin with."""
    networks = dict(getattr(model, domain).items())
    discriminator = networks.pop("discriminator")
    if side == "dis":
        return f"{domain}.discriminator.", discriminator
    return f"{domain}.", nn.ModuleDict(networks)


def _kind(model: TwoDomainModel) -> str:
    return "munit" if model.style_dim else "unit"


def downsamples_of(model: TwoDomainModel) -> int:
    return model.stride.bit_length() - 1


def _convert(
    module: nn.Module, weights: Mapping[str, Tensor], label: str, kind: str, downsamples: int
) -> dict[str, Tensor]:
    targets = targets_of(module, kind, downsamples)
    own = module.state_dict()
    converted, problems = {}, []
    for name, target in targets.items():
        value = weights.get(target)
        if value is None and target.endswith("num_batches_tracked"):
            value = torch.zeros((), dtype=torch.long)  # younger than the file
        if value is None:
            problems.append(f"{target} is missing")
        elif value.shape != own[name].shape:
            problems.append(
                f"{target} is {tuple(value.shape)}, the config makes {tuple(own[name].shape)}"
            )
        else:
            converted[name] = value
    known = set(targets.values())
    dummies = (".running_mean", ".running_var", ".num_batches_tracked")
    problems += [f"{n} is left over" for n in weights if n not in known and not n.endswith(dummies)]
    if problems:
        more = f"; and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise CheckpointError(
            f"the weights of {label} do not fit the hyperparameters: "
            + "; ".join(problems[:6])
            + more
            + ". Is the YAML (--config) the one of this checkpoint?"
        )
    return converted


def convert_adam_state(
    model: TwoDomainModel,
    side: str,
    optimizer: Mapping[str, Any],
    weights: Weights,
    trained: Mapping[str, int],
) -> dict[int, dict[str, Tensor]]:
    """State of our Adam, by its parameter index, of the reference's.

    side: `gen` or `dis`. weights: the reference's state dicts of that side, in file order: their
    order is the order of its parameter indices. trained: our parameter names (`a.…`) to indices.
    """
    buffers = ("running_mean", "running_var", "num_batches_tracked", "weight_u", "weight_v")
    positions: dict[tuple[str, str], int] = {}
    for domain in ("a", "b"):
        for name in weights[domain]:
            if not name.endswith(buffers):
                positions[domain, name] = len(positions)
    state = optimizer["state"]
    if len(optimizer["param_groups"][0]["params"]) != len(positions):
        raise CheckpointError(
            f"the optimizer's {side} state is of {len(optimizer['param_groups'][0]['params'])} "
            f"parameters, the checkpoint has {len(positions)}: the files are not of one run"
        )
    order = list(optimizer["param_groups"][0]["params"])
    converted = {}
    for domain in ("a", "b"):
        prefix, module = part_of(model, domain, side)
        targets = targets_of(module, _kind(model), downsamples_of(model))
        for name, target in targets.items():
            index = trained.get(f"{prefix}{name}")
            if index is None:
                continue
            found = state.get(order[positions[domain, target]])
            if found is not None:
                step = torch.as_tensor(found["step"], dtype=torch.float32).reshape(())
                converted[index] = {
                    "step": step,
                    "exp_avg": found["exp_avg"],
                    "exp_avg_sq": found["exp_avg_sq"],
                }
    return converted
