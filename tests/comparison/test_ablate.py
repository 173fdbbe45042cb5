"""Ablations from plan to page."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.comparison import cells as module
from munit_zoo.comparison.ablate import Launch, ablate
from munit_zoo.comparison.cells import CellFolder, Work
from munit_zoo.comparison.cost import Cost
from munit_zoo.comparison.reading import read_plan
from munit_zoo.comparison.table import make_table
from munit_zoo.engine.locks import holding
from munit_zoo.errors import ConfigError, UsageError, WeightsError
from munit_zoo.metrics.classes import ClassScores
from munit_zoo.metrics.fidelity import Fidelity
from munit_zoo.metrics.lpips import LPIPSDiversity
from munit_zoo.metrics.pairs import Pairs
from munit_zoo.registry import load_plugin_file, slot

PLUGIN = Path(__file__).parent / "_brightness.py"
WORK = Work("cpu", plugins=(PLUGIN,))


@pytest.fixture(scope="module", autouse=True)
def plugin():
    load_plugin_file(PLUGIN)


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch):
    """Costs are measured once, for the fixture `done`."""
    cost = Cost(10, 5, 1.0, 0.1, 2, 100, "cpu", 1)
    monkeypatch.setattr("munit_zoo.comparison.ablate.remembered_cost", lambda *_, **__: cost)


SMALL = (
    "MODEL.GENERATOR={NAME: resnet, DIM: 2, BLOCKS: 1, DOWNSAMPLES: 1}",
    "MODEL.DISCRIMINATOR={NAME: patch, DIM: 2, LAYERS: 1}",
    *(f"DATA.{word}" for word in ("SIZE=16", "COUNT=20", "TEST_COUNT=5")),
    *(f"ENGINE.{word}" for word in ("BATCH_SIZE=2", "GRID_EVERY=0", "SNAPSHOT_EVERY=2")),
)


@pytest.fixture(scope="module")
def tree() -> dict:
    """A plan of seconds."""
    return {
        "PLAN_VERSION": 1,
        "BASE": "cyclegan/shapes",
        "SET": list(SMALL),
        "VARIANTS": {"full": [], "no cycle": ["LOSSES.CYCLE_A.WEIGHT=0"]},
        "SEEDS": [0, 1],
        "ITERATIONS": 2,
        "METRICS": {"LIGHT": {"NAME": "brightness"}},
        "COLUMNS": ["light.mean"],
    }


@pytest.fixture(scope="module")
def done(tree, tmp_path_factory):
    """An ablation that ran through, and its folder."""
    out = tmp_path_factory.mktemp("ablations") / "tiny"
    told: list[str] = []
    work = Work("cpu", plugins=(PLUGIN,), tell=told.append)
    return ablate(tree, out, work=work), out, told


def test_what_it_tells_first(done):
    _, _, told = done
    assert told[0].startswith("4 cells, 4 left: about ")
    assert "full (2 seeds, about" in told[0]
    assert "LOSSES.CYCLE_A.WEIGHT=0 (was 10.0)" in told[0]


def test_the_table(done):
    ablation, out, _ = done
    records = [r for r in ablation.table.records() if r["metric"] != "cost"]
    assert {(r["variant"], r["direction"]) for r in records} == {
        (name, way) for name in ("full", "no cycle") for way in ("a2b", "b2a")
    }
    assert {r["score"] for r in records} == {"mean"}  # as COLUMNS says
    base, other = records[0], next(r for r in records if r["variant"] == "no cycle")
    assert base["difference"] is None
    assert other["difference"] == pytest.approx(
        sum(other["seeds"][s] - base["seeds"][s] for s in (0, 1)) / 2
    )
    assert other["low"] < other["difference"] < other["high"]
    assert other["holds_zero"] is (other["low"] <= 0 <= other["high"])
    cost = {r["score"]: r["mean"] for r in ablation.table.records() if r["metric"] == "cost"}
    assert cost["parameters"] > cost["translating_parameters"] > 1000
    assert cost["gflop"] > 0
    assert cost["images_per_second"] > 0
    text = (out / "table.md").read_text()
    assert "floor: input copied" in text
    assert "difference to full, paired by seed, [95 % interval]" in text
    assert "light: extractor none" in text
    written = json.loads((out / "table.json").read_text())
    assert written["records"][0]["seeds"].keys() == {"0", "1"}
    lines = list(csv.DictReader((out / "table.csv").open()))
    assert float(lines[0]["seed_1"]) == base["seeds"][1]
    assert r"\toprule" in (out / "table.tex").read_text()


def test_the_page(done):
    _, out, _ = done
    page = (out / "index.html").read_text()
    assert page.count("<figure>") == 4  # two variants, two directions
    for name in ("grids/00_full_a2b.png", "grids/01_no-cycle_b2a.png", "table.tex"):
        assert name in page
        assert (out / name).is_file()
    assert (out / "plots" / "a2b_light_mean.svg").read_text().count("<circle") == 4
    assert "full, seed 0" in page
    assert "other test images" not in page


def test_what_is_done_is_kept_and_other_metrics_train_nothing(done, tree, monkeypatch):
    _, out, _ = done
    monkeypatch.setattr(module, "train", None)
    assert ablate(tree, out, work=WORK, dry_run=True).preview.left == 0
    short = {**tree, "SEEDS": [0], "METRIC_SEEDS": [0, 1]}
    more = ablate(short, out, work=WORK)
    assert more.preview.left == 2
    assert not more.failed

    def seeds(**changes) -> list[int | None]:
        plan = read_plan({**tree, **changes})
        return [r.seed for r in CellFolder.of(out, plan.cells[0]).records(plan)]

    assert seeds(METRIC_SEEDS=[0, 1]) == [0, 1]
    assert seeds() == [0]
    assert not seeds(METRIC_SEEDS=[2])
    assert not seeds(METRICS={"DARK": {"NAME": "brightness"}})
    assert not seeds(METRICS={"LIGHT": {"NAME": "brightness", "INPUTS": 3}})


def test_variants_of_other_data_are_scored_on_the_same(tree, tmp_path):
    """What learns from pairs has test images of its own, unless SCORED_ON says which."""
    paired = {"full": [], "pairs": ["DATA.PAIRED=true"]}
    mixed = {**tree, "SEEDS": [0], "VARIANTS": paired}
    found = ablate(mixed, tmp_path, work=WORK)
    assert "other test images than the first" in found.page.read_text()
    apart = found.table
    assert {variant for _, variant, _, _ in apart.scores} == {"full"}
    assert any("differs in data.a, data.b" in note for note in apart.notes)
    found = ablate({**mixed, "SCORED_ON": ["DATA.PAIRED=false"]}, tmp_path, work=WORK)
    assert "other test images" not in found.page.read_text()
    alike = found.table
    assert {variant for _, variant, _, _ in alike.scores} == {"full", "pairs"}


def test_a_changed_config_is_a_new_cell(done, tree):
    _, out, _ = done
    new = {**tree, "ITERATIONS": 3, "SEEDS": [0]}
    ahead = ablate(new, out, work=WORK, dry_run=True)
    assert ahead.preview.left == 2
    assert ahead.table is None


def test_made_anew_from_results_alone(done, tree, monkeypatch):
    _, out, _ = done
    first = ablate(tree, out, work=WORK, remake=True).table.records()
    for file in ("table.json", "index.html"):
        (out / file).unlink()
    monkeypatch.setattr(module, "train", None)
    monkeypatch.setattr(module, "evaluate", None)
    again = ablate(tree, out, work=WORK, remake=True)
    assert again.table.records() == first
    assert (out / "index.html").is_file()
    with pytest.raises(UsageError, match="holds no results of an ablation"):
        ablate(tree, out / "nowhere", work=WORK, remake=True)


def test_from_python(done, tree):
    _, out, _ = done
    mz.load_plugin(PLUGIN)
    records = mz.ablate(tree, out=out, device="cpu")
    assert records[0]["variant"] == "full"
    assert records[0]["n"] == 2


def test_a_cell_that_fails_does_not_stop_the_others(tree, tmp_path, monkeypatch):
    tree = {**tree, "SEEDS": [0], "METRICS": {"LIGHT": {"NAME": "brightness"}}}
    told: list[str] = []
    original = module.train

    def train(resolved, folder, **settings):
        if "no-cycle" in str(folder):
            raise RuntimeError("out of luck")
        return original(resolved, folder, **settings)

    monkeypatch.setattr(module, "train", train)
    work = Work("cpu", plugins=(PLUGIN,), tell=told.append)
    found = ablate(
        {**tree, "VARIANTS": dict(reversed(tree["VARIANTS"].items()))}, tmp_path, work=work
    )
    assert len(found.failed) == 1
    assert "no cycle, seed 0: RuntimeError: out of luck" in found.failed[0]
    assert "2 attempts" in found.failed[0]
    assert sum("again" in line for line in told) == 1
    assert "Failed" in found.page.read_text()
    assert found.table.missing == ("no cycle, seed 0 (failed)",)
    assert {r["variant"] for r in found.table.records() if r["metric"] != "cost"} == {"full"}
    monkeypatch.setattr(module, "train", original)
    assert not ablate(found.plan.tree, tmp_path, work=work).failed


def test_a_cell_that_another_process_works_on_is_left_to_it(tree, tmp_path):
    plan = read_plan(tree)
    place = CellFolder.of(tmp_path, plan.cells[0])
    place.folder.mkdir(parents=True)
    with holding(place.folder / "cell.lock"):
        assert module.work_on(plan, plan.cells[0], tmp_path, WORK) == "busy"
    assert not place.state()


def test_everything_is_tried_before_anything_is_trained(tree, tmp_path, monkeypatch):
    monkeypatch.delenv("MUNIT_ZOO_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    bad = {**tree, "VARIANTS": {"full": [], "deep": ["MODEL.DISCRIMINATOR.LAYERS=5"]}}
    bad["METRICS"] = {"LPIPS": {"NAME": "lpips"}}
    with pytest.raises(ConfigError) as caught:
        ablate(bad, tmp_path / "out", work=WORK)
    assert "VARIANTS.deep" in str(caught.value)
    assert "alexnet" in str(caught.value)
    assert "SHA-256" in str(caught.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="--jobs is 1 or more"):
        ablate(tree, tmp_path, Launch(jobs=0), WORK)


def test_a_variant_of_another_protocol_has_no_place_in_the_column(done, tree):
    _, out, _ = done
    plan = read_plan(tree)
    found = {
        v.name: {c.seed: CellFolder.of(out, c).records(plan) for c in plan.of(v)}
        for v in plan.variants
    }
    found["no cycle"] = {
        seed: [replace(r, report=replace(r.report, protocol={"inputs": 9})) for r in records]
        for seed, records in found["no cycle"].items()
    }
    table = make_table(found, name="x")
    assert {variant for _, variant, _, _ in table.scores} == {"full"}
    assert any("light of no cycle is left out" in note for note in table.notes)
    assert any("protocol.inputs" in note for note in table.notes)


def test_commands_to_print(tree, tmp_path, capsys):
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps({**tree, "SEEDS": [0]}))
    base = ["ablate", str(plan), "--plugin", str(PLUGIN), "--device", "cpu"]
    assert main([*base, "--out", str(tmp_path / "o"), "--launcher", "print"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "--cell no-cycle_0_" in lines[1]
    words = lines[1].split()
    assert words[:2] == ["munit-zoo", "ablate"]
    assert main(words[1:]) == 0
    assert main([*base, "--out", str(tmp_path / "o"), "--launcher", "print"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main([*base, "--out", str(tmp_path / "o"), "--cell", "nobody"]) == 2
    assert "the plan has no cell 'nobody'" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_and_started_again(tree, tmp_path):
    """Killed without warning amid training: the next call goes on from the newest snapshot."""
    plan = tmp_path / "plan.json.yaml"
    words = [*tree["SET"], "ENGINE.SNAPSHOT_EVERY=10"]
    plan.write_text(json.dumps({**tree, "SET": words, "SEEDS": [0], "ITERATIONS": 150}))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "munit_zoo", "ablate", str(plan), "--out", str(out)]
    command += ["--plugin", str(PLUGIN), "--device", "cpu"]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    made = read_plan(plan)
    place = CellFolder.of(out, made.cells[0])
    until = time.time() + 120
    while place.iteration() < 20 and time.time() < until:
        time.sleep(0.2)
    child.send_signal(signal.SIGKILL)
    child.wait()
    reached = place.iteration()
    assert 20 <= reached < 150
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"iteration {reached} to 150" in done.stderr
    assert "page:" in done.stdout


@pytest.mark.slow
def test_two_processes_share_the_cells(tree, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps(tree))
    command = ["ablate", str(plan), "--out", str(tmp_path / "o"), "--jobs", "2", "--device", "cpu"]
    assert main([*command, "--plugin", str(PLUGIN)]) == 0
    made = read_plan(plan)
    states = [CellFolder.of(tmp_path / "o", cell).state() for cell in made.cells]
    assert [state["attempts"] for state in states] == [1, 1, 1, 1]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is not installed")
def test_by_submitit(tree, tmp_path):
    launch = Launch("submitit", cluster="local", options={"timeout_min": 5})
    told: list[str] = []
    work = Work("cpu", plugins=(PLUGIN,), tell=told.append)
    found = ablate({**tree, "SEEDS": [0]}, tmp_path, launch, work)
    assert not found.failed
    assert "full, seed 0: done" in told
    with pytest.raises(UsageError, match="--option: Parameter 'timeot'"):
        ablate(
            {**tree, "SEEDS": [3]},
            tmp_path,
            Launch("submitit", cluster="local", options={"timeot": 5}),
            work,
        )


def test_submitit_where_it_is_not(tree, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r"munit-zoo\[slurm\]"):
        ablate({**tree, "SEEDS": [0]}, tmp_path, Launch("submitit"), WORK)


def test_metrics_say_what_they_lack(tmp_path, monkeypatch):
    monkeypatch.delenv("MUNIT_ZOO_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for metric in (
        LPIPSDiversity(),
        Pairs(),
        Fidelity(extractor=slot("torchvision", model="vgg16")),
        ClassScores(classifier={"B": str(tmp_path / "none.safetensors")}),
    ):
        with pytest.raises(WeightsError):
            metric.check()
    with pytest.raises(UsageError, match="classifier train"):
        ClassScores().check()
    Pairs(net="none").check()
