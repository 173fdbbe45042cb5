"""The golden test itself: it passes what is right, however small, and fails what is wrong.

The cases here are recorded by the bench's reference arm, which shares no network with the package.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from _golden import BOUND
from safetensors.torch import load_file, save_file
from torch import Tensor

from munit_zoo.bench.reference import ReferenceTrainer

NETWORKS = ("gen_a", "gen_b", "dis_a", "dis_b")

MUNIT: dict[str, Any] = {
    "lr": 0.001,
    "weight_decay": 1e-4,
    "gan_w": 1,
    "recon_x_w": 10,
    "recon_s_w": 1,
    "recon_c_w": 1,
    "recon_x_cyc_w": 10,
    "vgg_w": 0,
    "gen": {"dim": 2, "mlp_dim": 3, "style_dim": 2, "activ": "relu", "n_downsample": 1}
    | {"n_res": 1, "pad_type": "reflect"},
    "dis": {"dim": 2, "norm": "none", "activ": "lrelu", "n_layer": 1, "gan_type": "lsgan"}
    | {"num_scales": 1, "pad_type": "reflect"},
    "input_dim_a": 1,
    "input_dim_b": 2,
}
UNIT = {**MUNIT, "recon_kl_w": 0.01, "recon_kl_cyc_w": 0.01}
NOTHING = {key: 0 for key in UNIT if key.endswith("_w")}


def golden_test() -> Any:
    spec = importlib.util.spec_from_file_location(
        "golden_test", Path(__file__).with_name("test_golden.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden_test"] = module  # where its dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


GOLDEN = golden_test()


def verdict(path: Path, work: Path) -> tuple[str, float]:
    """The golden test's, in the way that is the default."""
    found: tuple[str, float] = GOLDEN.verdict(path, work, GOLDEN.ALL[0])
    return found


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def record(
    path: Path,
    kind: str = "munit",
    *,
    gen: dict[str, Any] | None = None,
    dis: dict[str, Any] | None = None,
    iterations: int = 2,
    **changes: Any,
) -> Path:
    """A case in the form of the golden ones."""
    hyper = copy.deepcopy(MUNIT if kind == "munit" else UNIT)
    hyper |= {"gen": {**hyper["gen"], **(gen or {})}, "dis": {**hyper["dis"], **(dis or {})}}
    hyper |= changes
    torch.manual_seed(0)
    trainer = ReferenceTrainer(hyper, kind)  # type: ignore[arg-type]
    for parameter in trainer.parameters():
        if parameter.dim() == 1:  # nothing is to be silently zero
            torch.nn.init.normal_(parameter, std=0.3)
    tensors = _weights(trainer, "init")
    x = [torch.rand(2, hyper[f"input_dim_{d}"], 32, 32) * 2 - 1 for d in "ab"]
    tensors |= {"x_a": x[0], "x_b": x[1], **_forward(trainer, x)}
    losses = []
    for step in range(iterations):
        x = [torch.rand_like(image) * 2 - 1 for image in x]
        noise = {side: _noise(trainer, x[0], side) for side in ("dis", "gen")}
        tensors |= {f"step{step}/x_a": x[0], f"step{step}/x_b": x[1]}
        tensors |= {
            f"step{step}/{side}_noise/{k}": draw
            for side, draws in noise.items()
            for k, draw in enumerate(draws)
        }
        found = trainer.update_discriminators(*x, noise["dis"])
        tensors |= _gradients(trainer, "dis") if not step else {}
        found |= trainer.update_generators(*x, noise["gen"])
        tensors |= _gradients(trainer, "gen") if not step else {}
        losses.append({name: float(value) for name, value in found.items()})
    info = {"kind": kind.upper(), "iterations": iterations, "config": hyper, "losses": losses}
    return write(path, info, {**tensors, **_weights(trainer, "final")})


