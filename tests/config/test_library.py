"""Shipped configs, by name, from anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from munit_zoo.config import bind, domains_of, list_configs, load_config
from munit_zoo.errors import BrokenComponentError, ConfigError
from munit_zoo.models import rehearse


def test_bases_are_not_listed():
    names = list_configs()
    assert {"munit/shapes", "unit/shapes", "munit/edges2shoes", "unit/summer2winter"} <= set(names)
    assert not any("_base_" in name for name in names)


LIKE_OTHERS = ("afhq_dog2cat", "edges2shoes", "summer2winter_hd")
SLOW = [f"imaginaire_munit/{name}" for name in LIKE_OTHERS]
SHIPPED = [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in list_configs()]


@pytest.mark.parametrize("name", SHIPPED)
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
    assert plain.OPTIM.DEFAULT == {
        "NAME": "adam",
        "LR": 1e-4,
        "BETAS": (0.5, 0.999),
        "EPS": 1e-8,
        "WEIGHT_DECAY": 1e-4,
        "FUSED": True,
    }
    assert plain.OPTIM.SCHEDULE == {
        "NAME": "step",
        "EVERY": 100_000,
        "GAMMA": 0.5,
        "EARLY": True,
        "UNIT": "iterations",
    }


@pytest.mark.parametrize("name", ["starganv2/afhq", "starganv2/celeba_hq"])
def test_starganv2_crops_half_of_its_images_as_published(name: str):
    assert load_config(name).DATA.RESIZED_CROP == 0.5


def test_names_work_in_any_folder(tmp_path: Path):
    code = "import munit_zoo as mz; print(mz.load_config('munit/shapes').MODEL.NAME)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "munit"


def shelf(site: Path, name: str, code: str = "", *, point: str = "", requires: str = "") -> None:
    """An installed distribution that ships the config `extra/<name>`."""
    module = name.replace("-", "_")
    package = site / module / "configs" / "extra"
    package.mkdir(parents=True)
    for folder in (package.parent.parent, package.parent):
        (folder / "__init__.py").write_text(code)
    text = "_BASE_: munit/shapes\nSCHEMA_VERSION: 2\nMODEL: {STYLE_DIM: 7}\n"
    (package / f"{name}.yaml").write_text(text)
    info = site / f"{module}-1.dist-info"
    info.mkdir()
    demand = f"Requires-Dist: {requires}\n" if requires else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{demand}")
    points = f"[munit_zoo.configs]\nextra = {point or f'{module}.configs'}\n"
    (info / "entry_points.txt").write_text(points)


@pytest.fixture
def site(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_plugin_ships_configs(site: Path):
    shelf(site, "zoo-extra")
    assert "extra/zoo-extra" in list_configs()
    assert load_config("extra/zoo-extra").MODEL.STYLE_DIM == 7
    with pytest.raises(ConfigError, match=r"zoo-extra:extra/zoo-extra\.yaml"):
        load_config("zoo-extra:extra/zoo-extra", "MODEL.X=1")


@pytest.mark.parametrize("code", ["raise SystemExit(9)", "raise RuntimeError", "import torch"])
def test_a_shelf_is_found_without_running_its_package(site: Path, code: str):
    shelf(site, "zoo-runs", code)
    command = "import sys, munit_zoo as mz; mz.load_config('extra/zoo-runs')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", f"{command}; sys.exit('zoo_runs' in sys.modules)"],
        env=environment,
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"point": "zoo_nowhere.configs"}, "the package zoo_nowhere.configs, which has no folder"),
        ({"point": "zoo_bad.nope"}, "the package zoo_bad.nope, which has no folder"),
        ({"requires": "munit-zoo>=99"}, "needs munit-zoo>=99; this is munit-zoo 0.1"),
    ],
)
def test_a_broken_shelf_is_told_to_who_asks_for_it(site: Path, monkeypatch, options, why):
    shelf(site, "zoo-bad", **options)
    assert load_config("munit/shapes").MODEL.NAME == "munit"
    assert "extra/zoo-bad" not in list_configs()
    for name in ("extra/zoo-bad", "zoo-bad:extra/zoo-bad"):
        with pytest.raises(ConfigError, match=f"The configs of zoo-bad 1 cannot be used.*{why}"):
            load_config(name)
    monkeypatch.setenv("MUNIT_ZOO_STRICT_PLUGINS", "1")
    with pytest.raises(BrokenComponentError, match=f"^MUNIT_ZOO_STRICT_PLUGINS is set .*{why}"):
        load_config("munit/shapes")


def test_a_config_that_two_plugins_ship_is_listed_as_it_must_be_written(site: Path):
    for name in ("zoo-first", "zoo-second"):
        shelf(site, name)
        (site / name.replace("-", "_") / "configs/extra/same.yaml").write_text(
            "_BASE_: munit/shapes\nSCHEMA_VERSION: 2\n"
        )
    spelled = {name for name in list_configs() if name.endswith("extra/same")}
    assert spelled == {"zoo-first:extra/same", "zoo-second:extra/same"}
    assert all(load_config(name) for name in spelled)


def test_the_documentation_names_every_engine_key():
    from munit_zoo.config.settings import EngineSettings

    text = (Path(__file__).resolve().parents[2] / "docs" / "configs.md").read_text()
    for name in EngineSettings.__dataclass_fields__:
        assert f"`{name.upper()}`" in text
