"""Parity with the 2018 reference: every case of the folder MUNIT_ZOO_GOLDEN, in float64.

Each case holds the reference's weights, inputs, noise and what it computed from them. The measure
is max|ours - golden| / max(max|golden|, 1e-6), the bound 1e-8.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from munit_zoo.config import bind, resolve_data
from munit_zoo.interop import nvlabs
from munit_zoo.models import Objective, TranslationModel, create_model
from munit_zoo.models.build import create_terms

pytestmark = pytest.mark.golden

BOUND = 1e-8
FOLDER = Path(os.environ.get("MUNIT_ZOO_GOLDEN", "../shared/golden"))
CASES = sorted(FOLDER.glob("*.json"))


def test_there_are_cases():
    if not CASES:
        pytest.skip(f"no golden cases in {FOLDER} (set MUNIT_ZOO_GOLDEN)")


def error(ours: Tensor, golden: Tensor) -> float:
    golden = golden.reshape(ours.shape).to(ours)
    return float((ours - golden).abs().max() / max(float(golden.abs().max()), 1e-6))


class Errors(dict):
    """Errors by name of what was compared."""

    def compare(self, name: str, ours: Tensor, golden: Tensor) -> None:
        self[name] = error(ours.detach(), golden)

    def worst(self) -> tuple[str, float]:
        return max(self.items(), key=lambda item: item[1] if math.isfinite(item[1]) else math.inf)


def stand_in_vgg(path: Path) -> Path:
    """The fixtures' stand-in for trained VGG-16 weights, rebuilt from their definition."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    numbers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    state = {}
    for layer, (fan, out) in enumerate(itertools.pairwise(widths)):
        k = np.arange(out * fan * 9, dtype=np.uint32)
        with np.errstate(over="ignore"):
            h = np.uint32(2654435761) * k + np.uint32(40503) * np.uint32(layer + 1)
            h ^= h >> np.uint32(15)
            h = np.uint32(2246822519) * h
            h ^= h >> np.uint32(13)
        u = h.astype(np.float64) / 2**32
        weight = np.sqrt(6 / (9 * fan)) * (2 * u - 1)
        state[f"features.{numbers[layer]}.weight"] = torch.from_numpy(
            weight.reshape(out, fan, 3, 3)
        )
        state[f"features.{numbers[layer]}.bias"] = torch.zeros(out, dtype=torch.float64)
    save_file(state, path)
    return path


