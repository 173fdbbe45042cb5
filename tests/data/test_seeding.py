"""Random numbers that are a function of their keys."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from munit_zoo.data.seeding import draw, noise, rng
from munit_zoo.errors import UsageError
from munit_zoo.inputs import Draw


def test_the_same_keys_give_the_same_numbers():
    assert rng("order", 0, "a").integers(1 << 60, size=8).tolist() == (
        rng("order", 0, "a").integers(1 << 60, size=8).tolist()
    )


def test_numbers_are_pinned():
    """Raw Philox output is fixed by NumPy's stability promise: a change would be ours."""
    raw = rng("order", 0, "a", -3).bit_generator.random_raw(2).tolist()
    assert raw == [6368763596335503808, 14257387625010581748]


def test_another_process_with_another_hash_seed_agrees():
    code = "from munit_zoo.data.seeding import rng; print(rng('x', 1).integers(1 << 60))"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert printed == {str(rng("x", 1).integers(1 << 60))}


def test_keys_do_not_run_together():
    keys = [
        ("1", "2"),
        ("12",),
        (1, 2),
        (12,),
        ("1", 2),
        (),
        ("",),
        ("i1:1",),
        ("a", 0),
        ("a", -0, 0),
    ]
    drawn = {int(rng(*key).integers(1 << 60)) for key in keys}
    assert len(drawn) == len(keys)


def test_numpy_integers_are_integers():
    assert rng(np.int64(5)).random() == rng(5).random()


def test_a_key_of_another_type_is_refused():
    with pytest.raises(TypeError, match="an int or a str, got float"):
        rng(1.5)  # type: ignore[arg-type]


def test_noise_depends_on_the_index_in_the_global_batch_alone():
    whole = noise((3, 2), name="z_a", seed=1, iteration=7, first=0, count=4)
    halves = [
        noise((3, 2), name="z_a", seed=1, iteration=7, first=first, count=2) for first in (0, 2)
    ]
    assert whole.shape == (4, 3, 2)
    assert whole.dtype == torch.float32
    assert torch.equal(whole, torch.cat(halves))
    assert len(whole.flatten(1).unique(dim=0)) == 4


@pytest.mark.parametrize("change", [{"name": "z_b"}, {"seed": 2}, {"iteration": 8}])
def test_noise_changes_with(change: dict[str, object]):
    of = {"name": "z_a", "seed": 1, "iteration": 7, "first": 0, "count": 1}
    assert not torch.equal(noise((8,), **of), noise((8,), **{**of, **change}))


def test_noise_is_standard_normal():
    drawn = noise((10_000,), name="z", seed=0, iteration=0, first=0, count=4)
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.02


def test_seeding_loads_no_torch():
    code = "import sys, munit_zoo.data.seeding as s; s.rng(1); sys.exit('torch' in sys.modules)"
    env = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0


WHERE = {"name": "u", "seed": 1, "iteration": 7, "batch_size": 4}


def test_a_normal_draw_is_the_noise_of_its_name():
    drawn = draw(Draw("normal", ("style_dim",)), (3,), first=1, count=2, **{**WHERE, "name": "z_a"})
    known = noise((3,), name="z_a", seed=1, iteration=7, first=1, count=2)
    assert torch.equal(drawn, known)


@pytest.mark.parametrize(
    ("spec", "shape", "dtype"),
    [
        (Draw("uniform"), (), torch.float32),
        (Draw("uniform"), (2, 1, 3), torch.float32),
        (Draw("integer", below=5), (), torch.int64),
        (Draw("integer", below=5), (64,), torch.int64),
        (Draw("permutation"), (), torch.int64),
    ],
)
def test_draws_depend_on_the_index_in_the_global_batch_alone(spec: Draw, shape, dtype):
    below = int(spec.below)
    whole = draw(spec, shape, first=0, count=4, below=below, **WHERE)
    halves = [draw(spec, shape, first=first, count=2, below=below, **WHERE) for first in (0, 2)]
    assert torch.equal(whole, torch.cat(halves))
    assert (whole.shape, whole.dtype) == ((4, *shape), dtype)
    others = [{**WHERE, key: value} for key, value in (("name", "v"), ("seed", 2))]
    others.append({**WHERE, "iteration": 9})
    if whole.numel() > 8:
        for other in others:
            assert not torch.equal(whole, draw(spec, shape, first=0, count=4, below=below, **other))


def test_what_draws_are_like():
    uniform = draw(Draw("uniform"), (10_000,), first=0, count=2, **WHERE)
    assert 0 <= uniform.min() < 0.01
    assert 0.99 < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01
    whole = draw(Draw("integer"), (1000,), first=0, count=2, below=3, **WHERE)
    assert sorted(whole.unique().tolist()) == [0, 1, 2]
    order = draw(Draw("permutation"), first=0, count=64, **{**WHERE, "batch_size": 64})
    assert sorted(order.tolist()) == list(range(64)) != order.tolist()


def test_a_shared_draw_is_one_for_the_batch():
    spec = Draw("uniform", (2,), shared=True)
    first, second = (draw(spec, (2,), first=first, count=2, **WHERE) for first in (0, 2))
    assert first.shape == (1, 2)
    assert torch.equal(first, second)


def test_what_cannot_be_drawn():
    with pytest.raises(UsageError, match="integers are drawn below 0"):
        draw(Draw("integer"), first=0, count=1, **WHERE)
    with pytest.raises(UsageError, match="a permutation is of the batch"):
        draw(Draw("permutation"), (2,), first=0, count=1, **WHERE)


def test_names_of_any_bytes_are_keys():
    assert rng("caf\udce9.png").random() != rng("caf\udce8.png").random()
