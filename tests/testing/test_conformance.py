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
from munit_zoo.data.webdataset import pack
from munit_zoo.errors import UsageError
from munit_zoo.models import Critic, Fool, Image, Translation, TranslationModel, Update, tensor
from munit_zoo.registry import NORMS, REGISTRIES, slot
from munit_zoo.testing import Check, ConformanceError, check_component, checks, checks_of

STARGANV2 = {"size": 64, "channel_budget": 256, "max_dim": 8}
JUDGE = {"size": 16, "dim": 4, "layers": 3}
STARGAN = {"generator": slot("stargan", dim=4, blocks=1)}
SMALL = {
    "content_encoder:resnet": {"dim": 8, "blocks": 1},
    "content_encoder:preactivation": {"dim": 4, "blocks": 1},
    "content_encoder:unet": {"dim": 4, "blocks": 1},
    "content_encoder:drit": {"dim": 8, "blocks": 1},
    "content_encoder:timm": {"model": "resnet10t", "out_index": 1},
    "style_encoder:conv": {"dim": 8},
    "style_encoder:timm": {"model": "resnet10t", "out_index": 1},
    "decoder:adain_resnet": {"blocks": 1},
    "decoder:resnet": {"blocks": 1},
    "decoder:styled_resnet": {"blocks": 1, "dim": 8},
    "discriminator:pyramid_patch": {"dim": 4, "layers": 1},
    "discriminator:imaginaire_residual": {"dim": 4, "layers": 4},
    "decoder:modulated_resnet": {"blocks": 1, "mapping": slot("mlp", dim=8)},
    "decoder:spade_resnet": {"blocks": 1, "dim": 4, "style_channels": 4},
    "decoder:unet": {"blocks": 1, "mapping": slot("mlp", dim=8)},
    "decoder:drit": {"blocks": 1},
    "decoder:drit_featurewise": {"blocks": 1, "mapping": slot("mlp", dim=8)},
    "discriminator:content": {"dim": 4, "layers": 2},
    "generator:resnet": {"dim": 4, "blocks": 1, "dropout": 0.5},
    "generator:stargan": {"dim": 4, "blocks": 1},
    "discriminator:funit": {"dim": 4, "blocks": 4},
    "discriminator:stargan": {"size": 32, "dim": 4, "layers": 3},
    "generator:starganv2": STARGANV2,
    "style_encoder:starganv2": STARGANV2,
    "discriminator:starganv2": STARGANV2,
    "mapping:starganv2": {"dim": 8},
    "generator:styled_unet": {"dim": 2, "levels": 6, "dropout": 0.5},
    "style_encoder:bicyclegan_conv": {"dim": 4, "halvings": 4},
    "style_encoder:bicyclegan_resnet": {"dim": 4, "halvings": 4},
    "discriminator:multiscale_patchgan": {"dim": 4},
    "generator:unet": {"dim": 2, "levels": 6, "dropout": 0.5},
    "discriminator:multiscale_patch": {"dim": 8, "layers": 2},
    "discriminator:patch": {"dim": 4},
    "discriminator:patch_classes": {"dim": 4},
    "discriminator:projected": {"model": "resnet10t", "levels": (1, 2), "mix_dim": 4, "dim": 4},
    "discriminator:residual": {"dim": 4, "layers": 2, "heads": 2, "minibatch_std": 2},
    "discriminator:residual_classes": {"dim": 4, "layers": 2},
    "discriminator:unet": {"dim": 4, "layers": 2, "weight_norm": "weight"},
    "discriminator:pixel": {"dim": 4},
    "dataset:shapes": {"count": 5},
    "model:munit": {
        "content_encoder": slot("resnet", dim=4, blocks=1),
        "style_encoder": slot("conv", dim=4),
        "decoder": slot("adain_resnet", blocks=1, mapping=slot("mlp", dim=8)),
        "discriminator": slot("multiscale_patch", dim=4, layers=2),
    },
    "model:unit": {
        "content_encoder": slot("resnet", dim=4, blocks=1),
        "decoder": slot("resnet", blocks=1),
        "discriminator": slot("multiscale_patch", dim=4, layers=2),
    },
    "model:cyclegan": {
        "generator": slot("resnet", dim=4, blocks=1),
        "discriminator": slot("patch", dim=4),
    },
    "model:cyclegan_noise": {
        "generator": slot("unet", dim=2, levels=5, dropout=0.5),
        "discriminator": slot("patch", dim=4, layers=2),
    },
    "model:pix2pix": {
        "generator": slot("unet", dim=2, levels=6, dropout=0.5),
        "discriminator": slot("patch", dim=4, norm=slot("batch")),
    },
    "model:bicyclegan": {
        "style_dim": 4,
        "generator": slot("styled_unet", dim=2, levels=5),
        "style_encoder": slot("bicyclegan_conv", dim=4, halvings=2, parts=2),
        "discriminator": slot("multiscale_patchgan", dim=4, layers=2),
        "discriminator2": slot("multiscale_patchgan", dim=4, layers=2),
    },
    "model:imaginaire_munit": {
        "content_encoder": slot("resnet", dim=4, blocks=1, weight_norm="spectral_hook"),
        "style_encoder": slot("conv", dim=4),
        "decoder": slot("styled_resnet", blocks=1, dim=8, noise=True),
        "discriminator": slot("imaginaire_residual", dim=4, layers=4),
        "augment": ("color", "translation", "cutout"),
    },
    "model:imaginaire_unit": {
        "content_encoder": slot("resnet", dim=4, blocks=1),
        "decoder": slot("resnet", blocks=1),
        "discriminator": slot("pyramid_patch", dim=4, layers=1, shared=True),
    },
    "model:drit": {
        "style_dim": 3,
        "every": 1,
        "content_encoder": slot("drit", dim=4, blocks=1),
        "style_encoder": slot(
            "bicyclegan_resnet", dim=4, halvings=2, parts=2, mean="all", norm=slot("none")
        ),
        "decoder": slot("drit", blocks=1),
        "discriminator": slot("multiscale_patch", dim=4, layers=2),
        "content_discriminator": slot("content", layers=1, kernel_size=3),
    },
    "model:funit": {
        "content_encoder": slot("resnet", dim=4, blocks=1),
        "style_encoder": slot("conv", dim=4),
        "decoder": slot("adain_resnet", blocks=1, mapping=slot("mlp", dim=8)),
        "discriminator": slot("funit", dim=4, blocks=4),
    },
    "model:stargan": STARGAN | {"discriminator": slot("stargan", labels=3, **JUDGE)},
    "model:stargan_attributes": STARGAN | {"discriminator": slot("stargan", labels=5, **JUDGE)},
    "model:stargan_joint": STARGAN | {"discriminator": slot("stargan", labels=13, **JUDGE)},
    "model:starganv2": {
        "generator": slot("starganv2", **STARGANV2),
        "mapping": slot("starganv2", dim=8),
        "style_encoder": slot("starganv2", **STARGANV2),
        "discriminator": slot("starganv2", **STARGANV2),
    },
    "model:starganv2_high_pass": {
        "generator": slot("starganv2", high_pass=1.0, **STARGANV2),
        "masker": slot("resnet", dim=2, blocks=1),
        "mapping": slot("starganv2", dim=8),
        "style_encoder": slot("starganv2", **STARGANV2),
        "discriminator": slot("starganv2", **STARGANV2),
    },
}
NEEDS = (
    "domain_invariant_vgg",
    "vgg_perceptual",
    "self_similarity",
    "loss:lpips",
    "image_folder",
    "image_list",
    "side_by_side",
    "webdataset",
    "huggingface",
)
ENTRIES = [
    entry
    for one in REGISTRIES.values()
    for entry in one.entries()
    if entry.origin == "builtin" and not {entry.name, f"{entry.kind}:{entry.name}"} & set(NEEDS)
]
VARIANTS = (
    "content_encoder:preactivation",
    "content_encoder:unet",
    "decoder:modulated_resnet",
    "decoder:spade_resnet",
    "decoder:unet",
    "discriminator:patch_classes",
    "discriminator:projected",
    "discriminator:residual",
    "discriminator:residual_classes",
    "discriminator:unet",
)
"""Made of blocks that others are checked with, too: all their checks together take long."""
SLOW = (
    "model:cyclegan_noise:",
    "model:drit:",
    "decoder:drit",
    "content_encoder:drit:",
    "content_encoder:residual:compiles",
    "discriminator:content:compiles",
)
"""The same of recipes and parts of recipes that others stand for, by a check's name."""


