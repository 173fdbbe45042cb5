"""DRIT's networks and training against the original's: every case in MUNIT_ZOO_GOLDEN_ZOO.

The original's last update of an iteration walks back through weights that the one before it has
changed in place: old activations, new weights. The recipe computes it anew. Both are held here: the
original's form by putting the old weights back for the forward alone, which torch does not see; and
the recipe's own, where a case has its losses.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from _golden_zoo import BOUND, CHECKPOINT_BOUND, FLOOR, Case, cases, checkpoint, error_of
from _replay import Replay
from safetensors.torch import load_file
from torch import Tensor

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.config import load_config, resolve_data
from munit_zoo.engine.runs import Run, find_snapshot
from munit_zoo.errors import CheckpointError
from munit_zoo.interop import drit
from munit_zoo.interop.checkpoints import shapes_of
from munit_zoo.models import TranslationModel, create_model
from munit_zoo.models.plan import run, straight
from munit_zoo.models.views import views

pytestmark = [pytest.mark.golden, pytest.mark.slow]

FULL = ("disA", "disA2", "disB", "disB2", "enc_c", "enc_a", "gen")
GENERATORS, LATENT = 2, 3


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def read(case: Case) -> drit.ReadNetworks:
    """What the files of a case's networks would tell."""
    nets = dict.fromkeys(name.partition(", ")[0] for name in drit.NETWORKS)
    shapes = {net: shapes_of(case.under(f"init/{net}")) for net in nets}
    channels = {letter: (case.config[f"input_dim_{letter}"], None) for letter in "ab"}
    return drit.ReadNetworks(drit.settings_of_weights(shapes), {}, dict(channels))


def tree_of(case: Case) -> dict[str, Any]:
    told = read(case)
    tree = drit.config_of_options({**drit.DEFAULTS, **case.config}, told)
    own = {"NAME": "drit", "EPOCH": case.info["batches_per_epoch"]}
    tree["MODEL"] = {**own, **told.settings, **tree["MODEL"]}
    return tree


def images_of(case: Case, name: str) -> Tensor:
    return case[name].double() / 128


def inputs_of(case: Case, step: int) -> dict[str, Tensor]:
    """A batch: its first images are translated, its others only real."""
    found = {}
    for letter in "ab":
        images = images_of(case, f"step{step}/x_{letter}")
        found[f"x_{letter}"], found[f"r_{letter}"] = images[:1], images[1:]
    draws = {
        "noise_a": "n_a",
        "noise_b": "n_b",
        "noise_fake_A": "n_ba",
        "noise_fake_B": "n_ab",
        "eps_a": "e_a",
        "eps_b": "e_b",
        "eps_recon_a": "e_ba",
        "eps_recon_b": "e_ab",
        "z_random": "z",
        "z_random2": "z2",
    }
    unread = torch.zeros(1, case.config["nz"])
    for theirs, ours in draws.items():
        name = f"step{step}/{theirs}"
        scale = 1 / 32 if theirs.startswith("noise") else 1
        found[ours] = case[name].double() * scale if name in case else unread
    return found


