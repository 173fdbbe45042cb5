"""A config tried on `meta`: sizes, what is not reached, and what may not be shared."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
from _recipes import munit, starganv2
from torch import nn

from munit_zoo.config import load_config
from munit_zoo.errors import ConfigError, ContractError, GraphError
from munit_zoo.models import assemble, create_model, rehearse, smallest_size
from munit_zoo.models.rehearsal import look
from munit_zoo.models.sharing import impurities
from munit_zoo.registry import NORMS

SIZES = {"a": (16, 16), "b": (16, 16)}


def computed(objective) -> list[set[str]]:
    """Names that each update computes."""
    codes = objective.codes(objective.pattern())
    return [{operation.node.name for operation in code.operations} for code in codes]


# What a look shows


def test_a_look_shows_calls_shapes_and_failures():
    with torch.device("meta"):
        model = munit()
    found = look(model, {"day": (16, 16), "night": (16, 12)}, batch=3)
    assert found.calls["x_ab"] == {("b.decoder", False)}
    assert found.values["x_ba"].shape == (3, 3, 16, 12)
    assert found.values["z_a"].shape == (3, 4)
    assert not found.failures
    assert set(found.translating) == {
        f"{letter}.{part}"
        for letter in "ab"
        for part in ("content_encoder", "style_encoder", "decoder")
    }
    with torch.device("meta"):
        odd = look(model, {"day": (17, 17), "night": (1, 1)})
    assert "d_b" in odd.failures


def test_frozen_calls_are_told_apart():
    with torch.device("meta"):
        model = starganv2()
    found = look(model, {domain.name: (32, 32) for domain in model.domains}, batch=2)
    assert found.calls["fake2_z"] == {("generator", True)}
    assert found.calls["fake_ref"] == {("generator", False)}
    assert found.values["y_trg"].dtype == torch.int64
    assert found.translating == ("generator", "mapping", "style_encoder")


# Ablations


def test_what_nobody_reads_is_neither_computed_nor_trained(tiny):
    config = load_config(
        "munit/shapes", *tiny, "LOSSES.STYLE_RECON.WEIGHT=0", "LOSSES.IMAGE_RECON.WEIGHT=0"
    )
    model, objective, rehearsal = assemble(config, SIZES)
    computed_names = set().union(*computed(objective))
    assert computed_names == {
        *("c_a", "c_b", "x_ab", "x_ba", "c_ab", "c_ba", "d_a", "d_b", "d_ab", "d_ba")
    }
    assert all("style_encoder" in name for name in rehearsal.unreached)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == set(rehearsal.unreached) != set()
    assert len(rehearsal.unreached_networks()) == 2


def test_without_an_adversarial_term_the_discriminators_rest(tiny):
    config = load_config("munit/shapes", *tiny, "LOSSES.ADVERSARIAL=null")
    _, objective, rehearsal = assemble(config, SIZES)
    assert [code.index for code in objective.codes(objective.pattern())] == [1]
    assert {n.split(".")[1] for n in rehearsal.unreached} == {"discriminator"}


def test_a_config_without_a_term_is_refused(tiny):
    names = load_config("munit/shapes", *tiny).LOSSES
    weightless = [f"LOSSES.{name}.WEIGHT=0" for name in names]
    with pytest.raises(ConfigError, match="LOSSES: has no term of non-zero weight"):
        rehearse(load_config("munit/shapes", *tiny, *weightless), SIZES)


def test_parameters_are_counted_by_network(tiny):
    rehearsal = rehearse(load_config("munit/shapes", *tiny), SIZES)
    with torch.device("meta"):
        model = create_model(load_config("munit/shapes", *tiny))
    assert sum(rehearsal.parameters.values()) == sum(p.numel() for p in model.parameters())
    assert set(rehearsal.parameters) == set(model.networks())


def test_options_of_updates_and_networks_that_are_not_there(tiny):
    for override, message in (
        ("UPDATES.GENERATOR={EVERY: 2}", "UPDATES.GENERATOR: Munit has no update.*'generators'"),
        ("OPTIM.NETWORKS.DECODR={NAME: sgd}", "OPTIM.NETWORKS.DECODR.*Did you mean 'DECODER'"),
    ):
        with pytest.raises(ConfigError, match=message):
            rehearse(load_config("munit/shapes", *tiny, override), SIZES)


def test_the_updates_of_a_config_say_how_often_and_how_far(tiny):
    own = "UPDATES={DISCRIMINATORS: {EVERY: 2}, GENERATORS: {CLIP: 1.5}}"
    objective = rehearse(load_config("munit/shapes", *tiny, own), SIZES).objective
    assert [objective.pattern(i)[0] for i in range(2)] == [(1,), (0, 1)]
    assert objective.clip(1) == 1.5


# Sizes


def test_batch_norm_is_tried_with_the_batch_that_a_process_gets(tiny):
    norm = ("MODEL.DISCRIMINATOR.NORM={NAME: batch}", "MODEL.DISCRIMINATOR.LAYERS=4")
    config = load_config("munit/shapes", *tiny, *norm, "MODEL.DISCRIMINATOR.SCALES=1")
    assert rehearse(config, SIZES).objective.terms  # maps of 1×1, 2 of them
    with pytest.raises(GraphError, match="cannot be computed for images of A 16×16.*more than 1"):
        rehearse(config, SIZES, processes=2)


def test_sides_are_multiples_of_the_stride(tiny):
    config = load_config("munit/shapes", *tiny)
    stride = create_model(config).stride
    with pytest.raises(GraphError, match=f"multiples of {stride} .*: A 18×18, B 20×16$"):
        rehearse(config, {"a": (18, 17), "b": (20, 16)})


@pytest.mark.slow
def test_a_size_that_is_too_small_and_the_smallest_that_works():
    config = load_config("munit/edges2shoes")
    with pytest.raises(GraphError, match="A 32×32, B 32×32"):
        rehearse(config, {"a": (32, 32), "b": (32, 32)})
    assert smallest_size(config) == 64


def test_a_size_that_is_no_multiple_of_the_stride(tiny):
    config = load_config("munit/shapes", *tiny)
    with pytest.raises(GraphError, match="different shapes: x_aa"):
        rehearse(config, {"a": (17, 17), "b": (16, 16)})


def test_domains_of_different_channels(tiny):
    config = load_config("munit/shapes", *tiny, "DOMAINS.A.CHANNELS=1", "DOMAINS.B.CHANNELS=5")
    assert rehearse(config, SIZES).shapes["x_ab"][1] == 5


def test_the_users_names_of_domains(tiny):
    config = load_config("munit/shapes", *tiny, "DOMAINS={DAY: {CHANNELS: 3}, NIGHT: {}}")
    sizes = {"day": (16, 16), "night": (16, 16)}
    assert rehearse(config, sizes).shapes["x_ab"] == (2, 3, 16, 16)


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


# State and chance


class Dropping(nn.Dropout):
    """Dropout, under a norm's contract."""

    num_parameters = 0

    def __init__(self, num_features: int) -> None:
        super().__init__(0.5)


