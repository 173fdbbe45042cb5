"""Converting the reference's hyperparameters and files, and importing them as runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.config import resolve_data
from munit_zoo.engine.runs import Run
from munit_zoo.errors import CheckpointError, ConfigError
from munit_zoo.interop import nvlabs, nvlabs_options
from munit_zoo.models import create_model

HYPER = {
    "image_save_iter": 10000,
    "display_size": 8,
    "snapshot_save_iter": 5000,
    "log_iter": 10,
    "max_iter": 500,
    "batch_size": 2,
    "weight_decay": 0.0001,
    "beta1": 0.5,
    "beta2": 0.999,
    "init": "kaiming",
    "lr": 0.0001,
    "lr_policy": "step",
    "step_size": 100000,
    "gamma": 0.5,
    "gan_w": 1,
    "recon_x_w": 10,
    "recon_s_w": 1,
    "recon_c_w": 1,
    "recon_x_cyc_w": 10,
    "vgg_w": 0,
    "gen": {
        "dim": 4,
        "mlp_dim": 8,
        "style_dim": 3,
        "activ": "prelu",
        "n_downsample": 1,
        "n_res": 2,
        "pad_type": "replicate",
    },
    "dis": {
        "dim": 4,
        "norm": "bn",
        "activ": "lrelu",
        "n_layer": 2,
        "gan_type": "nsgan",
        "num_scales": 2,
        "pad_type": "zero",
    },
    "input_dim_a": 1,
    "input_dim_b": 3,
    "num_workers": 3,
    "new_size": 24,
    "crop_image_height": 16,
    "crop_image_width": 24,
    "data_root": "./datasets/x",
}


def convert(**changes):
    hyper = {**HYPER, **changes}
    return resolve_data(
        nvlabs_options.config_from_hyperparameters(hyper, "munit"), origin="test"
    ).config


def test_hyperparameters():
    config = convert()
    assert config.MODEL.STYLE_DIM == 3
    assert config.MODEL.DECODER.MAPPING.DIM == 8
    assert config.MODEL.DECODER.MAPPING.ACTIVATION.NAME == "prelu"
    assert config.MODEL.STYLE_ENCODER.DOWNSAMPLES == 4
    assert config.MODEL.CONTENT_ENCODER.PAD_TYPE == "replicate"
    assert config.MODEL.DISCRIMINATOR.NORM.NAME == "batch"
    assert config.LOSSES.ADVERSARIAL.NAME == "nsgan"
    assert config.LOSSES.CYCLE_RECON.WEIGHT == 10
    assert config.DOMAINS.A.CHANNELS == 1
    assert config.DATA.NAME == "image_folder"
    assert (config.DATA.ROOT, config.DATA.SIZE, config.DATA.CROP) == ("./datasets/x", 24, (16, 24))
    schedule = config.OPTIM.SCHEDULE
    assert (schedule.NAME, schedule.EVERY, schedule.GAMMA) == ("step", 100_000, 0.5)
    assert (schedule.UNIT, schedule.EARLY) == ("iterations", True)
    assert (config.ENGINE.ITERATIONS, config.ENGINE.BATCH_SIZE, config.ENGINE.WORKERS) == (
        500,
        2,
        3,
    )


def test_lists_of_images():
    keys = {
        f"data_{what}_{split}_{domain}": f"{split}{domain}/{what}"
        for what in ("folder", "list")
        for split in ("train", "test")
        for domain in ("a", "b")
    }
    config = convert(**keys, data_root=None)
    assert config.DATA.NAME == "image_list"
    assert config.DATA.LISTS["TEST_B"] == "testb/list"
    assert config.DATA.ROOTS["TRAIN_A"] == "traina/folder"


def test_unknown_values_are_all_listed():
    with pytest.raises(ConfigError) as caught:
        convert(init="best", dis={"gan_type": "wgan", "norm": "xn"}, lr="fast")
    text = str(caught.value)
    for part in ("init", "dis.gan_type", "dis.norm", "lr (hyperparameters): got 'fast'"):
        assert part in text
    assert text.startswith("4 problems")


def test_sizes_of_their_own():
    config = convert(new_size=None, new_size_a=32, new_size_b=24)
    assert dict(config.DATA.SIZE) == {"A": 32, "B": 24}
    assert convert(new_size=None, new_size_a=24, new_size_b=24).DATA.SIZE == 24
    assert dict(convert(new_size_b=32).DATA.SIZE) == {"A": 24, "B": 32}


def reference_files(model, *, old: bool = False) -> tuple[dict, dict]:
    """The model's weights under the reference's names, as its files have them."""
    kind, downsamples = nvlabs._kind(model), nvlabs.downsamples_of(model)
    files = []
    for side in ("gen", "dis"):
        found = {}
        for domain in ("a", "b"):
            _, module = nvlabs.part_of(model, domain, side)
            targets = nvlabs.targets_of(module, kind, downsamples)
            found[domain] = {targets[n]: v for n, v in module.state_dict().items()}
            if old:  # torch 0.3: running statistics everywhere, no counters
                for name in list(found[domain]):
                    if name.endswith("conv.weight"):
                        stem = name.removesuffix("conv.weight")
                        for leaf in ("running_mean", "running_var"):
                            found[domain].setdefault(f"{stem}norm.{leaf}", torch.ones(3))
                    if name.endswith("num_batches_tracked"):
                        del found[domain][name]
        files.append(found)
    return files[0], files[1]


@pytest.mark.parametrize("norm", ["none", "in", "bn", "ln", "sn"])
@pytest.mark.parametrize("old", [False, True])
def test_weights_go_there_and_back(norm: str, old: bool):
    config = convert(dis={**HYPER["dis"], "norm": norm})
    torch.manual_seed(0)
    model = create_model(config)
    gen, dis = reference_files(model, old=old)
    if norm == "sn":
        assert "cnns.0.1.conv.module.weight_bar" in dis["a"]
        assert "cnns.0.0.conv.weight" in dis["a"]  # the first convolution has no norm
    if norm == "bn":
        assert "cnns.0.1.norm.running_mean" in dis["a"]
    other = create_model(config)
    other.load_state_dict(nvlabs.convert_weights(other, gen, dis))
    for name, value in model.state_dict().items():
        if not (old and name.endswith("num_batches_tracked")):
            assert torch.equal(other.state_dict()[name], value), name


def test_shapes_tell_most_hyperparameters():
    model = create_model(convert())
    gen, dis = reference_files(model)
    kind, hyper = nvlabs_options.infer_hyperparameters(gen, dis)
    assert kind == "munit"
    expected = {k: v for k, v in HYPER["gen"].items() if k != "pad_type"}
    assert {k: v for k, v in hyper["gen"].items() if k in expected} == expected
    assert (hyper["dis"]["n_layer"], hyper["dis"]["num_scales"], hyper["dis"]["norm"]) == (
        2,
        2,
        "bn",
    )
    assert (hyper["input_dim_a"], hyper["input_dim_b"]) == (1, 3)


def test_weights_that_do_not_fit(tmp_path):
    model = create_model(convert())
    gen, dis = reference_files(model)
    wider = create_model(convert(gen={**HYPER["gen"], "dim": 8}))
    with pytest.raises(CheckpointError, match="the config makes.*Is the YAML"):
        nvlabs.convert_weights(wider, gen, dis)
    gen["a"]["surprise"] = torch.ones(1)
    with pytest.raises(CheckpointError, match="surprise is left over"):
        nvlabs.convert_weights(model, gen, dis)


def test_files_that_are_no_checkpoints(tmp_path):
    file = tmp_path / "gen_00000001.pt"
    with pytest.raises(CheckpointError, match="there is no file"):
        nvlabs.read_checkpoint(file, "gen")
    torch.save({"a": print}, file)
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        nvlabs.read_checkpoint(file, "gen")  # code is not loaded
    torch.save({"weights": 1}, file)
    with pytest.raises(CheckpointError, match="expected the keys a and b"):
        nvlabs.read_checkpoint(file, "gen")


def test_importing_a_file_of_torch_0_3(tmp_path, capsys):
    import yaml

    model = create_model(convert())
    gen, dis = reference_files(model, old=True)
    torch.save(gen, tmp_path / "gen_00000042.pt", _use_new_zipfile_serialization=False)
    torch.save(dis, tmp_path / "dis_00000042.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "reference.yaml").write_text(yaml.safe_dump(HYPER))
    command = ["import", "nvlabs", str(tmp_path / "gen_00000042.pt")]
    command += ["--dis", str(tmp_path / "dis_00000042.pt"), "--out", str(tmp_path / "run")]
    (tmp_path / "mine.py").write_text("")
    command += ["--plugin", str(tmp_path / "mine.py")]
    assert main([*command, "--config", str(tmp_path / "reference.yaml")]) == 0
    assert "imported munit at iteration 42" in capsys.readouterr().out
    (plugin,) = Run.open(tmp_path / "run").record()["plugins"]
    assert plugin["file"] == str(tmp_path / "mine.py")
    imported = mz.load_model(tmp_path / "run").state_dict()
    assert len(imported) > 10
    for name, value in imported.items():
        assert torch.equal(model.state_dict()[name], value)
    assert main([*command, "--config", str(tmp_path / "reference.yaml")]) == 2
    assert "holds a run already" in capsys.readouterr().err


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    """Files of a checkpoint, the optimizers' without their states."""
    gen, dis = reference_files(create_model(convert()))
    contents = {"gen_00000001": gen, "dis_00000001": dis, "optimizer": {"gen": {}, "dis": {}}}
    for name, content in contents.items():
        torch.save(content, tmp_path / f"{name}.pt")
    return {name[:3]: tmp_path / f"{name}.pt" for name in contents}


