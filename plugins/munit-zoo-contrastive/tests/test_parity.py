"""CUT and FastCUT train as the original does: every case in the folder MUNIT_ZOO_GOLDEN_ZOO."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from _golden_zoo import Case, cases
from _replay import ADVERSARIAL, Replay, adam, directed
from torch import Tensor

from munit_zoo.interop import cut

pytestmark = pytest.mark.golden


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def cut_tree(case: Case) -> dict[str, Any]:
    c = case.config
    share = 0.5 if c["nce_idt"] else 1.0
    nce = {
        "NAME": "patch_nce",
        "WEIGHT": share * c["lambda_NCE"],
        "TEMPERATURE": c["nce_T"],
        "ALL_NEGATIVES": c["nce_includes_all_negatives_from_minibatch"],
    }
    tree = {
        "MODEL": {"NAME": "cut", **cut.settings_of_options(c)},
        "LOSSES": {
            "ADVERSARIAL": {
                "NAME": {**ADVERSARIAL, "nonsaturating": "nsgan"}[c["gan_mode"]],
                "WEIGHT": c["lambda_GAN"],
                "CRITIC_WEIGHT": 0.5,
            },
            "NCE": nce,
        },
        "DOMAINS": {"A": {"CHANNELS": c["input_nc"]}, "B": {"CHANNELS": c["output_nc"]}},
        "OPTIM": {"DEFAULT": adam(c) | {"BETAS": [c["beta1"], c["beta2"]]}},
    }
    if c["nce_idt"]:
        tree["LOSSES"]["NCE_IDENTITY"] = nce
    return tree


CUT = [
    pytest.param(c.values[0], *setting, marks=c.marks, id="-".join([c.id, *map(str, setting)]))
    for c in cases("cut")
    for setting in ((True, "derived"), (False, "derived"), (True, "none"))
]


@pytest.mark.parametrize(("path", "channels_last", "share"), CUT)
def test_cut(path, channels_last, share):
    case = Case(path)
    x = directed(case, "step0/")
    tree = cut_tree(case)
    tree["ENGINE"] = {
        "BATCH_SIZE": len(x["x_a"]),
        "SHARE": share,
        "CHANNELS_LAST": channels_last,
    }
    replay = Replay(path, tree, {n: tuple(x[f"x_{n}"].shape[2:]) for n in ("a", "b")})
    nets = {"G": "generator", "D": "discriminator", "F": "projector"}
    replay.load({net: (path, cut.NAMES[net]) for net, path in nets.items()})
    layers = len(replay.training.model.layers)
    for step, losses in enumerate(case.info["losses"]):
        places = case.row(f"step{step}/patch_ids")
        inputs: dict[str, Any] = {
            **directed(case, f"step{step}/"),
            "places_a": places[:layers],
            "flip": case.tensors.get(f"step{step}/flip", torch.ones(())).reshape(1),
        }
        if case.config["nce_idt"]:
            inputs["places_b"] = places[layers:]
        parts = replay.training.step(inputs, step, rate=losses["lr"])
        replay.losses(step, cut_losses(parts, case))
    replay.gradients(0, ["D"])
    replay.gradients(1, ["G", "F"])
    replay.final()
    replay.check()


def cut_losses(parts: dict[str, Tensor], case: Case) -> dict[str, Any]:
    c = case.config
    found = {
        "loss_D": 0.5 * parts["discriminator/adversarial/d_ab"],
        "loss_G_GAN": c["lambda_GAN"] * parts["generator/adversarial/d_ab"],
        "loss_NCE": c["lambda_NCE"] * parts["generator/nce/q_ab"],
        "loss_G": parts["generator/total"],
    }
    if c["nce_idt"]:
        found["loss_NCE_Y"] = c["lambda_NCE"] * parts["generator/nce_identity/q_bb"]
    return found