class Reassigning(nn.Module):
    """Counts its calls in a buffer that it replaces."""

    num_parameters = 0

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count = self.count + 1
        return x


@pytest.fixture
def registered() -> Iterator[None]:
    norms = {"test_dropping": Dropping, "test_reassigning": Reassigning}
    for name, norm in norms.items():
        NORMS.register(name)(norm)
    yield
    for name in norms:
        del NORMS._local[name]


IMPURE = {
    "MODEL.CONTENT_ENCODER.NORM={NAME: batch}": "content_encoder.*changes its",
    "MODEL.CONTENT_ENCODER.NORM={NAME: test_dropping}": "draws random numbers",
    "MODEL.DECODER.WEIGHT_NORM=spectral_legacy": "decoder.*changes its",
}


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("share", ["derived", "fakes"])
@pytest.mark.parametrize("override", IMPURE)
def test_state_and_chance_are_not_shared(tiny, override: str, share: str):
    config = load_config("munit/shapes", *tiny, override, f"ENGINE.SHARE={share}")
    if "DECODER" in override and share == "derived":  # decoders share nothing then
        assert rehearse(config, SIZES).objective.terms
        return
    with pytest.raises(ConfigError, match=f"ENGINE.SHARE: is {share}.*ENGINE.SHARE=none") as caught:
        rehearse(config, SIZES)
    (problem,) = caught.value.problems
    assert problem.path == "ENGINE.SHARE"
    assert re.search(IMPURE[override], problem.message)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("override", IMPURE)
def test_networks_of_any_kind_train_without_sharing(tiny, override: str):
    config = load_config("munit/shapes", *tiny, override, "ENGINE.SHARE=none")
    assert assemble(config, SIZES)[1].terms


@pytest.mark.usefixtures("registered")
def test_a_buffer_that_is_assigned_anew_escapes_nobody(tiny):
    config = load_config("munit/shapes", *tiny, "MODEL.DISCRIMINATOR.NORM={NAME: test_reassigning}")
    with pytest.raises(ContractError, match=r"Reassigning\) assigns its buffer count anew .*copy_"):
        rehearse(config, SIZES)


def test_without_discriminators_nothing_is_shared(tiny):
    more = ["LOSSES.ADVERSARIAL=null", "MODEL.CONTENT_ENCODER.NORM={NAME: batch}"]
    assert rehearse(load_config("munit/shapes", *tiny, *more), SIZES).objective.terms


def test_the_state_of_discriminators_does_not_matter(tiny):
    config = load_config("munit/shapes", *tiny, "MODEL.DISCRIMINATOR.WEIGHT_NORM=spectral")
    assert rehearse(config, SIZES).objective.terms


def test_pure_networks_have_none():
    layers = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout(0.0), nn.BatchNorm2d(1).eval())
    image, queries = torch.rand(2, 1, 3, 3), torch.rand(3, 1, 2, 4, 8)
    with impurities(layers) as found:
        layers(image)
        nn.functional.scaled_dot_product_attention(*queries)
    assert not found