def marked(check: Check) -> object:
    quick = check.name in ("shapes and dtypes", "gradient reaches every parameter")
    slow = f"{check.kind}:{check.component}" in VARIANTS and not quick
    slow = slow or str(check).startswith(SLOW)
    return pytest.param(check, marks=pytest.mark.slow if slow else (), id=str(check))


CHECKS = [
    marked(check)
    for entry in ENTRIES
    for check in checks(entry.kind, entry.name, **SMALL.get(f"{entry.kind}:{entry.name}", {}))
]


@pytest.mark.parametrize("check", CHECKS)
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
    folder = str(tmp_path / "trainA")
    check_component("dataset", "side_by_side", folder=folder, size=12)
    (tmp_path / "table.csv").write_text("image,Red,Round\n0.png,1,0\n1.png,0,0\n2.png,0,1\n")
    table = str(tmp_path / "table.csv")
    check_component("dataset", "image_folder", root=str(tmp_path), size=16, table=table)
    pack(tmp_path / "trainA", tmp_path / "shards/trainA")
    check_component("dataset", "webdataset", root=str(tmp_path / "shards"), size=16)


def test_datasets_of_tables(tmp_path):
    datasets = pytest.importorskip("datasets")
    image = np.random.default_rng(0).integers(0, 255, (3, 20, 24)).astype(np.uint8)
    write_image(tmp_path / "0.png", image)
    rows = {"image": [{"bytes": (tmp_path / "0.png").read_bytes(), "path": None}] * 3}
    features = datasets.Features({"image": datasets.Image()})
    table = datasets.Dataset.from_dict(rows, features=features)
    table.save_to_disk(str(tmp_path / "saved"))
    sources = {"TRAIN_A": str(tmp_path / "saved")}
    check_component("dataset", "huggingface", sources=sources, size=16)


