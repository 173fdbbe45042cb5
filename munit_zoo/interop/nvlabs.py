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

from munit_zoo.errors import CheckpointError

__all__ = [
    "convert_adam_state",
    "convert_weights",
    "downsamples_of",
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
