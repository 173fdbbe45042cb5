"""Resolving: bases, overrides, components, and every error by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from munit_zoo.config import load_config, resolve
from munit_zoo.errors import ConfigError, ContractError
from munit_zoo.models import create_model


def problems(source: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(source, *overrides)
    return str(caught.value)


@pytest.fixture
def write(tmp_path: Path):
    def write(name: str, text: str, version: str = "SCHEMA_VERSION: 2\n") -> str:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(version + text)
        return str(file)

    return write


def test_overrides_and_types():
    config = load_config("munit/shapes", "OPTIM.DEFAULT.LR=1", "MODEL.STYLE_DIM=5")
    assert config.OPTIM.DEFAULT.LR == 1.0
    assert isinstance(config.OPTIM.DEFAULT.LR, float)
    assert config.MODEL.STYLE_DIM == 5
    assert config.OPTIM.DEFAULT.BETAS == (0.5, 0.999)


def test_origins_are_known(write):
    file = write("mine.yaml", "_BASE_: munit/shapes\nMODEL: {STYLE_DIM: 6}\n")
    origins = resolve(file, ["ENGINE.SEED=3"]).origins
    assert origins["MODEL.STYLE_DIM"] == f"{file}:3"
    assert origins["ENGINE.SEED"] == "override ENGINE.SEED=3"
    assert origins["MODEL.CONTENT_ENCODER.DIM"].startswith("munit/shapes.yaml:")
    assert origins["MODEL.DECODER.PAD_TYPE"] == "default"


def test_bases_may_be_several_and_later_ones_win(write):
    write("one.yaml", "ENGINE: {SEED: 1, BATCH_SIZE: 3}\n")
    write("two.yaml", "ENGINE: {SEED: 2}\n")
    file = write("three.yaml", "_BASE_: [one.yaml, two.yaml]\nMODEL: {NAME: munit}\n")
    assert (load_config(file).ENGINE.SEED, load_config(file).ENGINE.BATCH_SIZE) == (2, 3)


# A change of NAME


def test_a_new_name_drops_the_old_components_keys():
    config = load_config("munit/shapes", "MODEL.CONTENT_ENCODER={NAME: timm, MODEL: resnet18}")
    assert "DIM" not in config.MODEL.CONTENT_ENCODER
    assert config.MODEL.CONTENT_ENCODER.MODEL == "resnet18"


def test_the_same_name_keeps_them():
    config = load_config("munit/shapes", "MODEL.CONTENT_ENCODER.NAME=resnet")
    assert config.MODEL.CONTENT_ENCODER.DIM == 16


def test_keys_after_the_new_name_are_for_the_new_component():
    config = load_config("munit/shapes", "OPTIM.DEFAULT.NAME=sgd", "OPTIM.DEFAULT.MOMENTUM=0.5")
    assert (config.OPTIM.DEFAULT.NAME, config.OPTIM.DEFAULT.MOMENTUM) == ("sgd", 0.5)
    assert config.OPTIM.DEFAULT.LR == 1e-2


def test_a_slots_default_settings_go_with_its_default_name():
    config = load_config("munit/shapes", "MODEL.DECODER.UPSAMPLE_NORM.NAME=instance")
    assert config.MODEL.DECODER.UPSAMPLE_NORM == {"NAME": "instance", "AFFINE": False, "EPS": 1e-5}


def test_a_terms_own_keys_stay():
    config = load_config("munit/shapes", "LOSSES.IMAGE_RECON.NAME=mse")
    assert config.LOSSES.IMAGE_RECON == {
        "NAME": "mse",
        "WEIGHT": 10.0,
        "CRITIC_WEIGHT": None,
        "SCHEDULE": {"NAME": "constant"},
        "PAIRS": None,
        "UPDATES": None,
        "EVERY": 1,
    }


def test_null_removes_a_term_and_a_later_layer_brings_it_back():
    assert "STYLE_RECON" not in load_config("munit/shapes", "LOSSES.STYLE_RECON=null").LOSSES
    again = load_config("munit/shapes", "LOSSES.STYLE_RECON=null", "LOSSES.STYLE_RECON={NAME: mse}")
    assert again.LOSSES.STYLE_RECON.WEIGHT == 1.0


def test_a_term_of_the_users_own():
    config = load_config(
        "munit/shapes", "LOSSES.IDENTITY={NAME: l1, WEIGHT: 5, PAIRS: [[x_ab, x_a]]}"
    )
    assert config.LOSSES.IDENTITY.PAIRS == (("x_ab", "x_a"),)


# Errors


def test_unknown_name_has_a_suggestion():
    text = problems("munit/shapes", "MODEL.DECODER.NORM.NAME=adian")
    assert "MODEL.DECODER.NORM.NAME (override" in text
    assert "Did you mean 'adain'?" in text


def test_unknown_keys_have_suggestions():
    text = problems("munit/shapes", "MODEL.STYL_DIM=3", "ENGIN.SEED=1", "ENGINE.SED=1")
    assert "the model 'munit' has no key 'STYL_DIM'. Did you mean 'STYLE_DIM'?" in text
    assert "Did you mean 'ENGINE'?" in text
    assert "Did you mean 'SEED'?" in text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("MODEL.STYLE_DIM=hello", 'got the word "hello", expected an integer'),
        ("MODEL.STYLE_DIM='8'", 'got the word "8", expected an integer'),
        ("MODEL.STYLE_DIM=8.0", "expected an integer. Write 8."),
        ("MODEL.STYLE_DIM=true", "got the boolean true, expected an integer"),
        ("OPTIM.DEFAULT.LR=true", "got the boolean true, expected a number"),
        ("OPTIM.DEFAULT.BETAS=[0.5]", "expected a list of 2: a number, a number"),
        ("OPTIM.DEFAULT.FUSED=1", "got the integer 1, expected true or false"),
        (
            "MODEL.DECODER.PAD_TYPE=reflct",
            "one of reflect, replicate, zero. Did you mean 'reflect'",
        ),
        ("ENGINE.BATCH_SIZE=0", "greater than or equal to 1"),
        ("ENGINE=3", "expected a map of keys"),
        ("MODEL.DECODER.NORM=adain", "write {NAME: adain}"),
        ("MODEL.DECODER.NORM=null", "write {NAME: none}"),
        ("DOMAINS.a.CHANNELS=1", "written in capitals: A"),
        ("LOSSES.X={NAME: l1}", "PAIRS (override LOSSES.X={NAME: l1}): is required"),
        ("LOSSES.X={NAME: l1, PAIRS: [[x_ab, x_q]]}", "computes no 'x_q'"),
        ("LOSSES.X={NAME: l1, PAIRS: [[x_ab]]}", r"reads 2 tensors at a time, got [x_ab]"),
        ("LOSSES.X={NAME: gaussian_kl, PAIRS: [[c_a, c_b]]}", "reads 1 tensor at a time"),
        (
            "LOSSES.X={NAME: hinge, PAIRS: [[x_ab, x_a]]}",
            "are for losses that compare tensors; the loss Hinge",
        ),
        ("LOSSES.IMAGE_RECON.NAME=hinge", "compares tensors; the loss Hinge is adversarial"),
        ("DOMAINS.C={}", "translates between 2 domains; the config has 1: C"),
        ("MODEL.STYLE_DIM", "an override is KEY=VALUE"),
        ("DATA.COUNT=[1", "is not YAML"),
    ],
)
def test_values_of_the_wrong_kind(override: str, message: str):
    assert message in problems("munit/shapes", override)


def test_all_errors_are_listed_together():
    text = problems("munit/shapes", "MODEL.STYL_DIM=3", "DATA.NAME=foo", "ENGINE.SEED=x")
    assert text.startswith("3 problems in the config munit/shapes.yaml:")


def test_base_cycle(write):
    write("a.yaml", "_BASE_: b.yaml\n")
    write("b.yaml", "_BASE_: ./a.yaml\n")
    assert "form a cycle" in problems(str(Path(write("c.yaml", "_BASE_: a.yaml\n"))))


def test_missing_base_file(write):
    text = problems(write("a.yaml", "_BASE_: nowhere/b.yaml\n"))
    assert "the base file 'nowhere/b.yaml' does not exist" in text
    assert "a.yaml:2" in text


def test_a_python_base_is_refused(write, tmp_path: Path):
    (tmp_path / "b.py").write_text("raise SystemExit")
    assert "never executed" in problems(write("a.yaml", "_BASE_: b.py\n"))


def test_missing_schema_version(write):
    text = problems(write("a.yaml", "MODEL: {NAME: munit}\n", version=""))
    assert "SCHEMA_VERSION" in text
    assert "is missing" in text


def test_a_newer_schema_version(write):
    text = problems(write("a.yaml", "MODEL: {NAME: munit}\n", version="SCHEMA_VERSION: 99\n"))
    assert "Install a newer munit-zoo" in text


def test_a_missing_model(write):
    assert "MODEL.NAME: is required: the model, one of " in problems(write("a.yaml", ""))


def test_unknown_configs_have_suggestions():
    assert "Did you mean 'munit/edges2shoes'" in problems("munit/edges2shoe")
    assert "there is no file nope.yaml" in problems("nope.yaml")


def test_an_older_schema_is_migrated(write, monkeypatch):
    from munit_zoo.config import _load

    def renamed(keys, based):
        return {("ENGINE" if key == "LOOP" else key): value for key, value in keys.items()}, []

    monkeypatch.setattr(_load, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(_load, "MIGRATIONS", {2: renamed})
    file = write("a.yaml", "MODEL: {NAME: munit}\nLOOP: {SEED: 4}\n")
    assert load_config(file).ENGINE.SEED == 4
    assert load_config(file).SCHEMA_VERSION == 3


RANGES = {
    "MODEL.STYLE_DIM=0": "greater than or equal to 1",
    "MODEL.CONTENT_ENCODER.DOWNSAMPLES=-1": "greater than or equal to 0",
    "MODEL.CONTENT_ENCODER.KERNEL_SIZE=4": "odd kernel, such as 3 or 5",
    "MODEL.DECODER.UPSAMPLE_KERNEL_SIZE=0": "odd kernel, such as 1 or 3",
    "MODEL.DISCRIMINATOR.SCALES=0": "greater than or equal to 1",
    "MODEL.DECODER.MAPPING.LAYERS=0": "greater than or equal to 1",
    "OPTIM.DEFAULT.LR=-1": "greater than or equal to 0",
    "OPTIM.NETWORKS.DISCRIMINATOR.BETAS=[0.5,1]": "less than 1",
    "DATA={NAME: image_folder, ROOT: x, CROP: [0, 3]}": "greater than or equal to 1",
    "DOMAINS.B.VALUE_RANGE=[1,0]": "below the second",
}


def test_numbers_out_of_range_are_listed_together():
    schedule = "OPTIM.SCHEDULE={NAME: step, EVERY: 0}"
    with pytest.raises(ConfigError) as caught:
        load_config("munit/shapes", *RANGES, schedule)
    problems = {problem.path: problem for problem in caught.value.problems}
    assert len(problems) == len(RANGES) + 1
    for override, message in RANGES.items():
        path = override.partition("=")[0].replace("DATA", "DATA.CROP")
        assert message in problems[path].message
        assert override.partition("=")[0] in problems[path].origin
    assert "greater than or equal to 1" in problems["OPTIM.SCHEDULE.EVERY"].message


def test_a_share_out_of_range():
    with pytest.raises(ConfigError, match="OPTIM.SCHEDULE.START.*a share of training from"):
        load_config("munit/shapes", "OPTIM.SCHEDULE={NAME: linear, START: 1.5}")


def test_what_only_building_finds_names_the_key():
    config = load_config("munit/shapes", "MODEL.STYLE_ENCODER.NORM={NAME: adain}")
    with pytest.raises(ContractError, match="^MODEL.STYLE_ENCODER: a style encoder has no style"):
        create_model(config)
    config = load_config("munit/shapes", "MODEL.CONTENT_ENCODER.NORM={NAME: group, GROUPS: 5}")
    with pytest.raises(ContractError, match="^MODEL.CONTENT_ENCODER.NORM: group norm of"):
        create_model(config)


def test_a_map_is_asked_for_in_words():
    with pytest.raises(ConfigError, match=r"a map such as \{KEY: …\}, each value a word"):
        load_config("munit/shapes", "DATA={NAME: image_list, LISTS: 3}")