def losses_of(parts: dict[str, Tensor], sampled: bool) -> dict[str, Any]:
    """Our parts by the original's names."""
    found: dict[str, Any] = {}

    def put(name: str, weight: float, *keys: str) -> None:
        there = [parts[key] for key in keys if key in parts]
        if there:
            found[name] = weight * sum(there)

    put("disContent_loss", 1, "content_discriminator/content_adversarial/dc_a")
    for letter, way in (("a", "ba"), ("b", "ab")):
        upper = letter.upper()
        put(f"dis{upper}_loss", 1, f"discriminators/adversarial/d_{way}")
        second = [f"adversarial2/d2_{way}_z", f"adversarial2/d2_{way}_z2"]
        put(f"dis{upper}2_loss", 1, *(f"discriminators/{key}" for key in second))
        put(f"gan2_loss_{letter}", 1, *(f"latent/{key}" for key in second))
        put(f"gan_loss_{letter}", 1, f"generators/adversarial/d_{way}")
        put(f"gan_loss_{letter}content", 1, f"generators/content_adversarial/dc_{letter}")
        kl = f"kl/mu_{letter}" if sampled else f"style_kl/s_{letter}"
        put(f"kl_loss_za_{letter}", 0.01, f"generators/{kl}")
        put(f"kl_loss_zc_{letter}", 0.01, f"generators/content_kl/c_{letter}")
        put(f"l1_recon_{upper}_loss", 10, f"generators/cycle_recon/x_{letter}{way}")
        put(f"l1_recon_{upper * 2}_loss", 10, f"generators/image_recon/x_{letter * 2}")
        put(f"l1_recon_z_loss_{letter}", 10, f"latent/style_recon/mu_{way}_z")
        put(f"lz_{way.upper()}", 1, f"latent/mode_seeking/x_{way}_z2")
    put("G_loss", 1, "generators/total")
    return found


def compare_losses(case: Case, step: int, parts: dict[str, Tensor], recorded: Any) -> None:
    ours = losses_of(parts, bool(case.config["concat"]))
    due = {n: v for n, v in recorded.items() if n.endswith("_loss") or "loss_" in n or "lz_" in n}
    assert ours.keys() == due.keys()
    for name, golden in due.items():
        error = abs(float(ours[name]) - golden) / max(abs(golden), FLOOR)
        case.errors[f"step{step}/{name}"] = error


def loaded(path: Path, **engine: object) -> Replay:
    """A case's training, from its first weights."""
    case = Case(path)
    tree = tree_of(case)
    tree["ENGINE"] |= engine
    sizes = {letter: tuple(case[f"step0/x_{letter}"].shape[2:]) for letter in "ab"}
    replay = Replay(path, tree, sizes)
    case = replay.case
    case.tensors = {
        name: drit.flat(value) if "/gen/" in name else value for name, value in case.tensors.items()
    }
    for name, place in drit.NETWORKS.items():
        net, _, part = name.partition(", ")
        weights = drit.converted(name, case.under(f"init/{net}"))
        replay.training.model.networks()[place].load_state_dict(weights)
        key = f"{net}#{part}" if part else net
        replay.networks[key] = (place, lambda names, name=name: drit.names_of(name, names))
    return replay


def walk_back_as_the_original(replay: Replay) -> None:
    """Let the last update compute with the weights before the one that goes before it, and
    differentiate with those after it."""
    training = replay.training
    trainer, planner = training.trainer, training.objective.planner
    weights = [p for n in planner.trains[GENERATORS] for p in planner.networks[n].parameters()]
    generators, latent = trainer.steps[GENERATORS], trainer.steps[LATENT]
    old: list[Tensor] = []

    def put(values: list[Tensor]) -> None:
        for weight, value in zip(weights, values, strict=True):
            weight.data.copy_(value)

    def first(*arguments: Any) -> Any:
        old[:] = [weight.detach().clone() for weight in weights]
        return generators(*arguments)

    def second(*arguments: Any) -> Any:
        new = [weight.detach().clone() for weight in weights]
        put(old)
        found = latent(*arguments)
        put(new)
        return found

    trainer.steps[GENERATORS], trainer.steps[LATENT] = first, second


OUT = {
    "fake_{U}_encoded": "x_{from}",
    "fake_{U}{U}_encoded": "x_{l}{l}",
    "fake_{U}_random": "x_{from}_z",
    "fake_{U}_recon": "x_{l}{from}",
    "z_attr_{l}": "s_{l}",
    "z_attr_recon_{l}": "s_{from}",
    "mu2_{l}": "mu_{from}_z",
    "z_attr_random_{l}": "mu_{from}_z",
}


