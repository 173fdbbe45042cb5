"""The yardstick: parity with the golden cases, configs and back, equality with our models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from _golden import BOUND, CASES, FOLDER, STATISTICS, Recorded, stand_in_vgg
from _training import Training
from torch import Tensor

from munit_zoo.bench.reference import ReferenceTrainer
from munit_zoo.bench.reference.settings import GENERALISED, hyperparameters_of
from munit_zoo.config import load_config, resolve_data
from munit_zoo.errors import UsageError
from munit_zoo.interop import nvlabs_options


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def networks(trainer: ReferenceTrainer) -> dict[str, torch.nn.Module]:
    return {name: getattr(trainer, name) for name in ("gen_a", "gen_b", "dis_a", "dis_b")}


# Golden cases


class Golden:
    """A golden case and the reference trainer of it."""

    def __init__(self, path: Path) -> None:
        self.recorded = Recorded(path)
        self.tensors, self.kind = self.recorded.tensors, self.recorded.kind
        weights = stand_in_vgg() if self.recorded.config.get("vgg_w") else None
        self.trainer = ReferenceTrainer(self.recorded.config, self.kind, vgg_weights=weights)
        for name, network in networks(self.trainer).items():
            own = network.state_dict()
            dummies = {key: value for key, value in own.items() if key.endswith(STATISTICS)}
            network.load_state_dict({**dummies, **self.recorded.under(f"init/{name}")})

    @torch.no_grad()
    def forward(self) -> None:
        """Codes, translations and logits before any update."""
        t, trainer = self.tensors, self.trainer
        x = {domain: t[f"x_{domain}"] for domain in "ab"}
        ours: dict[str, Tensor] = {}
        for d, o in (("a", "b"), ("b", "a")):
            gen, other = getattr(trainer, f"gen_{d}"), getattr(trainer, f"gen_{o}")
            if self.kind == "munit":
                c, s = ours[f"c_{d}"], ours[f"s_{d}"] = gen.encode(x[d])
                ours[f"x_{d}_recon"] = gen.decode(c, s)
                ours[f"x_{d}{o}"] = other.decode(c, t[f"fwd/z_{o}"])
            else:
                h = ours[f"h_{d}"] = gen.enc(x[d])
                ours[f"x_{d}_recon"], ours[f"x_{d}{o}"] = gen.dec(h), other.dec(h)
            for scale, logits in enumerate(getattr(trainer, f"dis_{d}")(x[d])):
                ours[f"dis_{d}/{scale}"] = logits
        if self.kind == "munit":
            ours["x_ab_guided"] = trainer.gen_b.decode(ours["c_a"], ours["s_b"])
            ours["x_ba_guided"] = trainer.gen_a.decode(ours["c_b"], ours["s_a"])
        if trainer.vgg is not None:
            features = trainer.vgg(x["a"])
            parts = [features.mean(), features.std(), (features > 0).double().mean()]
            ours["vgg_features_of_x_a"] = torch.stack(parts)
            judged = (trainer.instance_norm(trainer.vgg(image)) for image in x.values())
            ours["vgg_loss_of_x_a_x_b"] = (next(judged) - next(judged)).square().mean()
        for name, value in ours.items():
            if f"fwd/{name}" in t:
                self.recorded.compare(f"fwd/{name}", value)
        self.translate(x, ours)

    def translate(self, x: dict[str, Tensor], ours: dict[str, Tensor]) -> None:
        """`translate` gives what the networks do, here one style an image."""
        for way in ("ab", "ba"):
            styles = self.tensors.get(f"fwd/z_{way[1]}")
            found = self.trainer.translate(x[way[0]], f"{way[0]}2{way[1]}", styles)
            rows = [row[index % len(row)] for index, row in enumerate(found)]
            assert torch.allclose(torch.stack(rows), ours[f"x_{way}"], rtol=0, atol=1e-10)

    def update(self, side: str, step: int, *batch: object) -> dict[str, Tensor]:
        """One side's update, its first gradients compared."""
        sides = {
            "dis": self.trainer.update_discriminators,
            "gen": self.trainer.update_generators,
        }
        losses = sides[side](*batch)
        if step == 0:
            for domain in "ab":
                network = getattr(self.trainer, f"{side}_{domain}")
                for name, parameter in network.named_parameters():
                    key = f"step0/grad/{side}_{domain}/{name}"
                    self.recorded.compare_gradient(key, parameter.grad, parameter)
        return losses

    def train(self) -> None:
        """All iterations: losses, first gradients, last weights."""
        for step in range(self.recorded.info["iterations"]):
            t = self.recorded.under(f"step{step}")
            losses: dict[str, Tensor] = {}
            for side in ("dis", "gen"):
                draws = sum(f"{side}_noise" in name for name in t)
                noise = [t[f"{side}_noise/{k}"] for k in range(draws)]
                losses |= self.update(side, step, t["x_a"], t["x_b"], noise)
            self.recorded.compare_losses(step, losses)
        for name, network in networks(self.trainer).items():
            for key, value in network.state_dict().items():
                if f"final/{name}/{key}" in self.tensors:
                    self.recorded.compare(f"final/{name}/{key}", value)