@pytest.mark.parametrize(
    ("gen", "options", "message"),
    [
        ("opt", (), "optimizer.pt is no checkpoint of the reference's generators; is it optimizer"),
        ("dis", (), "is no checkpoint of the reference's generators; is it dis_*.pt?"),
        ("gen", ("--dis", "gen"), "reference's discriminators; is it gen_*.pt?"),
        ("gen", ("--dis", "dis", "--optimizer", "dis"), "reference's optimizers; is it dis_*.pt?"),
        ("gen", ("--optimizer", "opt"), "give --dis, too"),
    ],
)
def test_files_in_the_wrong_place(files, tmp_path, capsys, gen, options, message):
    words = [str(files.get(word, word)) for word in options]
    command = ["import", "nvlabs", str(files[gen]), *words, "--out", str(tmp_path / "run")]
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_yaml_without_images_is_noted(files, tmp_path, capsys):
    import yaml

    hyper = {k: v for k, v in HYPER.items() if k not in ("data_root", "new_size")}
    (tmp_path / "reference.yaml").write_text(yaml.safe_dump(hyper))
    command = ["import", "nvlabs", str(files["gen"]), "--out", str(tmp_path / "run")]
    assert main([*command, "--config", str(tmp_path / "reference.yaml")]) == 0
    out = capsys.readouterr().out
    assert "the YAML names no images: DATA is the synthetic shapes of 16×16" in out


