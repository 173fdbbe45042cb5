"""The frozen tree."""

from __future__ import annotations

import copy
import pickle

import pytest

from munit_zoo.config import load_config, resolve_data
from munit_zoo.errors import FrozenConfigError


@pytest.fixture(scope="module")
def config():
    return load_config("munit/shapes")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: setattr(c.MODEL, "STYLE_DIM", 3),
        lambda c: c.MODEL.__setitem__("STYLE_DIM", 3),
        lambda c: c.MODEL.update(STYLE_DIM=3),
        lambda c: c.merge_from_list(["MODEL.STYLE_DIM", 3]),
        lambda c: c.merge_from_other_cfg(c),
        lambda c: c.merge_from_file("x.py"),
        lambda c: c.defrost(),
        lambda c: c.MODEL.pop("STYLE_DIM"),
        lambda c: c.MODEL.popitem(),
        lambda c: c.MODEL.setdefault("X", 1),
        lambda c: c.MODEL.clear(),
        lambda c: c.MODEL.__delitem__("STYLE_DIM"),
        lambda c: delattr(c.MODEL, "STYLE_DIM"),
        lambda c: c.MODEL.__ior__({"X": 1}),
    ],
)
def test_nothing_changes_it(config, change):
    before = config.plain()
    with pytest.raises(FrozenConfigError, match="load it again with the override"):
        change(config)
    assert config.plain() == before


def test_what_was_to_be_changed_is_named(config):
    with pytest.raises(FrozenConfigError, match="^STYLE_DIM = 3: a resolved config"):
        config.MODEL.STYLE_DIM = 3


@pytest.mark.parametrize(
    "again",
    [copy.deepcopy, copy.copy, lambda c: c.clone(), lambda c: pickle.loads(pickle.dumps(c))],
)
def test_copies_are_equal_and_frozen(config, again):
    other = again(config)
    assert other == config
    assert other.is_frozen()
    with pytest.raises(FrozenConfigError):
        other.MODEL.STYLE_DIM = 3


def test_it_holds_nothing_mutable(config):
    def leaves(tree):
        for value in tree.values():
            if isinstance(value, dict):
                yield from leaves(value)
            else:
                yield value

    assert all(isinstance(v, (int, float, str, tuple, type(None))) for v in leaves(config))


def test_a_missing_key_has_a_suggestion(config):
    with pytest.raises(AttributeError, match="Did you mean 'STYLE_DIM'"):
        _ = config.MODEL.STYLE_DIMS


def test_dump_loads_as_the_same_config(config, tmp_path):
    file = tmp_path / "again.yaml"
    file.write_text(config.dump())
    assert load_config(str(file)) == config
    assert load_config(str(file)).digest() == config.digest()
    assert resolve_data(config.plain(), origin="test").config == config
