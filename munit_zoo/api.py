"""The package from Python: configs, models and components by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from munit_zoo.config import Config, list_configs, load_config, resolve, resolve_data
from munit_zoo.errors import DataError, UsageError
from munit_zoo.registry import MODELS, Description, registry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from munit_zoo.comparison.answers import StudyScore
    from munit_zoo.engine.train import TrainingEnd
    from munit_zoo.metrics import Report
    from munit_zoo.models import TranslationModel

__all__ = [
    "ablate",
    "compare",
    "create_model",
    "describe",
    "evaluate",
    "list_components",
    "list_configs",
    "load_config",
    "load_model",
    "load_plugin",
    "make_study",
    "read_image",
    "save_image",
    "score_study",
    "train",
]


def create_model(config: Config | str, **settings: object) -> TranslationModel:
    """A model with fresh weights.

    config: a loaded config, or the name of a recipe: `create_model("munit", style_dim=16)`.
    settings: keys of the recipe in lower case; a component as
    `{"name": …, "key": …}`.
    Raises ConfigError that lists every problem.
    """
    from munit_zoo.models import create_model as create

    if isinstance(config, str):
        if config not in MODELS and ("/" in config or config.endswith((".yaml", ".yml"))):
            raise UsageError(
                f"create_model takes a recipe's name ({', '.join(MODELS.list())}) or a loaded "
                f'config: write create_model(load_config("{config}"))'
            )
        model = {"NAME": config, **{key.upper(): _setting(v) for key, v in settings.items()}}
        return create(resolve_data({"MODEL": model}, origin="create_model").config)
    if settings:
        raise TypeError(
            "settings go with a recipe's name; a config is varied as it is loaded: "
            'load_config("munit/shapes", "MODEL.STYLE_DIM=16")'
        )
    return create(config)


def _setting(value: object) -> object:
    """A component's keys in capitals, as configs spell them; other values as they are."""
    if isinstance(value, dict):
        return {str(key).upper(): _setting(child) for key, child in value.items()}
    return value


def load_model(
    path: str | Path, *, device: str | torch.device = "cpu", ema: bool = True
) -> TranslationModel:
    """The model of a run's or a snapshot's folder, in evaluation mode.

    The newest weights of a run; the averaged ones where they were kept, unless `ema` is false.
    Raises CheckpointError for a folder that is neither, or weights that do not fit, and UsageError
    for a device that is not here.
    """
    from munit_zoo.engine.loading import load_model as load

    return load(path, device=device, ema=ema)


def train(
    config: Config | str | None = None,
    *overrides: str,
    run: str | Path,
    resume: bool = False,
    init_from: str | Path | None = None,
    device: str = "auto",
) -> TrainingEnd:
    """Train a model in a run's folder, as `munit-zoo train` does.

    config: a loaded config, a shipped name or a path of a .yaml; None with `resume`: the run's own.
    overrides: `KEY=VALUE`, on a name or path. init_from: a run whose weights to start from.
    device: `auto`, `cpu`, `cuda` or `mps`.

    Returns how training ended: its run, iteration, whether it was interrupted. Raises UsageError,
    ConfigError, DataError or CheckpointError, what was trained being saved.
    """
    from munit_zoo.engine.train import train as run_training

    resolved = None
    if isinstance(config, str):
        resolved = resolve(config, overrides)
    elif config is not None:
        resolved = resolve_data(config.plain(), overrides, origin="mz.train")
    elif overrides:
        raise UsageError("overrides go with a config; to resume with others, name the config, too")
    return run_training(
        resolved,
        Path(run),
        resume=resume,
        init_from=None if init_from is None else Path(init_from),
        device=device,
    )


def evaluate(
    run: str | Path,
    *metrics: str,
    seeds: Sequence[int] = (),
    weights_dir: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    ema: bool = True,
) -> list[Report]:
    """Reports of metrics on a run's newest snapshot: all of its METRICS, or those named, there or
    in the registry.

    seeds: of styles, one after another; a report then has means and deviations. weights_dir: where
    trained weights are looked for first. out: a results file to add the scores to. ema: the
    averaged weights where they were kept.
    They are written into the run, too. Raises UsageError for a metric that there is not,
    WeightsError where one needs weights that are not on disk.
    """
    from munit_zoo.engine.evaluate import EvaluationChoice
    from munit_zoo.engine.evaluate import evaluate as run_evaluation

    return run_evaluation(
        Path(run),
        EvaluationChoice(metrics=metrics, seeds=tuple(seeds), ema=ema),
        weights=() if weights_dir is None else (Path(weights_dir),),
        out=None if out is None else Path(out),
        device=device,
    )


