"""The improved MUNIT and UNIT as their original computes them: every case in MUNIT_ZOO_GOLDEN_ZOO.

A case's options become a config as importing makes it; its batches and draws go through what
`train` builds. Where weights are spectrally normalised, each call of a network counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from _golden import stand_in_vgg
from _golden_zoo import BOUND, FLOOR, Case, cases, error_of
from _replay import Replay
from safetensors.torch import save_file
from torch import Tensor

from munit_zoo.blocks.conv import ScaledNoise
from munit_zoo.config import bind
from munit_zoo.engine.setup import averaged
from munit_zoo.interop import imaginaire, imaginaire_options

pytestmark = pytest.mark.golden
NEGLIGIBLE = 1e-9


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def is_unit(case: Case) -> bool:
    return case.info["kind"].endswith("unit")


def options_of(case: Case) -> dict[str, Any]:
    return imaginaire_options.with_defaults(case.config)


def tree_of(case: Case, weights: Path) -> dict[str, Any]:
    options = options_of(case)
    tree = imaginaire_options.config_of_options(options, unit=is_unit(case))
    nodes = imaginaire_options.settings_of_options(options, unit=is_unit(case))
    tree["MODEL"] = {**nodes, **tree["MODEL"]}
    network = {"WEIGHTS": str(weights)}
    batch = len(case["x_a"])
    tree["LOSSES"] = imaginaire_options.losses_of_options(options, batch, perceptual=network)
    tree["ENGINE"] |= {"BATCH_SIZE": batch, "ITERATIONS": 10**6}
    return tree


class Imaginaire(Replay):
    """A case of the improved MUNIT or UNIT."""

    def __init__(self, path: Path, folder: Path, **engine: Any) -> None:
        case = Case(path)
        self.options = options_of(case)
        mode = self.options["trainer"]["perceptual_mode"]
        if self.options["trainer"]["loss_weight"].get("perceptual"):
            save_file(stand_in_vgg(mode), folder / "vgg.safetensors")
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
            node = imaginaire_options.schedule_of(self.options[opt]["lr_policy"])
            if node is not None:
                schedule = bind("schedule", resolved("schedule", node))()
                rate = group.rate * schedule.factor(step, 10**6)
                assert rate == pytest.approx(recorded[key], rel=1e-12)
            for settings in group.optimizer.param_groups:
                settings["lr"] = recorded[key]


def resolved(kind: str, node: dict[str, Any]) -> Any:
    from munit_zoo.config import resolve_component

    return resolve_component(kind, node)


SETTINGS = [
    pytest.param(c.values[0], layout, marks=c.marks, id=f"{c.id}-{layout}")
    for c in cases("imaginaire_munit")
    for layout in (True, False)
]


@pytest.mark.parametrize(("path", "channels_last"), SETTINGS)
def test_training(path, channels_last, tmp_path):
    replay = Imaginaire(path, tmp_path, CHANNELS_LAST=channels_last)
    case, training = replay.case, replay.training
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
    left_out = [
        name
        for name in case.tensors
        if name.startswith(("final/net", "init/net_G_averaged", "step0/grad"))
        and name not in case.errors
        and name.partition("grad/")[2] not in case.info["zero_gradient"]
    ]
    assert not left_out


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


@pytest.mark.parametrize("path", cases("imaginaire_munit"))
@torch.no_grad()
def test_networks_in_evaluation(path, tmp_path):
    """What the generator makes of a batch with vectors as they are, and what is said of it."""
    replay = Imaginaire(path, tmp_path)
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
        error = error_of(found[name].reshape(golden.shape), golden)
        assert error <= BOUND, f"{name} is off by {error:.2e}"
