"""Parity with the 2018 reference: every case of the folder MUNIT_ZOO_GOLDEN, in float64.

Each case holds the reference's weights, inputs, noise and what it computed from them. It goes
through the very objects that `train` builds, in each way of computing that a config offers.
Measure, bound and exceptions are those of `_golden`; `test_golden_measure` holds this test to them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from _golden import BOUND, CASES, FOLDER, Recorded, stand_in_vgg
from _parity import note
from _training import Training
from safetensors.torch import load_file, save_file
from torch import Tensor

from munit_zoo.config import bind, resolve_data
from munit_zoo.interop import nvlabs, nvlabs_options
from munit_zoo.models import TranslationModel, create_model
from munit_zoo.models.plan import run as run_operations
from munit_zoo.models.plan import straight
from munit_zoo.models.views import views

pytestmark = pytest.mark.golden


@dataclass(frozen=True)
class Setting:
    """A way of computing, which must not change what is computed."""

    channels_last: bool
    share: str
    fold: bool
    fused: bool
    compiled: bool = False

    @property
    def engine(self) -> dict[str, Any]:
        compile_ = "default" if self.compiled else "off"
        return {"CHANNELS_LAST": self.channels_last, "SHARE": self.share, "COMPILE": compile_}

    def __str__(self) -> str:
        words = [
            "last" if self.channels_last else "contiguous",
            self.share,
            "fold" if self.fold else "plain",
            "fused" if self.fused else "loop",
        ]
        return "-".join(words)


ALL = [
    Setting(*values)
    for values in itertools.product(
        (True, False), ("derived", "none"), (True, False), (True, False)
    )
]
# the first five hold each pair of values of any two settings; the first is the default
COVERING = [ALL[0], ALL[3], ALL[5], ALL[9], ALL[14]]
PLAIN = [*COVERING, *(setting for setting in ALL if setting not in COVERING)]


def test_there_are_cases():
    if not CASES:
        pytest.skip(f"no golden cases in {FOLDER} (set MUNIT_ZOO_GOLDEN)")


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Case:
    """A golden case and what `train` builds for it.

    setting: how it is computed, which must not matter.
    """

    def __init__(self, path: Path, work: Path, setting: Setting) -> None:
        self.recorded = Recorded(path)
        self.tensors, self.kind = self.recorded.tensors, self.recorded.kind
        tree = nvlabs_options.config_from_hyperparameters(self.recorded.config, self.kind)
        if tree["LOSSES"]["PERCEPTUAL"]["WEIGHT"] or "fwd/vgg_features_of_x_a" in self.tensors:
            weights = work / "vgg.safetensors"
            save_file(stand_in_vgg(), weights)
            tree["LOSSES"]["PERCEPTUAL"]["WEIGHTS"] = str(weights)
        batch = self.tensors["step0/x_a"]
        tree["ENGINE"] |= setting.engine | {"BATCH_SIZE": len(batch)}
        tree["MODEL"]["DECODER"]["FOLD"] = setting.fold
        tree["OPTIM"]["DEFAULT"]["FUSED"] = setting.fused
        sizes = {d: tuple(self.tensors[f"step0/x_{d}"].shape[2:]) for d in ("a", "b")}
        self.config = resolve_data(tree, origin=path.name).config
        self.training: Training | None = None
        if any(term.WEIGHT for term in self.config.LOSSES.values()):
            self.training = Training(tree, sizes)
            self.model = self.training.model
            self.idle = [p for p in self.model.parameters() if not p.requires_grad]
        else:  # nothing that `train` would train
            self.model = create_model(self.config)
            self.idle = list(self.model.parameters())
        self.model.load_state_dict(self.weights("init"))

    def weights(self, when: str) -> dict[str, Tensor]:
        """The case's weights under our names."""
        gen, dis = (
            {d: self.recorded.under(f"{when}/{net}_{d}") for d in ("a", "b")}
            for net in ("gen", "dis")
        )
        return nvlabs.convert_weights(self.model, gen, dis)

    def names(self) -> Iterator[tuple[str, str]]:
        """The reference's names, `gen_a/dec.…`, and ours."""
        downsamples = nvlabs.downsamples_of(self.model)
        for side in ("gen", "dis"):
            for domain in ("a", "b"):
                prefix, module = nvlabs.part_of(self.model, domain, side)
                targets = nvlabs.targets_of(module, self.kind, downsamples)
                for name, target in targets.items():
                    yield f"{side}_{domain}/{target}", f"{prefix}{name}"

    def inputs(self, step: int) -> dict[str, Tensor]:
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
        values = dict(env)
        run_operations(straight(model.graph(), known.values(), env, views(model)), values)
        found = {name: values[ours] for name, ours in known.items()}
        if self.kind == "munit":
            found["x_ab_guided"] = model.b.decoder(values["c_a"], values["s_b"])
            found["x_ba_guided"] = model.a.decoder(values["c_b"], values["s_a"])
        for domain in ("a", "b"):
            logits = getattr(model, domain).discriminator(env[f"x_{domain}"])
            found |= {f"dis_{domain}/{scale}": map_ for scale, map_ in enumerate(logits)}
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
        # what no term reaches is left alone here; the reference decays it
        node = self.config.OPTIM.DEFAULT
        decay = bind("optimizer", node)().build(self.idle) if self.idle else None
        for step in range(self.recorded.info["iterations"]):
            inputs, parts = self.inputs(step), {}
            if self.training is not None:
                assert set(self.training.objective.inputs) <= set(inputs)
                parts = self.training.step(inputs, step)
            self.recorded.compare_losses(step, by_reference_name(parts))
            if decay is not None:
                for parameter in self.idle:
                    parameter.grad = torch.zeros_like(parameter)
                decay.step()
        self.final()

    def final(self) -> None:
        updates = {} if self.training is None else self.training.gradients
        gradients = {name: g for found in updates.values() for name, g in found.items()}
        parameters = dict(self.model.named_parameters())
        state = self.model.state_dict()
        for key, name in self.names():
            if name in parameters:
                self.recorded.compare_gradient(
                    f"step0/grad/{key}", gradients.get(name), parameters[name]
                )
            if f"final/{key}" in self.tensors:
                self.recorded.compare(f"final/{key}", state[name])


