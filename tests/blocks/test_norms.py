"""Norms against their formulas."""

from __future__ import annotations

import pytest
import torch

from munit_zoo.blocks.norms import AdaIN, BatchNorm, GroupNorm, InstanceNorm, LayerNorm, NoNorm
from munit_zoo.errors import ContractError

UNSTEERED = (BatchNorm, GroupNorm, InstanceNorm, LayerNorm, NoNorm)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(shape, generator=generator, dtype=torch.float64) + 1


def test_instance_norm_is_its_formula():
    x = images(2, 4, 5, 6)
    mean = x.mean((2, 3), keepdim=True)
    variance = x.var((2, 3), keepdim=True, unbiased=False)
    norm = InstanceNorm(4)
    torch.testing.assert_close(norm(x), (x - mean) / (variance + 1e-5).sqrt())
    assert not norm.state_dict()
    torch.testing.assert_close(norm.eval()(x), norm.train()(x), rtol=0, atol=0)


def test_instance_norm_with_affine():
    x, norm = images(2, 4, 5, 6), InstanceNorm(4, affine=True).double()
    with torch.no_grad():
        norm.weight.copy_(torch.arange(4.0))
        norm.bias.fill_(7)
    plain = InstanceNorm(4)(x)
    torch.testing.assert_close(norm(x), plain * torch.arange(4.0)[:, None, None] + 7)


def test_adain_takes_biases_first_and_uses_weights_as_they_are():
    x, norm = images(2, 3, 5, 6), AdaIN(3)
    assert norm.num_parameters == 6
    parameters = images(2, 6, seed=1)
    bias, weight = parameters[:, :3], parameters[:, 3:]
    expected = InstanceNorm(3)(x) * weight[:, :, None, None] + bias[:, :, None, None]
    torch.testing.assert_close(norm(x, parameters), expected)
    assert not norm.state_dict()


def test_adain_keeps_no_state_between_calls():
    x, norm = images(1, 3, 4, 4), AdaIN(3)
    first, second = images(1, 6, seed=1), images(1, 6, seed=2)
    alone = norm(x, first)
    norm(x, second)
    torch.testing.assert_close(norm(x, first), alone, rtol=0, atol=0)


def test_layer_norm_is_its_formula():
    x = images(3, 4, 5, 6)
    norm = LayerNorm(4).double()
    flat = x.flatten(1)
    std = flat.std(1, unbiased=True)[:, None, None, None]
    mean = flat.mean(1)[:, None, None, None]
    weight, bias = norm.weight[:, None, None], norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), (x - mean) / (std + 1e-5) * weight + bias)
    plain = LayerNorm(4, affine=False)
    assert not list(plain.parameters())
    torch.testing.assert_close(plain(x), (x - mean) / (std + 1e-5))


def test_layer_norm_gradient():
    norm = LayerNorm(3).double()
    assert torch.autograd.gradcheck(norm, images(2, 3, 3, 2).requires_grad_())


def test_layer_norm_starts_as_the_reference_does():
    torch.manual_seed(0)
    norm = LayerNorm(4096)
    assert set(dict(norm.named_parameters())) == {"weight", "bias"}
    assert float(norm.weight.min()) >= 0
    assert float(norm.weight.max()) < 1
    assert float(norm.weight.mean()) == pytest.approx(0.5, abs=0.03)
    assert not norm.bias.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, 1000.0])
def test_layer_norm_is_finite_on_flat_images(level, dtype):
    norm = LayerNorm(3).to(dtype)
    x = torch.full((1, 3, 8, 8), level, dtype=dtype, requires_grad=True)
    norm(x).square().sum().backward()
    assert norm(x).isfinite().all()
    assert x.grad.isfinite().all()