@torch.no_grad()
def compare_forward(case: Case, step: int, model: TranslationModel, inputs: Any) -> None:
    """What the first full step makes before anything is stepped."""
    names = {}
    for letter, way in (("a", "ba"), ("b", "ab")):
        words = {"U": letter.upper(), "l": letter, "from": way}
        names |= {t.format(**words): ours.format(**words) for t, ours in OUT.items()}
    values = dict(inputs)
    run(straight(model.graph(), names.values(), (), views(model)), values)
    for theirs, ours in names.items():
        key = f"step{step}/out/{theirs}"
        if key in case:
            value = values[ours]
            case.compare(key, value[..., ::8, ::8] if value.dim() == 4 else value)


def translated(case: Case, model: TranslationModel) -> None:
    """What the last weights translate to."""
    x = {letter: images_of(case, f"fwd/x_{letter}")[:1] for letter in "ab"}
    found = {
        "a2b": model.translate(x["a"], "b", case["test/z"]),
        "b2a": model.translate(x["b"], "a", case["test/z_b2a"]),
    }
    code = model.encode_style(x["b"], "b")
    if case.config["concat"]:
        logvar = model.b.style_encoder(x["b"]).chunk(2, dim=1)[1]
        code = code + case["test/eps_b"] * (logvar / 2).exp()
    found["transfer_a2b"] = model.translate(x["a"], "b", code)
    for name, value in found.items():
        case.compare(f"test/{name}", value[:, 0, :, ::4, ::4])


CASES = [
    pytest.param(c.values[0], *setting, marks=c.marks, id="-".join([c.id, *map(str, setting)]))
    for c in cases("drit")
    for setting in ((True, "derived"), (False, "none"))
]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("path", "channels_last", "share"), CASES)
def test_training(path: Path, channels_last: bool, share: str):
    replay = loaded(path, CHANNELS_LAST=channels_last, SHARE=share)
    walk_back_as_the_original(replay)
    case, training = replay.case, replay.training
    steps = case.info["steps"]
    first = next(i for i, step in enumerate(steps) if step["kind"] == "full")
    replay.gradients_at = dict.fromkeys(FULL, f"step{first}/grad")
    for step, recorded in enumerate(steps):
        inputs = inputs_of(case, step)
        if step == first:
            compare_forward(case, step, training.model, inputs)
        factor = recorded["lr"] / case.config["lr"]
        for group in training.groups:
            for settings in group.optimizer.param_groups:
                settings["lr"] = group.rate * factor
        parts = training.step(inputs, step)
        compare_losses(case, step, parts, recorded)
    of = {net: [key for key in replay.networks if key.split("#")[0] == net] for net in (*FULL,)}
    replay.gradients(0, [key for net in FULL[:4] for key in of[net]], f"step{first}/grad")
    replay.gradients(1, ["disContent"], "step0/grad")
    generating = [key for net in FULL[4:] for key in of[net]]
    replay.gradients(GENERATORS, generating, f"step{first}/grad")
    alone = [key for key in generating if not key.startswith("enc_a")]
    replay.gradients(LATENT, alone, f"step{first}/grad_alone")
    for prefix in (f"step{first}/grad/", f"step{first}/grad_alone/", f"step{first}/out/"):
        apart = (f"{prefix}disContent",)
        assert case.worst(prefix, apart_from=apart)[1] < BOUND, case.worst(prefix)
    replay.final()
    training.model.eval()
    translated(case, training.model)
    compared = {name.partition("/")[2].partition("/")[2] for name in case.errors if "final" in name}
    assert {n.partition("/")[2] for n in case.under("final")} <= compared
    replay.check()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("path", cases("drit"))
def test_the_recipes_own_last_update(path: Path):
    """It computes the drawn attributes' losses anew, with the weights that have been stepped."""
    case = Case(path)
    recorded = case.info.get("variants", {}).get("forward_again")
    if recorded is None:
        pytest.skip("the case has no losses of this form")
    replay = loaded(path)
    for step, losses in enumerate(recorded):
        parts = replay.training.step(inputs_of(replay.case, step), step)
        compare_losses(replay.case, step, parts, losses)
    replay.check()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("path", cases("drit"))
