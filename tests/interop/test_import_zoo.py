"""Importing the zoo's original checkpoints as runs, through the command line.

The originals' own files are in the folder MUNIT_ZOO_GOLDEN_ZOO, with what they compute; small files
made here serve for what may be wrong with a checkpoint.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from _golden_zoo import CHECKPOINT_BOUND, Case, cases, checkpoint, error_of
from safetensors.torch import load_file
from torch import Tensor, nn

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.cli._main import _SYSTEMS
from munit_zoo.config import load_config
from munit_zoo.engine.runs import Run
from munit_zoo.interop import bicyclegan, cyclegan, starganv2
from munit_zoo.interop.systems import SYSTEMS
from munit_zoo.models import create_model

SHAPES = ["DATA={NAME: shapes, SIZE: 64, COUNT: 12, TEST_COUNT: 4}", "ENGINE.WORKERS=0"]
SHAPES += ["ENGINE.GRID_EVERY=0", "ENGINE.DISPLAY=1", "ENGINE.DISPLAY_STYLES=1"]


def test_the_command_line_knows_every_system():
    assert list(_SYSTEMS) == list(SYSTEMS)


def imported(system: str, files: list[Path], run: Path, *words: str) -> Path:
    assert main(["import", system, *map(str, files), "--out", str(run), *words]) == 0
    return run


def with_judges(run: Path) -> Any:
    """The whole model of a run, discriminators too."""
    model = create_model(Run.open(run).resolved().config)
    model.load_state_dict(Run.open(run).newest().read("networks").part("networks"), strict=False)
    return model.eval()


# The originals' own files


@pytest.mark.golden
def test_cyclegan(tmp_path, capsys):
    folder = checkpoint("cyclegan")
    options = ["--options", str(folder / "train_opt.txt")]
    run = imported("cyclegan", sorted(folder.glob("*.pth")), tmp_path / "run", *options)
    out = capsys.readouterr().out
    assert "note: the files do not say how many images there were: DATA is ./data" in out
    assert f"munit-zoo translate {run} IMAGE --to b" in out
    golden = load_file(folder / "expected.safetensors")
    model = mz.load_model(run)
    found = {"fake_B": model.translate(golden["real_A"], "b")[:, 0]}
    found["fake_A"] = model.translate(golden["real_B"], "a")[:, 0]
    found["rec_A"] = model.translate(golden["fake_B"], "a")[:, 0]
    found["rec_B"] = model.translate(golden["fake_A"], "b")[:, 0]
    judges = with_judges(run).networks()
    with torch.no_grad():
        (found["D_A_fake"],) = judges["b.discriminator"](golden["fake_B"])
        (found["D_B_fake"],) = judges["a.discriminator"](golden["fake_A"])
    assert set(found) == set(golden) - {"real_A", "real_B"}
    errors = {name: error_of(value, golden[name]) for name, value in found.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors
    config = Run.open(run).resolved().config
    assert (config.LOSSES.CYCLE_A.WEIGHT, config.LOSSES.IDENTITY_A.WEIGHT) == (10, 5)
    assert config.DATA.ROOT == "./datasets/maps"


@pytest.mark.slow
@pytest.mark.golden
def test_cyclegan_trains_on_from_it(tmp_path, capsys):
    folder = checkpoint("cyclegan")
    (file,) = folder.glob("*_G_A.pth")
    released = shutil.copy(file, tmp_path / "latest_net_G.pth")
    run = imported("cyclegan", [Path(released)], tmp_path / "run", *SHAPES, "ENGINE.ITERATIONS=1")
    assert "the run translates a to b only" in capsys.readouterr().out
    golden = load_file(folder / "expected.safetensors")
    model = mz.load_model(run)
    assert model.ways == (("a", "b"),)
    assert error_of(model.translate(golden["real_A"], "b")[:, 0], golden["fake_B"]) < 1e-4
    with pytest.raises(mz.errors.UsageError, match="to 'a': it cannot"):
        model.translate(golden["real_B"], "a")
    command = ["train", str(run / "config.yaml"), "--run", str(tmp_path / "more")]
    assert main([*command, "--init-from", str(run), "--device", "cpu"]) == 0
    assert set(mz.load_model(tmp_path / "more").ways) == {("a", "b"), ("b", "a")}


@pytest.mark.golden
@pytest.mark.parametrize("told", ["by options", "by shapes"])
def test_bicyclegan(told, tmp_path, capsys):
    folder = checkpoint("bicyclegan")
    words = ["--options", str(folder / "opt.txt")] if told == "by options" else []
    run = imported("bicyclegan", sorted(folder.glob("*.pth")), tmp_path / "run", *words)
    assert "is not among the files" not in capsys.readouterr().out
    golden = load_file(folder / "expected.safetensors")
    a, b, z = golden["x_a"], golden["x_b"], golden["z"]
    model = mz.load_model(run)
    mu = model.encode_style(b, "b")
    found = {"mu": mu, "fake_B_encoded": model.translate(a, "b", mu[:, None])[:, 0]}
    found["fake_B_random"] = model.translate(a, "b", z[:, None])[:, 0]
    networks = with_judges(run).networks()
    with torch.no_grad():
        found["logvar"] = networks["style_encoder"](b)[:, mu.shape[1] :]
        for net, path in (("D", "discriminator"), ("D2", "discriminator2")):
            found |= {f"{net}/{scale}": part for scale, part in enumerate(networks[path](b))}
    assert set(found) == set(golden) - {"x_a", "x_b", "z"}
    errors = {name: error_of(value, golden[name]) for name, value in found.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors
    config = Run.open(run).resolved().config
    losses = {name: term.WEIGHT for name, term in config.LOSSES.items()}
    assert (losses["KL"], losses["IMAGE_RECON"]) == (0.01, 10)
    assert config.ENGINE.BATCH_SIZE == 1
    if told == "by options":
        small = ["DATA={NAME: shapes, SIZE: 128, PAIRED: true, COUNT: 12}", "ENGINE.ITERATIONS=1"]
        command = ["train", str(run / "config.yaml"), *small, "ENGINE.WORKERS=0"]
        command += ["ENGINE.GRID_EVERY=0", "--run", str(tmp_path / "more"), "--device", "cpu"]
        assert main([*command, "--init-from", str(run)]) == 2  # its edges are grey
        assert "channels" in capsys.readouterr().err


@pytest.mark.golden
@pytest.mark.parametrize("told", ["by options", "by shapes"])
def test_stargan(told, tmp_path, capsys):
    folder = checkpoint("stargan")
    words = ["--options", str(folder / "config.json")] if told == "by options" else []
    run = imported("stargan", sorted(folder.glob("*.ckpt")), tmp_path / "run", *words)
    assert "note: attributes are Black_Hair, Blond_Hair, Brown_Hair, Male, Young" in (
        capsys.readouterr().out
    )
    golden = load_file(folder / "expected.safetensors")
    model, x = mz.load_model(run), golden["x_real"]
    found = {}
    for index, target in enumerate(model.targets(golden["label"])):
        assert torch.equal(target, golden[f"c_trg/{index}"])
        found[f"x_fake/{index}"] = model.translate(x, "faces", target[:, None])[:, 0]
    with torch.no_grad():
        found["out_src"], found["out_cls"] = with_judges(run).networks()["discriminator"](x)
    codes = model.encode_style(x, "faces")
    assert torch.equal(codes, (found["out_cls"] > 0).float())
    given = {name for name in golden if name.startswith(("c_trg/", "x_real", "label"))}
    assert set(found) == set(golden) - given
    errors = {name: error_of(value, golden[name]) for name, value in found.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors
    config = Run.open(run).resolved().config
    assert {"by options": 3e-4, "by shapes": 1e-4}[told] == config.OPTIM.DEFAULT.LR
    assert config.DATA.ATTRIBUTES == config.MODEL.ATTRIBUTES


@pytest.mark.golden
def test_stargan_of_another_data_set(tmp_path, capsys):
    (file,) = checkpoint("stargan").glob("*-G.ckpt")
    options = tmp_path / "options.yaml"
    options.write_text("dataset: RaFD\nimage_size: 16\nd_repeat_num: 3\nd_conv_dim: 4\n")
    run = imported("stargan", [file], tmp_path / "run", "--options", str(options))
    assert "note: domains are A, B, C, D, E" in capsys.readouterr().out
    assert len(mz.load_model(run).ways) == 20
    options.write_text("selected_attrs: [Smiling]")
    command = ["import", "stargan", str(file), "--out", str(tmp_path / "more")]
    assert main([*command, "--options", str(options)]) == 2
    assert "the networks know 5 attributes, the option selected_attrs has 1" in (
        capsys.readouterr().err
    )


@pytest.mark.golden
def test_funit(tmp_path, capsys):
    folder = checkpoint("funit")
    files = [*folder.glob("gen_*.pt"), *folder.glob("dis_*.pt")]
    options = ["--options", str(folder / "config.yaml")]
    run = imported("funit", files, tmp_path / "run", *options)
    assert "imported funit at iteration 3" in capsys.readouterr().out
    golden = load_file(folder / "expected.safetensors")
    x, images = golden["x"], golden["class_images"]
    model = mz.load_model(run)
    code = model.encode_style(images, "animals").mean(dim=0, keepdim=True)
    judge = with_judges(run).networks()["discriminator"]
    with torch.no_grad():
        found = {"content": model.content_encoder(x), "class_code": code[..., None, None]}
        found["dis_out"] = judge(images, torch.arange(len(images)))[0][:, 0]
    found["out"] = model.translate(x, "animals", code)[:, 0]
    assert set(found) == set(golden) - {"x", "class_images"}
    errors = {name: error_of(value, golden[name]) for name, value in found.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors
    config = Run.open(run).resolved().config
    assert (config.OPTIM.DEFAULT.LR, config.OPTIM.NETWORKS.DISCRIMINATOR.LR) == (2e-4, 4e-4)
    assert config.MODEL.DISCRIMINATOR.LEGACY
    assert main(["import", "funit", *map(str, files), "--out", str(tmp_path / "more")]) == 2
    assert "give its config.yaml by --options" in capsys.readouterr().err


@pytest.mark.golden
def test_starganv2(tmp_path, capsys):
    folder = checkpoint("starganv2")
    small = [*SHAPES, "ENGINE.ITERATIONS=4", "DOMAINS={OUTLINES: {}, FILLED: {}, NIGHT: {}}"]
    options = ["--options", str(folder / "config.json"), *small]
    run = imported("starganv2", sorted(folder.glob("*.ckpt")), tmp_path / "run", *options)
    assert "imported starganv2 at iteration 3" in capsys.readouterr().out
    golden = load_file(folder / "expected.safetensors")
    found, names = {}, ("outlines", "filled", "night")
    for kind in ("ema", "live"):
        model = mz.load_model(run, ema=kind == "ema")
        found |= starganv2_outputs(model, golden, kind, names)
    judge = with_judges(run).networks()["discriminator"]
    for y in range(3):
        with torch.no_grad():
            (logits,) = judge(golden["x_src"], torch.full((len(golden["x_src"]),), y))
        found[f"live/discriminator/{y}"] = logits.squeeze(1)
    assert set(found) == set(golden) - {"x_src", "x_ref", "z"}
    errors = {name: error_of(value, golden[name]) for name, value in found.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors

    config = Run.open(run).resolved().config
    assert (config.LOSSES.R1.WEIGHT, config.LOSSES.DIVERSITY.WEIGHT) == (0.5, -2.0)
    assert config.OPTIM.NETWORKS.MAPPING.LR == 1e-4
    assert config.OPTIM.DEFAULT.BETAS == (0.5, 0.9)
    moments = Run.open(run).newest().read("optimizers").part("optimizers")
    theirs = torch.load(folder / "000003_optims.ckpt", weights_only=True)
    nets = torch.load(folder / "000003_nets.ckpt", weights_only=True)
    for network, ours in starganv2.NETWORKS.items():
        places = starganv2.names_of(network, nets[network])
        for index, name in enumerate(nets[network]):
            for key in ("exp_avg", "exp_avg_sq"):
                expected = theirs[network]["state"][index][key]
                assert torch.equal(moments[f"{ours}.{places[name]}/{key}"], expected)
    assert main(["train", "--run", str(run), "--resume", "--device", "cpu"]) == 0
    assert "done: iteration 4" in capsys.readouterr().out


def starganv2_outputs(
    model: Any, golden: dict[str, Tensor], kind: str, names: tuple[str, ...]
) -> dict[str, Tensor]:
    """What a checkpoint's fixture records of F, E and G, by its names."""
    found = {}
    for y, name in enumerate(names):
        of_y = torch.full((len(golden["z"]),), y)
        with torch.no_grad():
            latent = model.mapping(golden["z"], of_y)
        reference = model.encode_style(golden["x_ref"], name)
        found |= {f"{kind}/s_latent/{y}": latent, f"{kind}/s_ref/{y}": reference}
        for label, style in (("latent", latent), ("ref", reference)):
            outputs = model.translate(golden["x_src"], name, style[:, None], source=names[y - 1])
            found[f"{kind}/x_fake_{label}/{y}"] = outputs[:, 0]
    return found