def test_layer_norm_of_half_precision_keeps_its_digits():
    x = images(1, 4, 32, 32).float() + 30
    norm = LayerNorm(4)
    half = norm(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert float((half.float() - norm(x.bfloat16().float())).abs().max()) < 0.02


@pytest.mark.parametrize("norm", [InstanceNorm(3), AdaIN(3)])
def test_instance_norm_of_a_single_pixel_is_defined(norm):
    x, parameters = images(2, 3, 1, 1), images(2, 6)
    steered = isinstance(norm, AdaIN)
    y = norm(x, parameters) if steered else norm(x)
    expected = parameters[:, :3, None, None] if steered else torch.zeros_like(x)
    torch.testing.assert_close(y, expected)


def test_batch_norm_has_torchs_defaults():
    ours, theirs = BatchNorm(4).double(), torch.nn.BatchNorm2d(4).double()
    x = images(3, 4, 5, 6)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_group_norm_names_the_groups_that_fit():
    x = images(2, 64, 3, 3)
    theirs = torch.nn.GroupNorm(32, 64).double()
    torch.testing.assert_close(GroupNorm(64).double()(x), theirs(x))
    with pytest.raises(ContractError, match=r"GROUPS 32 .* 1, 2, 4, 8, 16 would"):
        GroupNorm(16)
    with pytest.raises(ContractError, match="GROUPS is 0"):
        GroupNorm(16, groups=0)


def test_no_norm_changes_nothing():
    x = images(1, 3, 2, 2)
    assert NoNorm(3)(x) is x


@pytest.mark.parametrize("norm", UNSTEERED, ids=lambda norm: norm.__name__)
def test_only_adain_takes_parameters(norm):
    assert norm.num_parameters == 0


@pytest.mark.parametrize("norm", [*UNSTEERED, AdaIN], ids=lambda norm: norm.__name__)
def test_norms_build_on_meta(norm):
    with torch.device("meta"):
        built, x, parameters = norm(32), torch.empty(2, 32, 4, 4), torch.empty(2, 64)
        y = built(x, parameters) if built.num_parameters else built(x)
    assert y.is_meta
    assert y.shape == x.shape


# A map and the gradient of its norm may lie in memory in different ways. Kernels that take one for
# the other answer wrongly and say nothing: every pair of layouts, against formulas.

LAYOUTS = ("contiguous", "channels_last", "unsqueezed", "by_columns", "reversed", "sliced")
GRADIENTS = (*LAYOUTS, "expanded", "one_value")
SHAPES = ((1, 6, 5, 4), (2, 6, 5, 4), (3, 6, 5, 4), (1, 1, 5, 4), (2, 6, 1, 1), (1, 6, 1, 7))


def laid_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    """The values of x, or a few of them for the expanded ones, in a layout."""
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "unsqueezed":  # channels last, with the strides that a sample alone has
        strides = zip(laid_out(x, "channels_last").stride(), x.shape, strict=True)
        odd = [1 if size == 1 else stride for stride, size in strides]
        return x.clone(memory_format=torch.channels_last).as_strided(x.shape, odd)
    if layout == "by_columns":
        return x.transpose(2, 3).contiguous().transpose(2, 3)
    if layout == "reversed":
        return x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    if layout == "sliced":  # channels last, with other values between
        wide = x.new_full([size + 2 for size in x.shape], torch.nan)
        wide = wide.contiguous(memory_format=torch.channels_last)
        part = wide[1:-1, 1:-1, 1:-1, 1:-1]
        return part.copy_(x)
    if layout == "expanded":  # as that of a mean over pixels
        return x[:, :, :1, :1].expand(x.shape)
    if layout == "one_value":  # as that of a sum
        return x[:1, :1, :1, :1].expand(x.shape)
    return x.contiguous()


def standardised(x, dims, eps=1e-5):
    centred = x - x.mean(dims, keepdim=True)
    return centred / (centred.square().mean(dims, keepdim=True) + eps).sqrt()


def instance_formula(x, weight, bias):
    return standardised(x, (2, 3)) * weight[..., None, None] + bias[..., None, None]


def batch_formula(x, weight, bias):
    return standardised(x, (0, 2, 3)) * weight[:, None, None] + bias[:, None, None]


def group_formula(x, weight, bias):
    groups = x.reshape(len(x), 2 if x.shape[1] % 2 == 0 else 1, -1)
    return standardised(groups, 2).reshape(x.shape) * weight[:, None, None] + bias[:, None, None]


def layer_formula(x, weight, bias):
    mean, std = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True)
    return (x - mean) / (std + 1e-5) * weight[:, None, None] + bias[:, None, None]


def with_given(norm):
    """A norm as a function of (x, weight, bias), its parameters replaced by those given."""

    def call(x, weight, bias):
        built = norm(x.shape[1])
        if built.num_parameters:
            return built(x, torch.cat([bias, weight], dim=1))
        return torch.func.functional_call(built, {"weight": weight, "bias": bias}, (x,))

    return call


NORMS = {
    "instance": (with_given(lambda c: InstanceNorm(c, affine=True)), instance_formula),
    "adain": (with_given(AdaIN), instance_formula),
    "batch": (with_given(lambda c: BatchNorm(c).double()), batch_formula),
    "group": (with_given(lambda c: GroupNorm(c, groups=2 if c % 2 == 0 else 1)), group_formula),
    "layer": (with_given(LayerNorm), layer_formula),
}


