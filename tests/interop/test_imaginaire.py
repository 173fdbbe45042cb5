"""The improved MUNIT and UNIT as their original computes them: every case in MUNIT_ZOO_GOLDEN_ZOO.

A case's options become a config as importing makes it; its batches and draws go through what
`train` builds. Where weights are spectrally normalised, each call of a network counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from _golden import stand_in_vgg
from _golden_zoo import CHECKPOINT_BOUND, FLOOR, Case, cases, checkpoint, error_of
from _replay import Replay
from safetensors.torch import load_file, save_file
from torch import Tensor

import munit_zoo as mz
from munit_zoo.blocks.conv import ScaledNoise
from munit_zoo.cli import main
from munit_zoo.config import bind, resolve_component
from munit_zoo.engine.runs import Run
from munit_zoo.engine.setup import averaged
from munit_zoo.interop import imaginaire, imaginaire_options
from munit_zoo.models import create_model

pytestmark = pytest.mark.golden
NEGLIGIBLE = 1e-9


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def is_unit(case: Case) -> bool:
    return case.info["kind"].endswith("_unit")


def options_of(case: Case) -> dict[str, Any]:
    return imaginaire_options.with_defaults(case.config, unit=is_unit(case))


def tree_of(case: Case, weights: Path) -> dict[str, Any]:
    options = options_of(case)
    tree = imaginaire_options.config_of_options(options, unit=is_unit(case))
    nodes = imaginaire_options.settings_of_options(options, unit=is_unit(case))
    tree["MODEL"] = {**nodes, **tree["MODEL"]}
    network = {"WEIGHTS": str(weights)}
    batch = len(case["x_a"])
    tree["LOSSES"] = imaginaire_options.losses_of_options(options, batch, perceptual=network)
    tree["ENGINE"] |= {"BATCH_SIZE": batch}
    return tree


class Imaginaire(Replay):
    """A case of the improved MUNIT or UNIT."""

    def __init__(self, path: Path, folder: Path, **engine: Any) -> None:
        case = Case(path)
        self.options = options_of(case)
        mode = self.options["trainer"]["perceptual_mode"]
        if self.options["trainer"]["loss_weight"].get("perceptual"):
            layers = tree_of(case, folder)["LOSSES"]["PERCEPTUAL"]["LAYERS"]
            save_file(stand_in_vgg(mode, max(layers)), folder / "vgg.safetensors")
        tree = tree_of(case, folder / "vgg.safetensors")
        tree["ENGINE"] |= engine
        size = tuple(case["x_a"].shape[2:])
        super().__init__(path, tree, {"a": size, "b": tuple(case["x_b"].shape[2:])})
        self.model: Any = self.training.model
        table = imaginaire.UNIT if is_unit(case) else imaginaire.MUNIT
        self.load(
            {
                f"net_{'D' if name.endswith('discriminator') else 'G'}#{name}": (
                    name,
                    partial(imaginaire.names_of, name),
                )
                for name in table
            }
        )
        self.noise: list[Tensor] = []
        for module in self.model.modules():
            if isinstance(module, ScaledNoise):
                module.draw = lambda x: self.noise.pop(0)

    def drawn(self, phase: str, prefix: str) -> dict[str, Tensor]:
        """The draws of an update as our inputs; the noise of decoders is kept for them."""
        kinds = self.case.info["draws"][phase]
        rows = list(zip(kinds, self.case.row(prefix), strict=True)) if kinds else []
        found: dict[str, Any] = {"u": []}
        shifts = []
        for kind, value in rows:
            if kind.startswith("style_"):
                found[f"z_{kind.split('_')[1]}"] = value.flatten(1)
            elif kind.startswith("random_shift"):
                shifts.append(value)
            elif kind.startswith("rand_"):
                found["u"].append(self.unit_interval(kind, value, len(found["u"])))
            else:
                self.noise.append(value)
        numbers = getattr(self.model, "numbers", 0)
        each = found.pop("u")
        order = ["a", "b"] if phase == "dis" else []
        order += ["aa", "bb"] if getattr(self.model, "gan_recon", self.recon) else []
        for index, image in enumerate([*order, "ba", "ab"]):
            part = each[index * numbers : (index + 1) * numbers]
            found[f"u_{image}"] = torch.stack(part, 1) if part else torch.empty(self.batch, 0)
        for name, shift in zip(("t_a", "t_b", "t_ab", "t_ba"), shifts, strict=False):
            found[name] = shift
        return found

    @property
    def recon(self) -> bool:
        return bool(self.options["trainer"]["gan_recon"])

    @property
    def batch(self) -> int:
        return len(self.case["x_a"])

    def unit_interval(self, kind: str, value: Tensor, index: int) -> Tensor:
        """A draw as a number in [0, 1): whole numbers as the middle of what gives them."""
        value = value.flatten()
        if value.is_floating_point():
            return value
        axis = 2 + self.place(index) % 2
        size = self.case["x_a"].shape[axis]
        if "translation" in kind:
            most = int(size / 8 + 0.5)
            return (value + most + 0.5) / (2 * most + 1)
        return (value + 0.5) / (size + 1 - int(size / 2 + 0.5) % 2)

    def place(self, index: int) -> int:
        """Of a whole number, whether it is the first (height) or second of its pair."""
        policy = self.model.augment
        at = index % self.model.numbers
        for name in policy:
            count = 3 if name == "color" else 2
            if at < count:
                return at
            at -= count
        raise AssertionError

    def inputs(self, step: int) -> dict[str, Tensor]:
        given = {name: self.case[f"step{step}/{name}"] for name in ("x_a", "x_b")}
        first = self.drawn("dis", f"step{step}/dis_noise")
        second = self.drawn("gen", f"step{step}/gen_noise")
        given |= {f"{name}'" if name in second else name: v for name, v in first.items()}
        return given | second

    def rates(self, step: int) -> None:
        """Set the recorded rates; where they count iterations, ours are the same."""
        recorded = self.case.info["losses"][step]
        for group in self.training.groups:
            judge = any("discriminator" in name for name in group.parameters)
            opt, key = ("dis_opt", "lr_D") if judge else ("gen_opt", "lr_G")
            total = int(self.options["max_iter"])
            node = imaginaire_options.schedule_of(self.options[opt]["lr_policy"], total)
            if node is not None and "UNIT" not in node:  # no epoch ends
                schedule = bind("schedule", resolve_component("schedule", node))()
                rate = group.rate * schedule.factor(step, total)
                assert rate == pytest.approx(recorded[key], rel=1e-12)
            for settings in group.optimizer.param_groups:
                settings["lr"] = recorded[key]


SETTINGS = [
    pytest.param(
        c.values[0],
        layout,
        marks=[*c.marks, *[pytest.mark.slow] * (not layout or c.id == "munit_patch")],
        id=f"{c.id}-{layout}",
    )
    for c in cases("imaginaire_munit")
    for layout in (True, False)
]


@pytest.mark.parametrize(("path", "channels_last"), SETTINGS)
def test_training(path, channels_last, tmp_path):
    replay = Imaginaire(path, tmp_path, CHANNELS_LAST=channels_last)
    case, training = replay.case, replay.training
    check_evaluation(replay)
    average = averaged(training.config, training.model)
    if average is not None:
        check_average(replay, average, "init/net_G_averaged")
    for step in range(case.info["iterations"]):
        replay.rates(step)
        parts = training.step(replay.inputs(step), step)
        assert not replay.noise
        if average is not None:
            average.update()
        check_losses(replay, parts, step)
    for index, net in enumerate(("net_D", "net_G")):
        check_gradients(replay, index, net)
    replay.final()
    if average is not None:
        check_average(replay, average, "final/net_G_averaged")
        assert average.updates == int(case["final/num_updates_tracked"])
    replay.check()
    compared = {re.sub("#[a-z_.]*/", "/", name) for name in case.errors}
    due = {
        n
        for n in case.tensors
        if not n.endswith("_rand")
        and n.startswith(("fwd/", "final/net", "init/net_G_av", "step0/grad"))
    }
    left_out = due - compared - {f"step0/grad/{name}" for name in case.info["zero_gradient"]}
    assert not left_out


@torch.no_grad()
def check_evaluation(replay: Imaginaire) -> None:
    """What the generator makes of a batch with vectors as they are, and what is said of it."""
    case, model = replay.case, replay.model.eval()
    parts = {"a": model.a, "b": model.b}
    found: dict[str, Tensor] = {}
    drawn = replay.drawn("fwd", "fwd_noise")
    styled = not is_unit(case)

    def decoded(to: str, name: str, content: Tensor, style: Tensor | None) -> None:
        arguments = (content, style) if styled else (content,)
        found[f"images_{name}"] = parts[to]["decoder"](*arguments)

    def encoded(by: str, image: Tensor, name: str) -> None:
        found[f"content_{name}"] = parts[by]["content_encoder"](image)
        if styled:
            found[f"style_{name}"] = parts[by]["style_encoder"](image)

    for letter in "ab":
        encoded(letter, case[f"x_{letter}"], letter)
    for letter in "ab":
        name = letter * 2
        decoded(letter, name, found[f"content_{letter}"], found.get(f"style_{letter}"))
    for to, of in (("a", "b"), ("b", "a")):
        decoded(to, of + to, found[f"content_{of}"], drawn.get(f"z_{to}"))
    for to, of in (("a", "b"), ("b", "a")):
        encoded(to, found[f"images_{of}{to}"], of + to)
    if styled:
        for letter in "ab":
            encoded(letter, found[f"images_{letter * 2}"], letter * 2)
    for to, of in (("a", "b"), ("b", "a")):
        decoded(to, to + of + to, found[f"content_{to}{of}"], found.get(f"style_{to}"))
    if styled:
        for of, to in (("a", "b"), ("b", "a")):
            if f"fwd/guided_{of}{to}" in case:
                arguments = (found[f"content_{of}"], found[f"style_{to}"])
                found[f"guided_{of}{to}"] = parts[to]["decoder"](*arguments)
    for name, by in (("a", "a"), ("b", "b"), ("ab", "b"), ("ba", "a")):
        image = case[f"x_{name}"] if len(name) == 1 else found[f"images_{name}"]
        judge = parts[by]["discriminator"]
        logits = judge(image)
        if f"fwd/dis/fea_{name}" in case:
            found[f"dis/fea_{name}"] = judge.features(image)
            found[f"dis/out_{name}"] = logits[0]
        else:
            found |= {f"dis/out_{name}/{scale}": part for scale, part in enumerate(logits)}
    for name, golden in case.under("fwd").items():
        if name.endswith("_rand"):
            continue
        case.errors[f"fwd/{name}"] = error_of(found[name].reshape(golden.shape), golden)
    model.train()


def check_average(replay: Imaginaire, average: Any, prefix: str) -> None:
    recorded = replay.case.under(prefix)
    for net, (path, names) in replay.networks.items():
        if net.startswith("net_G"):
            state = average.model.get_submodule(path).state_dict()
            for name, ours in names(list(recorded)).items():
                if not name.endswith("num_batches_tracked"):
                    key = f"{prefix}/{name}"
                    replay.case.errors[key] = error_of(state[ours], recorded[name])


def check_gradients(replay: Imaginaire, index: int, net: str) -> None:
    case, found = replay.case, replay.training.gradients[index]
    recorded = case.under(f"step0/grad/{net}")
    for own, (path, names) in replay.networks.items():
        if not own.startswith(net):
            continue
        for name, ours in names(list(case.under(f"init/{net}"))).items():
            mine = found.get(f"{path}.{ours}")
            if f"{net}/{name}" in case.info["zero_gradient"]:
                assert mine is None or float(mine.abs().max()) < NEGLIGIBLE
            elif name in recorded:
                mine = torch.zeros_like(recorded[name]) if mine is None else mine
                case.compare(f"step0/grad/{net}/{name}", mine)
            else:
                assert mine is None or not mine.any(), name


def check_losses(replay: Imaginaire, parts: dict[str, Tensor], step: int) -> None:
    options, case = replay.options, replay.case
    weights = options["trainer"]["loss_weight"]
    half = 0.5 if options["trainer"]["gan_mode"] == "least_square" else 1.0
    made = "d_made_" if replay.recon else "d_"
    numbers = replay.batch * options["gen"]["latent_dim"] / 2
    read = {
        "dis_update": {
            "gan_a": [(half, "adversarial/d_ba")],
            "gan_b": [(half, "adversarial/d_ab")],
            "consistency_reg": [(1, f"consistency/g_{n}") for n in ("a", "b", "ab", "ba")],
            "total": [(1, "total")],
        },
        "gen_update": {
            "gan_a": [(half, f"adversarial/{made}{'a' if replay.recon else 'ba'}")],
            "gan_b": [(half, f"adversarial/{made}{'b' if replay.recon else 'ab'}")],
            "image_recon": [(1, "image_recon/x_aa"), (1, "image_recon/x_bb")],
            "cycle_recon": [(1, "cycle_recon/x_aba"), (1, "cycle_recon/x_bab")],
            "cycle_recon_aba": [(1, "cycle_recon/x_aba")],
            "cycle_recon_bab": [(1, "cycle_recon/x_bab")],
            "style_recon_a": [(1, "style_recon/s_ba")],
            "style_recon_b": [(1, "style_recon/s_ab")],
            "content_recon_a": [(1, "content_recon/c_ab")],
            "content_recon_b": [(1, "content_recon/c_ba")],
            "style_recon_aa": [(1, "style_recon_within/s_aa")],
            "style_recon_bb": [(1, "style_recon_within/s_bb")],
            "content_recon_aa": [(1, "content_recon_within/c_aa")],
            "content_recon_bb": [(1, "content_recon_within/c_bb")],
            "kl": [(numbers, "kl/s_a"), (numbers, "kl/s_b")],
            "perceptual_a": [(1, "perceptual/x_ab")],
            "perceptual_b": [(1, "perceptual/x_ba")],
            "total": [(1, "total")],
        },
    }
    sums = {"gan", "style_recon", "content_recon", "perceptual"}
    sums |= {"style_recon_within", "content_recon_within"}
    ours_of = {"dis_update": "discriminators", "gen_update": "generators"}
    for update, table in read.items():
        recorded = case.info["losses"][step][update]
        for name, golden in recorded.items():
            if name in sums:
                continue  # of two that are compared
            term = name
            for ending in ("_a", "_b", "_aba", "_bab"):
                term = term.removesuffix(ending)
            if name.endswith(("_aa", "_bb")):
                term = f"{name[:-3]}_within"
            if name != "total" and not weights.get(term):
                continue
            value = sum(f * float(parts[f"{ours_of[update]}/{key}"]) for f, key in table[name])
            error = abs(value - golden) / max(abs(golden), FLOOR)
            case.errors[f"step{step}/{update}/{name}"] = error


# Checkpoints

NAME = "epoch_00000_iteration_000000003_checkpoint.pt"
SHAPES = ["DATA={NAME: shapes, SIZE: 32, COUNT: 12, TEST_COUNT: 4}", "ENGINE.WORKERS=0"]
SHAPES += ["ENGINE.GRID_EVERY=0", "ENGINE.ITERATIONS=4"]


@pytest.fixture
def single() -> None:
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("single")
def test_a_checkpoint_is_imported(tmp_path, capsys):
    folder, run = checkpoint("imaginaire_munit"), tmp_path / "run"
    words = [str(folder / NAME), "--options", str(folder / "config.yaml"), *SHAPES]
    assert main(["import", "imaginaire_munit", *words, "--out", str(run)]) == 0
    out = capsys.readouterr().out
    assert "imported imaginaire_munit at iteration 3" in out
    assert "discriminators have the generators' schedule" in out
    golden = load_file(folder / "expected.safetensors")
    model: Any = mz.load_model(run)
    found = {}
    with torch.no_grad():
        for letter, other in (("a", "b"), ("b", "a")):
            x, styles = golden[f"x_{letter}"], golden["styles"].flatten(1)
            own = model.encode_style(golden[f"x_{other}"], other)
            found[f"content_{letter}"] = getattr(model, letter).content_encoder(x)
            found[f"style_{other}"] = own
            found[f"x_{letter}{other}"] = model.translate(x[:1], other, styles)[0]
            found[f"x_{letter}{other}_guided"] = model.translate(x, other, own[:, None])[:, 0]
    whole = create_model(Run.open(run).resolved().config)
    whole.load_state_dict(Run.open(run).newest().read("networks").part("networks"))
    whole.eval()
    for letter in "ab":
        with torch.no_grad():
            (found[f"dis_{letter}/0"],) = whole.networks()[f"{letter}.discriminator"](
                golden[f"x_{letter}"]
            )
    assert set(found) == set(golden) - {"x_a", "x_b", "styles"}
    errors = {n: error_of(v.reshape(golden[n].shape), golden[n]) for n, v in found.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors
    config = Run.open(run).resolved().config
    assert pytest.approx(0.01 * 0.5 * 5 * config.ENGINE.BATCH_SIZE) == config.LOSSES.KL.WEIGHT
    assert (config.ENGINE.EMA, config.ENGINE.EMA_START, config.ENGINE.EMA_WARMUP) == (0.8, 0, False)
    assert config.OPTIM.NETWORKS.DISCRIMINATOR.LR == 4e-3
    moments = Run.open(run).newest().read("optimizers").part("optimizers")
    theirs = torch.load(folder / NAME, weights_only=True)["opt_G"]["state"]
    name = "a.style_encoder.stem.conv.weight/exp_avg"
    assert torch.equal(moments[name], theirs[1]["exp_avg"])
    assert len(moments) == 3 * (len(theirs) + 44)


@pytest.mark.slow
@pytest.mark.usefixtures("single")
def test_training_goes_on_from_a_checkpoint(tmp_path, capsys):
    folder, run = checkpoint("imaginaire_munit"), tmp_path / "run"
    words = [str(folder / NAME), "--options", str(folder / "config.yaml"), *SHAPES]
    assert main(["import", "imaginaire_munit", *words, "--out", str(run)]) == 0
    assert main(["train", "--run", str(run), "--resume", "--device", "cpu"]) == 0
    assert "done: iteration 4" in capsys.readouterr().out


WRONG = {
    "no options": ([], lambda content: None, "give the YAML of their training by --options"),
    "of another project": (None, lambda content: content.pop("net_G"), "holds no net_G"),
    "a network is missing": (
        None,
        lambda content: [content["net_G"].pop(n) for n in list(content["net_G"]) if "mlp" in n],
        "the optimizer is of 108 parameters",
    ),
    "an unknown name": (
        None,
        lambda content: content["net_D"].update({"module.discriminator_a.cls": torch.ones(1)}),
        "discriminator_a.cls is no name",
    ),
}


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("case", WRONG)
def test_checkpoints_that_do_not_fit(case, tmp_path, capsys):
    folder = checkpoint("imaginaire_munit")
    options, damage, message = WRONG[case]
    options = ["--options", str(folder / "config.yaml")] if options is None else options
    content = torch.load(folder / NAME, weights_only=True)
    damage(content)
    torch.save(content, tmp_path / NAME)
    words = [str(tmp_path / NAME), *options, "--out", str(tmp_path / "run")]
    assert main(["import", "imaginaire_munit", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainer: {}", "holds no options: no sections gen and dis"),
        ("gen: {}\ndis: {}\ntrainer: {gan_mode: fancy}", "gan_mode is 'fancy'"),
        ("gen: {content_norm_type: weird}\ndis: {}", "norm_type is 'weird'"),
        ("gen: {}\ndis: {weight_norm_type: weight}", "weight_norm_type is 'weight'"),
        ("gen: {}\ndis: {}\ngen_opt: {type: sgd}", "type of an optimizer is 'sgd'"),
    ],
)
def test_options_that_are_wrong(text, message, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(text)
    folder = checkpoint("imaginaire_munit")
    words = [str(folder / NAME), "--options", str(tmp_path / "config.yaml")]
    assert main(["import", "imaginaire_munit", *words, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


def test_options_of_unit():
    policy = {"type": "step", "step_size": 100, "gamma": 0.5}
    options = {"gen": {}, "dis": {"patch_dis": True}, "gen_opt": {"lr_policy": policy}}
    every = imaginaire_options.with_defaults(options, unit=True)
    nodes = imaginaire_options.settings_of_options(every, unit=True)
    assert nodes["DISCRIMINATOR"]["SHARED"]
    assert nodes["DECODER"]["NAME"] == "resnet"
    tree = imaginaire_options.config_of_options(every, unit=True)
    assert tree["MODEL"]["NAME"] == "imaginaire_unit"
    schedule = {"NAME": "step", "EVERY": 100, "GAMMA": 0.5, "UNIT": "epochs"}
    assert tree["OPTIM"]["SCHEDULE"] == schedule
