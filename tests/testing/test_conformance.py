"""The built-ins pass the kit that plug-in authors run; the kit catches what it says it catches."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from munit_zoo.data.images import write_image
from munit_zoo.errors import UsageError
from munit_zoo.registry import LOSSES, NORMS, REGISTRIES
from munit_zoo.testing import ConformanceError, check_component, checks, checks_of

SMALL = {
    "content_encoder:resnet": {"dim": 8, "blocks": 1},
    "content_encoder:timm": {"model": "resnet10t", "out_index": 1},
    "style_encoder:conv": {"dim": 8},
    "style_encoder:timm": {"model": "resnet10t", "out_index": 1},
    "decoder:adain_resnet": {"blocks": 1},
    "decoder:resnet": {"blocks": 1},
    "discriminator:multiscale_patch": {"dim": 8, "layers": 2},
    "dataset:shapes": {"count": 5},
}
NEEDS = ("domain_invariant_vgg", "vgg_perceptual", "image_folder", "image_list")
ENTRIES = [
    entry
    for one in REGISTRIES.values()
    for entry in one.entries()
    if entry.origin == "builtin" and entry.name not in NEEDS
]
CHECKS = [
    check
    for entry in ENTRIES
    for check in checks(entry.kind, entry.name, **SMALL.get(f"{entry.kind}:{entry.name}", {}))
    if entry.kind != "model" or check.name not in ("compiles without a break",)
]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_builtins(check):
    check()


@pytest.mark.parametrize("name", ["domain_invariant_vgg", "vgg_perceptual"])
def test_perceptual_losses(name: str, tmp_path):
    from torchvision.models import vgg16

    with torch.random.fork_rng():
        weights = {k: v.half().float() for k, v in vgg16().features[:5].state_dict().items()}
    save_file({f"features.{k}": v for k, v in weights.items()}, tmp_path / "vgg.safetensors")
    weights = str(tmp_path / "vgg.safetensors")
    check_component("loss", name, weights=weights, layers=("relu1_2",))


def test_datasets_of_files(tmp_path):
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 255, (3, 20, 24)).astype(np.uint8)
        (tmp_path / "trainA").mkdir(exist_ok=True)
        write_image(tmp_path / f"trainA/{index}.png", pixels)
    (tmp_path / "list.txt").write_text("trainA/0.png\ntrainA/1.png\n")
    check_component("dataset", "image_folder", root=str(tmp_path), size=16)
    check_component("dataset", "image_list", lists={"TRAIN_A": str(tmp_path / "list.txt")}, size=16)


# The kit itself


class Base(nn.Module):
    """A norm that does nothing wrong."""

    num_parameters = 0

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features, 1, 1))

    def forward(self, x):
        return x * self.weight


class Crooked(Base):
    def forward(self, x):
        return super().forward(x)[:, :, :-1]


class Idle(Base):
    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.unused = nn.Parameter(torch.ones(1))


class Detached(Base):
    def forward(self, x):
        return super().forward(x.detach()).detach()


class Forgetful(Base):
    built = 0

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        Forgetful.built += 1
        self.hidden = float(Forgetful.built)  # in no state_dict

    def forward(self, x):
        return super().forward(x) * self.hidden


class Capricious(Base):
    def forward(self, x):
        return super().forward(x) + float(np.random.rand())


class Reading(Base):
    def forward(self, x):
        return super().forward(x) * (2.0 if x.mean().item() > 0 else 1.0)


class Restless(Base):
    def forward(self, x):
        return super().forward(x) + torch.rand(())


class Single(Base):
    def forward(self, x):
        return super().forward(x).float()


class Proud(Base):
    def forward(self, x):
        factor = float("inf") if torch.is_autocast_enabled("cpu") else 1.0
        return super().forward(x) * factor


@pytest.mark.parametrize(
    ("component", "check", "advice"),
    [
        (Crooked, "shapes and dtypes", "a norm keeps the shape"),
        (Idle, "gradient reaches every parameter", "unused: use it in forward"),
        (Detached, "gradient reaches every parameter", "is something detached"),
        (Forgetful, "state_dict round trip", "registered buffers"),
        (Capricious, "deterministic under a seed", "torch's generator alone"),
        (Reading, "builds on meta", "read no values"),
        (Reading, "compiles without a break", "breaks its graph"),
        (Restless, "train and eval", "use self.training"),
        (Single, "float64", "input's dtype"),
        (Proud, "bf16 autocast", "float32"),
    ],
)
def test_a_fault_is_found_by_its_check(component, check: str, advice: str):
    NORMS.register("test_fault")(component)
    try:
        found = {c.name: c for c in checks("norm", "test_fault")}
        with pytest.raises(ConformanceError, match=f"norm:test_fault:{check}.*{advice}"):
            found[check]()
        with pytest.raises(ConformanceError, match=check):
            check_component("norm", "test_fault")
    finally:
        del NORMS._local["test_fault"]


def test_a_flawless_component_passes():
    NORMS.register("test_fine")(Base)
    try:
        check_component("norm", "test_fine")
    finally:
        del NORMS._local["test_fine"]


def test_a_named_loss_is_checked_on_its_recipes_names():
    class Named(nn.Module):
        """Of UNIT's latents."""

        contract = "named"
        reads = ("h_a", "h_ab")

        def __init__(self) -> None:
            super().__init__()

        def forward(self, names, critics):
            return (names["h_a"] - names["h_ab"]).square().mean()

    LOSSES.register("test_named")(Named)
    try:
        found = {c.name: c for c in checks("loss", "test_named", recipe="unit")}
        found["shapes and dtypes"]()
        wrong = {c.name: c for c in checks("loss", "test_named")}
        with pytest.raises(ConformanceError, match="name the recipe it is for"):
            wrong["shapes and dtypes"]()
    finally:
        del LOSSES._local["test_named"]


def test_a_distribution_that_offers_nothing():
    with pytest.raises(UsageError, match="no installed distribution 'nothing'"):
        checks_of("nothing")


def test_importing_the_kit_is_cheap():
    code = "import sys, munit_zoo.testing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
