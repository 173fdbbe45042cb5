"""Terms, updates, domains and the engine: keys that belong to no component."""

from __future__ import annotations

from typing import Annotated

import pytest

from munit_zoo.config import (
    bind,
    domains_of,
    engine_settings,
    free_on_resume,
    load_config,
    resolve,
    update_settings,
)
from munit_zoo.config._resolve import resolve_layers
from munit_zoo.config._yaml import node_from
from munit_zoo.config.settings import EngineSettings, UpdateSettings
from munit_zoo.errors import ConfigError
from munit_zoo.registry import DATASETS, MAY_CHANGE


def problem(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config("munit/shapes", *overrides)
    (found,) = caught.value.problems
    return str(found)


# Terms


def test_a_terms_own_keys():
    config = load_config(
        "munit/shapes",
        "LOSSES.ADVERSARIAL={WEIGHT: -1, CRITIC_WEIGHT: 0.5, UPDATES: [generators], EVERY: 16}",
        "LOSSES.ADVERSARIAL.SCHEDULE={NAME: linear, START: 0, STOP: 100}",
    )
    term = config.LOSSES.ADVERSARIAL
    assert (term.NAME, term.WEIGHT, term.CRITIC_WEIGHT, term.EVERY) == ("lsgan", -1.0, 0.5, 16)
    assert term.UPDATES == ("generators",)
    assert bind("schedule", term.SCHEDULE)().factor(25, 1000) == 0.75
    assert bind("loss", term)()  # own keys are none of the criterion's


def test_a_terms_schedule_stays_when_its_criterion_is_exchanged():
    config = load_config(
        "munit/shapes",
        "LOSSES.IMAGE_RECON.SCHEDULE={NAME: step, EVERY: 7}",
        "LOSSES.IMAGE_RECON.NAME=mse",
    )
    assert config.LOSSES.IMAGE_RECON.SCHEDULE.EVERY == 7


@pytest.mark.parametrize("key", ["PAIRS=[]", "PAIRS=[[]]", "UPDATES=[]"])
def test_an_empty_list_is_refused(key: str):
    assert "the list is empty; leave the key out" in problem(f"LOSSES.IMAGE_RECON.{key}")


def test_an_unknown_schedule_of_a_term():
    assert "Did you mean 'linear'" in problem("LOSSES.IMAGE_RECON.SCHEDULE.NAME=liner")


# Updates


def test_updates_by_name():
    config = load_config("munit/shapes", "UPDATES.GENERATORS={CLIP: 1, EVERY: 5}")
    assert update_settings(config) == {"generators": UpdateSettings(every=5, clip=1.0)}
    assert update_settings(load_config("munit/shapes")) == {}
    assert "greater than 0" in problem("UPDATES.GENERATORS.CLIP=0")


# Domains


def domains(*layers: object) -> list[str]:
    found = resolve_layers([node_from({"DOMAINS": layer}, "a file") for layer in layers])
    assert not [p for p in found.problems if p.path.startswith("DOMAINS")]
    return list(found.values["DOMAINS"])


def test_domains_are_named_by_the_user_in_an_order_of_their_own():
    assert domains() == ["A", "B"]
    assert domains({"DAY": {}, "NIGHT": {"CHANNELS": 1}}) == ["DAY", "NIGHT"]
    assert domains({"A": {}, "B": {}}, {"B": {"CHANNELS": 1}}) == ["A", "B"]
    assert domains({"B": {"CHANNELS": 1}}) == ["A", "B"]


def test_a_layer_that_names_a_new_domain_lists_all_of_them():
    base = {"CAT": {"CHANNELS": 1}, "DOG": {}, "WILD": {}}
    assert domains(base, {"FOX": {}, "CAT": {}}) == ["FOX", "CAT"]
    assert domains(base, {"DOG": None}) == ["CAT", "WILD"]
    found = resolve_layers([node_from({"DOMAINS": d}, "f") for d in (base, {"FOX": {}, "CAT": {}})])
    assert found.values["DOMAINS"]["CAT"]["CHANNELS"] == 1  # what was said of it stays


def test_overrides_of_domains_are_one_layer():
    overrides = ["DOMAINS.DAY={}", "ENGINE.SEED=1", "DOMAINS.NIGHT.CHANNELS=1"]
    config = load_config("munit/shapes", *overrides)
    assert [(d.name, d.channels) for d in domains_of(config)] == [("day", 3), ("night", 1)]
    config = load_config("munit/shapes", "DOMAINS.B.CHANNELS=1", "DOMAINS.B.CHANNELS=2")
    assert [(d.name, d.channels) for d in domains_of(config)] == [("a", 3), ("b", 2)]


def test_a_domain_written_without_its_braces_is_told():
    found = resolve_layers([node_from({"DOMAINS": {"DAY": None, "NIGHT": None}}, "f")])
    texts = [p.message for p in found.problems if p.path == "DOMAINS.DAY"]
    assert texts == ["there is none to take away; to name one, write DAY: {}"]


# The engine


def test_the_engines_settings_are_typed():
    config = load_config("munit/shapes", "ENGINE.EMA_NETWORKS={GENERATOR: 0.5, MAPPING: null}")
    settings = engine_settings(config)
    assert isinstance(settings, EngineSettings)
    assert settings.iterations == 1500
    assert settings.ema_networks == {"GENERATOR": 0.5, "MAPPING": None}
    assert EngineSettings().ema_networks == load_config("munit/shapes").ENGINE.EMA_NETWORKS == {}
    assert "less than 1" in problem("ENGINE.EMA_NETWORKS={GENERATOR: 1}")


def test_null_in_a_map_without_null_values_takes_a_key_away():
    config = load_config(
        "munit/shapes", "DATA={NAME: image_folder, FOLDERS: {A: x, B: y}}", "DATA.FOLDERS.A=null"
    )
    assert config.DATA.FOLDERS == {"B": "y"}


class Moved:
    """A dataset whose folder may be elsewhere on resume."""

    size = (8, 8)

    def __init__(self, domain, split, *, root: Annotated[str, MAY_CHANGE] = "x", seed: int = 0):
        self.root = root

    def prepare(self): ...
    def __len__(self): ...
    def train(self, index, rng): ...
    def test(self, index): ...
    def name(self, index): ...
    def describe(self): ...


def test_what_may_change_on_resume_stands_beside_each_key():
    free = free_on_resume(load_config("munit/shapes"))
    assert free == {
        f"ENGINE.{key}"
        for key in ("ITERATIONS", "WORKERS", "LOG_EVERY", "GRID_EVERY", "SNAPSHOT_EVERY", "KEEP")
    } | {
        f"ENGINE.{key}"
        for key in ("DISPLAY", "DISPLAY_STYLES", "KEEP_EVERY", "KEEP_BEST", "ON_NAN", "RECOMPUTE")
    }
    DATASETS.register("test_moved")(Moved)
    try:
        free = free_on_resume(load_config("munit/shapes", "DATA={NAME: test_moved}"))
    finally:
        DATASETS._local.pop("test_moved")
    assert "DATA.ROOT" in free
    assert "DATA.SEED" not in free


# What a change of NAME drops


def test_dropped_keys_are_told_where_the_exchange_is_a_problem_too():
    with pytest.raises(ConfigError) as caught:
        load_config("munit/shapes", "MODEL.NAME=starganv2")
    *problems, note = str(caught.value).splitlines()
    assert len(problems) > 1
    assert note.startswith("MODEL.NAME=starganv2 dropped ")
    assert " of munit: " in note


def test_dropped_keys_are_known():
    resolved = resolve("munit/shapes", ["MODEL.DECODER.NAME=resnet", "MODEL.DECODER.BLOCKS=3"])
    (dropped,) = resolved.dropped
    assert (dropped.path, dropped.before, dropped.after) == (
        "MODEL.DECODER",
        "adain_resnet",
        "resnet",
    )
    assert dropped.keys == ("KERNEL_SIZE", "UPSAMPLE_KERNEL_SIZE", "MAPPING.NAME", "MAPPING.DIM")
    assert str(dropped).startswith("MODEL.DECODER.NAME=resnet dropped 4 keys of adain_resnet: KERN")


def test_a_config_is_known_as_it_was_before_a_part_was_exchanged():
    resolved = resolve("munit/shapes", ["ENGINE.SEED=4", "MODEL.DECODER.NAME=resnet"])
    before = resolved.without_exchange("MODEL")
    assert (before.MODEL.DECODER.NAME, before.ENGINE.SEED) == ("adain_resnet", 4)
    assert resolved.without_exchange("OPTIM") is None
    assert resolve("munit/shapes").without_exchange("MODEL") is None


def test_defaults_that_go_are_nobodys_keys():
    assert not resolve("munit/shapes", ["MODEL.DECODER.UPSAMPLE_NORM.NAME=instance"]).dropped


def test_what_a_component_cannot_be_built_with_is_listed_with_the_rest():
    with pytest.raises(ConfigError) as caught:
        load_config(
            "munit/shapes",
            "OPTIM.NETWORKS.DECODER={NAME: sgd, NESTEROV: true, MOMENTUM: 0}",
            "LOSSES.IMAGE_RECON.SCHEDULE={NAME: linear, START: 0.5, STOP: 0.25}",
            "ENGINE.SEED=x",
        )
    found = {p.path: p.message for p in caught.value.problems}
    assert found["OPTIM.NETWORKS.DECODER"] == "NESTEROV needs a MOMENTUM above 0"
    assert "STOP is 0.25" in found["LOSSES.IMAGE_RECON.SCHEDULE"]
    assert "ENGINE.SEED" in found
