"""Shipped configs, by name, from anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from munit_zoo.config import bind, domains_of, list_configs, load_config
from munit_zoo.errors import ConfigError
from munit_zoo.models import rehearse


def test_bases_are_not_listed():
    names = list_configs()
    assert {"munit/shapes", "unit/shapes", "munit/edges2shoes", "unit/summer2winter"} <= set(names)
    assert not any("_base_" in name for name in names)


@pytest.mark.parametrize("name", list_configs())
def test_every_shipped_config_resolves_and_fits(name: str):
    overrides = []
    config = load_config(name)
    if "PERCEPTUAL" in config.LOSSES and config.LOSSES.PERCEPTUAL.WEIGHT:
        overrides.append("LOSSES.PERCEPTUAL=null")  # its weights are not here
    config = load_config(name, *overrides)
    sizes = {d.name: bind("dataset", config.DATA)(d, "train").size for d in domains_of(config)}
    assert rehearse(config, sizes).objective.terms


def test_the_published_settings():
    config = load_config("munit/synthia2cityscapes")
    assert config.LOSSES.CYCLE_RECON.WEIGHT == 10.0
    assert config.LOSSES.PERCEPTUAL.WEIGHT == 1.0
    assert config.LOSSES.PERCEPTUAL.NAME == "domain_invariant_vgg"
    assert config.DATA.CROP == (512, 512)
    plain = load_config("munit/edges2handbags")
    assert plain.LOSSES.CYCLE_RECON.WEIGHT == 0.0
    assert plain.OPTIM.GENERATOR == {
        "NAME": "adam",
        "LR": 1e-4,
        "BETAS": (0.5, 0.999),
        "EPS": 1e-8,
        "WEIGHT_DECAY": 1e-4,
        "FUSED": True,
    }
    assert plain.OPTIM.SCHEDULE == {"NAME": "step", "EVERY": 100_000, "GAMMA": 0.5}


def test_names_work_in_any_folder(tmp_path: Path):
    code = "import munit_zoo as mz; print(mz.load_config('munit/shapes').MODEL.NAME)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "munit"


def test_a_plugin_ships_configs(tmp_path: Path, monkeypatch):
    package = tmp_path / "zoo_extra" / "configs" / "extra"
    package.mkdir(parents=True)
    for folder in (package.parent.parent, package.parent):
        (folder / "__init__.py").write_text("")
    text = "_BASE_: munit/shapes\nSCHEMA_VERSION: 1\nMODEL: {STYLE_DIM: 7}\n"
    (package / "mine.yaml").write_text(text)
    info = tmp_path / "zoo_extra-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-extra\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[munit_zoo.configs]\nextra = zoo_extra.configs\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "extra/mine" in list_configs()
    assert load_config("extra/mine").MODEL.STYLE_DIM == 7
    with pytest.raises(ConfigError, match=r"zoo-extra:extra/mine\.yaml"):
        load_config("zoo-extra:extra/mine", "MODEL.X=1")


def test_the_documentation_names_every_engine_key():
    from munit_zoo.config.settings import EngineSettings

    text = (Path(__file__).resolve().parents[2] / "docs" / "configs.md").read_text()
    for name in EngineSettings.__dataclass_fields__:
        assert f"`{name.upper()}`" in text