def write(path: Path, info: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    path.write_text(json.dumps(info))
    save_file({k: v.contiguous() for k, v in tensors.items()}, path.with_suffix(".safetensors"))
    return path


def _weights(trainer: ReferenceTrainer, when: str) -> dict[str, Tensor]:
    return {
        f"{when}/{net}/{name}": value.clone()
        for net in NETWORKS
        for name, value in getattr(trainer, net).state_dict().items()
    }


def _gradients(trainer: ReferenceTrainer, side: str) -> dict[str, Tensor]:
    return {
        f"step0/grad/{net}/{name}": parameter.grad.clone()
        for net in NETWORKS
        for name, parameter in getattr(trainer, net).named_parameters()
        if net.startswith(side) and parameter.grad is not None
    }


def _noise(trainer: ReferenceTrainer, x: Tensor, side: str) -> list[Tensor]:
    if trainer.kind == "munit":
        return [torch.randn(len(x), trainer.gen["style_dim"], 1, 1) for _ in "ab"]
    with torch.no_grad():
        latent = trainer.gen_a.enc(x)
    return [torch.randn_like(latent) for _ in range(2 if side == "dis" else 4)]


@torch.no_grad()
def _forward(trainer: ReferenceTrainer, x: list[Tensor]) -> dict[str, Tensor]:
    a, b = trainer.gen_a, trainer.gen_b
    found: dict[str, Tensor] = {}
    if trainer.kind == "munit":
        found["z_a"], found["z_b"] = _noise(trainer, x[0], "dis")
        found["c_a"], found["s_a"] = a.encode(x[0])
        found["x_ab"] = b.decode(found["c_a"], found["z_b"])
    else:
        found["h_a"] = a.enc(x[0])
        found["x_ab"] = b.dec(found["h_a"])
    for net, image in (("dis_a", x[0]), ("dis_b", x[1])):
        for scale, logits in enumerate(getattr(trainer, net)(image)):
            found[f"{net}/{scale}"] = logits
    return {f"fwd/{name}": value for name, value in found.items()}


# What is right passes

RIGHT: dict[str, dict[str, Any]] = {
    "small": {},
    "smallest": {
        "gen": {"dim": 1, "n_downsample": 0, "mlp_dim": 1, "style_dim": 1},
        "dis": {"dim": 1},
        "iterations": 1,
    },
    "one_channel_layer_norm": {"gen": {"dim": 1, "activ": "tanh"}},
    "no_decay": {"weight_decay": 0, "lr": 0.01, "iterations": 3},
    "no_decay_linear": {"weight_decay": 0, "lr": 0.01, "gen": {"activ": "none"}},
    "large_loss": {"recon_x_w": 1000},
    "batch_norm_linear": {"dis": {"norm": "bn", "activ": "none", "n_layer": 3}},
    "instance_norm": {"dis": {"norm": "in", "n_layer": 3}},
    "spectral": {"dis": {"norm": "sn", "n_layer": 2, "num_scales": 2}},
    "no_discriminators": {"gan_w": 0},
    "no_discriminators_spectral": {"gan_w": 0, "dis": {"norm": "sn", "n_layer": 2}},
    "no_discriminators_batch": {"gan_w": 0, "dis": {"norm": "bn", "n_layer": 2}},
    "no_styles": {"recon_x_w": 0, "recon_s_w": 0, "recon_x_cyc_w": 0},
    "no_contents": {"recon_c_w": 0},
    "nothing": NOTHING,
    "unit": {"kind": "unit"},
    "unit_smallest": {"kind": "unit", "gen": {"dim": 1, "n_downsample": 0, "n_res": 0}},
    "unit_no_cycle_kl": {"kind": "unit", "recon_kl_cyc_w": 0},
    "unit_no_cycle": {"kind": "unit", "recon_x_cyc_w": 0},
    "unit_nothing": {"kind": "unit", **NOTHING},
}


@pytest.mark.parametrize("changes", RIGHT.values(), ids=RIGHT)
def test_a_right_case_passes(changes: dict[str, Any], tmp_path: Path):
    name, worst = verdict(record(tmp_path / "case.json", **changes), tmp_path)
    assert worst <= BOUND, f"{name} differs by {worst:.1e}"


def test_counters_that_are_not_recorded_are_not_compared(tmp_path: Path):
    path = record(tmp_path / "case.json", dis={"norm": "bn", "n_layer": 2})
    info, tensors = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
    kept = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    assert len(kept) < len(tensors)
    assert verdict(write(path, info, kept), tmp_path)[1] <= BOUND


# What is wrong fails

IDLE = "gen_a/enc_content.model.0.conv.bias"  # an instance norm follows
WRONG = {
    "fwd/c_a": 1e-6,
    "fwd/dis_a/0": 1e-6,
    "step0/grad/gen_b/mlp.model.0.fc.weight": 1e-6,
    "step0/grad/gen_b/dec.model.2.norm.gamma": 1e-6,
    "step0/grad/dis_a/cnns.0.0.conv.bias": 1e-6,
    f"step0/grad/{IDLE}": 1e-6,
    "final/gen_a/enc_style.model.0.conv.weight": 1e-6,
    "final/dis_b/cnns.0.1.weight": 1e-6,
    f"final/{IDLE}": 1e-6,
}


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_default_dtype(torch.float64)
    return record(tmp_path_factory.mktemp("golden") / "case.json")


def altered(right: Path, folder: Path, key: str, value: Tensor) -> Path:
    info, tensors = json.loads(right.read_text()), load_file(right.with_suffix(".safetensors"))
    return write(folder / "case.json", info, {**tensors, key: value})


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_number_is_found(key: str, right: Path, tmp_path: Path):
    golden = load_file(right.with_suffix(".safetensors"))[key]
    off = golden.clone()
    off.view(-1)[-1] += WRONG[key] * max(float(golden.abs().max()), 1)
    name, worst = verdict(altered(right, tmp_path, key, off), tmp_path)
    assert (name, worst > BOUND) == (key, True)


def test_a_wrong_loss_is_found(right: Path, tmp_path: Path):
    info, tensors = json.loads(right.read_text()), load_file(right.with_suffix(".safetensors"))
    info["losses"][1]["loss_gen_recon_s_a"] *= 1 + 1e-6
    name, worst = verdict(write(tmp_path / "case.json", info, tensors), tmp_path)
    assert (name, worst > BOUND) == ("step1/loss_gen_recon_s_a", True)


@pytest.mark.parametrize("key", ["fwd/x_aba", "step0/grad/gen_a/new.weight", "final/dis_a/new"])
def test_what_nothing_is_compared_with_is_found(key: str, right: Path, tmp_path: Path):
    name, worst = verdict(altered(right, tmp_path, key, torch.ones(1)), tmp_path)
    assert (name, worst > BOUND) == (key, True)


def test_a_loss_that_nothing_is_compared_with_is_found(right: Path, tmp_path: Path):
    info, tensors = json.loads(right.read_text()), load_file(right.with_suffix(".safetensors"))
    info["losses"][0]["loss_gen_new_a"] = 1.0
    name, _ = verdict(write(tmp_path / "case.json", info, tensors), tmp_path)
    assert name == "step0/loss_gen_new_a"


def test_a_network_that_no_term_reaches_is_compared(tmp_path: Path):
    path = record(tmp_path / "right.json", gan_w=0)
    key = "final/dis_a/cnns.0.0.conv.weight"
    golden = load_file(path.with_suffix(".safetensors"))[key]
    name, worst = verdict(altered(path, tmp_path, key, golden * (1 + 1e-6)), tmp_path)
    assert (name, worst > BOUND) == (key, True)
