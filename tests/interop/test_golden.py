"""Parity with the 2018 reference: every case of the folder MUNIT_ZOO_GOLDEN, in float64.

Each case holds the reference's weights, inputs, noise and what it computed from them. Measure,
bound and exceptions are those of `_golden`. `test_golden_measure` holds this test itself to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from _golden import BOUND, CASES, FOLDER, Recorded, stand_in_vgg, zero_gradients
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from munit_zoo.config import bind, resolve_data
from munit_zoo.engine.step import optimizer_nodes
from munit_zoo.interop import nvlabs
from munit_zoo.models import Objective, TranslationModel, create_model
from munit_zoo.models.build import create_terms, sharing

pytestmark = pytest.mark.golden


def test_there_are_cases():
    if not CASES:
        pytest.skip(f"no golden cases in {FOLDER} (set MUNIT_ZOO_GOLDEN)")


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Case:
    """A golden case and our model of it."""

    def __init__(self, path: Path, work: Path, share: str = "derived") -> None:
        self.recorded = Recorded(path)
        self.tensors, self.kind = self.recorded.tensors, self.recorded.kind
        tree = nvlabs.config_from_hyperparameters(self.recorded.config, self.kind)
        if tree["LOSSES"]["PERCEPTUAL"]["WEIGHT"] or "fwd/vgg_features_of_x_a" in self.tensors:
            weights = work / "vgg.safetensors"
            save_file(stand_in_vgg(), weights)
            tree["LOSSES"]["PERCEPTUAL"]["WEIGHTS"] = str(weights)
        tree["ENGINE"]["SHARE"] = share
        self.config = resolve_data(tree, origin=path.name).config
        self.model = create_model(self.config).train()
        self.model.load_state_dict(self.weights("init"))
        self.objective = Objective(
            self.model, create_terms(self.config, {}), share=sharing(self.config)
        )

    def weights(self, when: str) -> dict[str, Tensor]:
        """The case's weights under our names."""
        gen, dis = (
            {d: self.recorded.under(f"{when}/{net}_{d}") for d in ("a", "b")}
            for net in ("gen", "dis")
        )
        generators, discriminators = nvlabs.convert_weights(self.model, gen, dis)
        named = {f"generators.{name}": value for name, value in generators.items()}
        return named | {f"discriminators.{name}": value for name, value in discriminators.items()}

    def names(self, net: str) -> Iterator[tuple[str, nn.Module, str]]:
        """The reference's names: (`gen_a/dec.…`, our network, our name in it)."""
        part = self.model.generators if net == "gen" else self.model.discriminators
        for domain in ("a", "b"):
            targets = nvlabs._targets(part[domain], self.kind, nvlabs._downsamples(self.model))
            for name, target in targets.items():
                yield f"{net}_{domain}/{target}", part[domain], name

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

    @torch.no_grad()
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
        values, _ = model.graph().plan(known.values())(model.views(), env)
        found = {name: values[ours] for name, ours in known.items()}
        if self.kind == "munit":
            decoders = {d: model.generators[d].decoder for d in ("a", "b")}
            found["x_ab_guided"] = decoders["b"](values["c_a"], values["s_b"])
            found["x_ba_guided"] = decoders["a"](values["c_b"], values["s_a"])
        for domain in ("a", "b"):
            for scale, logits in enumerate(model.discriminators[domain](env[f"x_{domain}"])):
                found[f"dis_{domain}/{scale}"] = logits
        for name, value in found.items():
            if f"fwd/{name}" in t:
                self.recorded.compare(f"fwd/{name}", value)

    @torch.no_grad()
    def perceptual(self) -> None:
        """The features of x_a and the loss of the pair (x_a, x_b)."""
        t = self.tensors
        if "fwd/vgg_features_of_x_a" not in t:
            return
        criterion = bind("loss", self.config.LOSSES.PERCEPTUAL)()
        features = criterion.vgg(t["x_a"])["relu5_3"]
        summary = torch.stack([features.mean(), features.std(), (features > 0).double().mean()])
        self.recorded.compare("fwd/vgg_features_of_x_a", summary)
        self.recorded.compare("fwd/vgg_loss_of_x_a_x_b", criterion(t["x_a"], t["x_b"]))

    def train(self) -> None:
        """All iterations: losses, first gradients, last weights."""
        model, objective = self.model, self.objective
        sides = (model.generators, model.discriminators)
        adam = [
            bind("optimizer", node)().build(part.parameters())
            for node, part in zip(optimizer_nodes(self.config), sides, strict=True)
        ]
        for step in range(self.recorded.info["iterations"]):
            env = self.noise(step)
            assert set(objective.plan.inputs) <= set(env)
            names, fakes = objective.generators(env)
            loss, parts = objective.critics(fakes, env)
            self.update("dis", step, loss, adam[1])
            model.discriminators.requires_grad_(False)
            total, more = objective.losses(names, model.discriminators)
            self.update("gen", step, total, adam[0])
            model.discriminators.requires_grad_(True)
            ours = {"loss_dis_total": loss, "loss_gen_total": total}
            self.recorded.compare_losses(step, ours | by_reference_name(parts, more))
        self.final()

    def update(self, net: str, step: int, loss: Tensor, adam: torch.optim.Optimizer) -> None:
        """Backward and step of one side, its first gradients compared."""
        adam.zero_grad()
        if loss.requires_grad:  # else all its terms have the weight 0
            loss.backward()
        gradients = [
            (f"step0/grad/{key}", network.get_parameter(name))
            for key, network, name in self.names(net)
            if name in dict(network.named_parameters())
        ]
        if step == 0:
            for key, parameter in gradients:
                self.recorded.compare_gradient(key, parameter)
        zero_gradients(self.recorded, gradients)
        adam.step()

    def final(self) -> None:
        for net in ("gen", "dis"):
            for key, network, name in self.names(net):
                if f"final/{key}" in self.tensors:
                    self.recorded.compare(f"final/{key}", network.state_dict()[name])