def by_reference_name(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our parts of the losses under the reference's names."""
    found: dict[str, Tensor | None] = {
        "loss_dis_total": parts.get("discriminators/total", torch.zeros(())),
        "loss_gen_total": parts.get("generators/total", torch.zeros(())),
    }
    gen = {n.partition("/")[2]: v for n, v in parts.items() if n.startswith("generators/")}
    for d, other in (("a", "b"), ("b", "a")):
        there, back = f"{d}{other}", f"{d}{other}{d}"
        found |= {
            f"loss_dis_{d}": parts.get(f"discriminators/adversarial/d_{other}{d}"),
            f"loss_gen_adv_{d}": gen.get(f"adversarial/d_{other}{d}"),
            f"loss_gen_recon_x_{d}": gen.get(f"image_recon/x_{d}{d}"),
            f"loss_gen_recon_s_{d}": gen.get(f"style_recon/s_{other}{d}"),
            f"loss_gen_recon_c_{d}": gen.get(f"content_recon/c_{there}"),
            f"loss_gen_cycrecon_x_{d}": gen.get(f"cycle_recon/x_{back}"),
            f"loss_gen_cyc_x_{d}": gen.get(f"cycle_recon/x_{back}"),
            f"loss_gen_recon_kl_{d}": gen.get(f"kl/h_{d}"),
            f"loss_gen_recon_kl_cyc_{back}": gen.get(f"cycle_kl/h_{there}"),
            f"loss_gen_vgg_{d}": gen.get(f"perceptual/x_{other}{d}"),
        }
    return {name: value for name, value in found.items() if value is not None}


def run(path: Path, work: Path, setting: Setting, state: str) -> Recorded:
    """All of a case. state: what the forward pass does to discriminators that have any (batch
    statistics, spectral vectors): the fixtures leave open whether it counted."""
    case = Case(path, work, setting)
    before = {k: v.clone() for k, v in case.model.state_dict().items()}
    case.model.train(state != "eval")
    case.forward()
    case.model.train()
    if state != "advanced":
        case.model.load_state_dict(before)
    case.perceptual()
    case.train()
    return case.recorded


def verdict(path: Path, work: Path, setting: Setting) -> tuple[str, float]:
    """What of a case is furthest off, in the reading of it that fits best throughout."""
    found = run(path, work, setting, "advanced").worst()
    for state in ("restored", "eval"):
        if found[1] > BOUND:
            found = min(found, run(path, work, setting, state).worst(), key=lambda w: w[1])
    note(Recorded(path).kind, found[1])
    return found


@pytest.mark.parametrize("setting", PLAIN[:2], ids=str)
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
@pytest.mark.usefixtures("double")
def test_case(path: Path, setting: Setting, tmp_path: Path):
    name, worst = verdict(path, tmp_path, setting)
    assert worst <= BOUND, f"{path.stem}: {name} differs by {worst:.1e}"


@pytest.mark.slow
@pytest.mark.parametrize("setting", PLAIN[2:], ids=str)
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
@pytest.mark.usefixtures("double")
def test_case_in_every_setting(path: Path, setting: Setting, tmp_path: Path):
    name, worst = verdict(path, tmp_path, setting)
    assert worst <= BOUND, f"{path.stem}: {name} differs by {worst:.1e}"


@pytest.mark.slow
@pytest.mark.parametrize("path", CASES[:1], ids=lambda path: path.stem)
@pytest.mark.usefixtures("double")
def test_case_compiled(path: Path, tmp_path: Path):
    compiled = Setting(channels_last=True, share="derived", fold=True, fused=True, compiled=True)
    name, worst = verdict(path, tmp_path, compiled)
    assert worst <= BOUND, f"{path.stem}: {name} differs by {worst:.1e}"


def test_converted_checkpoint_translates(tmp_path: Path):
    folder = FOLDER / "nvlabs_checkpoint"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} (set MUNIT_ZOO_GOLDEN)")
    gen = nvlabs.read_checkpoint(folder / "gen_00000003.pt", "gen")
    dis = nvlabs.read_checkpoint(folder / "dis_00000003.pt", "dis")
    kind, hyper = nvlabs_options.infer_hyperparameters(gen, dis)
    tree = nvlabs_options.config_from_hyperparameters(hyper, kind)
    model: TranslationModel = create_model(resolve_data(tree, origin="test").config)
    model.load_state_dict(nvlabs.convert_weights(model, gen, dis))
    expected = load_file(folder / "expected.safetensors")
    ours = model.eval().translate(expected["x_a"], "b", expected["s_b"].flatten(1))
    off, scale = (ours[0] - expected["x_ab"]).abs().max(), expected["x_ab"].abs().max()
    assert off / scale < 1e-5
