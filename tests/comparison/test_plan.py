"""Plans: what they say, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from munit_zoo.cli import main
from munit_zoo.comparison.reading import read_plan
from munit_zoo.config import list_configs, list_plans, load_config
from munit_zoo.errors import ConfigError

PLAN = {
    "PLAN_VERSION": 1,
    "BASE": "munit/shapes",
    "VARIANTS": {"full": [], "no style": ["LOSSES.STYLE_RECON.WEIGHT=0"]},
    "SEEDS": [0, 1],
    "ITERATIONS": 7,
}


def plan(**changes):
    return read_plan({**PLAN, **changes})


def test_cells_are_variants_times_grid_times_seeds():
    made = plan(GRID={"MODEL.STYLE_DIM": [2, 8]}, VARIANTS={"full": [], "unlike": ["DATA.SIZE=16"]})
    assert [v.name for v in made.variants] == [
        "full STYLE_DIM=2",
        "full STYLE_DIM=8",
        "unlike STYLE_DIM=2",
        "unlike STYLE_DIM=8",
    ]
    assert len(made.cells) == 8
    last = made.cells[-1].config
    assert (last.MODEL.STYLE_DIM, last.DATA.SIZE, last.ENGINE.SEED) == (8, 16, 1)
    assert last.ENGINE.ITERATIONS == 7
    assert made.base.name == "full STYLE_DIM=2"
    grid = plan(VARIANTS=None, GRID={"MODEL.DECODER.UPSAMPLE_NORM": [{"NAME": "instance"}]})
    assert [v.name for v in grid.variants] == ["UPSAMPLE_NORM=instance"]


def test_a_cell_is_its_config_without_metrics():
    keys = [cell.key for cell in plan().cells]
    assert len(set(keys)) == 4
    other = plan(METRICS={"SHAPES": {"NAME": "shapes", "INPUTS": 3}})
    assert other.cells[0].config.METRICS.SHAPES.INPUTS == 3
    assert [cell.key for cell in other.cells] == keys
    assert not set(keys) & {cell.key for cell in plan(ITERATIONS=8).cells}


def test_variants_may_have_another_config_and_paths_are_the_plans(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("_BASE_: unit/shapes\nSCHEMA_VERSION: 2\n")
    file = tmp_path / "sub" / "plan.yaml"
    file.parent.mkdir()
    file.write_text(
        "PLAN_VERSION: 1\nBASE: ../mine.yaml\nSEEDS: [3]\n"
        "VARIANTS:\n  full: []\n  small: {BASE: ../mine.yaml, SET: [DATA.SIZE=16]}\n"
        "  munit: {BASE: munit/shapes}\n"
    )
    made = read_plan(file)
    assert made.name == "plan"
    assert [cell.config.MODEL.NAME for cell in made.cells] == ["unit", "unit", "munit"]
    again = read_plan(dict(made.tree))
    assert [cell.key for cell in again.cells] == [cell.key for cell in made.cells]


def test_every_problem_of_every_cell_at_once(tmp_path: Path):
    file = tmp_path / "plan.yaml"
    file.write_text(
        "PLAN_VERSION: 1\nBASE: munit/shapes\n"
        "VARIANTS:\n  full: []\n  one: [LOSSES.STYLE_RECON.WIEGHT=0]\n  two: [MODEL.NAME=munti]\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_plan(file)
    text = str(caught.value)
    assert "VARIANTS.one: LOSSES.STYLE_RECON.WIEGHT" in text
    assert "WEIGHT" in text
    assert f"{file}:5" in text
    assert "VARIANTS.two: MODEL.NAME" in text
    assert "'munit'" in text
    assert text.count("WIEGHT=0") == 1  # once, not once a seed


def test_equal_cells_are_refused():
    twice = {"full": [], "again": [], "loud": ["ENGINE.LOG_EVERY=3"]}
    with pytest.raises(ConfigError, match="again.*is the same training as 'full'"):
        plan(VARIANTS=twice)
    nothing = {"zero": ["LOSSES.STYLE_RECON.WEIGHT=0"], "gone": ["LOSSES.STYLE_RECON=null"]}
    with pytest.raises(ConfigError, match="gone.*is the same training as 'zero'"):
        plan(VARIANTS=nothing)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"VARIANT": {}}, "VARIANT.*is no key of a plan. Did you mean 'VARIANTS'"),
        ({"PLAN_VERSION": 2}, "PLAN_VERSION: is 2: write PLAN_VERSION: 1"),
        ({"BASE": None}, "BASE: is missing"),
        ({"SEEDS": []}, "SEEDS: is empty"),
        ({"SEEDS": [1, 1]}, "SEEDS.*lists 1 twice"),
        ({"SEEDS": [-1]}, "SEEDS.*numbers from 0 on, got -1"),
        ({"SEEDS": 3}, "SEEDS.*is a list, got 3"),
        ({"ITERATIONS": 0}, "ITERATIONS.*1 or more"),
        ({"GRID": {"MODEL.STYLE_DIM": 4}}, r"GRID.MODEL.STYLE_DIM.*lists values, as .*\[1, 2\]"),
        ({"VARIANTS": {"x": "A=1"}}, r"VARIANTS.x.*list of overrides, as \[KEY=VALUE\]"),
        ({"VARIANTS": {"x": {"OVERRIDES": []}}}, "VARIANTS.x.OVERRIDES.*is not BASE or SET"),
        ({"METRICS": {"S": {"NAME": "shape"}}}, "METRICS.S.NAME.*'shapes'"),
        ({"METRICS": {}}, "has no METRICS"),
        ({"BASE": "munit/shape"}, "no config is called 'munit/shape'"),
        ({"COLUMNS": "shapes.shape"}, "COLUMNS.*is a list"),
        ({"SCORED_ON": ["MODEL.STYLE_DIM=1"]}, "SCORED_ON.*overrides DATA alone"),
        ({"SCORED_ON": ["DATA.PARED=false"]}, "DATA.PARED.*PAIRED"),
    ],
)
def test_what_is_wrong_is_said(changes, said):
    with pytest.raises(ConfigError, match=said):
        plan(**changes)


@pytest.mark.parametrize("name", list_plans())
def test_shipped_plans_are_sound(name: str):
    made = read_plan(name)
    assert len(made.variants) > 3
    assert len(made.seeds) >= 3
    assert made.about


def test_plans_are_no_configs_and_are_found_by_name(capsys):
    assert "paper_table1" in list_plans()
    assert not [name for name in list_configs() if name.startswith("ablations")]
    with pytest.raises(ConfigError, match="munit-zoo ablate ablations/norms"):
        load_config("ablations/norms")
    with pytest.raises(ConfigError, match="no plan is called 'paper'.*paper_table1"):
        read_plan("paper")
    assert read_plan("ablations/norms").name == "norms"
    assert main(["list", "plans", "p*"]) == 0
    assert capsys.readouterr().out.split() == ["paper_table1", "perceptual"]


def test_overrides_are_the_plans_or_the_configs():
    words = ["SEEDS=[5]", "METRICS.SHAPES.INPUTS=9", "DATA.SIZE=16", "DATA.COUNT=30"]
    made = read_plan("paper_table1", words)
    assert made.seeds == (5,)
    config = made.cells[-1].config
    assert (config.METRICS.SHAPES.INPUTS, config.DATA.SIZE, config.DATA.COUNT) == (9, 16, 30)
    assert read_plan(dict(made.tree)).cells[0].key == made.cells[0].key
    with pytest.raises(ConfigError, match="an override is KEY=VALUE, got 'SEEDS'"):
        read_plan("norms", ["SEEDS"])
    with pytest.raises(ConfigError, match="DATA.SIZ"):
        read_plan("norms", ["DATA.SIZ=3"])