def ablate(
    plan: str | Path | Mapping[str, object],
    *overrides: str,
    out: str | Path | None = None,
    jobs: int | None = None,
    weights_dir: str | Path | None = None,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """Train and score what an ablation lacks, and make its page, as `munit-zoo ablate` does.

    plan: a shipped plan's name, a path, or a tree of plain data. overrides: `KEY=VALUE` of the plan
    (`SEEDS=[0]`) or of every config (`DATA.SIZE=64`). out: its folder (`ablations/<name>`). jobs:
    processes.

    Returns the table as records: variant, direction, metric, score, mean, sd, n, values by seed,
    the difference to the base with its interval, and whether that holds 0. Costs are records of the
    metric `cost`. Cells that failed are not among them; the page names them. Raises ConfigError,
    before anything is trained, for a plan any cell of which cannot be.
    """
    from munit_zoo.comparison.ablate import Launch
    from munit_zoo.comparison.ablate import ablate as run_ablation
    from munit_zoo.comparison.cells import Work

    done = run_ablation(
        plan,
        None if out is None else Path(out),
        Launch(jobs=jobs),
        Work(device, () if weights_dir is None else (Path(weights_dir),)),
        overrides=overrides,
    )
    return [] if done.table is None else done.table.records()


def compare(*runs: str | Path, out: str | Path = "comparison.html", device: str = "auto") -> Path:
    """Write a page of runs side by side: their scores, what they cost, and grids of the same inputs
    in the same styles. Returns it.

    Scores are those that `evaluate` left in the runs. Raises UsageError for fewer than two runs,
    CheckpointError for a path that is none.
    """
    from munit_zoo.comparison.compare import compare as run_comparison

    return run_comparison([Path(run) for run in runs], Path(out), device=device)


def make_study(
    *runs: str | Path,
    out: str | Path,
    questions: int = 500,
    each: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Path:
    """Write a static page that asks people which of two runs' translations looks more accurate, and
    the key to it, into a new folder. Returns the page, `site/index.html`.

    The first run is what each of the others is compared with. each: questions a person is asked;
    None for all. Raises UsageError for runs that share no direction, or not their test images.
    """
    from munit_zoo.comparison.study import StudyChoice
    from munit_zoo.comparison.study import make_study as run_making

    choice = StudyChoice(questions, each=each, seed=seed)
    return run_making([Path(run) for run in runs], Path(out), choice, device=device)


def score_study(*answers: str | Path, key: str | Path) -> StudyScore:
    """What people answered in a study: preferences with Wilson intervals, agreement, and who was
    left out by the control questions.

    answers: files that the page saved. key: the study's folder. Raises UsageError for files that
    are no answers, or those of another study.
    """
    from munit_zoo.comparison.answers import score_study as run_scoring

    return run_scoring([Path(file) for file in answers], Path(key))


def read_image(
    path: str | Path,
    *,
    value_range: tuple[float, float] | None = None,
    convert: Literal["none", "rgb", "gray"] = "none",
) -> torch.Tensor:
    """An image file as float32 (1, C, H, W) in [-1, 1], as models take it.

    value_range: values that map to -1 and 1; None for the whole range of 8- and 16-bit integers.
    convert: the channels to make of it, as `DATA.CONVERT` does: what is transparent comes to lie
    on white, CMYK becomes RGB.
    Raises DataError for a file that is no image, or numbers that need a range.
    """
    from munit_zoo.data.images import decode, opaque
    from munit_zoo.data.transforms import convert_channels
    from munit_zoo.data.values import to_unit

    if convert not in ("none", "rgb", "gray"):
        raise UsageError(f"convert is 'none', 'rgb' or 'gray', got {convert!r}")
    decoded = decode(Path(path))
    pixels = decoded.pixels if convert == "none" else opaque(decoded, value_range)
    return convert_channels(to_unit(pixels, value_range, what=str(path)), convert)[None]


def save_image(path: str | Path, image: torch.Tensor) -> None:
    """Write an image (C, H, W), or (1, C, H, W), in [-1, 1] with 8 bits a channel.

    The suffix decides the format: PNG, TIFF, JPEG and others. Values beyond are clipped. Raises
    UsageError for a batch of several and what is no tensor, DataError for what a format cannot hold
    and where it cannot be written.
    """
    import numpy as np
    import torch

    from munit_zoo.data.images import write_image
    from munit_zoo.data.values import from_unit

    if not isinstance(image, torch.Tensor):
        raise UsageError(
            f"save_image(path, image) takes a tensor (C, H, W) in [-1, 1], got "
            f"{type(image).__name__}" + _as_tensor(image)
        )
    if image.dim() == 4 and len(image) == 1:
        image = image[0]
    if image.dim() != 3:
        raise UsageError(
            f"save_image writes one image (C, H, W), got {tuple(image.shape)}: write several one "
            "by one"
        )
    try:
        write_image(Path(path), from_unit(image.detach().float().clamp(-1, 1), np.uint8))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error


def _as_tensor(image: object) -> str:
    """How to make a tensor of an array."""
    return ": write torch.from_numpy(image)" if hasattr(image, "__array__") else ""


def load_plugin(file: str | Path) -> None:
    """Make the components of a Python file known by name, as `--plugin` does.

    It is executed: a file of one's own. Raises UsageError for a file that cannot be used.
    """
    from munit_zoo.registry import load_plugin_file

    load_plugin_file(Path(file))


def list_components(kind: str, pattern: str = "*") -> list[str]:
    """Names of a kind's components that match a wildcard pattern: `list_components("norm",
    "ada*")`. Imports none of them."""
    return registry(kind).list(pattern)


def describe(kind: str, name: str) -> Description:
    """Origin, settings and documentation of a component."""
    return registry(kind).describe(name)