def run(path: Path, state: str) -> tuple[str, float]:
    """The worst error of a case. state: what the recorded forward pass did to discriminators that
    keep any (batch statistics, spectral vectors), which the fixtures leave open."""
    case = Golden(path)
    before = {k: v.clone() for k, v in case.trainer.state_dict().items()}
    case.trainer.train(state != "eval")
    case.forward()
    case.trainer.train()
    if state != "advanced":
        case.trainer.load_state_dict(before)
    case.train()
    return case.recorded.worst()


@pytest.mark.golden
def test_there_are_golden_cases():
    if not CASES:
        pytest.skip(f"no golden cases in {FOLDER} (set MUNIT_ZOO_GOLDEN)")


@pytest.mark.golden
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
@pytest.mark.usefixtures("double")
def test_golden_case(path: Path):
    name, worst = run(path, "advanced")
    for state in ("restored", "eval"):
        if worst > BOUND:  # one consistent reading must hold throughout
            name, worst = min((name, worst), run(path, state), key=lambda pair: pair[1])
    assert worst <= BOUND, f"{path.stem}: {name} differs by {worst:.1e}"


@pytest.mark.golden
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_golden_hyperparameters_come_back(path: Path):
    info = json.loads(path.read_text())
    kind = info["kind"].lower()
    tree = nvlabs_options.config_from_hyperparameters(info["config"], kind)
    hyper, found = hyperparameters_of(resolve_data(tree, origin=path.name).config)
    assert found == kind
    flat = {**hyper, **hyper["gen"], **hyper["dis"], "gen": None, "dis": None}
    golden = {**info["config"], **info["config"]["gen"], **info["config"]["dis"]}
    names = {"gen", "dis", "display_size", "lr_policy", "norm"}  # `norm` below, for a default
    if kind == "unit":  # what its YAML says of styles is not read
        names |= {"mlp_dim", "style_dim", "recon_s_w", "recon_c_w"}
    assert hyper["dis"].get("norm", "none") == info["config"]["dis"]["norm"]
    assert hyper["gen"].keys() <= info["config"]["gen"].keys()
    assert {k: v for k, v in golden.items() if k not in names} == {
        k: flat[k] for k in golden if k not in names
    }


# Configs

SHIPPED = ("edges2emoji_64", "edges2shoes", "shapes", "summer2winter", "synthia2cityscapes")


@pytest.mark.parametrize("name", [f"munit/{name}" for name in SHIPPED] + ["unit/edges2shoes"])
def test_shipped_configs_come_back(name: str):
    config = load_config(name)
    hyper, kind = hyperparameters_of(config)
    tree = nvlabs_options.config_from_hyperparameters(hyper, kind)
    again = resolve_data(tree, origin="test").config
    assert again.OPTIM.DEFAULT == config.OPTIM.DEFAULT
    assert {k: t.WEIGHT for k, t in config.LOSSES.items()} == {
        k: t.WEIGHT for k, t in again.LOSSES.items() if k in config.LOSSES
    }
    general = {path: key for path, key in GENERALISED.items() if key in hyper["gen"]}
    assert bool(general) == (name in ("munit/shapes", "munit/edges2emoji_64"))
    overrides = [f"{path}={hyper['gen'][key]}" for path, key in general.items()]
    again = resolve_data(tree, overrides, origin="test").config
    assert again.MODEL == config.MODEL


