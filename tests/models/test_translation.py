"""Translating: styles of every kind, sizes, memory, and plain answers to what cannot be done."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from _recipes import (
    bicyclegan,
    cyclegan,
    cyclegan_noise,
    funit,
    munit,
    pix2pix,
    stargan,
    stargan_attributes,
    stargan_joint,
    starganv2,
    unit,
)

import munit_zoo as mz
from munit_zoo.config import load_config
from munit_zoo.domains import Domain
from munit_zoo.errors import ConfigError, ContractError, UsageError
from munit_zoo.models import Draw, tensor
from munit_zoo.models.munit import Munit
from munit_zoo.registry import slot


@pytest.fixture
def multi() -> Munit:
    torch.manual_seed(0)
    return munit().eval()


@pytest.fixture
def single():
    torch.manual_seed(0)
    return unit().eval()


@pytest.fixture
def many():
    torch.manual_seed(0)
    return starganv2().eval()


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


X = images(2, 3, 16, 16)


# Making one


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


def test_domains_of_different_channels():
    model = munit((Domain("mono", 1), Domain("infrared", 4))).eval()
    assert model.translate(images(1, 1, 16, 16), "infrared").shape == (1, 1, 4, 16, 16)


# Styles


def test_a_number_of_styles(multi):
    out = multi.translate(X, to="night", styles=5)
    assert out.shape == (2, 5, 3, 16, 16)
    assert out.abs().max() <= 1
    assert not torch.equal(out[0, 0], out[0, 1])


def test_styles_are_reproducible_with_a_generator(multi, many):
    for model, x in ((multi, X), (many, images(2, 3, 32, 32))):
        first, second = (
            model.translate(x, "night", 2, generator=torch.Generator().manual_seed(3))
            for _ in range(2)
        )
        assert torch.equal(first, second)


def test_codes_are_used_for_every_image(multi):
    codes = torch.randn(3, 4)
    out = multi.translate(X, "night", codes)
    for n in range(2):
        content = multi.a.content_encoder(X[n : n + 1])
        for k in range(3):
            alone = multi.b.decoder(content, codes[k : k + 1])[0]
            torch.testing.assert_close(out[n, k], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(multi.translate(X, "night", codes.expand(2, 3, 4)), out)


def test_example_images_are_encoded_by_the_target_domain(multi):
    examples = images(2, 3, 16, 16).flip(0)
    codes = multi.encode_style(examples, "night")
    torch.testing.assert_close(codes, multi.b.style_encoder(examples))
    out = multi.translate(X, "night", codes)
    torch.testing.assert_close(multi.translate(X, "night", examples), out)
    paired = multi.translate(X, "night", examples, paired=True)
    torch.testing.assert_close(paired[1, 0], multi.translate(X[1:], "night", codes[1:])[0, 0])


def test_codes_latents_and_examples_are_told_apart(many):
    x = images(2, 3, 32, 32)
    latents = torch.randn(3, many.latent_dim)
    label = torch.full((3,), 2)
    codes = many.mapping(latents, label)
    out = many.translate(x, "dusk", latents=latents)
    assert out.shape == (2, 3, 3, 32, 32)
    torch.testing.assert_close(out, many.translate(x, "dusk", codes))
    other = many.translate(x, "day", latents=latents)
    assert not torch.allclose(out, other)  # the same latent is another style in another domain
    examples = many.translate(x, "dusk", x.flip(0))
    torch.testing.assert_close(
        examples, many.translate(x, "dusk", many.style_encoder(x.flip(0), torch.full((2,), 2)))
    )
    drawn = many.sample_styles(2, torch.Generator().manual_seed(0), to="dusk")
    same = many.translate(x[:1], "dusk", 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(many.translate(x[:1], "dusk", drawn), same)


def test_a_latent_of_a_recipe_that_draws_codes_is_a_code(multi):
    codes = torch.randn(2, 4)
    torch.testing.assert_close(
        multi.translate(X, "night", latents=codes), multi.translate(X, "night", codes)
    )


def test_latents_for_each_image(many):
    x, latents = images(2, 3, 32, 32), torch.randn(2, 1, 3)
    out = many.translate(x, "night", latents=latents)
    for n in range(2):
        alone = many.translate(x[n : n + 1], "night", latents=latents[n])
        torch.testing.assert_close(out[n], alone[0], atol=1e-5, rtol=1e-4)


def test_a_style_may_be_optimised(multi):
    code = torch.full((1, 4), 0.5, requires_grad=True)
    multi.translate(X, "night", code, grad=True).mean().backward()
    assert code.grad is not None
    assert code.grad.abs().max() > 0
    assert not multi.translate(X, "night", code).requires_grad


def test_a_recipe_without_styles_returns_one_translation(single):
    out = single.translate(X, "night", styles=7)
    assert out.shape == (2, 1, 3, 16, 16)
    torch.testing.assert_close(out, single.translate(X, "night"))  # no noise at test time
    direct = single.b.decoder(single.a.content_encoder(X))
    torch.testing.assert_close(out[:, 0], direct)


def test_a_recipe_of_one_way():
    model = pix2pix().eval()
    assert model.ways == (("day", "night"),)
    assert model.translate(images(1, 3, 16, 16), "night").shape == (1, 1, 3, 16, 16)
    with pytest.raises(UsageError, match="to 'day': it cannot. This model translates day to nig"):
        model.translate(images(1, 3, 16, 16), "day")
    with pytest.raises(UsageError, match="Pix2Pix has no reconstruction of domain 'day'"):
        model.reconstruct(images(1, 3, 16, 16), "day")


def test_reconstruction(multi, single):
    content, style = multi.b.content_encoder(X), multi.b.style_encoder(X)
    expected = multi.b.decoder(content, style)
    torch.testing.assert_close(multi.reconstruct(X, "night"), expected, atol=1e-5, rtol=1e-4)
    assert single.reconstruct(images(1, 3, 17, 15), "day").shape == (1, 3, 17, 15)


# Sizes and memory


@pytest.mark.parametrize("size", [(17, 16), (16, 21), (15, 13), (3, 5)])
def test_any_size_comes_back_as_it_went_in(multi, single, size):
    x = images(1, 3, *size)
    assert multi.translate(x, "night").shape[-2:] == size
    assert single.translate(x, "night").shape[-2:] == size
    assert cyclegan().eval().translate(x, "night").shape[-2:] == size


def test_a_u_net_takes_the_size_that_ends_in_one_pixel_as_it_is():
    model = pix2pix().eval()
    x = images(1, 3, 8, 8)
    assert torch.equal(model.translate(x, "night")[:, 0], model.generator(x))


def test_a_paired_recipe_translates_in_drawn_codes_and_in_those_of_examples():
    model = bicyclegan().eval()
    x, examples = images(2, 3, 32, 32), images(3, 3, 32, 32)
    codes = model.encode_style(examples, "night")
    found = model.translate(x, "night", examples)
    assert torch.equal(found, model.translate(x, "night", codes))
    assert torch.equal(found[1, 2:], model.generator(x[1:], codes[2:]))
    drawn = model.translate(x, "night", 2)
    assert not torch.equal(drawn[:, 0], drawn[:, 1])


def test_noise_is_a_style_that_no_example_has():
    model = cyclegan_noise().eval()
    x, z = images(2, 3, 16, 16), torch.randn(2, 3)
    found = model.translate(x, "night", z)
    beside = z[1].expand(16, 16, 3).permute(2, 0, 1)
    expected = model.b.generator(torch.cat([x[:1], beside[None]], dim=1))
    torch.testing.assert_close(found[:1, 1], expected)
    assert model.draws_styles
    assert not model.encodes_styles
    assert bicyclegan().encodes_styles
    with pytest.raises(UsageError, match="has no style to encode"):
        model.translate(x, "night", x)


def test_each_call_of_a_generator_has_a_noise_of_its_own():
    graph = cyclegan_noise().graph()
    own = {"x_ab": "z_b", "x_ba": "z_a", "x_aba": "z_aba", "x_bab": "z_bab", "x_aa": "z_aa"}
    for name, noise in {**own, "x_bb": "z_bb"}.items():
        assert [n for n in graph.nodes[name].arguments if n in graph.draws] == [noise]


def test_attributes_are_codes():
    model = stargan_attributes().eval()
    x = images(2, 3, 16, 16)
    y = torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    blond, grey, smiling = model.targets(y)
    assert (blond.tolist(), grey.tolist()) == ([[1, 0, 0], [1, 0, 1]], [[0, 1, 0], [0, 1, 1]])
    assert smiling.tolist() == [[1, 0, 1], [0, 1, 0]]
    found = model.translate(x, "day", smiling[:, None])
    assert torch.equal(found[:, 0], model.generator(x, smiling))
    drawn = model.sample_styles(20, torch.Generator().manual_seed(0))
    assert set(drawn.flatten().tolist()) == {0.0, 1.0}
    assert set(model.encode_style(x, "day").flatten().tolist()) <= {0.0, 1.0}


def test_two_sets_of_labels_translate_into_each_other():
    model = stargan_joint().eval()
    x = images(1, 3, 16, 16)
    codes = model.sample_styles(8, torch.Generator().manual_seed(0), to="night")
    assert torch.equal(codes[:, :2], torch.zeros(8, 2))
    assert torch.equal(codes[:, 2:5].sum(dim=1), torch.ones(8))
    assert torch.equal(codes[:, 5:], torch.tensor([[0.0, 1]]).expand(8, 2))
    for source in ("day", "night"):
        found = model.translate(x, "night", codes[:1], source=source)
        assert torch.equal(found[:, 0], model.generator(x, codes[:1]))


def test_classes_are_known_by_examples():
    model = funit().eval()
    x, examples = images(2, 3, 16, 16), images(3, 3, 16, 16)
    codes = model.encode_style(examples, "day")
    mean = codes.mean(dim=0, keepdim=True)
    found = model.translate(x, "day", mean)
    expected = model.decoder(model.content_encoder(x), mean.expand(2, -1))
    torch.testing.assert_close(found[:, 0], expected)
    assert not model.draws_styles
    with pytest.raises(UsageError, match="Funit draws no styles: give codes or example images"):
        model.translate(x, "day", 2)


def test_a_discriminator_that_tells_other_labels_is_refused():
    with pytest.raises(
        ContractError, match=r"tells 5 labels, .* 3: set MODEL.DISCRIMINATOR.LABELS=3"
    ):
        stargan(discriminator=slot("stargan", size=16, labels=5, dim=2, layers=2))
    with pytest.raises(ContractError, match="tells 0 labels, and there are 3; `stargan` does"):
        stargan(discriminator=slot("patch"))


def test_padding_leaves_the_rest_alone(multi):
    x, codes = images(1, 3, 16, 20), torch.randn(1, 4)
    direct = multi.b.decoder(multi.a.content_encoder(x), codes)
    torch.testing.assert_close(multi.translate(x, "night", codes)[:, 0], direct)


def test_the_chunk_changes_nothing(multi):
    x, codes = images(3, 3, 16, 16), torch.randn(2, 4)
    out = multi.translate(x, "night", codes)
    close = {"atol": 1e-5, "rtol": 1e-4}
    for chunk in (1, 2, 4):
        torch.testing.assert_close(multi.translate(x, "night", codes, chunk=chunk), out, **close)


def test_the_chunk_bounds_what_is_computed_at_once(multi, single):
    """Images that are encoded, and pairs of image and style that are decoded, and examples."""
    seen: list[int] = []
    for network in (multi.a.content_encoder, multi.b.decoder, multi.b.style_encoder):
        network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    x = images(5, 3, 16, 16)
    multi.translate(x, "night", images(3, 3, 16, 16), chunk=2)
    assert max(seen) == 2
    assert sum(seen) == 5 + 5 * 3 + 3
    for network in (single.a.content_encoder, single.b.decoder):
        network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    seen.clear()
    single.translate(x, "night", chunk=2)
    assert max(seen) == 2


# Threads and the compiler


def test_two_threads_translate_at_once(multi):
    """AdaIN is a function of its inputs: no call can disturb another's."""
    x, codes = images(1, 3, 16, 16), torch.randn(8, 1, 4)
    expected = [multi.translate(x, "night", code) for code in codes]
    wrong = []

    def work(index: int) -> None:
        for _ in range(5):
            if not torch.equal(multi.translate(x, "night", codes[index]), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_translate_may_be_compiled(single, multi):
    torch._dynamo.reset()
    codes = torch.randn(1, 4)
    for model, styles in ((single, 1), (multi, codes)):
        compiled = torch.compile(model.translate, backend="eager")
        out = model.translate(X, "night", styles)
        torch.testing.assert_close(compiled(X, "night", styles), out)


# What cannot be done


def test_a_domain_that_is_not_there(multi):
    with pytest.raises(UsageError, match="no domain 'noon'; it has day, night"):
        multi.translate(X, "noon")
    with pytest.raises(UsageError, match="no domain 'NIGHT'.*Write 'night': .* lower case in Pyt"):
        multi.translate(X, "NIGHT")
    with pytest.raises(UsageError, match="from 'night' to 'night': it cannot"):
        multi.translate(X, "night", source="night")


def test_styles_of_a_domain_that_is_not_there(multi):
    for ask in (lambda: multi.sample_styles(1, to="noon"), lambda: multi.encode_style(X, "noon")):
        with pytest.raises(UsageError, match="no domain 'noon'; it has day, night"):
            ask()
    with pytest.raises(UsageError, match="Pix2Pix does not translate to 'day'"):
        pix2pix().encode_style(X, "day")


def test_a_draw_that_both_halves_of_a_translation_read():
    """What translations are not given is 0, a number without a batch."""

    class Jittered(Munit):
        inputs = {**Munit.inputs, "jitter": Draw("uniform", (1, 1, 1))}

        @tensor
        def c_a(self, x_a, jitter):
            return self.a.content_encoder(x_a + jitter)

        @tensor
        def x_ab(self, c_a, z_b, jitter):
            return self.b.decoder(c_a, z_b) + jitter

    torch.manual_seed(0)
    model = munit(recipe=Jittered).eval()
    plain = munit().eval()
    plain.load_state_dict(model.state_dict())
    codes = torch.randn(2, 4)
    torch.testing.assert_close(
        model.translate(X, "night", codes), plain.translate(X, "night", codes)
    )


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[0], r"got \(3, 16, 16\). Add a batch dimension: x\[None\]"),
        (X[:, :1], r"images of domain 'day' are \(N, 3, H, W\), got \(2, 1, 16, 16\)"),
        (X.permute(0, 2, 3, 1), r"Put the channels second: x.permute\(0, 3, 1, 2\)"),
        (X[:0], r"there is no image in a batch of the shape \(0, 3, 16, 16\)"),
        (X.numpy(), r"got numpy.ndarray of shape \(2, 3, 16, 16\): write torch.from_numpy\(x\)"),
        ([1, 2], r"images are a torch tensor \(N, C, H, W\), got \[1, 2\]"),
        ((X * 127).to(torch.uint8), r"got torch.uint8: for 0 to 255 write x / 127.5 - 1"),
        ((X + 1) * 127.5, r"images are in \[-1, 1\], got values from .* write x / 127.5 - 1"),
    ],
)
def test_what_is_no_image(multi, x, message):
    with pytest.raises(UsageError, match=message):
        multi.translate(x, "night")


