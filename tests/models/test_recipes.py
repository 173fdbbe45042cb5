"""MUNIT and UNIT: what they compute, translate and refuse."""

from __future__ import annotations

import threading

import pytest
import torch

import munit_zoo as mz
from munit_zoo.config import load_config
from munit_zoo.domains import Domain
from munit_zoo.errors import ConfigError, GraphError, UsageError
from munit_zoo.models import assemble, create_model, rehearse, smallest_size
from munit_zoo.models.munit import Munit

SIZES = {"a": (16, 16), "b": (16, 16)}


@pytest.fixture
def munit(tiny):
    torch.manual_seed(0)
    return mz.create_model(load_config("munit/shapes", *tiny)).eval()


@pytest.fixture
def unit(tiny_unit):
    torch.manual_seed(0)
    return mz.create_model(load_config("unit/shapes", *tiny_unit)).eval()


def test_create_model_by_name():
    model = mz.create_model(
        "munit", style_dim=5, content_encoder={"name": "resnet", "dim": 8, "blocks": 1}
    )
    assert isinstance(model, Munit)
    assert (model.style_dim, model.stride) == (5, 4)
    with pytest.raises(ConfigError, match="Did you mean 'STYLE_DIM'"):
        mz.create_model("munit", styl_dim=5)
    with pytest.raises(TypeError, match="varied as it is loaded"):
        mz.create_model(load_config("munit/shapes"), style_dim=5)


def test_directly_from_python():
    model = Munit((Domain("a", 1), Domain("b", 4)), style_dim=3)
    assert model.translate(torch.zeros(1, 1, 32, 32), "b").shape == (1, 1, 4, 32, 32)
    with pytest.raises(GraphError, match="between A and B"):
        Munit((Domain("a"),))


# Translation


def test_a_number_of_styles(munit):
    x = torch.randn(2, 3, 16, 16)
    out = munit.translate(x, to="b", styles=5)
    assert out.shape == (2, 5, 3, 16, 16)
    assert out.abs().max() <= 1
    assert not torch.equal(out[0, 0], out[0, 1])


