"""What training is said to take."""

from __future__ import annotations

import pytest
import torch
from _training import STARGAN_V2

from munit_zoo.cli import main
from munit_zoo.config import domains_of, load_config
from munit_zoo.engine import memory
from munit_zoo.engine.devices import make_fabric, plain_errors
from munit_zoo.engine.memory import estimate, memory_notes
from munit_zoo.errors import UsageError
from munit_zoo.models import rehearse


def estimated(name: str, *overrides: str):
    config = load_config(name, *overrides)
    sizes = {domain.name: (32, 32) for domain in domains_of(config)}
    rehearsal = rehearse(config, sizes)
    return estimate(config, rehearsal), rehearsal, config


@pytest.mark.slow
def test_weights_gradients_moments_and_what_helps(tiny):
    more = (*tiny, "DATA.SIZE=32", "ENGINE.BATCH_SIZE=8", "ENGINE.EMA=null")
    found, rehearsal, _ = estimated("munit/shapes", *more)
    count = 4 * sum(rehearsal.parameters.values())
    assert count <= found.weights <= 1.01 * count  # and buffers
    assert found.gradients == count
    assert found.moments == 2 * count  # Adam
    assert found.peak > found.weights + found.gradients + found.moments
    for key in ("ENGINE.RECOMPUTE=true", "ENGINE.ACCUMULATE=4", "ENGINE.BATCH_SIZE=2"):
        assert estimated("munit/shapes", *more, key)[0].peak < 0.8 * found.peak, key
    assert estimated("munit/shapes", *more, "ENGINE.EMA=0.9")[0].weights > 1.3 * found.weights
    plain = estimated("munit/shapes", *more, "OPTIM.DEFAULT={NAME: sgd, LR: 0.1}")[0]
    assert plain.moments <= count


@pytest.mark.slow
def test_a_network_that_two_updates_train_has_its_moments_once():
    found, rehearsal, _ = estimated(*STARGAN_V2, "ENGINE.BATCH_SIZE=2")
    assert found.moments == 2 * 4 * sum(rehearsal.parameters.values())


def test_too_little_is_told_with_the_keys_that_help(tiny, monkeypatch):
    found, rehearsal, config = estimated("munit/shapes", *tiny)
    count = 4 * sum(rehearsal.parameters.values())
    assert (found.gradients, found.moments) == (count, 2 * count)  # Adam
    assert found.peak > found.weights + found.gradients + found.moments
    fabric = make_fabric("cpu", "fp32")
    assert memory_notes(config, rehearsal, fabric) == []  # nobody asks of a small one
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda device: 1000)
    _, rehearsal, _ = estimated("munit/shapes", *tiny)
    said, warned = memory_notes(config, rehearsal, fabric)
    assert said.startswith("memory: about ")
    assert "1 kB of memory are free" in warned
    assert "ENGINE.RECOMPUTE=true" in warned


def test_out_of_memory_names_the_keys_that_help():
    with (
        pytest.raises(UsageError, match=r"ENGINE.ACCUMULATE=2.*ENGINE.RECOMPUTE=true"),
        plain_errors(),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def test_config_check_says_it(capsys, tiny):
    assert main(["config", "check", "munit/shapes", "--memory", *tiny]) == 0
    assert "of tensors at the most (weights" in capsys.readouterr().out
