"""The bench: what it plans, what it measures, what it says where it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from munit_zoo.bench import run as runner
from munit_zoo.bench.measure import Timing, measure_peaks, take_turns
from munit_zoo.bench.original import original_arm
from munit_zoo.bench.plan import Arm, Request, plan_arms
from munit_zoo.bench.report import (
    Result,
    Row,
    compare_results,
    read_result,
    save_plot,
    to_markdown,
)
from munit_zoo.bench.run import run
from munit_zoo.bench.work import Work, build_work, training_flop
from munit_zoo.cli import main
from munit_zoo.config import load_config
from munit_zoo.errors import UsageError
from munit_zoo.models import rehearse

CPU = torch.device("cpu")
QUICK = ("--seconds", "0", "--rounds", "2")

ARM_KEYS = {
    "config",
    "mode",
    "batch",
    "size",
    "precision",
    "compile",
    "channels_last",
    "reference",
    "seconds_median",
    "seconds_spread",
    "images_per_second",
    "peak_memory_bytes",
    "gflop",
    "peak_share",
    "speedup_vs_reference",
    "error",
}


# Planning


def test_without_arguments_published_munit_against_the_reference():
    arms = plan_arms(Request(reference=True), "cpu")
    assert {arm.config for arm in arms} == {"munit/edges2shoes"}
    assert [arm.label for arm in arms if arm.mode == "train"] == ["reference fp32", "fp32", "bf16"]
    on_cuda = plan_arms(Request(reference=True), "cuda")
    assert [arm.label for arm in on_cuda if arm.mode == "translate"] == [
        "reference fp32",
        "reference tf32",
        "fp32",
        "tf32",
        "bf16",
    ]


def test_every_combination_is_an_arm():
    request = Request(
        configs=("munit/shapes",),
        modes=("train",),
        batches=(1, 2),
        precisions=("fp32",),
        compiles=("off", "default"),
        channels_last=(False, True),
        vary=(("ENGINE.SHARE", ("derived", "fakes")),),
    )
    arms = plan_arms(request, "cpu")
    assert len(arms) == 2 * 2 * 2 * 2
    assert len({arm.group for arm in arms}) == 2
    assert arms[-1].label == "fp32 · compiled · channels_last · ENGINE.SHARE=fakes"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"modes": ("trian",)}, "--mode 'trian': choose of train, .* Did you mean 'train'"),
        ({"precisions": ("fp16",)}, "--precision 'fp16': choose of fp32, tf32, bf16"),
        ({"compiles": ("on",)}, "--compile 'on': choose of off"),
        ({"batches": (0,)}, "--batch is 1 or more, got 0"),
    ],
)
def test_nonsense_is_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        Request(**fields)


def test_components_are_found_by_pattern():
    arms = plan_arms(Request(components=("norm:ada*",), precisions=("fp32",)), "cpu")
    assert [arm.config for arm in arms] == ["norm:adain"]
    with pytest.raises(UsageError, match="no norm of such a name"):
        plan_arms(Request(components=("norm:nothing*",)), "cpu")
    with pytest.raises(UsageError, match="kinds to measure are norm, activation"):
        plan_arms(Request(components=("dataset:*",)), "cpu")


# Counting


@pytest.mark.parametrize(
    ("overrides", "gflop"),
    [  # the cost model of an iteration at batch 1, counted by hand from the networks' shapes
        (("ENGINE.SHARE=none", "MODEL.DECODER.FOLD=false"), 2203),
        pytest.param(
            ("ENGINE.SHARE=derived", "MODEL.DECODER.FOLD=false"), 2106, marks=pytest.mark.slow
        ),
        (("ENGINE.SHARE=derived",), 1629),
        (("ENGINE.SHARE=fakes",), 1510),
        pytest.param(
            ("ENGINE.SHARE=derived", "LOSSES.CYCLE_RECON.WEIGHT=10"), 1986, marks=pytest.mark.slow
        ),
    ],
)
def test_operations_are_those_of_the_cost_model(overrides, gflop):
    config = load_config("munit/edges2shoes", *overrides)
    counted = training_flop(rehearse(config, {"a": (256, 256), "b": (256, 256)}))
    assert counted / 1e9 == pytest.approx(gflop, rel=0.002)


def test_operations_of_a_component_forward_and_backward():
    work = build_work(Arm("mapping:mlp", "component", 3, 32, "fp32"), CPU)
    layers = [(8, 256), (256, 256), (256, 4096)]
    # a product forward and two backward, for the inputs and for the weights
    assert work.flop == sum(3 * 2 * 3 * i * o for i, o in layers)


# Measuring


@pytest.fixture(scope="module")
def measured(tmp_path_factory, tiny) -> tuple[dict, Path]:
    """A tiny MUNIT in every mode, against the reference, by the command line."""
    folder = tmp_path_factory.mktemp("bench")
    files = ("--json", str(folder / "b.json"), "--md", str(folder / "b.md"))
    plot = ("--plot", str(folder / "b.png"))
    arguments = ["munit/shapes", *tiny, "--mode", "train,translate,decode,data", "--reference"]
    assert main(["bench", *arguments, "--batch", "1,2", *QUICK, *files, *plot]) == 0
    return json.loads((folder / "b.json").read_text()), folder


def test_json_has_the_documented_form(measured):
    content, _ = measured
    assert content["schema"] == 1
    assert {"device", "processor", "torch", "date"} <= content["environment"].keys()
    assert content["peaks"]["tflops_fp32"] > 0
    assert content["peaks"]["copy_gb_per_second"] > 0
    for arm in content["arms"]:
        assert arm.keys() >= ARM_KEYS
        assert arm["error"] is None, arm


def test_figures_agree_with_each_other(measured):
    content, _ = measured
    for arm in content["arms"]:
        images = arm["batch"] * (arm["styles"] if arm["mode"] == "translate" else 1)
        assert arm["images_per_second"] == pytest.approx(images / arm["seconds_median"])
        if arm["mode"] != "data":
            peak = content["peaks"][f"tflops_{arm['precision']}"]
            share = arm["gflop"] / 1000 / arm["seconds_median"] / peak
            assert arm["peak_share"] == pytest.approx(share)
            assert arm["peak_memory_bytes"] > 0
    for mode in ("train", "translate"):
        arms = [a for a in content["arms"] if a["mode"] == mode and a["batch"] == 2]
        reference = next(a for a in arms if a["reference"])
        for arm in arms:
            ratio = reference["seconds_median"] / arm["seconds_median"]
            assert arm["speedup_vs_reference"] == pytest.approx(ratio)


def test_all_arms_of_a_group_translate_alike(measured):
    content, _ = measured
    for arm in content["arms"]:
        if arm["mode"] == "translate":
            bound = 1e-4 if arm["precision"] == "fp32" else 0.2
            assert arm["largest_difference"] < bound


def test_markdown_and_plot(measured):
    _, folder = measured
    text = (folder / "b.md").read_text()
    assert "**munit/shapes: train, batch 2, 16×16, MODEL.CONTENT_ENCODER.DIM=4" in text
    assert "| reference fp32 |" in text
    assert (folder / "b.png").read_bytes().startswith(b"\x89PNG")


def test_arms_are_timed_in_turns():
    order: list[str] = []
    calls = [lambda name=name: order.append(name) for name in "ab"]
    timings = [Timing(seconds=[1.0]), Timing(seconds=[1.0])]
    take_turns(calls, timings, CPU, rounds=3, seconds=0, told=lambda done: None)
    assert order == list("ababab")
    assert [len(timing.seconds) for timing in timings] == [3, 3]


def test_an_arm_that_fails_midway_leaves_the_others():
    def fails() -> None:
        raise RuntimeError("midway")

    timings = [Timing(seconds=[1.0]), Timing(seconds=[1.0])]
    take_turns([fails, lambda: None], timings, CPU, rounds=2, seconds=0, told=lambda done: None)
    assert timings[0].error == "RuntimeError: midway"
    assert len(timings[1].seconds) == 2


@pytest.mark.parametrize(
    "component",
    [
        "norm:adain",
        "activation:gelu",
        "content_encoder:resnet",
        "style_encoder:conv",
        "decoder:adain_resnet",
        "decoder:resnet",
        "discriminator:multiscale_patch",
        "loss:l1",
        "loss:hinge",
        "loss:gaussian_kl",
    ],
)
def test_components_alone(component):
    request = Request(
        components=(component,), precisions=("fp32", "bf16"), size=64, seconds=0, rounds=1
    )
    for row in run(request).rows:
        assert row.error is None
        assert row.seconds_median is not None
        assert row.images_per_second == pytest.approx(1 / row.seconds_median)


# What cannot be measured


def test_an_impossible_arm_says_why_and_the_others_run(tiny):
    request = Request(
        configs=("munit/shapes",),
        overrides=tiny,
        modes=("translate",),
        precisions=("tf32", "fp32"),
        compiles=("off", "graphs"),
        seconds=0,
        rounds=1,
    )
    errors = {row.label: row.error for row in run(request).rows}
    assert errors == {
        "tf32": "tf32 is for CUDA; the device is cpu",
        "tf32 · CUDA graphs": "tf32 is for CUDA; the device is cpu",
        "fp32": None,
        "fp32 · CUDA graphs": "CUDA graphs are for CUDA; the device is cpu",
    }


def test_a_size_that_the_model_cannot_take(tiny):
    request = Request(
        configs=("munit/shapes",), overrides=tiny, modes=("train",), precisions=("fp32",), size=4
    )
    (row,) = run(request).rows
    assert row.error is not None
    assert "4×4" in row.error


def test_memory_that_runs_out(tiny, monkeypatch):
    def build(arm: Arm, device: torch.device) -> Work:
        if arm.batch == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 TiB")
        return build_work(arm, device)

    monkeypatch.setattr(runner, "build_work", build)
    request = Request(
        configs=("munit/shapes",),
        overrides=tiny,
        modes=("translate",),
        batches=(2, 1),
        precisions=("fp32",),
        seconds=0,
        rounds=1,
    )
    assert [row.error for row in run(request).rows] == ["out of memory", None]


def test_ctrl_c_keeps_what_was_measured(tiny, monkeypatch, tmp_path, capsys):
    def build(arm: Arm, device: torch.device) -> Work:
        if arm.batch == 2:
            raise KeyboardInterrupt
        return build_work(arm, device)

    monkeypatch.setattr(runner, "build_work", build)
    file = tmp_path / "b.json"
    arguments = ["munit/shapes", *tiny, "--mode", "translate", "--precision", "fp32", *QUICK]
    assert main(["bench", *arguments, "--batch", "1,2", "--json", str(file)]) == 130
    assert [arm["error"] for arm in json.loads(file.read_text())["arms"]] == [None, "interrupted"]
    assert "what was measured until then is kept" in capsys.readouterr().err


def test_a_result_that_is_not_finite_is_an_error(tiny, monkeypatch):
    def build(arm: Arm, device: torch.device) -> Work:
        work = build_work(arm, device)
        bad = torch.full((1,), float("nan"))
        return replace(work, outcome=lambda: bad) if arm.batch == 2 else work

    monkeypatch.setattr(runner, "build_work", build)
    request = Request(
        configs=("munit/shapes",),
        overrides=tiny,
        modes=("translate",),
        batches=(2, 1),
        precisions=("fp32",),
        seconds=0,
        rounds=1,
    )
    assert [row.error for row in run(request).rows] == ["its result is not finite", None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--components", "norm:*", "munit/shapes"], "leave configs, KEY=VALUE and --vary out"),
        (["--components", "norm:*", "--mode", "train"], "--components is for the mode component"),
        (["--mode", "decode", "--reference"], "--reference is for the modes train and translate"),
        (["--mode", "data", "--size", "64"], "--size: in the mode data the config says it"),
        (["--seconds", "-3"], "--seconds is 0 or more, got -3"),
        (["--json", "no/such/folder/b.json"], "there is no folder no/such/folder"),
        (["--plot", "b.xyz"], "write .png, .svg or .pdf"),
        (["munit/nope"], "no config is called 'munit/nope'"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(arguments, message, capsys):
    assert main(["bench", *arguments, *(() if "--seconds" in arguments else QUICK)]) == 2
    told = capsys.readouterr()
    assert message in " ".join((told.err + told.out).split())


def test_overrides_may_stand_behind_options(tiny):
    arguments = ["munit/shapes", "--mode", "decode", "--precision", "fp32", *QUICK]
    assert main(["bench", *arguments, *tiny]) == 0


def test_no_such_device(capsys):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert main(["bench", "munit/shapes", "--device", "cuda"]) == 2
    assert "device 'cuda' is not available here" in capsys.readouterr().err


def test_a_reference_that_does_not_exist(tiny, capsys):
    overrides = [*tiny, "MODEL.DECODER.UPSAMPLE_NORM.NAME=instance"]
    arguments = ["munit/shapes", *overrides, "--mode", "translate", "--precision", "fp32"]
    assert main(["bench", *arguments, "--reference", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "MODEL.DECODER.UPSAMPLE_NORM" in out


# Comparing


def row(**changes) -> Row:
    plain = Row(
        config="munit/shapes",
        mode="train",
        batch=1,
        size=None,
        precision="fp32",
        compile="off",
        channels_last=None,
        reference=False,
        label="fp32",
        seconds_median=1.0,
    )
    return replace(plain, **changes)


def result(*rows: Row) -> Result:
    return Result({"device": "cpu"}, {}, rows)


def test_the_reference_and_what_is_absent_are_not_compared():
    reference = row(reference=True, speedup_vs_reference=1.0, label="reference fp32")
    old = result(reference, row(speedup_vs_reference=2.0), row(batch=2))
    slow = replace(reference, seconds_median=9.0)
    new = result(slow, row(seconds_median=4.5, speedup_vs_reference=2.0))
    assert [ratio for _, ratio in compare_results(old, new)] == [1.0]


def test_what_fails_since_counts_as_slower_than_anything():
    new = result(row(seconds_median=None, error="out of memory"))
    assert [ratio for _, ratio in compare_results(result(row()), new)] == [0.0]


def test_other_overrides_are_another_measurement():
    with pytest.raises(UsageError, match="no measurement in common"):
        compare_results(result(row()), result(row(overrides=("MODEL.STYLE_DIM=16",))))


def test_compared_by_the_ratio_to_the_reference_where_both_have_it():
    old = result(row(seconds_median=1.0, speedup_vs_reference=1.5))
    new = result(row(seconds_median=2.0, speedup_vs_reference=1.5))  # a machine half as fast
    assert [ratio for _, ratio in compare_results(old, new)] == [1.0]
    alone = result(row(seconds_median=2.0))
    assert [ratio for _, ratio in compare_results(old, alone)] == [0.5]
    with pytest.raises(UsageError, match="no measurement in common"):
        compare_results(old, result(row(batch=7)))


def test_failing_below(measured, tmp_path, tiny, capsys):
    _, folder = measured
    content = json.loads((folder / "b.json").read_text())
    arguments = ["bench", "munit/shapes", *tiny, "--mode", "decode", "--precision", "fp32", *QUICK]
    for factor, status in ((1e-3, 3), (1e3, 0)):
        for arm in content["arms"]:
            if arm["mode"] == "decode":
                arm["seconds_median"] *= factor
        file = tmp_path / "old.json"
        file.write_text(json.dumps(content))
        assert main([*arguments, "--compare", str(file), "--fail-below", "0.5"]) == status
        content = json.loads((folder / "b.json").read_text())
    assert "of the old speed" in capsys.readouterr().err
    assert main([*arguments, "--fail-below", "0.5"]) == 2


def test_a_result_reads_back(measured, tmp_path):
    _, folder = measured
    read = read_result(folder / "b.json")
    assert read.to_json() == (folder / "b.json").read_text()
    assert to_markdown(read) == (folder / "b.md").read_text()
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(UsageError, match="is no result of the bench"):
        read_result(tmp_path / "no.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_result(tmp_path / "absent.json")


def test_a_plot_of_nothing(tmp_path):
    with pytest.raises(UsageError, match="nothing was measured"):
        save_plot([row(error="out of memory", seconds_median=None)], tmp_path / "p.png")


@pytest.mark.slow
def test_peaks_are_measured():
    found = measure_peaks(CPU)
    assert {"tflops_fp32", "copy_gb_per_second"} <= set(found)
    assert all(value > 0 for value in found.values())


def test_operations_of_a_penalty_are_counted():
    config = load_config("starganv2/shapes")
    sizes = dict.fromkeys(("outlines", "filled", "night"), (32, 32))
    with_penalty = training_flop(rehearse(config, sizes))
    without = training_flop(rehearse(load_config("starganv2/shapes", "LOSSES.R1=null"), sizes))
    assert with_penalty > without > 0


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["cyclegan", "cyclegan_noise", "drit", "pix2pix", "starganv2"])
def test_recipes_of_every_kind_are_measured(recipe):
    request = Request(
        configs=(f"{recipe}/shapes",),
        modes=("train", "translate"),
        precisions=("fp32",),
        reference=True,
        styles=2,
        seconds=0,
        rounds=1,
    )
    rows = run(request).rows
    assert [(row.label, row.error) for row in rows] == [
        ("reference fp32", None),
        ("fp32", None),
    ] * 2
    assert all(row.gflop > 0 and row.speedup_vs_reference > 0 for row in rows)
    assert rows[0].gflop >= rows[1].gflop


def test_the_original_way_of_a_recipe_has_every_saving_off():
    """SHARE is on in this recipe by default, FOLD in its style-steered decoder, FUSED in Adam."""
    arm = next(a for a in plan_arms(Request(("starganv2/shapes",), reference=True), "cpu"))
    assert arm.reference
    plain = original_arm(arm)
    config = load_config(plain.config, *plain.overrides, *plain.variant)
    assert (config.ENGINE.SHARE, plain.channels_last, plain.reference) == ("none", False, False)
    assert not any(config.OPTIM.DEFAULT.get(key) for key in ("FUSED", "FOREACH"))
    unfolded = original_arm(replace(arm, config="funit/shapes"))
    config = load_config(unfolded.config, *unfolded.overrides, *unfolded.variant)
    assert config.MODEL.DECODER.FOLD is False
