"""Optimizers of torch and timm by name."""

from __future__ import annotations

import pytest
import torch

from munit_zoo.config import load_config
from munit_zoo.errors import ConfigError, UnknownComponentError
from munit_zoo.registry import OPTIMIZERS


def built(name: str, **settings: object) -> torch.optim.Optimizer:
    parameter = torch.nn.Parameter(torch.ones(3))
    return OPTIMIZERS.bind(name, **settings)().build([parameter])


def test_a_name_is_a_class_of_torch_with_its_defaults():
    plain = torch.optim.Adagrad([torch.nn.Parameter(torch.ones(3))])
    assert type(built("torch.Adagrad")) is torch.optim.Adagrad
    assert built("torch.Adagrad").defaults == plain.defaults
    assert built("torch.NAdam", momentum_decay=0.01).defaults["momentum_decay"] == 0.01


def test_a_name_of_timm_stands_for_what_timm_says_of_it():
    import timm.optim

    caution = built("timm.clamb")
    assert type(caution) is timm.optim.Lamb
    assert caution.defaults["caution"] is True
    assert built("timm.lamb").defaults["caution"] is False


def test_signatures_are_their_keys():
    keys = OPTIMIZERS.signature("torch.Adagrad").settings
    assert next(iter(keys)) == "LR"
    assert keys["LR"].default == 0.01
    assert isinstance(keys["WEIGHT_DECAY"].default, float)
    assert not {"PARAMS", "MAXIMIZE", "DIFFERENTIABLE", "CAPTURABLE"} & set(keys)
    assert OPTIMIZERS.signature("timm.adafactor").settings["LR"].required  # it has none
    assert OPTIMIZERS.describe("timm.lamb").doc


def test_listing_a_family():
    assert "torch.Adagrad" not in OPTIMIZERS.list()
    names = OPTIMIZERS.list("torch.*")
    assert {"torch.Adagrad", "torch.Adafactor", "torch.SGD"} <= set(names)
    assert not {"torch.LBFGS", "torch.SparseAdam", "torch.Optimizer"} & set(names)
    assert OPTIMIZERS.list("torch.R*") == ["torch.RAdam", "torch.RMSprop", "torch.Rprop"]
    assert set(OPTIMIZERS.families_like("*")) == {"timm.*", "torch.*"}
    assert OPTIMIZERS.families_like("ada*") == {} == OPTIMIZERS.families_like("torch.*")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torch.Adgrad", "Did you mean 'torch.Adagrad'"),
        ("Adagrad", "Did you mean 'torch.Adagrad'|'timm.adagrad'"),
        ("timm.lmab", "timm.lamb"),
        ("torch.nn", "Known: torch.ASGD"),
    ],
)
def test_misspelt(name: str, message: str):
    with pytest.raises(UnknownComponentError, match=message):
        OPTIMIZERS.get(name)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("{NAME: torch.Adagrad, LR: 0.1, LR_DECY: 1}", "LR_DECAY"),
        ("{NAME: torch.Adagrad, LR: fast}", "expected a number"),
        ("{NAME: torch.Adagrad, EPS: -1.0}", "torch.Adagrad cannot train.*epsilon"),
        ("{NAME: torch.LBFGS}", "no optimizer is called 'torch.LBFGS'"),
        ("{NAME: timm.adafactor}", "LR: is required"),
    ],
)
def test_a_config_is_checked_against_the_signature(tiny, override: str, message: str):
    with pytest.raises(ConfigError, match=message):
        load_config("munit/shapes", *tiny, f"OPTIM.DEFAULT={override}")


def test_networks_inherit_and_differ(tiny):
    config = load_config(
        "munit/shapes",
        *tiny,
        "OPTIM.DEFAULT={NAME: torch.Adagrad, LR: 0.1, LR_DECAY: 0.5}",
        "OPTIM.NETWORKS.DISCRIMINATOR={NAME: timm.lion, LR: 1.0e-3}",
        "OPTIM.NETWORKS.DECODER={LR: 0.2}",
    )
    assert config.OPTIM.NETWORKS.DISCRIMINATOR.BETAS == (0.9, 0.99)
    assert (config.OPTIM.NETWORKS.DECODER.NAME, config.OPTIM.NETWORKS.DECODER.LR_DECAY) == (
        "torch.Adagrad",
        0.5,
    )
