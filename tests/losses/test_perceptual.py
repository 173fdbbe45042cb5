"""Perceptual losses, on stand-in weights: none are trained here, and none downloaded."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.errors import ContractError, GraphError, WeightsError
from munit_zoo.losses.perceptual import DomainInvariantVGG, VGGPerceptual

GOLDEN = Path(os.environ.get("MUNIT_ZOO_GOLDEN", "../shared/golden"))
WIDTHS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
NUMBERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
EARLY = ("relu1_2",)


def stand_in(dtype: torch.dtype, count: int = 13) -> dict[str, Tensor]:
    """VGG-16's first convolutions with hashed weights (the golden fixtures' stand-in)."""
    state = {}
    for layer, (fan, out) in enumerate(itertools.islice(itertools.pairwise(WIDTHS), count)):
        k = np.arange(out * fan * 9, dtype=np.uint32)
        with np.errstate(over="ignore"):
            h = np.uint32(2654435761) * k + np.uint32(40503) * np.uint32(layer + 1)
            h ^= h >> np.uint32(15)
            h = np.uint32(2246822519) * h
            h ^= h >> np.uint32(13)
        weight = np.sqrt(6 / (9 * fan)) * (2 * (h.astype(np.float64) / 2**32) - 1)
        name = f"features.{NUMBERS[layer]}"
        state[f"{name}.weight"] = torch.from_numpy(weight.reshape(out, fan, 3, 3)).to(dtype)
        state[f"{name}.bias"] = torch.zeros(out, dtype=dtype)
    return state


@pytest.fixture(scope="module")
def shallow(tmp_path_factory) -> str:
    """Weights of the first two stages."""
    path = tmp_path_factory.mktemp("vgg") / "shallow.safetensors"
    save_file(stand_in(torch.float32, count=4), path)
    return str(path)


@pytest.fixture(scope="module")
def deep(tmp_path_factory) -> str:
    """Weights of all thirteen convolutions."""
    path = tmp_path_factory.mktemp("vgg") / "deep.safetensors"
    save_file(stand_in(torch.float32), path)
    return str(path)


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def plain_vgg(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """relu2_2 of images in [-1, 1], RGB, with torchvision's means for Caffe's weights."""
    mean = torch.tensor([0.48235, 0.45882, 0.40784])[:, None, None]
    x = ((x + 1) / 2 - mean) * 255
    for index, number in enumerate(NUMBERS[:4]):
        if index == 2:
            x = F.max_pool2d(x, 2)
        x = F.conv2d(x, state[f"features.{number}.weight"], padding=1).relu()
    return x


# Numerics


def test_vgg_perceptual_is_the_mean_square_of_features(shallow):
    x, y = image(2, 3, 16, 16), image(2, 3, 16, 16, seed=1)
    state = load_file(shallow)
    loss = VGGPerceptual(layers=("relu2_2",), weights=shallow, normalize="caffe")
    expected = F.mse_loss(plain_vgg(state, x), plain_vgg(state, y))
    torch.testing.assert_close(loss(x, y), expected, rtol=1e-4, atol=0)


def test_domain_invariant_normalises_each_features(shallow):
    x, y = image(2, 3, 16, 16), image(2, 3, 16, 16, seed=1)
    state = load_file(shallow)
    features = [nn.InstanceNorm2d(128)(plain_vgg(state, image)) for image in (x, y)]
    loss = DomainInvariantVGG(layers=("relu2_2",), weights=shallow, normalize="caffe")
    torch.testing.assert_close(loss(x, y), F.mse_loss(*features), rtol=1e-4, atol=0)
    loss = DomainInvariantVGG(layers=("relu2_2",), weights=shallow)
    off = DomainInvariantVGG(layers=("relu2_2",), weights=shallow, instance_norm=False)
    plain = VGGPerceptual(layers=("relu2_2",), weights=shallow)
    torch.testing.assert_close(off(x, y), plain(x, y))


@pytest.mark.parametrize("batch", [1, 2])
def test_domain_invariant_gradient_is_right_in_either_layout(shallow, batch):
    x, y = image(batch, 3, 8, 8).double(), image(batch, 3, 8, 8, seed=1).double()
    state = {name: value.double() for name, value in load_file(shallow).items()}

    def normalised(features):
        centred = features - features.mean((2, 3), keepdim=True)
        return centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()

    plain = x.clone().requires_grad_()
    F.mse_loss(*(normalised(plain_vgg(state, t)) for t in (plain, y))).backward()
    loss = DomainInvariantVGG(layers=("relu2_2",), weights=shallow, normalize="caffe").double()
    for layout in (torch.contiguous_format, torch.channels_last):
        ours = x.clone(memory_format=layout).requires_grad_()
        loss.to(memory_format=layout)(ours, y.contiguous(memory_format=layout)).backward()
        # the means were rounded to single precision
        assert float((ours.grad - plain.grad).abs().max()) < 1e-5 * float(plain.grad.abs().max())


def test_layers_are_weighted(shallow):
    x, y = image(1, 3, 16, 16), image(1, 3, 16, 16, seed=1)
    layers = ("relu2_2", "relu1_1")
    first, second = (VGGPerceptual(layers=(layer,), weights=shallow)(x, y) for layer in layers)
    both = VGGPerceptual(layers=layers, layer_weights=(2.0, 0.5), weights=shallow)(x, y)
    torch.testing.assert_close(both, 2 * first + 0.5 * second)
    even = VGGPerceptual(layers=layers, weights=shallow)(x, y)
    torch.testing.assert_close(even, first + second)


def test_only_the_layers_needed_are_built(shallow):
    assert len(VGGPerceptual(layers=("relu1_1",), weights=shallow).vgg.convolutions) == 1
    assert len(VGGPerceptual(layers=("relu2_2",), weights=shallow).vgg.convolutions) == 4


def test_torchvisions_network_has_the_same_features(deep):
    """Against torchvision's own VGG-16, all layers, with pooling."""
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.vgg16(weights=None).features.eval()
    state = {k.removeprefix("features."): v for k, v in load_file(deep).items()}
    theirs.load_state_dict(state)
    x = image(1, 3, 32, 32)
    layers = ("relu5_3", "relu4_3", "relu3_1")
    loss = VGGPerceptual(layers=layers, weights=deep, normalize="caffe")
    mean = torch.tensor([0.48235, 0.45882, 0.40784])[:, None, None]
    with torch.no_grad():
        ours = loss.vgg(x)
        inside = ((x + 1) / 2 - mean) * 255
        for name, depth in (("relu3_1", 12), ("relu4_3", 23), ("relu5_3", 30)):
            torch.testing.assert_close(ours[name], theirs[:depth](inside), rtol=1e-4, atol=1e-3)


