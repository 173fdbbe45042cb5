"""Translating files: names, formats and types of the outputs, and what is refused beforehand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from munit_zoo.config import resolve
from munit_zoo.data.images import read_image, write_image
from munit_zoo.domains import Domain
from munit_zoo.engine import loading
from munit_zoo.engine.runs import Run
from munit_zoo.engine.train import train
from munit_zoo.engine.translate import StyleChoice, _output_type, _suffix, translate_files
from munit_zoo.errors import DataError, UsageError

ONE = StyleChoice(count=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny):
    """Runs by overrides, each made once."""
    made: dict[tuple[str, ...], Path] = {}

    def make(*overrides: str) -> Path:
        if overrides not in made:
            made[overrides] = tmp_path_factory.mktemp("runs") / "run"
            more = [*tiny, "ENGINE.ITERATIONS=1", *overrides]
            train(resolve("munit/shapes", more), made[overrides], device="cpu")
        return made[overrides]

    return make


def picture(file: Path, dtype: type = np.uint8, channels: int = 3) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    ramp = np.linspace(0, top, channels * 256).reshape(channels, 16, 16).astype(dtype)
    write_image(file, ramp)
    return file


def test_the_record_is_of_the_weights_that_were_used(trained, monkeypatch):
    """A training may write the next snapshot, and delete this one, while a model is loaded."""
    run = Run.open(trained())
    load, asked = loading.load_model, []

    def as_a_training_goes_on(path, **options):
        asked.append(path)
        return load(path, **options)

    monkeypatch.setattr(loading, "load_model", as_a_training_goes_on)
    found = loading.load_newest(run.folder)
    assert asked == [run.newest().folder]  # not the run, whose newest may be another by then
    assert (found.iteration, found.weights) == (1, "averaged")


def test_every_input_has_outputs_of_its_own(trained, tmp_path):
    folder = tmp_path / "in"
    for name in ("a/b/c.png", "a_b/c.png", "a/b_c.png", "a_b_c.jpg", "a_b_c_png.png"):
        picture(folder / name)
    done = translate_files(trained(), [folder], "b", styles=ONE, out=tmp_path / "out", device="cpu")
    outputs = [file for files in done.files.values() for file in files]
    assert len(set(outputs)) == len(done.files) == 5
    assert all(file.is_file() for file in outputs)


def test_what_a_png_cannot_hold_becomes_a_tiff():
    assert _suffix(Path("a.jpg"), Domain("b", 4)) == ".png"
    assert _suffix(Path("a.jpg"), Domain("b", 5)) == ".tif"
    assert _suffix(Path("a.npy"), Domain("b", 5)) == ".npy"
    types = {
        (np.uint8, None): np.uint8,
        (np.uint16, None): np.uint16,
        (np.float32, None): np.uint8,
        (np.int32, None): np.uint8,
        (np.float32, (0.0, 1.0)): np.float32,
        (np.uint8, (0.0, 255.0)): np.uint8,
        (np.uint8, (0.0, 4095.0)): np.uint16,
        (np.uint16, (0.0, 4095.0)): np.uint16,
        (np.uint16, (0.0, 255.0)): np.uint16,
        (np.uint8, (0.0, 1.0)): np.float32,
        (np.uint8, (-1000.0, 1000.0)): np.float32,
    }
    for (dtype, value_range), expected in types.items():
        assert _output_type(np.dtype(dtype), Domain("b", 3, value_range)) == expected
    assert _suffix(Path("a.png"), Domain("b", 3, (0.0, 4095.0))) == ".png"
    assert _suffix(Path("a.png"), Domain("b", 3, (0.0, 1.0))) == ".tif"


@pytest.mark.parametrize(
    ("value_range", "suffix", "dtype"),
    [("[0,1]", ".tif", "float32"), ("[0,4095]", ".png", "uint16")],
)
def test_values_of_the_target_domain_survive(trained, tmp_path, value_range, suffix, dtype):
    run = trained(f"DOMAINS.B.VALUE_RANGE={value_range}")
    file = picture(tmp_path / "a.png")
    done = translate_files(run, [file], "b", styles=ONE, out=tmp_path / "o", device="cpu")
    (output,) = done.files["a.png"]
    assert output.suffix == suffix
    pixels = read_image(output)
    assert pixels.dtype == dtype
    assert len(np.unique(pixels)) > 20


def test_the_grid_and_the_record_are_not_overwritten(trained, tmp_path):
    def translate(name: str, **options):
        file = picture(tmp_path / name)
        return translate_files(trained(), [file], "b", styles=ONE, device="cpu", **options)

    translate("one.png", out=tmp_path / "o", grid=True)
    with pytest.raises(UsageError, match="grid_b.png exists .2 of the outputs do"):
        translate("two.png", out=tmp_path / "o", grid=True)
    translate("two.png", out=tmp_path / "o", grid=True, overwrite=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "--size is the short side in pixels, 1 or more, got 0"),
        ({"out": "{file}"}, "is a file; --out is a folder"),
        ({"styles": StyleChoice(interpolate=-3)}, "--interpolate takes 2 or more steps, got -3"),
        ({"styles": StyleChoice(mean=True)}, "--mean-style is of the --style-image given"),
        ({"styles": StyleChoice(count=0)}, "styles is a number of 1 or more, got 0"),
        ({"styles": StyleChoice(interpolate=4, images=("{file}",))}, "give two --style-image"),
        ({"styles": StyleChoice(interpolate=4, images=("{file}",) * 3)}, "or none; got 3"),
    ],
)
def test_what_cannot_be_meant_is_refused_first(trained, tmp_path, options, message):
    file = picture(tmp_path / "a.png")
    options = {"out": tmp_path / "o", **options}
    if options["out"] == "{file}":
        options["out"] = file
    styles = options.get("styles")
    if styles is not None and styles.images:
        options["styles"] = StyleChoice(images=(file,) * len(styles.images), interpolate=4)
    with pytest.raises(UsageError, match=message):
        translate_files(trained(), [file], "b", device="cpu", **options)
    assert not (tmp_path / "o").exists()


def test_a_folder_of_style_images(trained, tmp_path):
    file = picture(tmp_path / "a.png")
    for name in ("x.png", "y.png"):
        picture(tmp_path / "styles" / name)
    styles = StyleChoice(images=(tmp_path / "styles",))
    out = tmp_path / "o"
    done = translate_files(trained(), [file], "b", styles=styles, out=out, device="cpu")
    assert [f.name for f in done.files["a.png"]] == ["a_b_x.png", "a_b_y.png"]


def test_the_mean_style_of_examples(trained, tmp_path):
    file = picture(tmp_path / "a.png")
    examples = tuple(picture(tmp_path / name) for name in ("x.png", "y.png"))
    found = {}
    for mean in (False, True):
        styles, out = StyleChoice(images=examples, mean=mean), tmp_path / f"o{mean}"
        done = translate_files(trained(), [file], "b", styles=styles, out=out, device="cpu")
        (record,) = json.loads((out / "translations.json").read_text())["images"]
        found[mean] = np.array(record["styles"])
    assert [f.name for f in done.files["a.png"]] == ["a_b_mean.png"]
    np.testing.assert_allclose(found[True], found[False].mean(axis=0, keepdims=True), rtol=1e-5)


def test_nothing_is_left_after_an_error(trained, tmp_path):
    for name in ("1.png", "2.png"):
        picture(tmp_path / "in" / name)
    (tmp_path / "in" / "3.png").write_bytes(b"no image")
    out = tmp_path / "new" / "out"
    with pytest.raises(DataError, match="3.png cannot be read"):
        translate_files(trained(), [tmp_path / "in"], "b", styles=ONE, out=out, device="cpu")
    assert not (tmp_path / "new").exists()
    (tmp_path / "in" / "3.png").unlink()
    translate_files(trained(), [tmp_path / "in"], "b", styles=ONE, out=out, device="cpu")
    before = {file: file.read_bytes() for file in out.iterdir()}
    (tmp_path / "in" / "3.png").write_bytes(b"no image")
    other = StyleChoice(count=1, seed=1)
    with pytest.raises(DataError):
        translate_files(
            trained(), [tmp_path / "in"], "b", styles=other, out=out, overwrite=True, device="cpu"
        )
    assert {file: file.read_bytes() for file in out.iterdir()} == before


def test_the_grid_is_capped_and_shows_the_examples(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("munit_zoo.engine.translate.GRID_ROWS", 2)
    monkeypatch.setattr("munit_zoo.engine.translate.GRID_STYLES", 3)
    monkeypatch.setattr("munit_zoo.engine.translate.GRID_CELL", 8)
    for name in ("1.png", "2.png", "3.png"):
        picture(tmp_path / "in" / name)
    for value in range(4):
        full = np.full((3, 16, 16), 60 * value, np.uint8)
        write_image(tmp_path / f"{value}.png", full)
    examples = StyleChoice(images=tuple(tmp_path / f"{value}.png" for value in range(4)))
    done = translate_files(
        trained(), [tmp_path / "in"], "b", styles=examples, out=tmp_path / "o", grid=True
    )
    grid = read_image(done.grid)
    assert grid.shape == (3, 3 * 10 + 2, 4 * 10 + 2)  # a row of examples, 2 of inputs; 8 + 2 wide
    head = [int(grid[0, 5, 5 + 10 * column]) for column in range(4)]
    assert head == [255, 0, 60, 120]
    assert "the grid shows 2 of 3 inputs, 3 of 4 styles" in done.notes
    between = StyleChoice(images=(tmp_path / "1.png", tmp_path / "2.png"), interpolate=3)
    done = translate_files(
        trained(), [tmp_path / "in"], "b", styles=between, out=tmp_path / "p", grid=True
    )
    head = [int(read_image(done.grid)[0, 5, 5 + 10 * column]) for column in range(4)]
    assert head == [255, 60, 255, 120]


@pytest.mark.parametrize(
    ("styles", "notes"),
    [
        (StyleChoice(count=5, interpolate=3), ["--styles 5 is ignored: --interpolate 3 counts"]),
        (
            StyleChoice(count=5, images=("{file}",)),
            ["--styles 5 is ignored: the styles are those of --style-image"],
        ),
        (StyleChoice(interpolate=3), []),
    ],
)
def test_what_means_nothing_is_said(trained, tmp_path, styles, notes):
    file = picture(tmp_path / "a.png")
    if styles.images:
        styles = StyleChoice(count=styles.count, images=(file,))
    done = translate_files(trained(), [file], "b", styles=styles, out=tmp_path / "o", device="cpu")
    assert list(done.notes) == notes
    assert len(done.files["a.png"]) == (1 if styles.images else 3)


def test_a_size_far_from_trainings_is_said(trained, tmp_path):
    write_image(tmp_path / "large.png", np.zeros((3, 40, 36), np.uint8))
    done = translate_files(
        trained(), [tmp_path / "large.png"], "b", styles=ONE, out=tmp_path / "o", device="cpu"
    )
    (note,) = done.notes
    assert note.startswith("large.png is 40×36 pixels")
    assert "trained on images with a short side of 16" in note
    again = translate_files(
        trained(),
        [tmp_path / "large.png"],
        "b",
        styles=ONE,
        out=tmp_path / "resized",
        size=16,
        device="cpu",
    )
    assert not again.notes


def test_the_last_weights_instead_of_the_average(trained, tmp_path):
    run, file = trained("ENGINE.EMA=0.999", "ENGINE.EMA_WARMUP=false"), picture(tmp_path / "a.png")
    found = {}
    for ema in (True, False):
        out = tmp_path / f"ema{ema}"
        translate_files(run, [file], "b", styles=ONE, out=out, device="cpu", ema=ema)
        found[ema] = torch.from_numpy(read_image(out / "a_b_00.png").astype(int))
        weights = "averaged" if ema else "last"
        assert f'"weights": "{weights}"' in (out / "translations.json").read_text()
    assert (found[True] != found[False]).any()
