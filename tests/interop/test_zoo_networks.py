"""The zoo's networks compute what the originals' do, from their weights and their options.

Every case in the folder MUNIT_ZOO_GOLDEN_ZOO, in float64: what is recorded of the networks before
any update. What training makes of them is compared where the recipes are tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from _golden_zoo import (
    BOUND,
    CHECKPOINT_BOUND,
    Case,
    build,
    cases,
    checkpoint,
    error_of,
    replay_dropout,
)
from safetensors.torch import load_file
from torch import Tensor, nn

from munit_zoo.blocks.pools import ImagePool
from munit_zoo.config import resolve_component
from munit_zoo.interop import cyclegan
from munit_zoo.interop._files import renamed

pytestmark = pytest.mark.golden


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def loaded(network: nn.Module, weights: dict[str, Tensor], names: Any) -> nn.Module:
    """The network with an original's weights; every one of them has a place."""
    network.load_state_dict(renamed(weights, names))
    return network


# CycleGAN and pix2pix


def cyclegan_networks(case: Case) -> dict[str, nn.Module]:
    """The original's networks by its names, of its options, with the case's first weights."""
    nodes = cyclegan.settings_of_options(case.config)
    channels = case.config["input_nc"], case.config["output_nc"]
    paired = case.info["kind"] == "pix2pix"
    wired = {"G": channels, "D": (sum(channels),)} if paired else {}
    if not paired:
        wired = {
            "G_A": channels,
            "G_B": channels[::-1],
            "D_A": (channels[1],),
            "D_B": (channels[0],),
        }
    found = {}
    for name, given in wired.items():
        kind = "generator" if name.startswith("G") else "discriminator"
        names = getattr(cyclegan, f"{kind}_names")
        network = build(kind, nodes[kind.upper()], *given)
        found[name] = loaded(network, case.under(f"init/{name}"), names)
    return found


def cyclegan_forward(networks: Any, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
    """What a case records of CycleGAN's networks, by its names."""
    to_b, to_a = networks["G_A"], networks["G_B"]
    found = {"fake_B": to_b(real_a), "fake_A": to_a(real_b)}
    found |= {"rec_A": to_a(found["fake_B"]), "rec_B": to_b(found["fake_A"])}
    if real_a.shape[1] == real_b.shape[1]:
        found |= {"idt_A": to_b(real_b), "idt_B": to_a(real_a)}
    (found["D_A_real"],), (found["D_B_real"],) = networks["D_A"](real_b), networks["D_B"](real_a)
    (found["D_A_fake"],) = networks["D_A"](found["fake_B"])
    (found["D_B_fake"],) = networks["D_B"](found["fake_A"])
    return found


def pix2pix_forward(networks: Any, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
    """What a case records of pix2pix's networks, by its names."""
    fake_b = networks["G"](real_a)
    (real,), (fake,) = (networks["D"](torch.cat([real_a, b], dim=1)) for b in (real_b, fake_b))
    return {"fake_B": fake_b, "D_real": real, "D_fake": fake}


@pytest.mark.parametrize("path", cases("cyclegan"))
def test_cyclegan_and_pix2pix(path: Path, double):
    case = Case(path)
    networks = cyclegan_networks(case)
    real_a, real_b = case["A"], case["B"]
    if case.config["direction"] == "BtoA":
        real_a, real_b = real_b, real_a

    for prefix, training in (("fwd/eval_", False), ("fwd/", True)):
        for network in networks.values():
            network.train(training)
        if "G" in networks and training:
            replay_dropout(networks["G"], case.row("fwd/mask"))
        compute = pix2pix_forward if "G" in networks else cyclegan_forward
        with torch.no_grad():
            for name, value in compute(networks, real_a, real_b).items():
                if prefix + name in case:
                    case.compare(prefix + name, value)
    assert case.worst("fwd/", apart_from=("fwd/mask/",))[1] < BOUND, case.errors


def as_told(kind: str, node: dict[str, Any], *untold: str) -> dict[str, Any]:
    """All settings of a node, but for those that no shape tells."""
    plain = resolve_component(kind, node).plain()
    return {key: value for key, value in plain.items() if key not in untold}


def shapes_of(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in weights.items()}


INIT = ("INIT", "INIT_GAIN")


@pytest.mark.parametrize("path", cases("cyclegan"))
def test_cyclegan_settings_follow_from_names_and_shapes(path: Path):
    case = Case(path)
    nodes = cyclegan.settings_of_options(case.config)
    untold = (*INIT, "DROPOUT") if nodes["GENERATOR"]["NAME"] == "unet" else INIT
    for name in {key.split("/")[1] for key in case.tensors if key.startswith("init/")}:
        kind = "generator" if name.startswith("G") else "discriminator"
        tell = getattr(cyclegan, f"{kind}_settings")
        told = tell(shapes_of(case.under(f"init/{name}")))
        expected = as_told(kind, nodes[kind.upper()], *untold)
        assert as_told(kind, told, *untold) == expected


def test_cyclegan_checkpoint():
    folder = checkpoint("cyclegan")
    options = cyclegan.read_options(folder / "train_opt.txt")
    read = cyclegan.read_checkpoint(sorted(folder.glob("*.pth")), options)
    bare = cyclegan.read_checkpoint(folder.glob("*.pth")).settings
    for kind, node in cyclegan.settings_of_options(options).items():
        assert as_told(kind.lower(), read.settings[kind]) == as_told(kind.lower(), node)
        assert as_told(kind.lower(), bare[kind], *INIT) == as_told(kind.lower(), node, *INIT)
    networks = {}
    for name, weights in read.weights.items():
        kind = "generator" if name.startswith("G") else "discriminator"
        wired = [count for count in read.channels[name] if count is not None]
        networks[name] = build(kind, read.settings[kind.upper()], *wired)
        networks[name].load_state_dict(weights)
    golden = load_file(folder / "expected.safetensors")
    with torch.no_grad():
        found = cyclegan_forward(networks, golden["real_A"], golden["real_B"])
    ours = {name: value for name, value in found.items() if name in golden}
    assert set(ours) == set(golden) - {"real_A", "real_B"}
    errors = {name: error_of(value, golden[name]) for name, value in ours.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors


@pytest.mark.parametrize("path", cases("cyclegan"))
def test_cyclegan_pools(path: Path, double):
    """The recorded draws drive the pool as its words say, image by image."""
    case = Case(path)
    size = case.config["pool_size"]
    if "step0/fake_B_pool/p" not in case:
        pytest.skip("the case has no pool")
    pool, stored = ImagePool(size), []
    for step in range(case.info["iterations"]):
        draws = case.under(f"step{step}/fake_B_pool")
        images = case[f"step{step}/B"]
        expected = []
        for image, p, number in zip(images, draws["p"].tolist(), draws["id"].tolist(), strict=True):
            if len(stored) < size:
                assert p == -1
                stored.append(image)
                expected.append(image)
            elif p > 0.5:
                expected.append(stored[int(number)])
                stored[int(number)] = image
            else:
                assert number == -1
                expected.append(image)
        assert torch.equal(pool(images, draws["p"], draws["id"]), torch.stack(expected))
