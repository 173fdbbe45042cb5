"""The plug-in as a user has it: found by name, checked by the kit, trained, translated with."""

from __future__ import annotations

import pytest
import torch

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.config import load_config
from munit_zoo.engine.runs import Run
from munit_zoo.models import assemble
from munit_zoo.registry import LOSSES
from munit_zoo.testing import checks_of

TINY = (
    "MODEL.CONTENT_ENCODER.DIM=4",
    "MODEL.CONTENT_ENCODER.BLOCKS=1",
    "MODEL.DECODER.BLOCKS=1",
    "MODEL.DISCRIMINATOR.DIM=4",
    "MODEL.DISCRIMINATOR.LAYERS=2",
    "LOSSES.PATCH_NCE.DIM=8",
    "DATA.SIZE=16",
    "DATA.COUNT=12",
    "DATA.TEST_COUNT=4",
    "ENGINE.BATCH_SIZE=2",
    "ENGINE.ITERATIONS=4",
    "ENGINE.SNAPSHOT_EVERY=2",
    "ENGINE.GRID_EVERY=0",
)
SIZES = {"a": (16, 16), "b": (16, 16)}


@pytest.mark.parametrize(
    "check", checks_of("munit-zoo-contrastive", {"loss:patch_nce": {"recipe": "cut"}}), ids=str
)
def test_conformance(check):
    check()


def test_everything_is_found_by_name():
    assert {"cut", "fastcut"} <= set(mz.list_components("model"))
    assert mz.describe("loss", "patch_nce").entry.source.startswith("munit-zoo-contrastive")
    assert {"cut/shapes", "cut/images", "fastcut/shapes"} <= set(mz.list_configs())


def test_a_patch_is_recognised_at_its_place():
    torch.manual_seed(0)
    features = [torch.randn(2, 6, 5, 4), torch.randn(2, 9, 3, 2)]
    loss = LOSSES.bind("patch_nce", identity=False)({"f_a": [f.shape for f in features]})
    same = loss({"f_ab": features, "f_a": features}, {})
    moved = [f.roll(1, dims=3) for f in features]
    assert same < 0.5 * loss({"f_ab": moved, "f_a": features}, {})
    # identical places and nothing to tell apart: as good as guessing among them
    flat = [torch.ones_like(f) for f in features]
    guess = loss({"f_ab": flat, "f_a": flat}, {})
    expected = sum(torch.log(torch.tensor(float(f[0, 0].numel()))) for f in features) / 2
    torch.testing.assert_close(guess, expected)


def test_keys_get_no_gradient_and_heads_do():
    features = [torch.randn(1, 4, 4, 4, requires_grad=True) for _ in range(2)]
    loss = LOSSES.bind("patch_nce", identity=False)({"f_a": [(1, 4, 4, 4)]})
    loss({"f_ab": features[:1], "f_a": features[1:]}, {}).backward()
    assert features[0].grad is not None
    assert features[1].grad is None
    assert all(p.grad is not None for p in loss.parameters())


def test_the_heads_are_trained_with_the_generators():
    from munit_zoo.engine.step import trained_parameters

    model, objective, rehearsal = assemble(load_config("cut/shapes", *TINY), SIZES)
    generators, discriminators = trained_parameters(model, objective)
    assert any(name.startswith("loss.patch_nce.heads") for name in generators)
    assert not rehearsal.unreached
    assert {node.name for node in objective.plan.main} >= {"f_a", "x_ab", "f_ab", "f_b", "f_bb"}
    assert all(name.startswith("b.") for name in discriminators)


def test_without_identity_its_half_is_not_computed():
    config = load_config("cut/shapes", *TINY, "LOSSES.PATCH_NCE.IDENTITY=false")
    _, objective, _ = assemble(config, SIZES)
    assert {node.name for node in objective.plan.main} == {"f_a", "x_ab", "f_ab"}


def test_fastcut_mirrors_and_mirrors_back():
    model = mz.create_model(load_config("fastcut/shapes", *TINY))
    x = torch.randn(2, 3, 16, 16)
    plan = model.graph().plan(("x_ab", "f_ab"))
    r = torch.tensor([[1.0], [-1.0]])
    names, _ = plan(model.views(), {"x_a": x, "r_a": r})
    by_hand = torch.cat([x[:1].flip(3), x[1:]])
    plain, _ = plan(model.views(), {"x_a": by_hand, "r_a": torch.zeros(2, 1)})
    torch.testing.assert_close(names["x_ab"], plain["x_ab"])
    torch.testing.assert_close(names["f_ab"][0][:1], plain["f_ab"][0][:1].flip(3))
    resting, _ = plan(model.views(), {"x_a": x, "r_a": torch.zeros(2, 1)})
    torch.testing.assert_close(model.translate(x, "b")[:, 0], resting["x_ab"])


@pytest.mark.parametrize("name", ["cut/shapes", "fastcut/shapes"])
def test_it_trains_resumes_and_translates(name, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", name, *TINY, "--run", str(run), "--device", "cpu"]) == 0
    again = tmp_path / "again"
    first = Run.open(run).snapshots()[0]
    assert first.iteration == 2
    command = ["train", "--run", str(again), "--resume-from", str(first.folder)]
    assert main([*command, "--device", "cpu"]) == 0
    for part in ("generators", "losses"):
        whole, resumed = (Run.open(r).newest().weights(part) for r in (run, again))
        assert whole
        assert all(torch.equal(whole[n], resumed[n]) for n in whole)
    components = Run.open(run).record()["components"]
    assert components["LOSSES.PATCH_NCE"]["distribution"] == "munit-zoo-contrastive"
    assert mz.load_model(run).translate(torch.zeros(1, 3, 16, 16), "b").shape == (1, 1, 3, 16, 16)
