"""Pools of images: what they return, and that their state survives."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from munit_zoo.blocks.pools import ImagePool
from munit_zoo.errors import ContractError, GraphError


def numbered(*numbers: float) -> torch.Tensor:
    """Images of one pixel."""
    return torch.tensor(numbers).reshape(-1, 1, 1, 1)


def test_a_pool_fills_swaps_and_passes_on():
    pool = ImagePool(2)
    undrawn = torch.tensor([-1.0, -1.0])
    assert pool(numbered(1, 2), undrawn, undrawn.long()).flatten().tolist() == [1, 2]
    # not above one half: the new image, and the pool keeps what it has
    half = torch.tensor([0.5, 0.1])
    assert pool(numbered(3, 4), half, undrawn.long()).flatten().tolist() == [3, 4]
    assert pool.images.flatten().tolist() == [1, 2]
    # the second image gets what the first of its batch left
    swap, slot = torch.tensor([0.9, 0.9]), torch.tensor([1, 1])
    assert pool(numbered(5, 6), swap, slot).flatten().tolist() == [2, 5]
    assert pool.images.flatten().tolist() == [1, 6]
    assert int(pool.count) == 2


def test_it_fills_in_the_midst_of_a_batch():
    pool = ImagePool(1)
    swap, slot = torch.tensor([0.9, 0.9, 0.2]), torch.tensor([0, 0, 0])
    assert pool(numbered(1, 2, 3), swap, slot).flatten().tolist() == [1, 1, 3]


def test_without_size_images_pass():
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    found = ImagePool(0)(x, torch.ones(2), torch.zeros(2).long())
    assert torch.equal(found, x)
    assert not found.requires_grad
    with pytest.raises(ContractError, match="POOL_SIZE is -1"):
        ImagePool(-1)


def test_its_state_is_saved_before_and_after_the_first_image(tmp_path):
    pool, other = ImagePool(3), ImagePool(3)
    save_file(pool.state_dict(), tmp_path / "empty.safetensors")
    other.load_state_dict(load_file(tmp_path / "empty.safetensors"))
    draws = torch.tensor([0.9, 0.9]), torch.tensor([1, 2])
    for _ in range(2):
        pool(torch.randn(2, 2, 5, 4), *draws)
    save_file(pool.state_dict(), tmp_path / "full.safetensors")
    other.load_state_dict(load_file(tmp_path / "full.safetensors"))
    x = torch.randn(2, 2, 5, 4)
    assert torch.equal(pool(x, *draws), other(x, *draws))
    with pytest.raises(RuntimeError, match="size mismatch"):
        ImagePool(4).load_state_dict(pool.state_dict())


def test_a_twin_on_the_same_buffers_sees_what_it_stores():
    pool = ImagePool(2)
    twin = copy.deepcopy(pool, {id(buffer): buffer for buffer in pool.buffers()})
    twin(numbered(1, 2), torch.ones(2), torch.zeros(2).long())
    assert pool.images.flatten().tolist() == [1, 2]
    assert int(pool.count) == 2


def test_images_are_of_one_size_in_their_own_type():
    pool, draws = ImagePool(2), (torch.ones(1), torch.zeros(1).long())
    assert pool(torch.randn(1, 3, 4, 4).bfloat16(), *draws).dtype == torch.bfloat16
    assert pool.images.dtype == torch.float32
    with pytest.raises(GraphError, match=r"of images \(3, 4, 4\) is given \(3, 8, 8\)"):
        pool(torch.randn(1, 3, 8, 8), *draws)
    with torch.device("meta"):
        assert ImagePool(2)(torch.empty(2, 3, 4, 4), *map(torch.empty, (2, 2))).is_meta
