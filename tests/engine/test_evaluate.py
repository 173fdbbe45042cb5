"""Evaluation into results files, and the tables made of them."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from munit_zoo.engine import evaluate as module
from munit_zoo.engine.evaluate import EvaluationChoice, evaluate
from munit_zoo.engine.results import Record, add_to_results, read_results, render, tables
from munit_zoo.engine.runs import resolve_config
from munit_zoo.engine.train import train
from munit_zoo.errors import ConfigError, UsageError
from munit_zoo.metrics.report import COPIED, MODEL, Column, averaged, tabulated

PAIRS = ("METRICS.PAIRS.NET=none",)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny) -> list[Path]:
    """Two runs that differ in the seed."""
    folders = [tmp_path_factory.mktemp("runs") / f"tiny_{seed}" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        words = [*tiny, f"ENGINE.SEED={seed}", "ENGINE.ITERATIONS=2"]
        train(resolve_config("munit/shapes", words), folder, device="cpu")
    return folders


def choice(**settings) -> EvaluationChoice:
    """Pairs of shapes: of one name across domains only by chance of their numbers, so renamed."""
    return EvaluationChoice(metrics=("pairs",), overrides=PAIRS, **settings)


@pytest.fixture(autouse=True)
def named_alike(monkeypatch):
    """Shapes of one number are taken for a pair."""
    from munit_zoo.data.shapes import Shapes

    monkeypatch.setattr(Shapes, "name", lambda self, index: f"{index:06d}")


def test_a_results_file_says_everything(runs, tmp_path):
    out = tmp_path / "results.json"
    reports = evaluate(runs, choice(seeds=(0, 1), styles=2), device="cpu", out=out)
    assert [report.title for report in reports] == ["Pairs", "Pairs"]
    assert "±" in reports[0].rows[1].cells[0]
    records = read_results(out)
    assert [(Path(r.run).name, r.seed) for r in records] == [
        (f"tiny_{run}", seed) for run in (0, 1) for seed in (0, 1)
    ]
    record = records[0]
    assert record.settings["STYLES"] == 2
    assert record.config_sha256 != records[2].config_sha256
    assert record.variant_sha256 == records[2].variant_sha256
    assert record.model_sha256 != records[2].model_sha256
    assert record.report.protocol["styles"] == 2
    assert record.data["a"]["images"] == 5
    assert set(record.versions) >= {"munit_zoo", "torch", "python", "timm"}
    assert (record.iteration, record.weights, record.recipe) == (2, "averaged", "munit")
    assert json.loads(out.read_text())["results_format"] == 1
    page = (runs[0] / "index.html").read_text()
    assert "Pairs" in page
    assert COPIED in page


def test_what_is_done_is_not_done_again(runs, tmp_path, monkeypatch):
    out = tmp_path / "results.json"
    evaluate(runs[0], choice(seeds=(0,)), device="cpu", out=out)
    first = out.read_text()
    calls = []
    original = module.bind

    def counting(kind, node, *rest):
        if kind == "metric":
            calls.append(node.SEED)
        return original(kind, node, *rest)

    monkeypatch.setattr(module, "bind", counting)
    told: list[str] = []
    evaluate(runs[0], choice(seeds=(0, 1)), device="cpu", out=out, progress=told.append)
    assert calls == [1]
    assert any("already" in text for text in told)
    assert json.loads(first)["results"][0] in json.loads(out.read_text())["results"]


def test_the_same_numbers_twice(runs):
    one, other = (evaluate(runs[0], choice(), device="cpu")[0].scores for _ in range(2))
    assert one == other


def test_everything_is_checked_first(runs, tmp_path):
    with pytest.raises(UsageError, match="no metric 'pairz'.* Did you mean 'pairs'"):
        evaluate(runs, EvaluationChoice(metrics=("pairz",)), device="cpu")
    with pytest.raises(UsageError, match="no METRICS; say which with --metrics: .*lpips"):
        evaluate(runs, device="cpu")
    with pytest.raises(ConfigError, match=r"METRICS.PAIRS.STYLE .*STYLES"):
        evaluate(
            runs[0],
            EvaluationChoice(metrics=("pairs",), overrides=("METRICS.PAIRS.STYLE=3",)),
            device="cpu",
        )
    with pytest.raises(ConfigError, match=r"MODEL.STYLE_DIM .*METRICS and DATA alone"):
        evaluate(runs[0], EvaluationChoice(overrides=("MODEL.STYLE_DIM=3",)), device="cpu")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UsageError, match="is no results file"):
        evaluate(runs[0], choice(), device="cpu", out=tmp_path / "other.json")
    (tmp_path / "new.json").write_text('{"results_format": 9, "results": []}')
    with pytest.raises(UsageError, match="results format 9; this munit_zoo reads 1"):
        read_results(tmp_path / "new.json")


# Tables of results


def record(run: str, value: float, *, seed: int = 0, training: int = 0, **protocol) -> Record:
    scores = {"a2b": {MODEL: {"x": value, "y": math.nan}, COPIED: {"x": 0.5}}}
    report = tabulated(
        "Thing",
        [Column("x", "X_y", "lower", 2), Column("y", "Y")],
        scores,
        protocol={"styles": 3, "weights": [{"file": "w.pth", "sha256": "ab" * 32}], **protocol},
    )
    return Record(
        key=f"{run}{seed}",
        metric="thing",
        component="thing",
        settings={},
        seed=seed,
        run=f"runs/{run}",
        recipe="munit",
        iteration=10,
        weights="last",
        model_sha256=run,
        config_sha256=run * 8,
        variant_sha256=run.rstrip("0123456789"),
        training_seed=training,
        data={"a": {"images": 4}},
        device="cpu",
        report=report,
        seconds=1.0,
        versions={"torch": "2"},
    )


def test_seeds_become_means_and_deviations():
    several = [record("one1", 1.0, training=1), record("one2", 3.0, training=2)]
    (table,) = tables([*several, record("two", 5.0), record("two", 6.0, seed=1)])
    assert list(table.rows) == ["one (2 seeds)", "two", COPIED]
    first, second = table.rows["one (2 seeds)"][0], table.rows["two"][0]
    assert (first.mean, first.deviation, first.count) == (2, pytest.approx(math.sqrt(2)), 2)
    assert (second.mean, second.count) == (5.5, 2)
    assert table.models == ("one (2 seeds)", "two")


def test_other_protocols_do_not_share_a_column():
    mixed = [record("one", 1.0), record("two", 2.0, styles=19)]
    with pytest.raises(UsageError) as caught:
        tables(mixed)
    expected = ("cannot share a column", "protocol.styles is 3 there and 19 here", "--separate")
    for part in ("runs/one", "runs/two", *expected):
        assert part in str(caught.value)
    apart = tables(mixed, separate=True)
    assert [next(iter(table.rows)) for table in apart] == ["one", "two"]
    assert "protocol 2 of 2" in apart[1].title
    other = replace(record("two", 2.0), data={"a": {"images": 5}})
    with pytest.raises(UsageError, match=r"data.a is .*4.* there and .*5"):
        tables([record("one", 1.0), other])


def test_forms():
    found = tables([record("one", 1.234), record("two", 2.0), record("two", 3.0, seed=1)])
    markdown = render(found, "md")
    assert "| **one** | 1.23 | – |" in markdown
    assert "| **two** | 2.50 ± 0.71 | – |" in markdown
    assert "w.pth (SHA-256 abababababab…)" in markdown
    page = render(found, "html")
    assert "<td>2.50 ± 0.71</td>" in page
    assert "X_y ↓" in page
    lines = list(csv.DictReader(io.StringIO(render(found, "csv"))))
    assert [(line["row"], line["score"], line["mean"]) for line in lines[:1]] == [
        ("one", "x", "1.234")
    ]
    assert json.loads(lines[0]["protocol"])["protocol.styles"] == 3
    latex = render(found, "latex")
    assert r"\textbf{two} & 2.50 $\pm$ 0.71 & -- \\" in latex
    assert r"X\_y $\downarrow$" in latex


def test_results_files_are_json_to_the_letter(tmp_path):
    file = tmp_path / "deep" / "results.json"
    for value in (1.0, 2.0):
        add_to_results(file, record("one", value))
    add_to_results(file, record("two", 3.0))

    def no_words(word):
        raise AssertionError(word)

    json.loads(file.read_text(), parse_constant=no_words)
    read = read_results(file)
    assert [r.report.scores["a2b"][MODEL]["x"] for r in read] == [2.0, 3.0]
    assert math.isnan(read[0].report.scores["a2b"][MODEL]["y"])
    assert tables(read)


def test_averaged_keeps_one_report_as_it_is():
    report = record("one", 1.0).report
    assert averaged([report]) is report


def test_a_metric_of_ones_own_name(runs, tmp_path):
    """Named on the command line alone, and told apart from others of its kind."""
    words = ("METRICS.NEAR={NAME: pairs, NET: none, STYLES: 2}",)
    chosen = EvaluationChoice(metrics=("near",), overrides=words)
    (report,) = evaluate(runs[0], chosen, device="cpu", out=tmp_path / "r.json")
    assert report.title == "Pairs (near)"
    assert tables(read_results(tmp_path / "r.json"))[0].title.startswith("Pairs (near), A → B")
