"""NaN and infinity on purpose: ENGINE.ON_NAN, and what training says."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from munit_zoo.config import resolve
from munit_zoo.engine.runs import Run
from munit_zoo.engine.train import train
from munit_zoo.errors import UsageError
from munit_zoo.losses import NamesLoss
from munit_zoo.registry import LOSSES

CALLS = {"seen": 0, "bad": ()}


class Trap(NamesLoss):
    """0, and NaN at the calls that a test chooses, as if an image were at fault; its gradient alone
    where `gradient` is set, its value alone (an infinity) where `value` is."""

    arity = 1

    def __init__(self, *, gradient: bool = False, value: bool = False) -> None:
        super().__init__()
        self.gradient, self.value = gradient, value
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "meta":
            return 0 * x.mean()
        CALLS["seen"] += 1
        bad = CALLS["seen"] in CALLS["bad"]
        self.count += float("nan") if bad and not self.gradient else 1
        if bad and self.value:
            return 0 * x.mean() + float("inf")
        if bad and self.gradient:
            return (0 * x.mean()).square().sqrt()  # 0, of an infinite slope
        return 0 * x.mean() * (float("nan") if bad else 1)


@pytest.fixture
def trapped(tiny, monkeypatch):
    """Overrides of a small training with the trap; (bad calls) -> None sets it."""
    LOSSES.register("test_trap")(Trap)
    CALLS.update(seen=0, bad=())
    yield (
        *tiny,
        "LOSSES.TRAP={NAME: test_trap, PAIRS: [[x_ab]]}",
        "ENGINE.ITERATIONS=6",
        "ENGINE.WORKERS=0",
        "ENGINE.SNAPSHOT_EVERY=2",
    )
    del LOSSES._local["test_trap"]


def set_trap(*bad: int) -> None:
    CALLS.update(seen=0, bad=bad)


def weights(run: Run) -> dict[str, Tensor]:
    captured = run.newest().read()
    return {name: v for part in ("networks", "criteria") for name, v in captured.part(part).items()}


@pytest.mark.parametrize("value", ["false", "true"])
def test_stop_names_the_term_where_the_criterion_is_at_fault(tmp_path, trapped, value):
    """Also where all gradients are numbers."""
    set_trap(5)
    more = [*trapped, f"LOSSES.TRAP={{NAME: test_trap, PAIRS: [[x_ab]], VALUE: {value}}}"]
    with pytest.raises(UsageError) as caught:
        train(resolve("munit/shapes", more), tmp_path / "run", device="cpu")
    text = str(caught.value)
    assert "at iteration 4 in the update generators the loss TRAP is not finite" in text
    assert "the criterion itself made it so" in text
    assert "The last snapshot is" in text
    assert [s.iteration for s in Run(tmp_path / "run").snapshots()] == [2, 4]


def test_stop_names_the_first_tensor(tmp_path, trapped):
    """A decoder's weight becomes NaN: the first tensor is what it makes, not what is made of it."""
    from munit_zoo.engine.train import Silent

    class Spoiling(Silent):
        def advanced(self, iteration: int) -> None:
            if iteration == 3:
                import gc

                for found in gc.get_objects():
                    if type(found).__name__ == "Munit" and found.training:
                        with torch.no_grad():
                            next(found.b.decoder.parameters()).fill_(torch.inf)

    with pytest.raises(UsageError) as caught:
        train(resolve("munit/shapes", trapped), tmp_path / "run", device="cpu", progress=Spoiling())
    text = str(caught.value)
    assert "at iteration 3 in the update discriminators the loss ADVERSARIAL is not finite" in text
    assert "the first tensor that holds a NaN is x_ab." in text


def test_stop_names_a_gradient(tmp_path, trapped):
    set_trap(4)
    more = [*trapped, "LOSSES.TRAP={NAME: test_trap, PAIRS: [[x_ab]], GRADIENT: true}"]
    with pytest.raises(UsageError, match=r"all losses are finite, and the first gradient that"):
        train(resolve("munit/shapes", more), tmp_path / "run", device="cpu")


def test_skip_leaves_one_update_out(tmp_path, trapped):
    more = [*trapped, "ENGINE.ON_NAN=skip", "ENGINE.LOG_EVERY=2"]
    train(resolve("munit/shapes", more), tmp_path / "whole", device="cpu")
    set_trap(3)
    end = train(resolve("munit/shapes", more), tmp_path / "run", device="cpu")
    assert end.iteration == 6
    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "run")
    one, other = weights(whole), weights(run)
    assert all(bool(value.isfinite().all()) for value in other.values())
    assert other["trap.count"] == one["trap.count"] - 1  # buffers are as before, too
    assert any(not torch.equal(one[name], other[name]) for name in one)
    lines = [json.loads(line) for line in (run.folder / "log.jsonl").open()]
    assert [line.get("skipped", 0) for line in lines] == [0, 1, 0]


@pytest.mark.slow
def test_skipping_ends_where_nothing_else_happens(tmp_path, trapped):
    more = [*trapped, "ENGINE.ON_NAN=skip"]
    set_trap(*range(3, 99))
    with pytest.raises(UsageError, match="20 iterations in a row"):
        train(
            resolve("munit/shapes", [*more, "ENGINE.ITERATIONS=40", "ENGINE.SNAPSHOT_EVERY=0"]),
            tmp_path / "ever",
            device="cpu",
        )


def test_rollback_goes_past_the_images_and_resumes_exactly(tmp_path, trapped):
    more = [*trapped, "ENGINE.ON_NAN=rollback", "ENGINE.ITERATIONS=8"]
    set_trap(6)  # at iteration 5: back to 4
    end = train(resolve("munit/shapes", more), tmp_path / "run", device="cpu")
    assert end.iteration == 8
    run = Run(tmp_path / "run")
    lines = [json.loads(line)["iteration"] for line in (run.folder / "log.jsonl").open()]
    assert lines == list(range(1, 9))
    (entry,) = run.record()["rollbacks"]
    assert (entry["at"], entry["to"], entry["passed_over"]) == (5, 4, 2)
    assert "TRAP is not finite" in entry["found"]
    assert run.newest().read().facts["passed_over"] == 2
    set_trap()
    middle = run.folder / "snapshots/00000006"
    train(None, tmp_path / "again", resume_from=middle, device="cpu")
    ours, theirs = weights(Run(tmp_path / "again")), weights(run)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_rollback_ends_where_it_does_not_help(tmp_path, trapped):
    more = [*trapped, "ENGINE.ON_NAN=rollback"]
    set_trap(*range(3, 99))
    with pytest.raises(UsageError, match="at iteration 2 in the update generators"):
        train(resolve("munit/shapes", more), tmp_path / "run", device="cpu")
    assert len(Run(tmp_path / "run").record()["rollbacks"]) == 3


def test_a_loss_to_keep_the_best_by_that_is_not_logged(tmp_path, trapped):
    more = [*trapped, "ENGINE.KEEP_BEST=image_recn"]
    with pytest.raises(UsageError, match="Did you mean 'image_recon'"):
        train(resolve("munit/shapes", more), tmp_path / "run", device="cpu")
    more = [*trapped, "ENGINE.KEEP_BEST=image_recon", "ENGINE.LOG_EVERY=3"]
    with pytest.raises(UsageError, match="LOG_EVERY"):
        train(resolve("munit/shapes", more), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