@pytest.mark.slow
@pytest.mark.golden
def test_starganv2_averages_alone_as_published(tmp_path, capsys):
    folder = checkpoint("starganv2")
    run = imported("starganv2", [*folder.glob("*_ema.ckpt")], tmp_path / "run", *SHAPES)
    out = capsys.readouterr().out
    assert "note: discriminator (discriminator) is not among the files" in out
    assert "note: the networks are averages" in out
    assert "note: domains are A, B, C" in out
    golden = load_file(folder / "expected.safetensors")
    found = starganv2_outputs(mz.load_model(run), golden, "ema", ("a", "b", "c"))
    errors = {name: error_of(value, golden[name]) for name, value in found.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors
    words = ["ENGINE.ITERATIONS=1", "ENGINE.BATCH_SIZE=2"]
    command = ["train", str(run / "config.yaml"), *words, "--run", str(tmp_path / "more")]
    assert main([*command, "--init-from", str(run), "--device", "cpu"]) == 0
    assert main(["train", "--run", str(run), "--resume"]) == 2
    assert "no optimizer state" in capsys.readouterr().err


# Files made here


def inverse(network: nn.Module, names: Callable[[list[str]], dict[str, str]], theirs: list[str]):
    """A network's tensors under the original's names."""
    places = {ours: name for name, ours in names(theirs).items()}
    return {places[name]: value for name, value in network.state_dict().items()}


def resnet_names(blocks: int) -> list[str]:
    """Names in the original's residual generator with instance norms."""
    convolutions = [f"model.{i}" for i in (1, 4, 7, 10 + blocks, 13 + blocks, 17 + blocks)]
    for block in range(10, 10 + blocks):
        convolutions += [f"model.{block}.conv_block.{i}" for i in (1, 5)]
    return [f"{name}.{leaf}" for name in convolutions for leaf in ("weight", "bias")]


def unet_names(levels: int) -> list[str]:
    """Names in the original's U-Net with batch norms."""
    found = ["model.model.0.weight", "model.model.3.weight", "model.model.3.bias"]
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    for level in range(2, levels + 1):
        prefix = "model.model.1.model" + ".3.model" * (level - 2)
        inner = level == levels
        up, norms = (3, (4,)) if inner else (5, (2, 6))
        found += [f"{prefix}.{i}.weight" for i in (1, up)]
        found += [f"{prefix}.{i}.{leaf}" for i in norms for leaf in norm]
    return found


TINY = ["MODEL.GENERATOR.DIM=4", "MODEL.GENERATOR.BLOCKS=2", "MODEL.DISCRIMINATOR.DIM=4"]


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    """CycleGAN's four files, small, by the networks' names."""
    torch.manual_seed(0)
    model = create_model(load_config("cyclegan/images", *TINY))
    judge = ["weight", "bias"]
    judges = [f"model.{i}.{leaf}" for i in (0, 2, 5, 8, 11) for leaf in judge]
    found = {}
    for name, letter in (("A", "b"), ("B", "a")):
        part = getattr(model, letter)
        tensors = inverse(part.generator, cyclegan.generator_names, resnet_names(2))
        found[f"G_{name}"] = {f"module.{k}": v for k, v in tensors.items()}
        found[f"D_{name}"] = inverse(part.discriminator, cyclegan.discriminator_names, judges)
    paths = {}
    for name, content in found.items():
        paths[name] = tmp_path / f"latest_net_{name}.pth"
        torch.save(content, paths[name])
    return paths


def test_options_of_a_training(files, tmp_path):
    options = tmp_path / "train_opt.txt"
    lines = ["direction: BtoA", "lambda_A: 7.0", "lambda_identity: 0.0", "lr: 0.0001"]
    lines += ["niter: 10", "n_epochs_decay: 30", "batchSize: 4", "pool_size: 0", "no_flip: True"]
    lines += ["dataroot: ./mine", "model: cycle_gan", "gan_mode: vanilla", "beta1: 0.4"]
    options.write_text("\n".join(f"   {line}   \t[default: x]" for line in lines))
    run = imported(
        "cyclegan", [*files.values()], tmp_path / "run", "--options", str(options), "ENGINE.SEED=5"
    )
    config = Run.open(run).resolved().config
    assert config.DATA.FOLDERS == {"A": "./mine/trainB", "B": "./mine/trainA"}
    assert set(config.LOSSES) == {"ADVERSARIAL", "CYCLE_A", "CYCLE_B"}
    assert config.LOSSES.ADVERSARIAL.NAME == "nsgan"
    assert config.LOSSES.CYCLE_A.WEIGHT == 7
    assert (config.DATA.FLIP, config.MODEL.POOL_SIZE) == (False, 0)
    assert config.OPTIM.DEFAULT.LR == 1e-4
    assert config.OPTIM.DEFAULT.BETAS == (0.4, 0.999)
    assert config.OPTIM.SCHEDULE.START == 0.25
    assert (config.ENGINE.ITERATIONS, config.ENGINE.BATCH_SIZE) == (40 * 334, 4)
    assert config.ENGINE.SEED == 5
    record = Run.open(run).record()["imported_from"]
    assert record["files"] == [path.name for path in files.values()]


def test_published_settings_are_those_of_the_shipped_config(files, tmp_path):
    run = imported("cyclegan", [*files.values()], tmp_path / "run")
    ours = Run.open(run).resolved().config
    shipped = load_config("cyclegan/images", *TINY)
    for section in ("LOSSES", "OPTIM", "ENGINE", "DATA", "DOMAINS", "MODEL"):
        assert ours[section] == shipped[section], section


def test_pix2pix(tmp_path, capsys):
    small = ["MODEL.GENERATOR.DIM=4", "MODEL.GENERATOR.LEVELS=5", "MODEL.DISCRIMINATOR.DIM=4"]
    shipped = load_config("pix2pix/images", *small)
    torch.manual_seed(1)
    model = create_model(shipped).eval()
    tensors = inverse(model.generator, cyclegan.generator_names, unet_names(5))
    torch.save(tensors, tmp_path / "latest_net_G.pth")
    run = imported("pix2pix", [tmp_path / "latest_net_G.pth"], tmp_path / "run")
    assert "the original translates in training mode" in capsys.readouterr().out
    x = torch.rand(2, 3, 64, 96) * 2 - 1
    torch.testing.assert_close(mz.load_model(run).translate(x, "b"), model.translate(x, "b"))
    ours = Run.open(run).resolved().config
    for section in ("LOSSES", "OPTIM", "ENGINE", "DATA", "DOMAINS"):
        assert ours[section] == shipped[section], section
    assert ours.MODEL.GENERATOR == shipped.MODEL.GENERATOR


@pytest.mark.golden
def test_bicyclegans_published_settings_are_those_of_the_shipped_config(tmp_path):
    files = sorted(checkpoint("bicyclegan").glob("*.pth"))
    run = imported("bicyclegan", files, tmp_path / "run")
    ours = Run.open(run).resolved().config
    shipped = load_config("bicyclegan/edges2shoes")
    for section in ("LOSSES", "OPTIM", "ENGINE", "DATA", "DOMAINS"):
        assert ours[section] == shipped[section], section


@pytest.mark.golden
@pytest.mark.parametrize("path", cases("bicyclegan"))
def test_bicyclegans_options_follow_from_names_and_shapes(path):
    case = Case(path)
    networks = {name: {} for name in ("G", "E", "D", "D2")}
    for name in networks:
        networks[name] = {n: tuple(t.shape) for n, t in case.under(f"init/{name}").items()}
    shapes = {name: found for name, found in networks.items() if found}
    blank = {**bicyclegan.DEFAULTS, "nl": case.config["nl"]}
    told = bicyclegan.options_of_weights(shapes, blank)
    nets = ("netG", "netE", *(f"net{name}" for name in ("D", "D2") if name in shapes))
    widths = ("input_nc", "output_nc", "nz", "ngf", "nef", "ndf", "num_Ds")
    for key in (*nets, *widths, "norm", "upsample", "where_add", "conditional_D"):
        assert told[key] == case.config[key], key


Damage = Callable[[dict[str, Path], Path], list[Path]]


def _truncated(files: dict[str, Path], folder: Path) -> list[Path]:
    content = files["G_A"].read_bytes()
    files["G_A"].write_bytes(content[: len(content) // 2])
    return [files["G_A"]]


def _replaced(name: str, content: Any) -> Damage:
    def damage(files: dict[str, Path], folder: Path) -> list[Path]:
        torch.save(content, files[name])
        return [*files.values()]

    return damage


def _changed(name: str, change: Callable[[dict[str, Tensor]], Any]) -> Damage:
    def damage(files: dict[str, Path], folder: Path) -> list[Path]:
        content = torch.load(files[name], weights_only=True)
        change(content)
        torch.save(content, files[name])
        return [*files.values()]

    return damage


def _called(name: str, new: str) -> Damage:
    def damage(files: dict[str, Path], folder: Path) -> list[Path]:
        files[name] = Path(shutil.move(files[name], folder / new))
        return [*files.values()]

    return damage


def _drop(key: str) -> Callable[[dict[str, Tensor]], Any]:
    return lambda content: content.pop(key)


def _reshape(key: str) -> Callable[[dict[str, Tensor]], Any]:
    return lambda content: content.update({key: content[key].flatten()})


WRONG: dict[str, tuple[Damage, str]] = {
    "absent": (lambda files, folder: [folder / "latest_net_G.pth"], "there is no file"),
    "truncated": (_truncated, "cannot be read as a checkpoint"),
    "no state dict": (_replaced("G_A", [1, 2]), "holds no state_dict"),
    "empty": (_replaced("G_A", {}), "no residual block"),
    "no tensors of G": (_replaced("G_A", {"weight": torch.ones(1)}), "no residual block"),
    "another network": (
        lambda files, folder: [Path(shutil.move(files["D_A"], folder / "5_net_G_A.pth"))],
        "no generator of the reference",
    ),
    "one twice": (
        lambda files, folder: [files["G_A"], files["G_A"]],
        "two of the files hold the network G_A",
    ),
    "another name": (_called("G_A", "weights.pth"), "weights.pth does not say which network"),
    "several epochs": (_called("G_B", "5_net_G_B.pth"), "several epochs: latest, 5"),
    "pix2pix among them": (_called("G_B", "latest_net_G.pth"), "a G beside others is of pix2pix"),
    "no such network": (_called("D_B", "latest_net_D_C.pth"), "has no network D_C"),
    "a projector": (_called("D_B", "latest_net_F.pth"), "the original has no network F"),
    "a missing tensor": (
        _changed("G_B", _drop("module.model.11.conv_block.1.bias")),
        "G_B does not fit a.generator of the config: layers.11.first.conv.bias is missing",
    ),
    "a stranger": (
        _changed("G_A", lambda content: content.update(extra=torch.ones(1))),
        "extra is no name in a generator",
    ),
    "too few dimensions": (_changed("G_A", _reshape("module.model.1.weight")), ""),
    "judges alone": (
        lambda files, folder: [files["D_A"], files["D_B"]],
        "the files hold no generator",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_files_that_do_not_fit(case: str, files, tmp_path, capsys):
    damage, message = WRONG[case]
    words = [str(path) for path in damage(files, tmp_path)]
    assert main(["import", "cyclegan", *words, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("munit-zoo: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: pix2pix", "is of the model 'pix2pix', not of cycle_gan"),
        ("", "holds no options"),
        ("lr: fast", "the option lr is 'fast', not a number"),
        ("n_epochs: -1", "n_epochs is -1.0, not a whole number"),
        ("netG: stylegan2", "the option netG is 'stylegan2'; known are resnet_9blocks"),
        ("lr_policy: random", "known are linear"),
        ("direction: AtoA", "known are AtoB, BtoA"),
        ("batch_size: 0", "BATCH_SIZE"),
    ],
)
def test_options_that_are_wrong(text, message, files, tmp_path, capsys):
    (tmp_path / "train_opt.txt").write_text(text)
    words = [str(path) for path in files.values()]
    words += ["--options", str(tmp_path / "train_opt.txt"), "--out", str(tmp_path / "run")]
    assert main(["import", "cyclegan", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_is_there_stays(files, tmp_path, capsys):
    run = imported("cyclegan", [files["G_A"]], tmp_path / "run")
    before = sorted(run.rglob("*"))
    assert main(["import", "cyclegan", str(files["G_A"]), "--out", str(run)]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert sorted(run.rglob("*")) == before


def test_nothing_is_left_of_an_import_that_fails_late(files, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()

    def full(*arguments: Any, **settings: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Run, "save", full)
    assert main(["import", "cyclegan", str(files["G_A"]), "--out", str(tmp_path / "run")]) == 2
    assert list((tmp_path / "run").iterdir()) == []


def test_a_recipe_whose_plug_in_is_missing(files, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MUNIT_ZOO_PLUGINS", "none")
    assert main(["import", "cut", str(files["G_A"]), "--out", str(tmp_path / "run")]) == 2
    assert "pip install munit-zoo-contrastive" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# StarGAN v2's files


def stargan_files(high_pass: bool = False) -> dict[str, Any]:
    """What StarGAN v2's three files hold, small."""
    size = ["SIZE=32", "CHANNEL_BUDGET=128", "MAX_DIM=8"]
    sides = [
        f"MODEL.{n}.{s}" for n in ("GENERATOR", "STYLE_ENCODER", "DISCRIMINATOR") for s in size
    ]
    torch.manual_seed(0)
    name = "celeba_hq" if high_pass else "afhq"
    config = load_config(f"starganv2/{name}", *sides, "MODEL.MAPPING.DIM=4", "DATA.SIZE=32")
    model = create_model(config)
    nets = {
        name: _theirs(name, model.networks()[path]) for name, path in starganv2.NETWORKS.items()
    }
    averages = {name: dict(nets[name]) for name in nets if name != "discriminator"}
    optims = {}
    for name, tensors in nets.items():
        network = nn.ParameterList(value.clone() for value in tensors.values())
        adam = torch.optim.Adam(network.parameters())
        sum(p.sum() for p in network.parameters()).backward()
        adam.step()
        optims[name] = adam.state_dict()
    return {"nets": nets, "nets_ema": averages, "optims": optims}


@pytest.fixture
def stargan() -> dict[str, Any]:
    return stargan_files()


_BLOCK = {"first": "conv1", "second": "conv2", "shortcut": "conv1x1", "first_norm": "norm1"}
_BLOCK |= {"second_norm": "norm2", "linear": "fc"}
_TOP = {"stem": "from_rgb", "down": "encode", "up": "decode", "head": "to_rgb"}


def _theirs(network: str, module: nn.Module) -> dict[str, Tensor]:
    """StarGAN v2's names of our tensors: those of which `names_of` makes ours."""
    found = {}
    for name, value in module.state_dict().items():
        parts = [_BLOCK.get(part, part) for part in name.split(".")]
        if network == "generator":
            parts[0] = _TOP[parts[0]]
        elif network == "mapping_network":
            parts[0] = {"heads": "unshared"}.get(parts[0], parts[0])
        else:
            stack = "main" if network == "discriminator" else "shared"
            if parts[0] == "heads":
                parts[0] = "unshared"
            elif parts[0] == "head":
                parts = [stack, "7", *parts[1:]]
            elif parts[1] == "stem":
                parts = [stack, "0", *parts[2:]]
            elif parts[1] == "last":
                parts = [stack, "5", *parts[3:]]
            else:
                parts = [stack, str(int(parts[2]) + 1), *parts[3:]]
        found[".".join(parts)] = value
    assert set(starganv2.names_of(network, found).values()) == set(module.state_dict())
    return found


def saved(folder: Path, contents: dict[str, Any], iteration: int = 7) -> list[Path]:
    paths = []
    for name, content in contents.items():
        paths.append(folder / f"{iteration:06d}_{name}.ckpt")
        torch.save(content, paths[-1])
    return paths


def test_starganv2_without_averages(stargan, tmp_path, capsys):
    files = saved(tmp_path, {key: stargan[key] for key in ("nets", "optims")})
    words = ["DATA={NAME: shapes, SIZE: 32, COUNT: 6}", "ENGINE.ITERATIONS=8", "ENGINE.WORKERS=0"]
    run = imported("starganv2", files, tmp_path / "run", *words, "ENGINE.BATCH_SIZE=1")
    assert "no averages were given: they start from the networks" in capsys.readouterr().out
    assert Run.open(run).resolved().config.MODEL.NAME == "starganv2"
    assert main(["train", "--run", str(run), "--resume", "--device", "cpu"]) == 0


def test_starganv2_high_pass(tmp_path, capsys):
    kernel = torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]]) / 2
    nets = stargan_files(high_pass=True)["nets_ema"]
    nets["generator"] = {**nets["generator"], "hpf.filter": kernel}
    nets["fan"] = {"weight": torch.ones(1)}
    run = imported("starganv2", saved(tmp_path, {"nets_ema": nets}), tmp_path / "run")
    assert "the face network that made masks is not taken over" in capsys.readouterr().out
    config = Run.open(run).resolved().config
    assert (config.MODEL.NAME, config.MODEL.GENERATOR.HIGH_PASS) == ("starganv2_high_pass", 2.0)
    x = torch.rand(1, 3, 32, 32)
    assert mz.load_model(run).translate(x, "b", 2).shape == (1, 2, 3, 32, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("nets"), "networks that are not there: name …_nets.ckpt, too"),
        (lambda c: c.pop("nets") and c.pop("nets_ema"), "hold no networks"),
        (lambda c: c["optims"]["generator"]["state"].update({0: {"step": 1}}), "no state of Adam"),
        (lambda c: c["optims"]["generator"].update(state=3), "no state of Adam"),
        (
            lambda c: c["optims"].update(generator=c["optims"]["mapping_network"]),
            "the optimizer of generator is of",
        ),
        (lambda c: c["nets"].update(generator=5), "neither nets, nets_ema nor optims"),
        (lambda c: c["nets"].pop("mapping_network"), "neither nets, nets_ema nor optims"),
        (lambda c: c["nets"]["generator"].pop("from_rgb.weight"), "the weights are not StarGAN v2"),
        (
            lambda c: c.pop("optims") and c["nets"]["generator"].pop("to_rgb.0.weight"),
            "generator does not fit generator of the config: head.0.weight is missing",
        ),
        (
            lambda c: c["nets_ema"]["style_encoder"].update(
                {"shared.0.weight": torch.ones(9, 3, 3, 3)}
            ),
            "does not fit style_encoder",
        ),
    ],
)
def test_files_of_starganv2_that_do_not_fit(change, message, stargan, tmp_path, capsys):
    change(stargan)
    words = [str(path) for path in saved(tmp_path, stargan)]
    assert main(["import", "starganv2", *words, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_files_of_several_iterations(stargan, tmp_path, capsys):
    files = saved(tmp_path, {"nets": stargan["nets"]}, 1)
    files += saved(tmp_path, {"nets_ema": stargan["nets_ema"]}, 2)
    words = [str(path) for path in files]
    assert main(["import", "starganv2", *words, "--out", str(tmp_path / "run")]) == 2
    assert "several iterations: 000001, 000002" in capsys.readouterr().err
