"""The plug-in as a user has it: found by name, checked by the kit, trained, translated with."""

from __future__ import annotations

import pytest
import torch
from munit_zoo_contrastive.patch_nce import PatchNCE
from munit_zoo_contrastive.projector import PatchProjector

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.config import load_config
from munit_zoo.engine.runs import Run
from munit_zoo.errors import MunitZooError
from munit_zoo.models import assemble
from munit_zoo.testing import checks_of

TINY = (
    "MODEL.GENERATOR.DIM=4",
    "MODEL.GENERATOR.BLOCKS=1",
    "MODEL.LAYERS=[0,4,8]",
    "MODEL.DISCRIMINATOR.DIM=4",
    "MODEL.DISCRIMINATOR.LAYERS=2",
    "MODEL.PROJECTOR_DIM=8",
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
    "check",
    checks_of(
        "munit-zoo-contrastive", {"loss:patch_nce": {"recipe": "cut", "reads": ("q_ab", "k_a")}}
    ),
    ids=str,
)
def test_conformance(check):
    check()


def test_everything_is_found_by_name():
    assert "cut" in mz.list_components("model")
    assert mz.describe("loss", "patch_nce").entry.source.startswith("munit-zoo-contrastive")
    names = {f"{recipe}/{data}" for recipe in ("cut", "fastcut") for data in ("shapes", "images")}
    assert names <= set(mz.list_configs())


def vectors(seed: int, *shapes: tuple[int, int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(shape, generator=generator) for shape in shapes]
    return [v / v.norm(dim=2, keepdim=True) for v in drawn]


def test_a_patch_is_recognised_at_its_place():
    keys = vectors(0, (2, 20, 6), (2, 6, 9))
    loss = PatchNCE()
    assert loss(keys, keys) < 0.5 * loss([k.roll(1, dims=1) for k in keys], keys)
    # nothing to tell apart: as good as guessing among all places
    flat = [torch.ones(2, count, 1) for count in (20, 6)]
    expected = (torch.log(torch.tensor(20.0)) + torch.log(torch.tensor(6.0))) / 2
    torch.testing.assert_close(loss(flat, flat), expected)


def test_negatives_are_those_of_the_image_or_of_the_batch():
    flat = [torch.ones(3, 5, 1)]
    for everywhere, count in ((False, 5.0), (True, 15.0)):
        loss = PatchNCE(all_negatives=everywhere)
        torch.testing.assert_close(loss(flat, flat), torch.log(torch.tensor(count)))


def test_the_projector_takes_what_stands_at_a_place():
    projector = PatchProjector([3], 5)
    x = torch.randn(2, 3, 4, 6)
    (found,) = projector([x], [torch.tensor([0, 7, 23])])
    assert found.shape == (2, 3, 5)
    torch.testing.assert_close(found.norm(dim=2), torch.ones(2, 3), atol=1e-2, rtol=0)
    by_hand = projector.heads[0](torch.stack([x[:, :, 0, 0], x[:, :, 1, 1], x[:, :, 3, 5]], dim=1))
    torch.testing.assert_close(found, by_hand / (by_hand.norm(dim=2, keepdim=True) + 1e-7))


def test_only_what_is_compared_is_computed():
    for name, due in (
        ("cut/shapes", {"d_ab", "d_b", "q_ab", "k_a", "q_bb", "k_b"}),
        ("fastcut/shapes", {"d_ab", "d_b", "q_ab", "k_a"}),
    ):
        model, objective, rehearsal = assemble(load_config(name, *TINY), SIZES)
        assert not rehearsal.unreached
        assert {"generator", "projector", "discriminator"} == set(model.networks())
        assert {n for uses in objective.uses for use in uses for n in use.entry} == due
    with pytest.raises(MunitZooError, match=r"MODEL.IDENTITY=true"):
        assemble(load_config("cut/shapes", *TINY, "MODEL.IDENTITY=false"), SIZES)


def test_fastcut_mirrors_and_mirrors_back():
    model = mz.create_model(load_config("fastcut/shapes", *TINY)).eval()
    x = torch.randn(2, 3, 16, 16).clamp(-1, 1)
    heads, tails = torch.tensor([0.2]), torch.tensor([0.7])
    assert torch.equal(model.both(x, x, heads), model.generator(x.flip(3)))
    assert torch.equal(model.both(x, x, tails), model.generator(x))
    features = model.generator.features(x, model.layers)
    places = model.places_a(x, torch.rand(1, model.all_places(x).shape[1]))
    flipped = model.projector([f.flip(3) for f in features], places)
    for ours, expected in zip(model.q_ab(x, places, heads), flipped, strict=True):
        torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(model.translate(x, "b")[:, 0], model.generator(x))


def test_places_are_drawn_without_repetition_as_many_as_there_are():
    model = mz.create_model(load_config("cut/shapes", *TINY, "MODEL.PATCHES=100"))
    x = torch.zeros(1, 3, 16, 12)
    maps = model.generator.features(x, model.layers)
    places = model.places_a(x, torch.rand(1, model.all_places(x).shape[1]))
    for feature, chosen in zip(maps, places, strict=True):
        area = feature[0, 0].numel()
        assert len(chosen) == len(set(chosen.tolist())) == min(100, area)
        assert 0 <= int(chosen.min()) <= int(chosen.max()) < area


def test_what_cut_cannot_use_is_refused():
    unet = "MODEL.GENERATOR={NAME: unet, DIM: 2, LEVELS: 2}"
    with pytest.raises(MunitZooError, match="UnetGenerator has no method features"):
        mz.create_model(load_config("cut/shapes", *TINY[4:], unet))
    domains = "DOMAINS={A: {CHANNELS: 1}, B: {CHANNELS: 3}}"
    with pytest.raises(MunitZooError, match="A has 1 channels, B 3"):
        mz.create_model(load_config("cut/shapes", *TINY, domains))


@pytest.mark.parametrize("name", ["cut/shapes", "fastcut/shapes"])
def test_it_trains_resumes_and_translates(name, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", name, *TINY, "--run", str(run), "--device", "cpu"]) == 0
    again = tmp_path / "again"
    first = Run.open(run).snapshots()[0]
    assert first.iteration == 2
    command = ["train", "--run", str(again), "--resume-from", str(first.folder)]
    assert main([*command, "--device", "cpu"]) == 0
    whole, resumed = (Run.open(r).newest().read() for r in (run, again))
    assert whole.files.keys() == resumed.files.keys()
    networks = {"generator", "discriminator", "projector"}
    assert {f"{part}/{n}" for part in ("networks", "optimizers") for n in networks} <= {
        *whole.files
    }
    for stem, tensors in whole.files.items():
        for tensor, value in tensors.items():
            assert torch.equal(value, resumed.files[stem][tensor]), (stem, tensor)
    components = Run.open(run).record()["components"]
    assert components["LOSSES.NCE"]["distribution"] == "munit-zoo-contrastive"
    assert mz.load_model(run).translate(torch.zeros(1, 3, 16, 16), "b").shape == (1, 1, 3, 16, 16)