def by_reference_name(
    dis_parts: Mapping[str, Tensor], parts: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Our parts of the losses under the reference's names."""
    found: dict[str, Tensor | None] = {}
    for d, other in (("a", "b"), ("b", "a")):
        there, back = f"{d}{other}", f"{d}{other}{d}"
        found |= {
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
    return {name: value for name, value in found.items() if value is not None}


def run(path: Path, work: Path, share: str, state: str) -> Recorded:
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
    return case.recorded


def verdict(path: Path, work: Path) -> tuple[str, float]:
    """What of a case is furthest off, in the reading of it that fits best throughout."""
    found = run(path, work, "derived", "advanced").worst()
    for state in ("restored", "eval"):
        if found[1] > BOUND:
            found = min(found, run(path, work, "derived", state).worst(), key=lambda w: w[1])
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
@pytest.mark.usefixtures("double")
def test_case(path: Path, tmp_path: Path):
    name, worst = verdict(path, tmp_path)
    assert worst <= BOUND, f"{path.stem}: {name} differs by {worst:.1e}"


@pytest.mark.parametrize("path", CASES[:1], ids=lambda path: path.stem)
@pytest.mark.usefixtures("double")
def test_recomputing_what_is_shared_changes_nothing(path: Path, tmp_path: Path):
    name, worst = run(path, tmp_path, "none", "advanced").worst()
    assert worst <= BOUND, f"{name} differs by {worst:.1e}"


def test_converted_checkpoint_translates(tmp_path: Path):
    folder = FOLDER / "nvlabs_checkpoint"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} (set MUNIT_ZOO_GOLDEN)")
    gen = nvlabs.read_checkpoint(folder / "gen_00000003.pt", "gen")
    dis = nvlabs.read_checkpoint(folder / "dis_00000003.pt", "dis")
    kind, hyper = nvlabs.infer_hyperparameters(gen, dis)
    tree = nvlabs.config_from_hyperparameters(hyper, kind)
    model: TranslationModel = create_model(resolve_data(tree, origin="test").config)
    generators, discriminators = nvlabs.convert_weights(model, gen, dis)
    model.generators.load_state_dict(generators)
    model.discriminators.load_state_dict(discriminators)
    expected = load_file(folder / "expected.safetensors")
    ours = model.eval().translate(expected["x_a"], "b", expected["s_b"].flatten(1))
    off, scale = (ours[0] - expected["x_ab"]).abs().max(), expected["x_ab"].abs().max()
    assert off / scale < 1e-5
