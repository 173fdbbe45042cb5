"""Checkpoints of the original CUT and FastCUT as runs, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from _golden_zoo import CHECKPOINT_BOUND, checkpoint, error_of
from safetensors.torch import load_file

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.config import load_config
from munit_zoo.engine.runs import Run
from munit_zoo.interop import cut, cyclegan
from munit_zoo.models import create_model


def imported(files: list[Path], run: Path, *words: str) -> Path:
    assert main(["import", "cut", *map(str, files), "--out", str(run), *words]) == 0
    return run


@pytest.mark.golden
def test_a_checkpoint_translates_and_is_trained_on_from(tmp_path, capsys):
    folder = checkpoint("cut")
    words = ["--options", str(folder / "train_opt.txt"), "ENGINE.ITERATIONS=1", "ENGINE.WORKERS=0"]
    words += ["DATA={NAME: shapes, SIZE: 32, COUNT: 4, TEST_COUNT: 2}"]
    run = imported(sorted(folder.glob("*.pth")), tmp_path / "run", *words)
    golden = load_file(folder / "expected.safetensors")
    found = {"fake_B": mz.load_model(run).translate(golden["real_A"], "b")[:, 0]}
    config = Run.open(run).resolved().config
    whole = create_model(config).eval()
    whole.load_state_dict(Run.open(run).newest().read("networks").part("networks"))
    with torch.no_grad():
        (found["D_fake"],) = whole.networks()["discriminator"](golden["fake_B"])
    errors = {name: error_of(value, golden[name]) for name, value in found.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors
    theirs = torch.load(folder / "latest_net_F.pth", weights_only=True)
    for name, ours in cut.projector_names(theirs).items():
        assert torch.equal(whole.projector.state_dict()[ours], theirs[name])
    assert (config.MODEL.PATCHES, config.MODEL.PROJECTOR_DIM) == (64, 16)
    assert config.LOSSES.NCE.WEIGHT == config.LOSSES.NCE_IDENTITY.WEIGHT == 0.5
    command = ["train", str(run / "config.yaml"), "--run", str(tmp_path / "more")]
    assert main([*command, "--init-from", str(run), "--device", "cpu"]) == 0


GENERATOR = (1, 4, 8, 15, 19, 23)  # two residual blocks, 12 and 13
BLOCKS = ("12.conv_block.1", "12.conv_block.5", "13.conv_block.1", "13.conv_block.5")


def test_a_generator_alone(tmp_path, capsys):
    small = ["MODEL.GENERATOR.DIM=4", "MODEL.GENERATOR.BLOCKS=2", "MODEL.LAYERS=[0,4]"]
    torch.manual_seed(0)
    model = create_model(load_config("cut/images", *small)).eval()
    theirs = [f"model.{i}.{leaf}" for i in (*GENERATOR, *BLOCKS) for leaf in ("weight", "bias")]
    own = model.generator.state_dict()
    names = cyclegan.generator_names(theirs)
    content = {name: own[ours] for name, ours in names.items()}
    assert len(content) == len(own)
    ordered = sorted(content, key=lambda name: [int(p) for p in name.split(".") if p.isdigit()])
    filters = {f"model.{i}.filt": torch.ones(4, 1, 3, 3) for i in (7, 11, 14, 18)}
    torch.save({n: content[n] for n in ordered} | filters, tmp_path / "latest_net_G.pth")
    options = tmp_path / "train_opt.txt"
    options.write_text("CUT_mode: FastCUT\nnce_idt: False\nlambda_NCE: 10.0\nn_epochs: 150\n")
    with options.open("a") as file:
        file.write("n_epochs_decay: 50\nflip_equivariance: True\nnce_layers: 0,4\n")
    run = imported([tmp_path / "latest_net_G.pth"], tmp_path / "run", "--options", str(options))
    out = capsys.readouterr().out
    for name in ("D (discriminator)", "F (projector)"):
        assert f"note: {name} is not among the files: training starts with a new one" in out
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(mz.load_model(run).translate(x, "b"), model.translate(x, "b"))
    ours, shipped = Run.open(run).resolved().config, load_config("fastcut/images", *small)
    assert ours.MODEL.GENERATOR == shipped.MODEL.GENERATOR
    assert ours.MODEL.DISCRIMINATOR == shipped.MODEL.DISCRIMINATOR
    assert (ours.MODEL.FLIP, ours.MODEL.IDENTITY) == (True, False)
    assert ours.LOSSES == shipped.LOSSES
    assert ours.OPTIM.DEFAULT == shipped.OPTIM.DEFAULT
    assert ours.OPTIM.SCHEDULE.START == shipped.OPTIM.SCHEDULE.START == 0.75


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("latest_net_F.pth", {"mlp_0.0.weight": torch.ones(2, 2)}, "no generator"),
        ("latest_net_G.pth", {}, "no residual block"),
        ("latest_net_G_A.pth", {"model.1.weight": torch.ones(1)}, ""),
    ],
)
def test_files_that_do_not_fit(name, content, message, tmp_path, capsys):
    torch.save(content, tmp_path / name)
    words = ["import", "cut", str(tmp_path / name), "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
