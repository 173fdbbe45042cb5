"""Configs of schema 1 in today's form, and what is said where that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from munit_zoo.config import load_config, resolve, resolve_data
from munit_zoo.errors import ConfigError

RUN = """SCHEMA_VERSION: 1
MODEL: {NAME: munit}
LOSSES: {ADVERSARIAL: {NAME: lsgan}}
OPTIM:
  GENERATOR: {NAME: adam, LR: 0.001, BETAS: [0.5, 0.999], EPS: 1.0e-08, WEIGHT_DECAY: 0.0}
  DISCRIMINATOR: {NAME: adam, LR: 0.004, BETAS: [0.5, 0.999], EPS: 1.0e-08, WEIGHT_DECAY: 0.0}
ENGINE: {SHARE: content, EMA: 0.99}
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "old.yaml") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_a_run_of_schema_1_loads(write):
    resolved = resolve(write(RUN))
    config = resolved.config
    assert config.SCHEMA_VERSION == 2
    assert (config.OPTIM.DEFAULT.LR, config.OPTIM.NETWORKS.DISCRIMINATOR.LR) == (0.001, 0.004)
    assert (config.ENGINE.SHARE, config.ENGINE.EMA_WARMUP) == ("derived", False)
    assert resolved.origins["OPTIM.NETWORKS.DISCRIMINATOR.LR"].endswith("old.yaml:6")
    assert load_config(write(config.dump(), "again.yaml")) == config


def test_saved_data_of_schema_1_loads():
    old = {"SCHEMA_VERSION": 1, "MODEL": {"NAME": "unit"}, "ENGINE": {"SHARE": "content"}}
    assert resolve_data(old, origin="a run").config.ENGINE.SHARE == "derived"


def test_equal_optimizers_become_one(write):
    config = load_config(write(RUN.replace("0.004", "0.001")), "OPTIM.DEFAULT.LR=2")
    assert config.OPTIM.DEFAULT.LR == 2
    assert not config.OPTIM.NETWORKS


def test_equal_optimizers_over_a_base_that_may_differ_stay_two(write):
    write(RUN)
    text = "_BASE_: old.yaml\nSCHEMA_VERSION: 1\n"
    text += "OPTIM: {GENERATOR: {LR: 1}, DISCRIMINATOR: {LR: 1}}\n"
    config = load_config(write(text, "new.yaml"))
    assert (config.OPTIM.DEFAULT.LR, config.OPTIM.NETWORKS.DISCRIMINATOR.LR) == (1, 1)


def test_another_optimizer_for_the_discriminators(write):
    text = RUN.replace("{NAME: adam, LR: 0.004, BETAS: [0.5, 0.999], EPS: 1.0e-08,", "{NAME: sgd,")
    config = load_config(write(text))
    assert config.OPTIM.NETWORKS.DISCRIMINATOR.NAME == "sgd"
    assert config.OPTIM.NETWORKS.DISCRIMINATOR.LR == 1e-2  # its own default, as it was


@pytest.mark.parametrize(
    ("optim", "words"),
    [
        ("{GENERATOR: {LR: 0.002}}", "{DEFAULT: {LR: 0.002}, NETWORKS: {DISCRIMINATOR: {LR: …}}}"),
        (
            "{GENERATOR: {NAME: adam, LR: 1.0}, DISCRIMINATOR: {LR: 2.0}}",
            "{DEFAULT: {NAME: adam, LR: 1.0}, NETWORKS: {DISCRIMINATOR: {NAME: …, LR: 2.0}}}",
        ),
    ],
)
def test_what_inheritance_would_change_is_told(write, optim: str, words: str):
    text = f"_BASE_: munit/shapes\nSCHEMA_VERSION: 1\nOPTIM: {optim}\n"
    with pytest.raises(ConfigError) as caught:
        load_config(write(text))
    (problem,) = caught.value.problems
    assert problem.path == "OPTIM.GENERATOR"
    assert problem.origin.endswith("old.yaml:3")
    assert f"Write SCHEMA_VERSION: 2 and OPTIM: {words}" in problem.message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("OPTIM.GENERATOR.LR=0.001", "Write OPTIM.DEFAULT.LR=0.001"),
        ("OPTIM.DISCRIMINATOR.LR=0.001", "write OPTIM.NETWORKS.DISCRIMINATOR.LR=0.001"),
        ("OPTIM.DISCRIMINATOR={NAME: sgd}", "write OPTIM.NETWORKS.DISCRIMINATOR.NAME=sgd"),
        ("ENGINE.SHARE=content", "`content` is now `derived`"),
        ("SCHEMA_VERSION=1", "is a file's own"),
        ("SCHEMA_VERSION=7", "is a file's own"),
    ],
)
def test_an_old_override_is_told_its_new_form(override: str, words: str):
    with pytest.raises(ConfigError) as caught:
        load_config("munit/shapes", override)
    (problem,) = caught.value.problems
    assert words in problem.message


def test_an_old_key_in_a_new_file_is_told_its_new_form(write):
    text = "_BASE_: munit/shapes\nSCHEMA_VERSION: 2\nOPTIM: {DISCRIMINATOR: {LR: 0.5}}\n"
    with pytest.raises(ConfigError, match="OPTIM: {NETWORKS: {DISCRIMINATOR: {LR: 0.5}}}"):
        load_config(write(text))
