"""Optimizers and averages by network's name."""

from __future__ import annotations

import pytest

from munit_zoo.config import entry_of, load_config, network_problems, resolve
from munit_zoo.errors import ConfigError

NETWORKS = ("a.content_encoder", "a.discriminator", "b.content_encoder", "b.discriminator")


def test_a_network_inherits_the_default():
    config = load_config(
        "munit/shapes", "OPTIM.NETWORKS.DISCRIMINATOR.LR=4e-4", "OPTIM.DEFAULT.BETAS=[0, 0.9]"
    )
    own = config.OPTIM.NETWORKS.DISCRIMINATOR
    assert (own.LR, own.BETAS) == (4e-4, (0, 0.9))
    assert config.OPTIM.DEFAULT.LR == 1e-3


def test_what_is_inherited_knows_where_it_was_written():
    origins = resolve("munit/shapes", ["OPTIM.NETWORKS.DISCRIMINATOR.LR=1"]).origins
    assert origins["OPTIM.NETWORKS.DISCRIMINATOR.LR"].startswith("override")
    assert origins["OPTIM.NETWORKS.DISCRIMINATOR.BETAS"].startswith("munit/shapes.yaml:")
    assert origins["OPTIM.NETWORKS.DISCRIMINATOR.EPS"] == "default"


def test_another_optimizer_takes_nothing_of_the_default():
    resolved = resolve("munit/shapes", ["OPTIM.NETWORKS.DISCRIMINATOR.NAME=sgd"])
    assert resolved.config.OPTIM.NETWORKS.DISCRIMINATOR.LR == 1e-2
    assert not resolved.dropped  # nobody had set a key for this network


def test_another_default_goes_to_all_that_name_none():
    config = load_config(
        "munit/shapes", "OPTIM.NETWORKS.DISCRIMINATOR.LR=1", "OPTIM.DEFAULT.NAME=rmsprop"
    )
    assert config.OPTIM.NETWORKS.DISCRIMINATOR.NAME == "rmsprop"


def test_null_takes_a_network_back_to_the_default():
    given = "OPTIM.NETWORKS={DISCRIMINATOR: {LR: 1}, DECODER: {LR: 2}}"
    config = load_config("munit/shapes", given, "OPTIM.NETWORKS.DISCRIMINATOR=null")
    assert list(config.OPTIM.NETWORKS) == ["DECODER"]
    assert not load_config("munit/shapes", given, "OPTIM.NETWORKS=null").OPTIM.NETWORKS


def test_what_is_wrong_with_the_default_is_told_once():
    with pytest.raises(ConfigError) as caught:
        load_config(
            "munit/shapes",
            "OPTIM.DEFAULT.LR=x",
            "OPTIM.DEFAULT.FOO=1",
            "OPTIM.NETWORKS={DECODER: {EPS: 1}, DISCRIMINATOR: {LRR: 1}}",
        )
    paths = [problem.path for problem in caught.value.problems]
    assert sorted(paths) == [
        "OPTIM.DEFAULT.FOO",
        "OPTIM.DEFAULT.LR",
        "OPTIM.NETWORKS.DISCRIMINATOR.LRR",
    ]


def test_the_longer_name_wins():
    entries = {"DISCRIMINATOR": 1, "A_DISCRIMINATOR": 2, "PATCH_NCE": 3}
    assert entry_of(entries, "a.discriminator", 0) == 2
    assert entry_of(entries, "b.discriminator", 0) == 1
    assert entry_of(entries, "b.content_encoder", 0) == 0
    assert entry_of(entries, "patch_nce", 0) == 3


def test_names_that_mean_no_network_are_told():
    config = load_config(
        "munit/shapes",
        "OPTIM.NETWORKS={DISCRIMINATER: {}, B_CONTENT_ENCODER: {}, PATCH_NCE: {}}",
        "ENGINE.EMA_NETWORKS={DISCRIMINATOR: null, PATCH_NCE: 0.5}",
    )
    found = {p.path: p.message for p in network_problems(config, NETWORKS, ["patch_nce"])}
    assert list(found) == ["OPTIM.NETWORKS.DISCRIMINATER", "ENGINE.EMA_NETWORKS.PATCH_NCE"]
    assert "Did you mean 'DISCRIMINATOR'" in found["OPTIM.NETWORKS.DISCRIMINATER"]
    assert "CONTENT_ENCODER, A_CONTENT_ENCODER" in found["ENGINE.EMA_NETWORKS.PATCH_NCE"]