def split(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, dict[str, Tensor]]:
    """{"a": state dict, "b": state dict} of tensors called `prefix_a/name`."""
    return {
        domain: {
            key.removeprefix(f"{prefix}_{domain}/"): value
            for key, value in tensors.items()
            if key.startswith(f"{prefix}_{domain}/")
        }
        for domain in ("a", "b")
    }


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Case:
    """A golden case and our model of it."""

    def __init__(self, path: Path, work: Path, share: str = "content") -> None:
        self.info = json.loads(path.read_text())
        self.tensors = load_file(path.with_suffix(".safetensors"))
        self.kind = self.info["kind"].lower()
        tree = nvlabs.config_from_hyperparameters(self.info["config"], self.kind)
        if tree["LOSSES"]["PERCEPTUAL"]["WEIGHT"]:
            tree["LOSSES"]["PERCEPTUAL"]["WEIGHTS"] = str(stand_in_vgg(work / "vgg.safetensors"))
        tree["ENGINE"]["SHARE"] = share
        self.config = resolve_data(tree, origin=path.name).config
        self.model = create_model(self.config).train()
        self.load("init")
        self.objective = Objective(
            self.model, create_terms(self.config, {}), share=self.config.ENGINE.SHARE
        )
        self.errors = Errors()

    def load(self, when: str) -> None:
        gen, dis = (split(self.tensors, f"{when}/{net}") for net in ("gen", "dis"))
        generators, discriminators = nvlabs.convert_weights(self.model, gen, dis)
        self.model.generators.load_state_dict(generators)
        self.model.discriminators.load_state_dict(discriminators)

    def noise(self, step: int) -> dict[str, Tensor]:
        """Inputs of an iteration under our names; the reference's draws have fixed orders."""
        t, env = self.tensors, {}
        for name in ("x_a", "x_b"):
            env[name] = t[f"step{step}/{name}"]
        if self.kind == "munit":
            orders = {"dis": ("z_a'", "z_b'"), "gen": ("z_a", "z_b")}
        else:
            orders = {"dis": ("n_a'", "n_b'"), "gen": ("n_a", "n_b", "n_ba", "n_ab")}
        for side, names in orders.items():
            for k, name in enumerate(names):
                value = t[f"step{step}/{side}_noise/{k}"]
                env[name] = value.flatten(1) if self.kind == "munit" else value
        return env

    def forward(self) -> None:
        """Codes, translations and logits before any update."""
        t, model = self.tensors, self.model
        env = {"x_a": t["x_a"], "x_b": t["x_b"]}
        if self.kind == "munit":
            env |= {name: t[f"fwd/{name}"].flatten(1) for name in ("z_a", "z_b")}
            names = ("c_a", "c_b", "s_a", "s_b")
        else:
            names = ("h_a", "h_b")
            env |= {name: torch.zeros(()) for name in ("n_a", "n_b")}
        known = {"x_a_recon": "x_aa", "x_b_recon": "x_bb", "x_ab": "x_ab", "x_ba": "x_ba"}
        known |= {name: name for name in names}
        with torch.no_grad():
            values, _ = model.graph().plan(known.values())(model.views(), env)
            for golden, ours in known.items():
                if f"fwd/{golden}" not in t:
                    continue
                self.errors.compare(f"fwd/{golden}", values[ours], t[f"fwd/{golden}"])
            if self.kind == "munit":
                guided = model.generators["b"].decoder(values["c_a"], values["s_b"])
                self.errors.compare("fwd/x_ab_guided", guided, t["fwd/x_ab_guided"])
            for domain in ("a", "b"):
                for scale, logits in enumerate(model.discriminators[domain](env[f"x_{domain}"])):
                    name = f"fwd/dis_{domain}/{scale}"
                    self.errors.compare(name, logits, t[name])

    def perceptual(self) -> None:
        """The features of x_a and the loss of the pair (x_a, x_b)."""
        t = self.tensors
        term = next((t for t in self.objective.terms if t.name == "perceptual"), None)
        if "fwd/vgg_features_of_x_a" not in t or term is None:
            return
        features = term.criterion.vgg(t["x_a"])["relu5_3"]
        summary = torch.stack([features.mean(), features.std(), (features > 0).double().mean()])
        self.errors.compare("fwd/vgg_features", summary, t["fwd/vgg_features_of_x_a"])
        loss = term.criterion(t["x_a"], t["x_b"])
        self.errors.compare("fwd/vgg_loss", loss, t["fwd/vgg_loss_of_x_a_x_b"])

    def train(self) -> None:
        """All iterations: losses, first gradients, last weights."""
        model, objective = self.model, self.objective
        sides = (model.generators, model.discriminators)
        adam = [
            bind("optimizer", node)().build(part.parameters())
            for node, part in zip(
                (self.config.OPTIM.GENERATOR, self.config.OPTIM.DISCRIMINATOR), sides, strict=True
            )
        ]
        for step in range(self.info["iterations"]):
            env = self.noise(step)
            assert set(objective.plan.inputs) <= set(env)
            names, fakes = objective.generators(env)
            loss, parts = objective.critics(fakes, env)
            model.discriminators.zero_grad()
            loss.backward()
            if step == 0:
                self.gradients("dis", model.discriminators)
            adam[1].step()
            model.discriminators.requires_grad_(False)
            total, more = objective.losses(names, model.discriminators)
            model.generators.zero_grad()
            total.backward()
            model.discriminators.requires_grad_(True)
            if step == 0:
                self.gradients("gen", model.generators)
            adam[0].step()
            self.losses(step, loss, parts, total, more)
        self.final()

    def losses(self, step: int, dis: Tensor, dis_parts: dict, gen: Tensor, parts: dict) -> None:
        golden = self.info["losses"][step]
        ours = {"loss_dis_total": dis, "loss_gen_total": gen}
        for d, other in (("a", "b"), ("b", "a")):
            there, back = f"{d}{other}", f"{d}{other}{d}"
            named = {
                f"loss_dis_{d}": dis_parts.get(f"adversarial/{d}"),
                f"loss_gen_adv_{d}": parts.get(f"adversarial/{d}"),
                f"loss_gen_recon_x_{d}": parts.get(f"image_recon/x_{d}{d}"),
                f"loss_gen_recon_s_{d}": parts.get(f"style_recon/s_{other}{d}"),
                f"loss_gen_recon_c_{d}": parts.get(f"content_recon/c_{there}"),
                f"loss_gen_cycrecon_x_{d}": parts.get(f"cycle_recon/x_{back}"),
                f"loss_gen_cyc_x_{d}": parts.get(f"cycle_recon/x_{back}"),
                f"loss_gen_recon_kl_{d}": parts.get(f"kl/h_{d}"),
                f"loss_gen_recon_kl_cyc_{back}": parts.get(f"cycle_kl/h_{there}"),
                f"loss_gen_vgg_{d}": parts.get(f"perceptual/x_{other}{d}"),
            }
            ours |= {name: value for name, value in named.items() if value is not None}
        compared = 0
        for name, value in golden.items():
            if name in ours:
                self.errors.compare(f"step{step}/{name}", ours[name], torch.tensor(value))
                compared += 1
            elif name != "lr":
                assert value == 0 or self.weightless(name), f"{name} is not compared"
        assert compared >= 8

    def weightless(self, loss: str) -> bool:
        """Whether the reference gives a loss the weight 0: it is not compared."""
        keys = {
            "recon_s": "recon_s_w",
            "recon_c": "recon_c_w",
            "cyc": "recon_x_cyc_w",
            "recon_kl_cyc": "recon_kl_cyc_w",
            "recon_kl": "recon_kl_w",
            "recon_x": "recon_x_w",
            "vgg": "vgg_w",
            "adv": "gan_w",
            "dis": "gan_w",
        }
        key = next(k for part, k in keys.items() if part in loss)
        return not self.info["config"].get(key, 0)

    def gradients(self, net: str, part: torch.nn.ModuleDict) -> None:
        prefix = f"step0/grad/{net}"
        golden = {d: dict(v) for d, v in split(self.tensors, prefix).items()}
        for domain in ("a", "b"):
            targets = nvlabs._targets(part[domain], self.kind, nvlabs._downsamples(self.model))
            for name, parameter in part[domain].named_parameters():
                target = golden[domain].pop(targets[name], None)
                if target is None:
                    continue
                ours = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
                self.errors.compare(f"grad/{net}_{domain}/{name}", ours, target)
            assert not golden[domain], f"gradients not compared: {list(golden[domain])}"

    def final(self) -> None:
        after = {
            "generators": self.model.generators.state_dict(),
            "discriminators": self.model.discriminators.state_dict(),
        }
        after = {part: {k: v.clone() for k, v in state.items()} for part, state in after.items()}
        self.load("final")
        for part, state in after.items():
            golden = getattr(self.model, part).state_dict()
            for name, value in state.items():
                self.errors.compare(f"final/{part}/{name}", value.double(), golden[name].double())