def test_networks(path: Path):
    replay = loaded(path)
    case, model = replay.case, replay.training.model
    told = replay.training.config.MODEL
    assert case.config["dis_scale"] == told.DISCRIMINATOR.SCALES
    assert bool(case.config["concat"]) == told.SAMPLED
    spectral = told.DISCRIMINATOR.WEIGHT_NORM != "none"
    assert spectral == case.config["dis_spectral_norm"]
    x = {letter: images_of(case, f"fwd/x_{letter}") for letter in "ab"}
    with torch.no_grad():  # of spectral norm one pass each
        for net, letter in (("disA", "a"), ("disB2", "b")):
            network = model.networks()[drit.NETWORKS[net]]
            for scale, logits in enumerate(network(x[letter])):
                golden = case[f"fwd/{net}/{scale}"]
                case.compare(f"fwd/{net}/{scale}", logits.reshape(golden.shape))
        model.eval()
        values: dict[str, Any] = {f"x_{letter}": x[letter] for letter in "ab"}
        for letter, other in ("ab", "ba"):
            names = [f"h_{letter}", f"q_{letter}"]
            run(straight(model.graph(), names, (), views(model)), values)
            case.compare(f"fwd/content_{letter}", values[names[0]][..., ::4, ::4])
            codes = dict(zip(("mu", "logvar"), values[names[1]], strict=False))
            named = codes if case.config["concat"] else {"attr": codes["mu"]}
            for name, value in named.items():
                case.compare(f"fwd/{name}_{letter}", value)
            z = case["fwd/z"][:, None]
            made = model.translate(x[other], letter, z)[:, 0]
            case.compare(f"fwd/fake_{letter.upper()}", made[..., ::4, ::4])
    apart = ("fwd/x_", "fwd/z")
    assert case.worst("fwd/", apart_from=apart)[1] < BOUND, case.errors