def test_legacy_has_features_at_stride_8(deep):
    x = image(1, 3, 32, 32)
    with torch.no_grad():
        assert VGGPerceptual(weights=deep, legacy=True).vgg(x)["relu5_3"].shape[2:] == (4, 4)
        assert VGGPerceptual(weights=deep).vgg(x)["relu5_3"].shape[2:] == (2, 2)


def test_legacy_is_bgr_in_0_to_255_minus_caffes_means(shallow):
    loss = VGGPerceptual(layers=EARLY, weights=shallow, legacy=True)
    x = torch.stack([torch.full((2, 2), v) for v in (-1.0, 0.0, 1.0)])[None]
    expected = [255 - 103.939, 127.5 - 116.779, 0 - 123.680]
    assert loss.vgg._prepare(x)[0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-3)


IMAGENET = [(1 - m) / s for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
CAFFE = [(1 - m) * 255 for m in (0.48235, 0.45882, 0.40784)]
LEGACY = [255 - 103.939, 255 - 116.779, 255 - 123.680]


def white(loss: VGGPerceptual) -> list[float]:
    """What the first layer sees of a white pixel."""
    return loss.vgg._prepare(torch.ones(1, 3, 1, 1)).flatten().tolist()


@pytest.mark.parametrize(
    ("normalize", "expected"), [("imagenet", IMAGENET), ("caffe", CAFFE), ("none", [1.0] * 3)]
)
def test_normalisation_is_a_key(shallow, normalize, expected):
    loss = DomainInvariantVGG(layers=EARLY, weights=shallow, normalize=normalize)
    assert white(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("content", "legacy", "expected"),
    [
        (None, False, IMAGENET),
        (None, True, LEGACY),
        ("vgg16", False, IMAGENET),
        ("vgg16", True, IMAGENET),
        ("vgg16_caffe", False, CAFFE),
        ("vgg16_caffe", True, LEGACY),
    ],
)
def test_known_weights_are_fed_what_they_were_trained_on(
    shallow, monkeypatch, content, legacy, expected
):
    """Whatever the file is called: its content says what it is."""
    monkeypatch.setattr("munit_zoo.pretrained.vgg16.known_as", lambda found: content)
    loss = DomainInvariantVGG(layers=EARLY, weights=shallow, legacy=legacy)
    assert white(loss) == pytest.approx(expected, rel=1e-5)


def test_layers_by_default(deep):
    """relu4_3, which tells scenes from domains best; the reference's relu5_3 with `legacy`."""
    assert DomainInvariantVGG(weights=deep).vgg.layers == ("relu4_3",)
    assert DomainInvariantVGG(weights=deep, legacy=True).vgg.layers == ("relu5_3",)
    assert DomainInvariantVGG(weights=deep, layers=EARLY, legacy=True).vgg.layers == EARLY


# Channels


def test_one_channel_is_repeated(shallow):
    x, y = image(1, 1, 16, 16), image(1, 3, 16, 16, seed=1)
    loss = DomainInvariantVGG(layers=EARLY, weights=shallow)
    torch.testing.assert_close(loss(x, y), loss(x.expand(-1, 3, -1, -1), y))


def test_other_channel_counts_need_a_selection(shallow):
    x, y = image(1, 5, 16, 16), image(1, 3, 16, 16, seed=1)
    with pytest.raises(ContractError, match=r"image has 5: .*CHANNELS: \[2, 1, 0\]"):
        DomainInvariantVGG(layers=EARLY, weights=shallow)(x, y)
    plain = DomainInvariantVGG(layers=EARLY, weights=shallow)
    chosen = DomainInvariantVGG(layers=EARLY, weights=shallow, channels=(3, 1, 0))
    # the other domain's three channels stay red, green, blue
    torch.testing.assert_close(chosen(x, y), plain(x[:, [3, 1, 0]], y))
    single = DomainInvariantVGG(layers=EARLY, weights=shallow, channels=(4,))
    torch.testing.assert_close(single(x, y), plain(x[:, 4:], y))


@pytest.mark.parametrize("channels", [(), (0, 1), (0, 1, 2, 3), (0, 1, -1)])
def test_channels_are_one_or_three(shallow, channels):
    with pytest.raises(ContractError, match="CHANNELS selects 1 channel, or 3"):
        DomainInvariantVGG(layers=EARLY, weights=shallow, channels=channels)


def test_channels_that_the_image_lacks(shallow):
    loss = DomainInvariantVGG(layers=EARLY, weights=shallow, channels=(5, 1, 0))
    with pytest.raises(ContractError, match="only the channels 0 to 4"):
        loss(image(1, 5, 16, 16), image(1, 5, 16, 16))


# Frozen, finite


def test_frozen_and_in_evaluation_mode(shallow):
    loss = DomainInvariantVGG(layers=EARLY, weights=shallow).train()
    assert not loss.vgg.training
    assert all(not p.requires_grad for p in loss.parameters())
    x = image(1, 3, 16, 16).requires_grad_()
    loss(x, image(1, 3, 16, 16, seed=1)).backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in loss.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
def test_finite_on_flat_images(shallow, level, dtype):
    loss = DomainInvariantVGG(layers=("relu1_2", "relu2_2"), weights=shallow).to(dtype)
    flat = torch.full((1, 3, 16, 16), level, dtype=dtype, requires_grad=True)
    for other in (flat.detach(), image(1, 3, 16, 16).to(dtype)):
        value = loss(flat, other)
        value.backward()
        assert value.isfinite()
        assert flat.grad.isfinite().all()
        flat.grad = None


def test_images_too_small(deep):
    with torch.device("meta"):
        loss = DomainInvariantVGG(weights=deep, layers=("relu5_3",))
        small, tiny = torch.empty(1, 3, 16, 32), torch.empty(1, 3, 8, 64)
        with pytest.raises(GraphError, match=r"8×64 are too small for VGG-16's layer relu5_1"):
            loss(tiny, tiny)
        thin = torch.empty(1, 3, 16, 16)
        with pytest.raises(GraphError, match="single pixel"):
            loss(thin, thin)
        loss(small, small)
        plain = DomainInvariantVGG(weights=deep, layers=("relu5_3",), instance_norm=False)
        plain(thin, thin)


def test_compiles_as_one_graph(shallow):
    loss = DomainInvariantVGG(layers=EARLY, weights=shallow)
    x, y = image(1, 3, 16, 16), image(1, 3, 16, 16, seed=1)
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, y), loss(x, y))