@pytest.mark.parametrize(
    ("styles", "message"),
    [
        (torch.zeros(2, 5), r"codes \(K, 4\).*got a tensor of shape \(2, 5\)"),
        (torch.zeros(3, 1, 4), r"or \(2, K, 4\).*got a tensor of shape \(3, 1, 4\)"),
        (0, "1 or more, got 0"),
        (True, "styles is a number.*got True"),
        ("x", "styles is a number, codes .*got 'x'"),
        (np.zeros((1, 4)), r"got numpy.ndarray of shape \(1, 4\): write torch.from_numpy\(styles"),
        (torch.zeros(0, 4), r"got a tensor of shape \(0, 4\)"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "got torch.uint8"),
    ],
)
def test_what_is_no_style(multi, styles, message):
    with pytest.raises(UsageError, match=message):
        multi.translate(X, "night", styles)


def test_options_that_do_not_go_together(multi, single, many):
    with pytest.raises(UsageError, match="one example an image; got 3 examples, 2 images"):
        multi.translate(X, "night", images(3, 3, 16, 16), paired=True)
    with pytest.raises(UsageError, match="paired: goes with example images, one an image"):
        multi.translate(X, "night", 2, paired=True)
    with pytest.raises(UsageError, match=r"paired: .*of codes write \(N, 1, S\)"):
        multi.translate(X, "night", torch.zeros(2, 4), paired=True)
    with pytest.raises(UsageError, match="give styles or latents, not both"):
        multi.translate(X, "night", 3, latents=torch.zeros(1, 4))
    with pytest.raises(UsageError, match=r"latents are \(K, 3\), got \(1, 5\)"):
        many.translate(images(1, 3, 32, 32), "day", latents=torch.zeros(1, 5))
    with pytest.raises(UsageError, match="Unit has no styles: one image, one translation"):
        single.translate(X, "night", torch.zeros(1, 4))
    with pytest.raises(UsageError, match="Unit has no style to encode in domain 'night'"):
        single.encode_style(X, "night")
    with pytest.raises(UsageError, match="Unit draws no styles"):
        single.sample_styles(2)