def test_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = checkpoint("drit")
    (file,) = folder.glob("*.pth")
    assert main(["import", "drit", str(file), "--out", str(tmp_path / "run")]) == 0
    golden = load_file(folder / "expected.safetensors")
    model = mz.load_model(tmp_path / "run")
    x, z = {letter: golden[f"x_{letter}"] for letter in "ab"}, golden["z"][:, None]
    logvar = model.b.style_encoder(x["b"]).chunk(2, dim=1)[1]
    code = model.encode_style(x["b"], "b") + golden["eps_b"] * (logvar / 2).exp()
    values: dict[str, Any] = {"x_a": x["a"]}
    run(straight(model.graph(), ["h_a"], (), views(model)), values)
    found = {
        "content_a": values["h_a"],
        "a2b": model.translate(x["a"], "b", z)[:, 0],
        "b2a": model.translate(x["b"], "a", z)[:, 0],
        "transfer_a2b": model.translate(x["a"], "b", code[:, None])[:, 0],
    }
    _, snapshot = find_snapshot(tmp_path / "run")
    whole = create_model(Run.open(tmp_path / "run").resolved().config)
    whole.load_state_dict(snapshot.read("networks").part("networks"))
    with torch.no_grad():
        for scale, logits in enumerate(whole.a.discriminator(x["a"])):
            found[f"disA/{scale}"] = logits
    assert set(found) == set(golden) - {"x_a", "x_b", "z", "eps_a", "eps_b"}
    errors = {name: error_of(value, golden[name]) for name, value in found.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors


def file_of(case: Case, path: Path, **more: Any) -> Path:
    """A case's first weights as the original saves them, without its optimizers."""
    nets = dict.fromkeys(name.partition(", ")[0] for name in drit.NETWORKS)
    content: dict[str, Any] = {"ep": 0, "total_it": 7}
    for net in nets:
        content[net] = {n: t.float() for n, t in case.under(f"init/{net}").items()}
        for name in [n for n in content[net] if n.endswith(".weight_orig")]:
            content[net][name.removesuffix("_orig")] = torch.zeros(())  # follows from the others
    torch.save({**content, **more}, path)
    return path


@pytest.mark.parametrize("path", cases("drit"))
def test_import_of_every_form(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    case = Case(path)
    file = file_of(case, tmp_path / "00000.pth")
    (tmp_path / "options.yaml").write_text("d_iter: 2\nno_ms: true\n")
    words = ["--options", str(tmp_path / "options.yaml"), "--out", str(tmp_path / "run")]
    assert main(["import", "drit", str(file), *words]) == 0
    said = capsys.readouterr().out
    assert "imported drit at iteration 14" in said
    assert "not among the files" not in said
    config = Run.open(tmp_path / "run").resolved().config
    assert config.MODEL.CONTENT_DISCRIMINATOR.LEGACY
    assert (config.MODEL.EVERY, config.MODEL.MODE_SEEKING) == (2, False)
    model, x = mz.load_model(tmp_path / "run"), images_of(case, "fwd/x_a").float()
    made = model.translate(x, "b", case["fwd/z"][:, None].float())[:, 0]
    assert error_of(made[..., ::4, ::4], case["fwd/fake_B"]) < CHECKPOINT_BOUND


def test_published_settings_are_those_of_the_shipped_config():
    tree = drit.config_of_options(drit.DEFAULTS)
    tree["MODEL"] |= {"NAME": "drit"}
    ours, shipped = resolve_data(tree, (), origin="a test").config, load_config("drit/images")
    for section in ("LOSSES", "DOMAINS", "DATA", "OPTIM"):
        assert ours[section].dump() == shipped[section].dump()
    assert (ours.MODEL.EVERY, ours.MODEL.MODE_SEEKING) == (3, True)
    assert ours.ENGINE.ITERATIONS == shipped.ENGINE.ITERATIONS
    assert ours.ENGINE.BATCH_SIZE == shipped.ENGINE.BATCH_SIZE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gen": None}, "holds no enc_c, enc_a and gen"),
        (
            {"gen": {"decA9.0.weight": torch.zeros(1)}},
            r"decA9\.0\.weight is no name in gen of DRIT",
        ),
        (
            {"gen_opt": {"param_groups": [{"params": [0]}], "state": {}}},
            "the optimizer of gen is of 1 parameters, the network has",
        ),
        ({"gen_opt": {"groups": []}}, "the optimizer of gen, A holds no state of Adam"),
    ],
)
def test_files_that_do_not_fit(change: Any, message: str, tmp_path: Path):
    file = tmp_path / "00009.pth"
    content = torch.load(checkpoint("drit") / file.name, weights_only=True) | change
    torch.save({k: v for k, v in content.items() if v is not None}, file)
    with pytest.raises(CheckpointError, match=message):
        drit.read_checkpoint(file, drit.DEFAULTS)


def test_training_goes_on_from_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (file,) = checkpoint("drit").glob("*.pth")
    data = "DATA={NAME: shapes, SIZE: 212, COUNT: 4, TEST_COUNT: 2}"
    words = [data, "ENGINE.GRID_EVERY=0", "ENGINE.WORKERS=0", "ENGINE.DISPLAY=1"]
    run_ = str(tmp_path / "run")
    assert main(["import", "drit", str(file), "--out", run_, *words]) == 0
    state = find_snapshot(tmp_path / "run")[1].read("optimizers").part("optimizers")
    content = torch.load(file, weights_only=True)
    moment = content["gen_opt"]["state"][0]["exp_avg"]
    ends = ("trunk.blocks.0.first.conv.weight", "exp_avg")
    key = next(k for k in state if "shared_decoder" in k and ends[0] in k and k.endswith(ends[1]))
    assert torch.equal(state[key], moment)
    more = ["ENGINE.ITERATIONS=9003", "--resume", "--run", run_, "--device", "cpu"]
    assert main(["train", *more]) == 0
    assert "iteration 9003" in capsys.readouterr().out
