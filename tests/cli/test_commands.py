"""Every command as a user types it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from munit_zoo.blocks.norms import AdaIN
from munit_zoo.cli import main
from munit_zoo.data.images import read_image, write_image


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny) -> Path:
    """A tiny trained run."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    metric = "METRICS.SHAPES={NAME: shapes, INPUTS: 4, STYLES: 2, JUDGE_IMAGES: 64}"
    overrides = [o for o in tiny if not o.startswith("METRICS")]
    command = ["train", "munit/shapes", *overrides, metric, "--run", str(folder)]
    assert main([*command, "--device", "cpu"]) == 0
    return folder


SUMMARY = (AdaIN.__doc__ or "").splitlines()[0]


def test_list_and_describe(capsys):
    assert main(["list", "norm", "ada*"]) == 0
    heading, line = capsys.readouterr().out.splitlines()
    assert heading == "norm:"
    assert line.split(maxsplit=1) == ["adain", SUMMARY]
    assert main(["list"]) == 0
    everything = capsys.readouterr().out
    assert all(word in everything for word in ("adain_resnet", "munit", "lsgan", "image_folder"))
    assert main(["list", "configs", "munit/*"]) == 0
    assert "munit/edges2shoes" in capsys.readouterr().out
    assert main(["describe", "decoder", "adain_resnet"]) == 0
    text = capsys.readouterr().out
    assert "built in, munit-zoo" in text
    assert "UPSAMPLE_NORM         a norm; default {NAME: layer}" in text
    assert main(["describe", "model", "munit"]) == 0
    text = capsys.readouterr().out
    assert "x_ab <- c_a, z_b" in text
    assert "flowchart LR" in text
    assert "IMAGE_RECON" in text


def test_errors_are_text_and_status_2(capsys):
    assert main(["describe", "norm", "adian"]) == 2
    assert "Did you mean 'adain'?" in capsys.readouterr().err
    assert main(["config", "check", "munit/shapes", "MODEL.X=1", "ENGINE.Y=2"]) == 2
    err = capsys.readouterr().err
    assert "2 problems" in err
    assert "Traceback" not in err
    assert main(["config", "check", "shapes.py"]) == 2
    assert main(["config"]) == 2


def test_overrides_may_stand_anywhere(capsys):
    assert main(["config", "check", "--data", "munit/shapes", "MODEL.X=1"]) == 2
    assert main(["config", "show", "munit/shapes", "--plain", "MODEL.STYLE_DIM=7"]) == 0
    assert "STYLE_DIM: 7" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["list", "norm", "--nope"])
    with pytest.raises(SystemExit):
        main(["config", "show", "munit/shapes", "--nope", "MODEL.STYLE_DIM=7"])


def test_config_show_check_diff(capsys):
    assert main(["config", "show", "munit/shapes", "MODEL.STYLE_DIM=16"]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if "STYLE_DIM" in line)
    assert line.split("#")[1].strip() == "override MODEL.STYLE_DIM=16"
    assert "munit/shapes.yaml:" in out
    assert main(["config", "check", "munit/shapes"]) == 0
    assert "in order, for images of A 32×32, B 32×32" in capsys.readouterr().out
    assert main(["config", "check", "munit/edges2shoes", "DATA.SIZE=32", "DATA.CROP=null"]) == 2
    assert "the smallest square that works is 64×64" in capsys.readouterr().err
    assert main(["config", "diff", "munit/shapes", "MODEL.STYLE_DIM=16"]) == 0
    assert capsys.readouterr().out == "- MODEL.STYLE_DIM: 4\n+ MODEL.STYLE_DIM: 16\n"
    assert main(["config", "diff", "munit/edges2shoes", "munit/edges2handbags"]) == 0
    assert "DATA.ROOT" in capsys.readouterr().out


