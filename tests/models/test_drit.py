"""DRIT's forms: when its networks are trained, what is drawn, and what asks for what."""

from __future__ import annotations

import pytest
import torch
from _recipes import drit, objective_of

from munit_zoo.cli import main
from munit_zoo.config import load_config
from munit_zoo.errors import ContractError, GraphError, MunitZooError
from munit_zoo.metrics.shapes import _content_encoder
from munit_zoo.models import assemble
from munit_zoo.registry import slot


def due(iteration: int, **settings: int) -> bool:
    return drit(**settings).full(iteration)


def test_all_networks_are_trained_in_every_so_manyth_iteration():
    model = drit(every=3)
    assert [i for i in range(9) if model.full(i)] == [2, 5, 8]
    names = [update.name for update in model.graph().updates]
    planned = objective_of(model)
    assert [names[i] for i in planned.pattern(0)[0]] == ["content_discriminator"]
    assert [names[i] for i in planned.pattern(2)[0]] == names


def test_the_last_two_iterations_of_an_epoch_train_all():
    model = drit(every=3, epoch=5)
    assert [i for i in range(10) if model.full(i)] == [2, 3, 4, 7, 8, 9]


def test_an_iteration_without_them_computes_the_contents_judge_alone():
    planned = objective_of(drit(every=3))
    (code,) = planned.codes(planned.pattern(0))
    assert {operation.node.name for operation in code.operations} == {
        "h_a", "c_a", "dc_a", "h_b", "c_b", "dc_b",
    }  # fmt: skip


def test_reals_are_shown_again_only_to_what_notices():
    entries = {}
    for norm in ("none", "spectral_legacy"):
        judge = slot("multiscale_patch", dim=2, layers=2, scales=1, weight_norm=norm)
        updates = drit(discriminator=judge).graph().updates
        entries[norm] = {entry.real for entry in updates[0].terms["adversarial2"]}
    assert entries["none"] == {"d2_a", "d2_b"}
    assert entries["spectral_legacy"] == {"d2_a", "d2_a_again", "d2_b", "d2_b_again"}


def test_attributes_of_an_example_are_their_mean_and_drawn_ones_are_used_as_they_are():
    torch.manual_seed(0)
    model = drit().eval()
    x, example = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(1, 3, 16, 16) * 2 - 1
    mean = model.b.style_encoder(example)[:, :3]
    torch.testing.assert_close(model.encode_style(example, "night"), mean)
    content = model.shared_decoder(model.shared_encoder(model.a.content_encoder(x)))
    expected = model.b.decoder(content, mean.expand(2, -1))
    torch.testing.assert_close(model.translate(x, "night", example)[:, 0], expected)
    torch.testing.assert_close(model.translate(x, "night", mean)[:, 0], expected)
    found = model.reconstruct(x, "day")
    own = model.a.decoder(content, model.a.style_encoder(x)[:, :3])
    torch.testing.assert_close(found, own)


def test_what_is_shared_keeps_shapes():
    with pytest.raises(ContractError, match="ResnetContentEncoder does not; `residual` does"):
        drit(shared_decoder=slot("resnet", dim=2, downsamples=1))


def test_a_content_code_is_what_both_parts_of_the_encoder_make():
    model = drit().eval()
    x = torch.rand(1, 3, 16, 16)
    expected = model.shared_encoder(model.b.content_encoder(x))
    torch.testing.assert_close(_content_encoder(model, "night")(x), expected)


def test_one_sample_without_mode_seeking():
    model = drit(mode_seeking=False)
    assert "mode_seeking" not in model.graph().terms
    assert "z2" not in objective_of(model).inputs
    assert "z2" in objective_of(drit()).inputs


def test_a_divergence_needs_attributes_that_are_sampled():
    config = load_config("drit/shapes", "MODEL.SAMPLED=false", "MODEL.STYLE_ENCODER.PARTS=1")
    with pytest.raises(GraphError, match=r"LOSSES\.STYLE_KL=\{NAME: gaussian_kl"):
        assemble(config, {"a": (32, 32), "b": (32, 32)})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["images", "shape_changes", "eccv2018"])
def test_published_forms_can_be_computed(name: str):
    from munit_zoo.models import rehearse

    config = load_config(f"drit/{name}")
    found = rehearse(config, {"a": (216, 216), "b": (216, 216)})
    assert found.shapes["dc_a"] == ((1, 1, 1, 1),)
    assert not found.unreached
    with pytest.raises(MunitZooError, match="content codes of 50×50 are too small"):
        rehearse(config, {"a": (200, 200), "b": (200, 200)})


def test_it_is_described(capsys):
    assert main(["describe", "model", "drit"]) == 0
    drawn = capsys.readouterr().out
    assert "takes place in the iterations that `full` names" in drawn