def arguments(name: str, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values for a map, its weight and its bias."""
    per = shape[:2] if name == "adain" else shape[1:2]
    return images(*shape), images(*per, seed=1), images(*per, seed=2)


def answers(function, x, weight, bias, gradient):
    """Values, and gradients by the three arguments."""
    leaves = [t.detach().requires_grad_() for t in (x, weight, bias)]
    y = function(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, gradient)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NORMS)
def test_gradients_are_right_in_every_pair_of_layouts(name, shape):
    norm, formula = NORMS[name]
    x, weight, bias = arguments(name, shape)
    if name == "layer" and x[0].numel() == 1:
        pytest.skip("a single value has no unbiased deviation")
    wrong = []
    for layout in GRADIENTS:
        gradient = laid_out(images(*shape, seed=3), layout)
        expected = answers(formula, x, weight, bias, gradient.contiguous())
        for of_map in LAYOUTS:
            got = answers(norm, laid_out(x, of_map), weight, bias, gradient)
            gaps = [float((a - b).abs().max()) for a, b in zip(got, expected, strict=True)]
            if max(gaps) > 1e-9:
                wrong.append((of_map, layout, gaps))
    assert not wrong


@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
@pytest.mark.parametrize("name", ["instance", "adain"])
def test_second_gradients_are_right_in_every_pair_of_layouts(name, shape):
    norm, formula = NORMS[name]
    x, weight, bias = arguments(name, shape)

    def penalty(function, x, gradient, direction):
        """The gradient of a gradient's product with a direction, as R1 and WGAN-GP take it."""
        leaves = [t.detach().requires_grad_() for t in (x, weight, gradient)]
        y = function(leaves[0], leaves[1], bias)
        (first,) = torch.autograd.grad(y, leaves[:1], leaves[2], create_graph=True)
        return torch.autograd.grad((first * direction).sum(), leaves)

    for layout in LAYOUTS:
        gradient = images(*shape, seed=3)
        direction = images(*shape, seed=4)
        expected = penalty(formula, x, gradient, direction)
        for of_map in LAYOUTS:
            got = penalty(norm, laid_out(x, of_map), laid_out(gradient, layout), direction)
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("batch", [1, 2])
def test_instance_norm_is_twice_differentiable(batch, layout):
    x = laid_out(images(batch, 2, 3, 2), layout).requires_grad_()
    parameters = images(batch, 4, seed=1).requires_grad_()
    norm = AdaIN(2)
    assert torch.autograd.gradcheck(norm, (x, parameters))
    assert torch.autograd.gradgradcheck(norm, (x, parameters))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("batch", [1, 3])
def test_instance_norm_keeps_the_layout_of_its_map(batch, layout):
    x = laid_out(images(batch, 6, 5, 4), layout)
    assert InstanceNorm(6)(x).stride() == x.stride()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("steered", [False, True])
def test_instance_norm_of_half_precision_takes_statistics_in_full(dtype, layout, steered):
    # far from zero and small beside it: a mean rounded to half precision would be all too wrong
    x = (images(1, 4, 32, 32) / 4 + 30).to(dtype)
    parameters = images(1, 8, seed=1).to(dtype)
    gradient = laid_out(images(1, 4, 32, 32, seed=3).to(dtype), "channels_last")
    norm = AdaIN(4) if steered else InstanceNorm(4)

    def answer(x, gradient, parameters):
        leaf = x.detach().requires_grad_()
        y = norm(leaf, parameters) if steered else norm(leaf)
        return y, torch.autograd.grad(y, leaf, gradient)[0]

    values, slopes = answer(laid_out(x, layout), gradient, parameters)
    full, full_slopes = answer(x.double(), gradient.double(), parameters.double())
    assert values.dtype == slopes.dtype == dtype
    tolerance = 8 * torch.finfo(dtype).eps
    assert float((values - full).abs().max()) < tolerance * float(full.abs().max())
    assert float((slopes - full_slopes).abs().max()) < tolerance * float(full_slopes.abs().max())


def test_adain_under_autocast_takes_weights_of_either_precision():
    x = images(2, 3, 5, 4).float()
    norm, parameters = AdaIN(3), images(2, 6, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        full, half = norm(x, parameters.bfloat16()), norm(x.bfloat16(), parameters)
    assert full.dtype == torch.float32
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(full, norm(x, parameters.bfloat16().float()))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_instance_norm_differentiates_under_vmap(layout):
    x = torch.stack([laid_out(images(2, 3, 5, 4, seed=seed), layout) for seed in range(3)])

    def energy(norm, x):
        return norm(x).pow(3).sum()

    ours = torch.func.vmap(torch.func.grad(lambda x: energy(InstanceNorm(3), x)))(x)
    plain = torch.func.grad(lambda x: energy(lambda x: standardised(x, (-2, -1)), x))(x)
    torch.testing.assert_close(ours, plain)


def test_instance_norm_is_right_where_it_is_compiled():
    norm, formula = NORMS["adain"]
    shape = (1, 6, 5, 4)
    x, weight, bias = arguments("adain", shape)
    # the formula that the compiler gets, and not a minute of its own
    compiled = torch.compile(norm, backend="aot_eager", fullgraph=True)
    for of_map in ("contiguous", "channels_last"):
        for layout in ("contiguous", "channels_last", "expanded"):
            gradient = laid_out(images(*shape, seed=3), layout)
            got = answers(compiled, laid_out(x, of_map), weight, bias, gradient)
            expected = answers(formula, x, weight, bias, gradient.contiguous())
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", NORMS)
def test_gradients_are_right_on_a_gpu_in_every_pair_of_layouts(name):
    norm, formula = NORMS[name]
    for shape in SHAPES[:3]:
        given = [t.cuda() for t in arguments(name, shape)]
        for layout in GRADIENTS:
            gradient = laid_out(images(*shape, seed=3).cuda(), layout)
            expected = answers(formula, *given, gradient.contiguous())
            for of_map in LAYOUTS:
                with torch.device("cuda"):
                    got = answers(norm, laid_out(given[0], of_map), *given[1:], gradient)
                torch.testing.assert_close(got, expected, rtol=0, atol=1e-8)
