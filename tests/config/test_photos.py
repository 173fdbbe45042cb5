"""The configs to start from for photographs: they check, and train on two folders of any images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.config import load_config
from munit_zoo.errors import DataError, UsageError

SIZES = [(90, 120), (128, 80), (75, 75), (300, 110)]


@pytest.fixture
def folders(tmp_path) -> list[str]:
    """Small photographs of many shapes, as overrides; one file is broken."""
    rng = np.random.default_rng(0)
    for domain, tint in (("a", (60, 20, 0)), ("b", (0, 20, 60))):
        folder = tmp_path / domain
        folder.mkdir()
        for index, (height, width) in enumerate(SIZES * 3):
            noise = rng.integers(0, 190, (height // 15 + 1, width // 15 + 1, 3), dtype=np.uint8)
            image = Image.fromarray(noise + np.asarray(tint, np.uint8)).resize((width, height))
            image.save(folder / f"{index}.jpg")
    (tmp_path / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return [f"DATA.FOLDERS.{d}={Path(tmp_path / d.lower())}" for d in "AB"]


@pytest.mark.parametrize("name", ["munit/photos_64", "munit/photos_256"])
def test_they_check(name, folders, capsys):
    assert main(["config", "check", name, *folders, "--data", "all"]) == 0


def test_photos_64_trains(folders, tmp_path, capsys):
    small = ["MODEL.CONTENT_ENCODER.DIM=4", "MODEL.STYLE_ENCODER.DIM=4"]
    small += ["MODEL.DISCRIMINATOR.DIM=4", "ENGINE.ITERATIONS=2", "ENGINE.WORKERS=0"]
    small += ["ENGINE.DISPLAY=1", "ENGINE.BATCH_SIZE=2"]
    run = tmp_path / "run"
    command = ["train", "munit/photos_64", *folders, *small, "--run", str(run), "--device", "cpu"]
    assert main(command) == 0
    image = tmp_path / "a" / "0.jpg"
    assert main(["translate", str(run), str(image), "--to", "b", "--styles", "2"]) == 0


def test_folders_given_one_by_one_stand_beside_each_other():
    folders = ["DATA.FOLDERS.A=/one", "DATA.FOLDERS.B=/two"]
    config = load_config("munit/edges2shoes", *folders)
    assert config.DATA.FOLDERS == {"A": "/one", "B": "/two"}


def test_domains_of_other_names_need_nothing_taken_away(folders, capsys):
    folders = [word.replace(".A=", ".DAY=").replace(".B=", ".NIGHT=") for word in folders]
    words = ["config", "check", "munit/photos_64", "DOMAINS={DAY: {}, NIGHT: {}}", *folders]
    assert main([*words, "--data"]) == 0
    assert main([*words, "DATA.FOLDERS.A=x"]) == 2
    assert "DATA.FOLDERS.A=null takes away" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "convert", "channels"), [("L", "rgb", 3), ("RGBA", "rgb", 3), ("CMYK", "gray", 1)]
)
def test_images_read_from_python_are_converted_as_asked(tmp_path, mode, convert, channels):
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.new(mode, (6, 5)).save(path)
    assert mz.read_image(path, convert=convert).shape == (1, channels, 5, 6)
    with pytest.raises(UsageError, match="'none', 'rgb' or 'gray', got 'grey'"):
        mz.read_image(path, convert="grey")


def test_what_cannot_be_saved_is_said(tmp_path):
    with pytest.raises(UsageError, match="got ndarray: write torch.from_numpy"):
        mz.save_image(tmp_path / "x.png", np.zeros((3, 4, 4), np.float32))
    with pytest.raises(DataError, match="cannot be written: "):
        mz.save_image(tmp_path / "absent" / "x.png", torch.zeros(3, 4, 4))
