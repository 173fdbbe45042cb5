"""Ending from outside: which signals, after which iteration, in every process alike."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import torch

from munit_zoo.engine.signals import Stop, listening, together
from munit_zoo.errors import DataError


class Alone:
    """What `together` asks of Fabric, of one process."""

    world_size = 1


class Group:
    """Processes as threads: a reduction waits for all of them."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self.barrier = threading.Barrier(world_size)
        self.values: dict[int, torch.Tensor] = {}
        self.reductions = 0

    def rank(self, rank: int) -> Member:
        return Member(self, rank)


class Member:
    def __init__(self, group: Group, rank: int) -> None:
        self.group, self.rank, self.world_size = group, rank, group.world_size

    def all_reduce(self, value: torch.Tensor, *, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "min"
        self.group.values[self.rank] = value.clone()
        self.group.barrier.wait(10)
        found = torch.stack(list(self.group.values.values())).amin(0)
        if self.rank == 0:
            self.group.reductions += 1
        self.group.barrier.wait(10)
        return found


def run_group(sources, stops=None, every=4, watch=None):
    """What each of several processes gets of its batches."""
    group = Group(len(sources))
    stops = stops or [Stop() for _ in sources]
    got: list[list[int]] = [[] for _ in sources]
    errors: list[str] = [""] * len(sources)

    def work(rank: int) -> None:
        try:
            for batch in together(sources[rank], stops[rank], group.rank(rank), every=every):
                got[rank].append(batch)
                if watch:
                    watch(rank, batch, stops)
        except DataError as error:
            errors[rank] = str(error)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(len(sources))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return got, errors, group


@pytest.fixture(autouse=True)
def gathered(monkeypatch):
    """Errors told to each other, without a process group."""

    def gather(out, mine):
        out[:] = ["7.png cannot be read"] * len(out)

    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_each_signal_ends_after_the_iteration(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with listening() as stop:
        seen = []
        for batch in together(iter(range(5)), stop, Alone()):
            seen.append(batch)
            if batch == 2:
                os.kill(os.getpid(), number)
                os.kill(os.getpid(), signal.SIGTERM)  # again: no reason to hurry
    assert seen == [0, 1, 2]
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_ends_at_once():
    with listening():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_what_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with listening() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_several_processes_do_the_same_iterations_with_few_reductions():
    got, errors, group = run_group([iter(range(10)), iter(range(10))], every=4)
    assert got == [list(range(10))] * 2
    assert errors == ["", ""]
    assert group.reductions == 4  # 4 + 4 + 2 iterations, and the end


def test_all_processes_end_where_one_was_asked():
    def watch(rank, batch, stops):
        if (rank, batch) == (1, 5):
            stops[1].ask()

    stops = [Stop(), Stop()]
    got, _, _ = run_group([iter(range(50)), iter(range(50))], stops, every=4, watch=watch)
    assert got == [list(range(8))] * 2
    assert stops[0].asked


def broken(at: int):
    for index in range(50):
        if index == at:
            raise DataError("7.png cannot be read")
        yield index


@pytest.mark.parametrize("at", [0, 1, 3, 4, 6])
@pytest.mark.parametrize("rank", [0, 1])
def test_an_image_that_cannot_be_used_ends_all_of_them_before_its_iteration(rank, at):
    sources = [iter(range(50)), iter(range(50))]
    sources[rank] = broken(at)
    got, errors, _ = run_group(sources, every=4)
    assert got == [list(range(at))] * 2
    assert errors == ["7.png cannot be read"] * 2


def test_a_killed_loader_is_an_error_of_ours():
    def batches():
        yield 0
        raise ConnectionResetError(104, "Connection reset by peer")

    got = together(batches(), Stop(), Alone())
    assert next(got) == 0
    with pytest.raises(DataError, match="could not be loaded: .*reset by peer"):
        next(got)
