"""What both steps may share: generators that are functions of their inputs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from munit_zoo.config import load_config
from munit_zoo.errors import ConfigError
from munit_zoo.models import assemble, rehearse
from munit_zoo.models.sharing import impurities
from munit_zoo.registry import NORMS

SIZES = {"a": (16, 16), "b": (16, 16)}


class Dropping(nn.Dropout):
    """Dropout, under a norm's contract."""

    num_parameters = 0

    def __init__(self, num_features: int) -> None:
        super().__init__(0.5)


@pytest.fixture
def dropping() -> Iterator[None]:
    NORMS.register("test_dropping")(Dropping)
    yield
    del NORMS._local["test_dropping"]


IMPURE = {
    "MODEL.CONTENT_ENCODER.NORM={NAME: batch}": "content_encoder.*changes its",
    "MODEL.CONTENT_ENCODER.NORM={NAME: test_dropping}": "draws random numbers",
    "MODEL.STYLE_ENCODER.WEIGHT_NORM=spectral": "style_encoder.*changes its _",
    "MODEL.DECODER.WEIGHT_NORM=spectral_legacy": "decoder.*changes its",
}


@pytest.mark.usefixtures("dropping")
@pytest.mark.parametrize("share", ["derived", "fakes"])
@pytest.mark.parametrize("override", IMPURE)
def test_state_and_chance_are_not_shared(tiny, override: str, share: str):
    config = load_config("munit/shapes", *tiny, override, f"ENGINE.SHARE={share}")
    with pytest.raises(ConfigError, match=f"ENGINE.SHARE: is {share}.*ENGINE.SHARE=none") as caught:
        rehearse(config, SIZES)
    (problem,) = caught.value.problems
    assert problem.path == "ENGINE.SHARE"
    assert re.search(IMPURE[override], problem.message)


@pytest.mark.usefixtures("dropping")
@pytest.mark.parametrize("override", IMPURE)
def test_generators_of_any_kind_train_without_sharing(tiny, override: str):
    config = load_config("munit/shapes", *tiny, override, "ENGINE.SHARE=none")
    assert assemble(config, SIZES)[1].terms


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