def test_styles_are_reproducible_with_a_generator(munit):
    x = torch.randn(1, 3, 16, 16)
    first, second = (
        munit.translate(x, "b", 2, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_codes_are_used_for_every_image(munit):
    x, codes = torch.randn(2, 3, 16, 16), torch.randn(3, 4)
    out = munit.translate(x, "b", codes)
    for n in range(2):
        content = munit.generators["a"].content_encoder(x[n : n + 1])
        for k in range(3):
            alone = munit.generators["b"].decoder(content, codes[k : k + 1])[0]
            torch.testing.assert_close(out[n, k], alone, atol=1e-5, rtol=1e-4)
    per_image = munit.translate(x, "b", codes.expand(2, 3, 4))
    torch.testing.assert_close(per_image, out)


def test_example_images_are_encoded_by_the_target_domain(munit):
    x, examples = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
    codes = munit.generators["b"].style_encoder(examples)
    torch.testing.assert_close(munit.translate(x, "b", examples), munit.translate(x, "b", codes))
    paired = munit.translate(x, "b", examples, paired=True)
    torch.testing.assert_close(paired[1, 0], munit.translate(x[1:], "b", codes[1:])[0, 0])


def test_the_chunk_changes_nothing(munit):
    x, codes = torch.randn(3, 3, 16, 16), torch.randn(2, 4)
    torch.testing.assert_close(
        munit.translate(x, "b", codes, chunk=1), munit.translate(x, "b", codes)
    )


@pytest.mark.parametrize("size", [(17, 16), (16, 21), (15, 13), (3, 5)])
def test_any_size_comes_back_as_it_went_in(munit, unit, size):
    x = torch.randn(1, 3, *size)
    assert munit.translate(x, "b").shape[-2:] == size
    assert unit.translate(x, "b").shape[-2:] == size


def test_padding_leaves_the_rest_alone(munit):
    """A size that needs no padding is not padded."""
    x, codes = torch.randn(1, 3, 16, 20), torch.randn(1, 4)
    content = munit.generators["a"].content_encoder(x)
    direct = munit.generators["b"].decoder(content, codes)
    torch.testing.assert_close(munit.translate(x, "b", codes)[:, 0], direct)


def test_a_deterministic_recipe_returns_one_translation(unit):
    x = torch.randn(2, 3, 16, 16)
    out = unit.translate(x, "b", styles=7)
    assert out.shape == (2, 1, 3, 16, 16)
    torch.testing.assert_close(out, unit.translate(x, "b"))  # no noise at test time
    direct = unit.generators["b"].decoder(unit.generators["a"].content_encoder(x))
    torch.testing.assert_close(out[:, 0], direct)


def test_what_cannot_be_translated(munit, unit):
    x = torch.randn(1, 3, 16, 16)
    with pytest.raises(UsageError, match="to 'c': it cannot. This model translates a to b"):
        munit.translate(x, "c")
    with pytest.raises(UsageError, match=r"images of domain 'a' are \(N, 3, H, W\)"):
        munit.translate(x[:, :1], "b")
    with pytest.raises(UsageError, match=r"codes \(K, 4\).*shape \(2, 5\)"):
        munit.translate(x, "b", torch.randn(2, 5))
    with pytest.raises(UsageError, match="1 or more"):
        munit.translate(x, "b", 0)
    with pytest.raises(UsageError, match="2 examples, 1 images"):
        munit.translate(x, "b", torch.randn(2, 3, 16, 16), paired=True)
    with pytest.raises(UsageError, match="no style to encode"):
        unit.encode_style(x, "b")


def test_two_threads_translate_at_once(munit):
    """AdaIN is a function of its inputs: no call can disturb another's."""
    x, codes = torch.randn(1, 3, 16, 16), torch.randn(8, 1, 4)
    expected = [munit.translate(x, "b", code) for code in codes]
    wrong = []

    def work(index: int) -> None:
        for _ in range(10):
            if not torch.equal(munit.translate(x, "b", codes[index]), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# Ablations and sizes


def test_what_nobody_reads_is_neither_computed_nor_trained(tiny):
    config = load_config(
        "munit/shapes", *tiny, "LOSSES.STYLE_RECON.WEIGHT=0", "LOSSES.IMAGE_RECON.WEIGHT=0"
    )
    model, objective, rehearsal = assemble(config, SIZES)
    computed = {node.name for node in objective.plan.main}
    assert computed == {"c_a", "c_b", "x_ab", "x_ba", "c_ab", "c_ba"}
    assert all("style_encoder" in name for name in rehearsal.unreached)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == set(rehearsal.unreached) != set()


def test_without_an_adversarial_term_the_discriminators_rest(tiny):
    config = load_config("munit/shapes", *tiny, "LOSSES.ADVERSARIAL=null")
    _, objective, rehearsal = assemble(config, SIZES)
    assert not objective.has_critics
    assert {n.split(".")[0] for n in rehearsal.unreached} == {"discriminators"}


def test_nothing_to_train(tiny):
    terms = [
        f"LOSSES.{name}=null"
        for name in ("ADVERSARIAL", "IMAGE_RECON", "STYLE_RECON", "CONTENT_RECON")
    ]
    with pytest.raises(ConfigError, match="nothing to train"):
        assemble(load_config("munit/shapes", *tiny, *terms), SIZES)


def test_batch_norm_is_tried_with_the_batch_that_a_process_gets(tiny):
    norm = ("MODEL.DISCRIMINATOR.NORM={NAME: batch}", "MODEL.DISCRIMINATOR.LAYERS=4")
    config = load_config("munit/shapes", *tiny, *norm, "MODEL.DISCRIMINATOR.SCALES=1")
    assert rehearse(config, SIZES).objective.terms  # maps of 1×1, 2 of them
    with pytest.raises(GraphError, match="cannot be computed for images of A 16×16.*more than 1"):
        rehearse(config, SIZES, processes=2)


def test_a_config_without_a_term_is_refused(tiny):
    names = load_config("munit/shapes", *tiny).LOSSES
    weightless = [f"LOSSES.{name}.WEIGHT=0" for name in names]
    with pytest.raises(ConfigError, match="LOSSES: has no term of non-zero weight"):
        rehearse(load_config("munit/shapes", *tiny, *weightless), SIZES)


def test_sides_are_multiples_of_the_stride(tiny):
    config = load_config("munit/shapes", *tiny)
    stride = create_model(config).stride
    with pytest.raises(GraphError, match=f"multiples of {stride} .*: A 18×18, B 20×16$"):
        rehearse(config, {"a": (18, 17), "b": (20, 16)})


def test_a_size_that_is_too_small_and_the_smallest_that_works():
    config = load_config("munit/edges2shoes")
    with pytest.raises(GraphError, match="A 32×32, B 32×32"):
        rehearse(config, {"a": (32, 32), "b": (32, 32)})
    side = smallest_size(config)
    assert side == 64
    rehearse(config, {"a": (side, side), "b": (side, side)})


def test_a_size_that_is_no_multiple_of_the_stride(tiny):
    config = load_config("munit/shapes", *tiny)
    with pytest.raises(GraphError, match="different shapes: x_aa"):
        rehearse(config, {"a": (17, 17), "b": (16, 16)})


def test_weights_depend_on_the_seed_alone(tiny):
    config = load_config("munit/shapes", *tiny, "ENGINE.SEED=7")
    before = torch.get_rng_state()
    first = assemble(config, SIZES)[0].state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.randn(3)
    second = assemble(config, SIZES)[0].state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = assemble(load_config("munit/shapes", *tiny, "ENGINE.SEED=8"), SIZES)[0].state_dict()
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_domains_of_different_channels(tiny):
    config = load_config("munit/shapes", *tiny, "DOMAINS.A.CHANNELS=1", "DOMAINS.B.CHANNELS=5")
    assert rehearse(config, SIZES).shapes["x_ab"][1] == 5


def test_the_whole_step_compiles_as_one_graph(tiny):
    config = load_config("munit/shapes", *tiny)
    model, objective, _ = assemble(config, SIZES)
    env = {
        name: torch.randn(
            2, *(model.noise_shape(name, SIZES) if model.is_noise(name) else (3, 16, 16))
        )
        for name in objective.plan.inputs
    }
    compiled = torch.compile(objective.generators, fullgraph=True, backend="eager")
    for ours, theirs in zip(compiled(env), objective.generators(env), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name])


def test_styles_and_images_of_another_form(tiny):
    model = create_model(load_config("munit/shapes", *tiny))
    x = torch.zeros(1, 3, 16, 16)
    with pytest.raises(UsageError, match=r"styles is a number, codes .*; got 'x'"):
        model.translate(x, "b", "x")
    with pytest.raises(UsageError, match=r"got \(3, 16, 16\). Add a batch dimension: x\[None\]"):
        model.translate(x[0], "b")