def run(path: Path, work: Path, share: str, state: str) -> Errors:
    """All of a case. state: what the forward pass does to discriminators that have any (batch
    statistics, spectral vectors): the fixtures leave open whether it counted."""
    case = Case(path, work, share)
    before = {k: v.clone() for k, v in case.model.state_dict().items()}
    case.model.train(state != "eval")
    case.forward()
    case.model.train()
    if state != "advanced":
        case.model.load_state_dict(before)
    case.perceptual()
    case.train()
    return case.errors


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
@pytest.mark.usefixtures("double")
def test_case(path: Path, tmp_path: Path):
    results = {"advanced": run(path, tmp_path, "content", "advanced")}
    if results["advanced"].worst()[1] > BOUND:  # one consistent reading must hold throughout
        results |= {s: run(path, tmp_path, "content", s) for s in ("restored", "eval")}
    name, worst = min((r.worst() for r in results.values()), key=lambda pair: pair[1])
    assert worst <= BOUND, f"{path.stem}: {name} differs by {worst:.1e}"
    assert len(results["advanced"]) > 200


@pytest.mark.parametrize("path", CASES[:1], ids=lambda path: path.stem)
@pytest.mark.usefixtures("double")
def test_recomputing_what_is_shared_changes_nothing(path: Path, tmp_path: Path):
    name, worst = run(path, tmp_path, "none", "advanced").worst()
    assert worst <= BOUND, f"{name} differs by {worst:.1e}"


def test_converted_checkpoint_translates(tmp_path: Path):
    folder = FOLDER / "nvlabs_checkpoint"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} (set MUNIT_ZOO_GOLDEN)")
    gen = nvlabs.read_checkpoint(folder / "gen_00000003.pt")
    dis = nvlabs.read_checkpoint(folder / "dis_00000003.pt")
    kind, hyper = nvlabs.infer_hyperparameters(gen, dis)
    tree = nvlabs.config_from_hyperparameters(hyper, kind)
    model: TranslationModel = create_model(resolve_data(tree, origin="test").config)
    generators, discriminators = nvlabs.convert_weights(model, gen, dis)
    model.generators.load_state_dict(generators)
    model.discriminators.load_state_dict(discriminators)
    expected = load_file(folder / "expected.safetensors")
    ours = model.eval().translate(expected["x_a"], "b", expected["s_b"].flatten(1))
    assert error(ours[0], expected["x_ab"]) < 1e-5