# Settings and weights


def test_unknown_layer():
    with pytest.raises(ContractError, match=r"no layer 'relu5-3'\. Did you mean 'relu5_3'"):
        VGGPerceptual(layers=("relu5-3",))
    with pytest.raises(ContractError, match="LAYERS names no layer"):
        VGGPerceptual(layers=())


def test_weights_of_layers_are_as_many_as_layers():
    with pytest.raises(ContractError, match="LAYER_WEIGHTS has 1 numbers for 2 LAYERS"):
        VGGPerceptual(layers=("relu1_1", "relu2_1"), layer_weights=(1.0,))


@pytest.fixture
def no_weights(tmp_path, monkeypatch) -> Path:
    """An empty cache of torch's, and no other place; the folder within that is looked in."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("MUNIT_ZOO_WEIGHTS", raising=False)
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("asked"))
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("legacy", [False, True])
def test_absent_weights(no_weights, device, legacy):
    file = "vgg16_features-amdegroot-88682ab5.pth" if legacy else "vgg16-397923af.pth"
    with torch.device(device), pytest.raises(WeightsError) as caught:
        DomainInvariantVGG(legacy=legacy)
    for part in (file, file[-12:-4], str(no_weights), "MUNIT_ZOO_WEIGHTS", "DOWNLOAD: true"):
        assert part in str(caught.value)


def test_file_that_does_not_exist(no_weights):
    with pytest.raises(WeightsError, match=r"'IMAGENET1K_V2' is neither a file nor one of .*V1"):
        VGGPerceptual(weights="IMAGENET1K_V2")
    with pytest.raises(WeightsError, match=r"'q.pth' is neither a file of weights"):
        VGGPerceptual(weights="q.pth")


def test_torchvisions_file_is_told_from_another_of_its_name(no_weights):
    path = no_weights / "vgg16-397923af.pth"
    path.parent.mkdir(parents=True)
    torch.save(stand_in(torch.float32, count=2), path)
    with pytest.raises(WeightsError, match="is not VGG-16 trained on ImageNet"):
        VGGPerceptual(layers=EARLY, weights="IMAGENET1K_V1")


@pytest.mark.parametrize("form", ["features", "bare", "whole", "safetensors"])
def test_forms_of_weight_files(tmp_path, shallow, form):
    state = stand_in(torch.float32, count=4)
    path = tmp_path / "vgg.pth"
    if form == "bare":
        state = {k.removeprefix("features."): v for k, v in state.items()}
    elif form == "whole":
        state |= {"classifier.0.weight": torch.zeros(2, 2)}
    if form == "safetensors":
        path = tmp_path / "vgg.safetensors"
        save_file(state, path)
    else:
        torch.save(state, path)
    x, y = image(1, 3, 8, 8), image(1, 3, 8, 8, seed=1)
    loss, known = (VGGPerceptual(layers=EARLY, weights=w) for w in (str(path), shallow))
    torch.testing.assert_close(loss(x, y), known(x, y), rtol=0, atol=0)


class Trap:
    def __reduce__(self):
        return (os.putenv, ("MUNIT_ZOO_TRAP", "1"))


def test_files_that_are_no_vgg(tmp_path, shallow):
    path = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(8, 3, 3, 3)}, path)
    with pytest.raises(WeightsError, match=r"features\.0\.weight is \(8, 3, 3, 3\), expected"):
        VGGPerceptual(layers=EARLY, weights=str(path))
    with pytest.raises(WeightsError, match=r"features\.10\.weight is absent"):
        VGGPerceptual(layers=("relu3_1",), weights=shallow)
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="holds list, not a state dict"):
        VGGPerceptual(layers=EARLY, weights=str(path))
    path.write_bytes(b"not a file of torch")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        VGGPerceptual(layers=EARLY, weights=str(path))
    torch.save({"x": Trap()}, path)
    with pytest.raises(WeightsError, match="cannot be read as weights"):  # and not executed
        VGGPerceptual(layers=EARLY, weights=str(path))


# The reference


@pytest.mark.golden
def test_the_references_features_and_loss(tmp_path):
    cases = []
    for path in sorted(GOLDEN.glob("*.safetensors")):
        tensors = load_file(path)
        if "fwd/vgg_features_of_x_a" in tensors:
            cases.append((path.stem, tensors))
    if not cases:
        pytest.skip(f"no perceptual cases in {GOLDEN} (set MUNIT_ZOO_GOLDEN)")
    weights = tmp_path / "vgg.safetensors"
    save_file(stand_in(torch.float64), weights)
    torch.set_default_dtype(torch.float64)
    try:
        loss = DomainInvariantVGG(weights=str(weights), legacy=True)
    finally:
        torch.set_default_dtype(torch.float32)
    for name, tensors in cases:
        x_a, x_b = tensors["x_a"], tensors["x_b"]
        features = loss.vgg(x_a)["relu5_3"]
        ours = torch.stack([features.mean(), features.std(), (features > 0).double().mean()])
        golden = tensors["fwd/vgg_features_of_x_a"].reshape(3)
        worst = float((ours - golden).abs().max() / golden.abs().max())
        assert worst <= 1e-8, f"{name}: features differ by {worst:.1e}"
        golden = float(tensors["fwd/vgg_loss_of_x_a_x_b"])
        assert float(loss(x_a, x_b)) == pytest.approx(golden, rel=1e-8, abs=0), name
        assert json.loads((GOLDEN / f"{name}.json").read_text())["config"]["vgg_w"] > 0