# The reference's own files

FOLDER = Path(os.environ.get("MUNIT_ZOO_GOLDEN", "../shared/golden")) / "nvlabs_checkpoint"


@pytest.fixture
def checkpoint() -> Path:
    if not FOLDER.is_dir():
        pytest.skip(f"no folder {FOLDER} (set MUNIT_ZOO_GOLDEN)")
    return FOLDER


@pytest.mark.golden
def test_the_references_checkpoint_translates_and_resumes(checkpoint, tmp_path, capsys):
    run = tmp_path / "run"
    command = ["import", "nvlabs", str(checkpoint / "gen_00000003.pt"), "--out", str(run)]
    command += ["--dis", str(checkpoint / "dis_00000003.pt")]
    command += ["--optimizer", str(checkpoint / "optimizer.pt")]
    plain = [*command[:-6], "--out", str(tmp_path / "plain"), *command[-4:]]
    assert main(plain) == 0  # without any override, too
    small = ["DATA={NAME: shapes, SIZE: 64}", "ENGINE.ITERATIONS=4", "ENGINE.WORKERS=0"]
    assert main([*command, *small]) == 0
    expected = load_file(checkpoint / "expected.safetensors")
    ours = mz.load_model(run).translate(expected["x_a"], "b", expected["s_b"].flatten(1))[0]
    scale = expected["x_ab"].abs().max()
    assert ((ours - expected["x_ab"]).abs().max() / scale) < 1e-5
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    moments = Run.open(run).newest().read("optimizers").part("optimizers")
    moments = {n: v for n, v in moments.items() if n.endswith("/exp_avg")}
    for name in ("gen", "dis"):
        theirs = sorted(float(s["exp_avg"].double().sum()) for s in state[name]["state"].values())
        own = [v for n, v in moments.items() if (".discriminator." in n) == (name == "dis")]
        assert sorted(float(v.double().sum()) for v in own) == pytest.approx(theirs, rel=1e-6)
    assert main(["train", "--run", str(run), "--resume", "--device", "cpu"]) == 0
    assert "done: iteration 4" in capsys.readouterr().out