# The kit itself

SLOPES = "gradient is its derivative in either layout"


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


class Mislaid(Base):
    """At one sample, its CPU backward takes a channels-last gradient for a contiguous one."""

    def forward(self, x):
        return torch.instance_norm(x, None, None, None, None, True, 0.0, 1e-5, False) * self.weight


class Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x + x

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Halved(Base):
    def forward(self, x):
        return super().forward(Doubling.apply(x))


class Holding(Base):
    """Differentiates through the map, and holds its mean constant."""

    def forward(self, x):
        return super().forward(x) * x.mean((2, 3), keepdim=True).detach()


class HoldingOpenly(Holding):
    detaches = True


class HoldingMislaid(Mislaid):
    detaches = True


@pytest.mark.parametrize(
    ("component", "check", "advice"),
    [
        (Crooked, "shapes and dtypes", "a norm keeps the shape"),
        (Idle, "gradient reaches every parameter", "unused: use it in forward"),
        (Detached, "gradient reaches every parameter", "is something detached"),
        (Mislaid, SLOPES, "with 1 sample.*mistakes the one layout for the other"),
        (HoldingMislaid, SLOPES, "with 1 sample.*mistakes the one layout for the other"),
        (Halved, SLOPES, "with 2 samples.*is a backward of its own wrong"),
        (Holding, SLOPES, "set detaches = True"),
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


class Failing(Base):
    def forward(self, x):
        return x.foo()


class InPlace(Base):
    def forward(self, x):
        return x.mul_(2) * self.weight


class Nothing(Base):
    def forward(self, x):
        super().forward(x)


class Infinite(Base):
    def forward(self, x):
        return super().forward(x) * float("nan")


class Steered(Base):
    """Takes parameters and says nothing of them."""

    def forward(self, x, parameters):
        return super().forward(x)


class Counting(Steered):
    num_parameters = 2.0


class Deaf(Steered):
    num_parameters = 4


class Unsteered(Base):
    num_parameters = 4


class Early(nn.Module):
    def __init__(self, num_features: int) -> None:
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x


class Plain:
    def __init__(self, num_features: int) -> None: ...

    def forward(self, x):
        return x


class Fixed(Base):
    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.scale = torch.ones(1, num_features, 1, 1)

    def forward(self, x):
        return super().forward(x) * self.scale


class Worded(Base):
    def __init__(self, num_features: int, *, eps: float = "no") -> None:
        super().__init__(num_features)


class Needy(Base):
    def __init__(self, num_features: int, *, eps: float) -> None:
        super().__init__(num_features)


class Charbonnier(nn.Module):
    contract = "names"

    def forward(self, x, y):
        return (x - y).abs().mean()


class Three(Charbonnier):
    arity = 3


class Any(Charbonnier):
    arity = None

    def forward(self, *names, scale):
        return names[0].mean()


class Measured(Charbonnier):
    """Made to measure of what it reads."""

    def __init__(self, shapes) -> None:
        super().__init__()
        self.head = nn.Linear(shapes["h_a"][1], 3)

    def forward(self, x, y):
        first, second = (self.head(h.mean((2, 3))) for h in (x, y))
        return (first - second).square().mean()


class Slope(Charbonnier):
    """A penalty."""

    differentiates = True

    def forward(self, logits, x):
        (gradient,) = torch.autograd.grad(sum(part.sum() for part in logits), x, create_graph=True)
        return gradient.square().mean()


class Flat(Slope):
    def forward(self, logits, x):
        return super().forward(logits, x).detach()


class Scalars(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()

    def forward(self, x):
        return [x.mean()]


class Encoder(nn.Module):
    stride = 0
    out_channels = 4

    def __init__(self, in_channels: int) -> None:
        super().__init__()

    def forward(self, x):
        return x


class Styled(nn.Module):
    def __init__(self, content_channels: int, out_channels: int, scale_factor: int, style_dim: int):
        super().__init__()
        self.up = nn.Upsample(scale_factor=scale_factor)
        self.out = nn.Conv2d(content_channels, out_channels, 1)

    def forward(self, content, style):
        return self.out(self.up(content)).tanh()


class Unstyled(Styled):
    def forward(self, content):
        return super().forward(content, None)


class Overstyled(Styled):
    def __init__(self, content_channels: int, out_channels: int, scale_factor: int) -> None:
        super().__init__(content_channels, out_channels, scale_factor, 0)


class Metric:
    def evaluate(self):
        return None


class Images:
    """A dataset that does nothing wrong."""

    def __init__(self, domain, split) -> None:
        self.size = (4, 5)

    def prepare(self) -> None: ...

    def __len__(self) -> int:
        return 2

    def train(self, index, rng):
        return torch.zeros(3, 4, 5)

    def test(self, index):
        return torch.zeros(3, 4, 5)

    def name(self, index):
        return str(index)

    def describe(self):
        return {}


class Arrays(Images):
    def train(self, index, rng):
        return np.zeros((3, 4, 5), np.float32)


class Bytes(Images):
    def test(self, index):
        return torch.zeros(3, 4, 5, dtype=torch.uint8)


class Grey(Images):
    def test(self, index):
        return torch.zeros(1, 4, 5)


class Sizeless(Images):
    def __init__(self, domain, split) -> None:
        self.size = None


class Opened(Images):
    def __init__(self, domain, split) -> None:
        super().__init__(domain, split)
        self.scale = lambda x: x


class Mislabelled(Images):
    label_names = ("red", "blue")

    def label(self, index):
        return 2


class Numbered(Images):
    def scene(self, index):
        return index


def first_failure(kind: str, name: str) -> None:
    for check in checks(kind, name):
        check()


@pytest.fixture
def registered():
    """Registers a class under the name test_fault, for one test."""
    kinds = []

    def register(kind: str, component: type) -> None:
        REGISTRIES[kind].register("test_fault")(component)
        kinds.append(kind)

    yield register
    for kind in kinds:
        del REGISTRIES[kind]._local["test_fault"]


@pytest.mark.parametrize(
    ("kind", "component", "message"),
    [
        ("norm", Failing, r"forward\(\(2, 32, 6, 5\)\) fails: AttributeError: .*'foo'"),
        ("norm", InPlace, "changes its input, or a parameter, in place; work on a new tensor"),
        ("norm", Nothing, r"returns no tensor \(NoneType\); forward must return one"),
        ("norm", Steered, "num_parameters is 0 or unset.*set self.num_parameters = P"),
        ("norm", Unsteered, r"num_parameters is 4, so it is called as forward\(x, parameters\)"),
        ("norm", Counting, "num_parameters to 2.0; an int of at least 0 is due"),
        ("norm", Deaf, "no gradient reaches its input parameters: is it ignored"),
        ("norm", Early, r"Call super\(\).__init__\(\) first in __init__"),
        ("norm", Plain, "is no nn.Module; subclass it"),
        ("norm", Fixed, "does not move to another device .*registered buffers"),
        ("norm", Worded, 'no value of its setting.s type: norm.EPS .*got the word "no"'),
        ("norm", Needy, "eps is required. Give every setting a default"),
        ("loss", Three, "arity is 3, so forward is called with 3 tensors"),
        ("loss", Any, "arity is None, for any number, so forward is called with 2 tensors"),
        ("loss", Measured, r"made to measure .*checks\('loss', name, recipe='…', reads="),
        ("loss", Flat, "no gradient reaches its inputs: is something detached"),
        ("discriminator", Scalars, r"logits of scale 0 are a scalar for 2 images; \(N, …\) is due"),
        ("content_encoder", Encoder, "stride to 0; an int of at least 1 is due"),
        ("decoder", Styled, "no gradient reaches its input style: is it ignored"),
        ("decoder", Unstyled, "the constructor takes style_dim, so forward is called as"),
        ("decoder", Overstyled, r"takes no style_dim, so forward is called as forward\(content\)"),
        ("metric", Metric, r"it is called as evaluate\(translator, datasets, device=…"),
        ("dataset", Arrays, r"train\(\) returns ndarray; a torch tensor is due"),
        ("dataset", Bytes, r"test\(\) returns torch.uint8 \(3, 4, 5\); float32"),
        ("dataset", Grey, r"test\(\) returns 1 channels; the domain has 3"),
        ("dataset", Mislabelled, r"label\(\) returns 2; a whole number below 2"),
        ("dataset", Numbered, r"scene\(\) returns int; a str is due"),
        ("dataset", Sizeless, r"size is None; \(height, width\) is due"),
        ("dataset", Opened, "cannot be pickled for worker processes .*no lambdas in __init__"),
    ],
)
def test_a_fault_is_told_to_its_author(registered, kind: str, component, message: str):
    registered(kind, component)
    with pytest.raises(ConformanceError, match=message):
        first_failure(kind, "test_fault")


def test_whatever_a_component_raises_is_a_conformance_error(registered):
    registered("norm", Failing)
    with pytest.raises(ConformanceError) as found:
        check_component("norm", "test_fault")
    # one cause, told once; and no advice about devices and dtypes, which are not to blame
    assert str(found.value).count("\n") == 0
    assert isinstance(found.value, AssertionError)
    for check in checks("norm", "test_fault"):
        if check.name in ("builds on meta", "float64", "bf16 autocast"):
            with pytest.raises(ConformanceError) as one:
                check()
            assert "input's d" not in str(one.value)
            assert "dtypes by hand" not in str(one.value)


def test_numbers_that_are_not_finite_fail_the_checks_about_them(registered):
    registered("norm", Infinite)
    with pytest.raises(ConformanceError) as found:
        check_component("norm", "test_fault")
    failed = [line.split(":")[2] for line in str(found.value).splitlines()]
    assert failed == ["shapes and dtypes", "bf16 autocast"]


def test_a_dataset_that_does_nothing_wrong(registered):
    registered("dataset", Images)
    check_component("dataset", "test_fault")


def test_a_penalty_is_checked_on_a_discriminator(registered):
    registered("loss", Slope)
    check_component("loss", "test_fault")
    assert "compiles without a break" not in {c.name for c in checks("loss", "test_fault")}
    assert SLOPES not in {c.name for c in checks("model", "munit")}
    assert {"compiles without a break", SLOPES} <= {c.name for c in checks("loss", "l1")}


# Recipes


class Small(TranslationModel):
    """A recipe for two domains that does nothing wrong."""

    inputs = {"x_a": Image("a"), "x_b": Image("b")}
    mirror = ("a", "b")
    updates = (
        Update(
            "critics", trains=("discriminator",), terms={"adversarial": [Critic("d_ab", "d_b")]}
        ),
        Update(
            "makers",
            trains=("maker",),
            terms={"adversarial": [Fool("d_ab")], "cycle": [("x_aba", "x_a")]},
        ),
    )
    translations = {("a", "b"): Translation(source="x_a", output="x_ab")}

    def __init__(self, domains) -> None:
        super().__init__(domains)
        for letter in self.letters:
            networks = {"maker": nn.Conv2d(3, 3, 1), "discriminator": nn.Conv2d(3, 1, 3)}
            setattr(self, letter, nn.ModuleDict(networks))

    @tensor
    def x_ab(self, x_a):
        return self.b.maker(x_a)

    @tensor
    def x_aba(self, x_ab):
        return self.a.maker(x_ab)

    @tensor
    def d_ab(self, x_ab):
        return [self.b.discriminator(x_ab)]

    @tensor
    def d_b(self, x_b):
        return [self.b.discriminator(x_b)]


def updates(*changes):
    """The updates of Small with fields of one exchanged."""
    first, second = Small.updates
    return (first, Update(**{**vars(second), **dict(changes)}))


class Still(Small):
    translations = {}


class Shrinking(Small):
    @tensor
    def x_ab(self, x_a):
        return self.b.maker(x_a)[..., 1:, 1:]


class Uneven(Small):
    updates = updates(("terms", {"odd": [("x_ab", "d_map")]}))

    @tensor
    def d_map(self, x_b):
        return self.b.discriminator(x_b)


class Untrained(Small):
    updates = updates(("trains", ("a.maker",)))


class Severed(Small):
    @tensor
    def x_ab(self, x_a):
        return self.b.maker(x_a).detach()

    @tensor
    def x_aba(self, x_ab):
        return self.a.maker(x_ab).detach()


class Spare(Small):
    def __init__(self, domains) -> None:
        super().__init__(domains)
        for letter in self.letters:
            getattr(self, letter)["maker"].register_parameter("spare", nn.Parameter(torch.ones(1)))


class Crashing(Small):
    @tensor
    def x_aba(self, x_ab):
        raise ValueError("no luck")


def test_a_recipe_that_does_nothing_wrong(registered):
    registered("model", Small)
    check_component("model", "test_fault")
    names = [check.name for check in checks("model", "test_fault")]
    assert "translates" in names
    assert "compiles without a break" not in names


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Still, "Still declares no translations: set translations"),
        (Shrinking, r"compares different shapes: x_aba .*63, 63\), x_a .*64, 64\)"),
        (Uneven, r"the term odd compares different shapes: x_ab .*, d_map .*62, 62\)"),
        (Untrained, "no update trains the network 'b.maker': name it in the `trains`"),
        (Severed, "the update 'makers' has no gradient: is something detached?"),
        (Spare, "no gradient reaches a.maker.spare, b.maker.spare: use it in forward"),
        (Crashing, "x_aba cannot be computed for images of 64×64: ValueError: no luck"),
    ],
)
def test_a_recipes_fault_is_told_to_its_author(registered, recipe, message: str):
    registered("model", recipe)
    with pytest.raises(ConformanceError, match=message):
        first_failure("model", "test_fault")


@pytest.mark.parametrize("component", [Base, HoldingOpenly])
def test_a_flawless_component_passes(component):
    NORMS.register("test_fine")(component)
    try:
        check_component("norm", "test_fine")
    finally:
        del NORMS._local["test_fine"]


@pytest.mark.slow
def test_a_loss_may_be_checked_on_a_recipes_names(registered):
    registered("loss", Measured)
    check_component("loss", "test_fault", recipe="unit", reads=("h_a", "h_ab"))
    with pytest.raises(ConformanceError, match="the recipe unit computes no h_c; it has x_a, x_b"):
        check_component("loss", "test_fault", recipe="unit", reads=("h_a", "h_c"))


def test_a_distribution_that_offers_nothing():
    with pytest.raises(UsageError, match="no installed distribution 'nothing'"):
        checks_of("nothing")


def test_importing_the_kit_is_cheap():
    code = "import sys, munit_zoo.testing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