def test_config_check_tries_every_image(capsys, tmp_path):
    for name in ("A/1.png", "A/2.png", "A/3.png", "B/1.png", "B/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_image(tmp_path / name, np.zeros((3, 32, 32), np.uint8))
    folders = f"{{A: '{tmp_path}/A', B: '{tmp_path}/B'}}"
    data = f"DATA={{NAME: image_folder, FOLDERS: {folders}, SIZE: 32}}"
    assert main(["config", "check", "munit/shapes", "--data", data]) == 0
    assert "images 2" in capsys.readouterr().out
    assert main(["config", "check", "munit/shapes", data, "--data", "all"]) == 0
    assert "every image was tried: 5" in capsys.readouterr().out
    for name in ("A/2.png", "A/3.png"):
        (tmp_path / name).write_text("no image")
    assert main(["config", "check", "--data", "all", "munit/shapes", data]) == 2
    seen = capsys.readouterr()
    assert "A/2.png cannot be read: it is of no known format" in seen.out
    assert "2 images of 5 cannot be used, listed above" in seen.err


def test_config_check_looks_for_partners_and_labels(capsys):
    assert main(["config", "check", "pix2pix/shapes", "--data"]) == 0
    assert main(["config", "check", "pix2pix/shapes", "--data", "DATA.PAIRED=false"]) == 2
    assert "set DATA.PAIRED=true" in capsys.readouterr().err


def test_shown_config_can_be_loaded(capsys, tmp_path):
    assert main(["config", "show", "munit/shapes", "--plain"]) == 0
    file = tmp_path / "mine.yaml"
    file.write_text(capsys.readouterr().out)
    assert main(["config", "diff", "munit/shapes", str(file)]) == 0
    assert capsys.readouterr().out == "no difference\n"


def test_train_refuses_an_existing_run(run, capsys):
    assert main(["train", "munit/shapes", "--run", str(run)]) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_train_resumes_with_more_iterations(run, capsys, tmp_path):
    snapshot = run / "snapshots" / "00000002"
    command = ["train", "--run", str(tmp_path / "r"), "--resume-from", str(snapshot)]
    assert main([*command, "--device", "cpu"]) == 0
    assert "done: iteration 4" in capsys.readouterr().out
    more = ["train", "ENGINE.ITERATIONS=6", "--run", str(tmp_path / "r"), "--resume"]
    assert main([*more, "--device", "cpu"]) == 0
    assert "done: iteration 6" in capsys.readouterr().out
    less = ["train", "ENGINE.ITERATIONS=5", "--run", str(tmp_path / "r"), "--resume"]
    assert main([*less, "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert "nothing to train: 6 iterations are done, of 5" in said.out + said.err


def test_train_without_a_config(capsys, tmp_path):
    assert main(["train", "--run", str(tmp_path / "r")]) == 2
    assert "name a config" in capsys.readouterr().err


@pytest.fixture
def image(tmp_path) -> Path:
    file = tmp_path / "in" / "bag.png"
    file.parent.mkdir()
    pixels = np.random.default_rng(0).integers(0, 2**16, (3, 17, 21)).astype(np.uint16)
    write_image(file, pixels)
    return file


def test_translate(run, image, capsys, tmp_path):
    out = tmp_path / "out"
    base = ["translate", str(run), str(image.parent), "--to", "b", "--device", "cpu"]
    assert main([*base, "--styles", "3", "--grid", "--out", str(out)]) == 0
    assert "3 translations of 1 image in" in capsys.readouterr().out
    assert sorted(p.name for p in out.glob("bag*")) == [f"bag_b_0{i}.png" for i in range(3)]
    pixels = read_image(out / "bag_b_00.png")
    assert (pixels.shape, pixels.dtype) == ((3, 17, 21), np.uint16)
    assert (out / "grid_b.png").is_file()
    record = json.loads((out / "translations.json").read_text())
    assert np.shape(record["images"][0]["styles"]) == (3, 4)
    assert main([*base, "--styles", "3", "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    again = tmp_path / "again"
    assert main([*base, "--styles", "3", "--out", str(again)]) == 0
    assert (read_image(again / "bag_b_02.png") == read_image(out / "bag_b_02.png")).all()
    other = tmp_path / "other"
    assert main([*base, "--styles", "3", "--seed", "1", "--out", str(other)]) == 0
    assert (read_image(other / "bag_b_02.png") != read_image(out / "bag_b_02.png")).any()


def test_translate_from_python_equals_the_command(run, image, tmp_path):
    import torch

    import munit_zoo as mz
    from munit_zoo.data.values import from_unit, to_unit

    out = tmp_path / "out"
    main(["translate", str(run), str(image), "--to", "b", "--styles", "2", "--out", str(out)])
    codes = json.loads((out / "translations.json").read_text())["images"][0]["styles"]
    x = to_unit(read_image(image))[None]
    ours = mz.load_model(run).translate(x, to="b", styles=torch.tensor(codes))
    file = read_image(out / "bag_b_01.png").astype(int)
    assert abs(from_unit(ours[0, 1], np.uint16).astype(int) - file).max() <= 1


def test_translate_with_examples_and_between_styles(run, image, tmp_path, capsys):
    base = ["translate", str(run), str(image), "--to", "b", "--device", "cpu"]
    example = tmp_path / "red.png"
    write_image(example, np.full((3, 16, 16), 200, np.uint8))
    out = tmp_path / "out"
    assert main([*base, "--style-image", str(example), "--out", str(out)]) == 0
    assert (out / "bag_b_red.png").is_file()
    assert main([*base, "--interpolate", "4", "--out", str(tmp_path / "between")]) == 0
    assert len(list((tmp_path / "between").glob("bag_b_*.png"))) == 4
    assert main([*base, "--interpolate", "1", "--out", str(tmp_path / "x")]) == 2
    capsys.readouterr()
    words = ["--interpolate", "3", "--styles", "5", "--no-ema", "--out", str(tmp_path / "last")]
    assert main([*base, *words]) == 0
    assert "note: --styles 5 is ignored: --interpolate 3 counts" in capsys.readouterr().out
    assert '"weights": "last"' in (tmp_path / "last" / "translations.json").read_text()


@pytest.mark.parametrize(
    ("inputs", "to", "message"),
    [
        (["nowhere.png"], "b", "there is no image or folder nowhere.png"),
        (["{image}"], "q", "the model has no domain 'q'; it has a, b"),
        (["{gray}"], "b", "has 1 channel, the run's domain A has 3: convert the image"),
        (["{broken}"], "b", "broken.png cannot be read"),
    ],
)
def test_what_cannot_be_translated(run, image, tmp_path, capsys, inputs, to, message):
    write_image(tmp_path / "gray.png", np.zeros((1, 16, 16), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    known = {"image": image, "gray": tmp_path / "gray.png", "broken": tmp_path / "broken.png"}
    files = [name.format(**known) for name in inputs]
    assert main(["translate", str(run), *files, "--to", to, "--out", str(tmp_path / "o")]) == 2
    assert message in capsys.readouterr().err


def test_same_styles_for_all_inputs(run, image, tmp_path):
    write_image(image.with_name("two.tif"), np.zeros((3, 16, 16), np.uint8))
    for flag, equal in ((["--same-styles"], True), ([], False)):
        out = tmp_path / f"out{equal}"
        command = ["translate", str(run), str(image.parent), "--to", "b", "--styles", "2"]
        assert main([*command, *flag, "--out", str(out)]) == 0
        images = json.loads((out / "translations.json").read_text())["images"]
        assert (images[0]["styles"] == images[1]["styles"]) is equal
    assert (out / "two_b_00.tif").is_file()


def test_evaluate_prints_a_table_and_names_the_page(run, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MUNIT_ZOO_CACHE", str(tmp_path))
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    for word in ("model", "floor: input copied", "ceiling: oracle renderer", "held-out real"):
        assert word in out
    assert f"page: {run / 'index.html'}" in out
    assert "ceiling: oracle renderer" in (run / "index.html").read_text()
    report = json.loads(next((run / "evaluation").glob("*.json")).read_text())
    assert report["details"]["iteration"] == 4
    assert main(["evaluate", str(run), "--metrics", "fidelty"]) == 2
    assert "Did you mean 'fidelity'?" in capsys.readouterr().err


def test_samples(tmp_path, capsys):
    base = ["samples", "munit/shapes", "DATA.SIZE=16", "--domain", "b", "--count", "2"]
    assert main([*base, "--out", str(tmp_path / "s")]) == 0
    assert len(list((tmp_path / "s").glob("*.png"))) == 2
    assert main([*base, "--out", str(tmp_path / "s")]) == 2
    assert main(["samples", "munit/shapes", "--domain", "q", "--out", str(tmp_path)]) == 2


def test_a_local_file_brings_components(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\nfrom munit_zoo.registry import ACTIVATIONS\n"
        "@ACTIVATIONS.register('test_cube')\nclass Cube(nn.Module):\n    'x³.'\n"
        "    def __init__(self) -> None:\n        super().__init__()\n"
        "    def forward(self, x):\n        return x ** 3\n"
    )
    code = (
        "import sys; from munit_zoo.cli import main; sys.exit(main(['config', 'check',"
        f"'munit/shapes', 'MODEL.DECODER.ACTIVATION.NAME=test_cube', '--plugin', {str(file)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert main(["list", "--plugin", str(tmp_path / "none.py")]) == 2
    file.write_text("1 / 0")
    assert main(["list", "--plugin", str(file)]) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_the_module_runs(tmp_path):
    command = [sys.executable, "-m", "munit_zoo", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.startswith("munit-zoo 0.1")


@pytest.mark.slow
def test_a_run_names_the_local_file_it_was_made_with(tmp_path, tiny):
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\nfrom munit_zoo.registry import ACTIVATIONS\n"
        "@ACTIVATIONS.register('test_square')\nclass Square(nn.Module):\n    'x².'\n"
        "    def __init__(self) -> None:\n        super().__init__()\n"
        "    def forward(self, x):\n        return x * x\n"
    )
    run = tmp_path / "run"

    def munit_zoo(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "munit_zoo", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    square = ["MODEL.DECODER.ACTIVATION.NAME=test_square", "ENGINE.ITERATIONS=1"]
    more = ["--run", str(run), "--device", "cpu", "--plugin", str(file)]
    assert munit_zoo("train", "munit/shapes", *tiny, *square, *more).returncode == 0
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    made_with = [{"file": str(file), "sha256": digest}]
    assert json.loads((run / "run.json").read_text())["plugins"] == made_with
    assert munit_zoo("config", "check", str(run / "config.yaml"), *more[-2:]).returncode == 0
    for command in (
        ("translate", str(run), str(tmp_path), "--to", "b"),
        ("train", "--run", str(run), "--resume", "ENGINE.ITERATIONS=2"),
        ("samples", str(run / "config.yaml"), "--domain", "a", "--out", str(tmp_path / "s")),
        ("config", "check", str(run / "config.yaml")),
    ):
        without = munit_zoo(*command)
        assert without.returncode == 2
        assert f"give --plugin {file} again" in without.stderr, command
    file.write_text(file.read_text().replace("x * x", "x * x * 1.0"))
    go_on = ["train", "--run", str(run), "--resume", "ENGINE.ITERATIONS=2"]
    resumed = munit_zoo(*go_on, *more[2:])
    assert resumed.returncode == 0, resumed.stderr
    assert "mine.py has changed since the run" in resumed.stderr.replace("\n", "")
    plugins = json.loads((run / "run.json").read_text())["plugins"]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert plugins == [*made_with, {"file": str(file), "sha256": digest, "from_iteration": 1}]


def test_config_check_says_what_a_new_name_dropped(capsys, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "_BASE_: munit/shapes\nSCHEMA_VERSION: 2\nMODEL: {NAME: unit}\n"
        "LOSSES: {STYLE_RECON: null, CONTENT_RECON: null}\n"
    )
    assert main(["config", "check", str(file)]) == 2  # the default discriminator is for 61 pixels
    out = capsys.readouterr().out
    assert "MODEL.NAME=unit dropped 20 keys of munit: STYLE_DIM, CONTENT_ENCODER.NAME" in out
    assert re.search(r"parameters before the exchange 0\.66 M, now \d\d\.\d\d M", out)


def test_evaluate_into_a_file_and_report(run, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MUNIT_ZOO_CACHE", str(tmp_path))
    out = tmp_path / "results.json"
    words = ["evaluate", str(run), "METRICS.SHAPES.JUDGE_IMAGES=64", "--inputs", "3"]
    assert main([*words, "--seeds", "0", "1", "--out", str(out), "--device", "cpu"]) == 0
    assert f"results: {out}" in capsys.readouterr().out
    assert main(["report", str(out)]) == 0
    table = capsys.readouterr().out
    for word in ("±", "**tiny**", "floor: input copied", "Seeds of the metric: 0, 1"):
        assert word in table
    assert main([*words, "--no-ema", "--out", str(tmp_path / "last.json")]) == 0
    assert '"weights": "last"' in (tmp_path / "last.json").read_text()
    assert '"weights": "averaged"' in out.read_text()
    assert main(["report", str(out), "--html", "--out", str(tmp_path / "page.html")]) == 0
    assert "<table>" in (tmp_path / "page.html").read_text()
    assert main([*words, "--styles", "3", "--out", str(out), "--device", "cpu"]) == 0
    assert main(["report", str(out)]) == 2
    assert "protocol.styles is 2 there and 3 here" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "none.json")]) == 2
    assert main(["evaluate", str(run), "--metrics", "lpips", "--weights-dir", str(out)]) == 2
    assert "there is no folder of weights" in capsys.readouterr().err