@pytest.mark.parametrize(
    ("override", "path", "default"),
    [
        ("MODEL.CONTENT_ENCODER={NAME: timm, MODEL: resnet18}", "CONTENT_ENCODER.NAME", "resnet"),
        ("MODEL.CONTENT_ENCODER.DOWN_KERNEL_SIZE=6", "CONTENT_ENCODER.DOWN_KERNEL_SIZE", "4"),
        ("MODEL.CONTENT_ENCODER.ACTIVATION={NAME: gelu}", "ENCODER.ACTIVATION.NAME", "relu"),
        ("MODEL.CONTENT_ENCODER.NORM={NAME: batch}", "CONTENT_ENCODER.NORM.NAME", "instance"),
        ("MODEL.STYLE_ENCODER.ACTIVATION={NAME: selu}", "STYLE_ENCODER.ACTIVATION.NAME", "relu"),
        ("MODEL.DECODER.UPSAMPLE_NORM={NAME: none}", "DECODER.UPSAMPLE_NORM.NAME", "layer"),
        ("MODEL.DECODER.MAPPING.LAYERS=2", "MODEL.DECODER.MAPPING.LAYERS", "3"),
        ("MODEL.DECODER.PAD_TYPE=zero", "MODEL.DECODER.PAD_TYPE", "reflect"),
        ("MODEL.DISCRIMINATOR.WEIGHT_NORM=spectral", "DISCRIMINATOR.WEIGHT_NORM", "none"),
        ("LOSSES.ADVERSARIAL={NAME: hinge}", "LOSSES.ADVERSARIAL.NAME", "lsgan"),
        ("LOSSES.IMAGE_RECON={NAME: mse}", "LOSSES.IMAGE_RECON.NAME", "l1"),
        ("LOSSES.MINE={NAME: l1, PAIRS: [[x_ab, x_a]]}", "LOSSES.MINE.NAME", "left out"),
        ("LOSSES.PERCEPTUAL={WEIGHT: 1, LEGACY: false}", "LOSSES.PERCEPTUAL.LEGACY", "True"),
        ("OPTIM.NETWORKS.DISCRIMINATOR.LR=0.5", "OPTIM.NETWORKS.DISCRIMINATOR.LR", "0.0001"),
        ("OPTIM.DEFAULT={NAME: sgd}", "OPTIM.DEFAULT.NAME", "adam"),
    ],
)
def test_what_the_reference_lacks_is_named(override: str, path: str, default: str):
    with pytest.raises(UsageError, match=rf"{path} is .* reference arm needs .*{default}"):
        hyperparameters_of(load_config("munit/edges2shoes", override))


def test_perceptual_term_needs_images_that_vgg_sees():
    overrides = ("LOSSES.PERCEPTUAL.CHANNELS=[0]", "DOMAINS.A.CHANNELS=4")
    with pytest.raises(UsageError, match=r"DOMAINS.A.CHANNELS is 4"):
        hyperparameters_of(load_config("munit/synthia2cityscapes", *overrides))


def test_terms_of_weight_zero_do_not_matter():
    overrides = ("LOSSES.PERCEPTUAL=null", "LOSSES.IMAGE_RECON={NAME: mse, WEIGHT: 0}")
    hyper, _ = hyperparameters_of(load_config("munit/edges2shoes", *overrides))
    assert hyper["recon_x_w"] == 0
    assert "vgg_w" not in hyper


@pytest.mark.parametrize("part", ["gen.activ", "gen.pad_type", "dis.norm", "dis.gan_type"])
def test_unknown_hyperparameters_are_named(part: str):
    section, key = part.split(".")
    with pytest.raises(UsageError, match=rf"no {key} 'other': choose one of "):
        ReferenceTrainer({section: {key: "other", "dim": 4}}, "munit")


def test_perceptual_weights_are_asked_for():
    small = {"gen": {"dim": 4}, "dis": {"dim": 4}, "vgg_w": 1}
    with pytest.raises(UsageError, match="vgg_weights"):
        ReferenceTrainer(small, "munit")
    with pytest.raises(UsageError, match="features.0.weight"):
        ReferenceTrainer(small, "munit", vgg_weights={})


# Steps

SIZES = {"a": (24, 32), "b": (24, 32)}

VARIANTS = {
    "plain": (),
    "cycle": ("LOSSES.CYCLE_RECON={NAME: l1, WEIGHT: 10}",),
    "nsgan": ("LOSSES.ADVERSARIAL.NAME=nsgan",),
    "instance": ("MODEL.DISCRIMINATOR.NORM.NAME=instance",),
    "batch": ("MODEL.DISCRIMINATOR.NORM.NAME=batch",),
    "layer": ("MODEL.DISCRIMINATOR.NORM.NAME=layer",),
    "spectral": ("MODEL.DISCRIMINATOR.WEIGHT_NORM=spectral_legacy",),
    "general": (
        "MODEL.CONTENT_ENCODER.DOWNSAMPLES=2",
        "MODEL.CONTENT_ENCODER.BLOCKS=2",
        "MODEL.STYLE_ENCODER.DIM=6",
        "MODEL.STYLE_ENCODER.DOWNSAMPLES=1",
    ),
}


def built(recipe: str, overrides: tuple[str, ...]) -> tuple[ReferenceTrainer, Training]:
    """The reference of a config, and what `train` builds for it, of the same weights."""
    more = ("OPTIM.DEFAULT.WEIGHT_DECAY=1e-4", "ENGINE.SHARE=none")
    config = load_config(f"{recipe}/shapes", *overrides, *more)
    ours, trainer = Training(config.plain(), SIZES), ReferenceTrainer(*hyperparameters_of(config))
    with torch.no_grad():  # no bias at 0: under a norm, rounding alone would decide where it goes
        for parameter in ours.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    trainer.load_from(ours.model)
    return trainer, ours


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("recipe", ["munit", "unit"])
def test_step_changes_every_weight(recipe: str, tiny: tuple[str, ...], tiny_unit: tuple[str, ...]):
    torch.manual_seed(0)
    overrides = tiny if recipe == "munit" else tiny_unit
    trainer = ReferenceTrainer(*hyperparameters_of(load_config(f"{recipe}/shapes", *overrides)))
    before = {name: p.detach().clone() for name, p in trainer.named_parameters()}
    losses = trainer.step(*images(2, 2, 3, 16, 16))
    assert {"loss_dis_total", "loss_gen_total", "loss_gen_recon_x_a"} <= set(losses)
    assert all(torch.isfinite(loss) and not loss.requires_grad for loss in losses.values())
    for name, parameter in trainer.named_parameters():
        assert parameter.grad is not None, name
        assert not torch.equal(parameter, before[name]), name


def test_discriminators_collect_gradients_in_the_generators_update(tiny: tuple[str, ...]):
    trainer, _ = built("munit", tiny)
    x = images(2, 2, 3, 16, 16)
    trainer.update_discriminators(*x)
    before = [p.grad.clone() for p in trainer.dis_a.parameters()]
    weights = [p.detach().clone() for p in trainer.dis_a.parameters()]
    trainer.update_generators(*x)
    after = list(trainer.dis_a.parameters())
    assert not any(torch.equal(p.grad, b) for p, b in zip(after, before, strict=True))
    assert all(torch.equal(p, w) for p, w in zip(after, weights, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.usefixtures("double")
def test_munit_equals_ours(variant: str, tiny: tuple[str, ...]):
    torch.manual_seed(0)
    trainer, training = built("munit", (*tiny, *VARIANTS[variant]))
    model = training.model.eval()
    x_a, x_b = images(2, 2, 3, 24, 32)
    z = torch.randn(4, 2, model.style_dim)
    for way, x in (("a2b", x_a), ("b2a", x_b)):
        ours = model.translate(x, way[-1], z[0])
        torch.testing.assert_close(trainer.translate(x, way, z[0]), ours, rtol=0, atol=1e-10)
    env = dict(zip(("x_a", "x_b", "z_a'", "z_b'", "z_a", "z_b"), (x_a, x_b, *z), strict=True))
    equal_step(trainer, training, env, {"dis": z[:2], "gen": z[2:]})


@pytest.mark.usefixtures("double")
def test_unit_equals_ours(tiny_unit: tuple[str, ...]):
    torch.manual_seed(0)
    trainer, training = built("unit", tiny_unit)
    model = training.model.eval()
    x_a, x_b = images(2, 2, 3, 24, 32)
    ours = model.translate(x_b, "a")
    torch.testing.assert_close(trainer.translate(x_b, "b2a"), ours, rtol=0, atol=1e-10)
    n = torch.randn(6, 2, *training.rehearsal.draws["n_a"])
    names = ("x_a", "x_b", "n_a'", "n_b'", "n_a", "n_b", "n_ba", "n_ab")
    env = dict(zip(names, (x_a, x_b, *n), strict=True))
    equal_step(trainer, training, env, {"dis": n[:2], "gen": n[2:]})


def equal_step(trainer: ReferenceTrainer, training: Training, env: dict, noise: dict) -> None:
    """Compare the losses of one iteration and the weights after it."""
    training.model.train()
    parts = training.step(env, 0)
    losses = trainer.step(env["x_a"], env["x_b"], noise)
    close = {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close(losses["loss_dis_total"], parts["discriminators/total"], **close)
    torch.testing.assert_close(losses["loss_gen_total"], parts["generators/total"], **close)
    after = ReferenceTrainer(trainer.hyper, trainer.kind)
    after.load_from(training.model)
    ours = trainer.state_dict()
    for name, value in after.state_dict().items():
        torch.testing.assert_close(ours[name], value, rtol=1e-7, atol=1e-8, msg=name)


def test_munit_is_translated_in_styles_and_one_of_two_ways(tiny: tuple[str, ...]):
    trainer, _ = built("munit", tiny)
    x = images(1, 3, 16, 16)
    assert trainer.translate(x, "a2b", torch.randn(3, 4)).shape == (1, 3, 3, 16, 16)
    with pytest.raises(UsageError, match="styles"):
        trainer.translate(x, "a2b")
    with pytest.raises(UsageError, match="no way 'b'"):
        trainer.translate(x, "b", torch.randn(3, 4))
