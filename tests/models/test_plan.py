"""Updates as straight lines: what is shared, what is recomputed, and that the numbers stay."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from _recipes import ZOO, Logits, Mean, Slope, inputs_of, objective_of, run_plainly, run_updates
from torch import Tensor, nn

from munit_zoo.config import load_config
from munit_zoo.domains import Domain
from munit_zoo.engine.step import build_optimizers
from munit_zoo.errors import GraphError
from munit_zoo.losses.reconstruction import MSE
from munit_zoo.models import (
    Critic,
    Draw,
    Fool,
    Image,
    Term,
    Translation,
    TranslationModel,
    Update,
    UpdateOptions,
    Values,
    tensor,
)


@pytest.fixture
def double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


# Whole recipes against their plainest form

STEPS = 0.05
LIKE_OTHERS = ("cyclegan_noise", "drit", "imaginaire_munit", "imaginaire_unit")
ALL = [pytest.param(name, marks=[pytest.mark.slow] * (name in LIKE_OTHERS)) for name in ZOO]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("share", ["none", "derived", "fakes"])
def test_sharing_changes_no_number(name: str, share: str):
    """Losses and gradients of two iterations are those of updates that compute everything anew."""
    torch.manual_seed(0)
    model = ZOO[name]()
    other = copy.deepcopy(model)
    planned, plain = objective_of(model, share=share), objective_of(other)
    for _ in range(2):
        inputs = inputs_of(plain)
        ours = run_updates(planned, {n: inputs[n] for n in planned.inputs}, STEPS)
        theirs = run_plainly(plain, inputs, STEPS, redraw=share != "fakes")
        for (update, parts, gradients), (_, their_parts, their_gradients) in zip(
            ours, theirs, strict=True
        ):
            assert parts.keys() == their_parts.keys()
            for label, part in parts.items():
                torch.testing.assert_close(part, their_parts[label], msg=f"{update}/{label}")
            reached = {n for n, g in their_gradients.items() if g.abs().max() > 0}
            assert reached <= gradients.keys()
            for label, gradient in gradients.items():
                expected = their_gradients.get(label, torch.zeros(()).expand_as(gradient))
                torch.testing.assert_close(gradient, expected, msg=f"{update}: {label}")


@pytest.mark.parametrize(
    ("name", "derived", "original"),
    [
        ("munit", 22, 24),
        ("starganv2", 22, 24),
        ("cyclegan", 14, 14),
        ("cyclegan_noise", 14, 14),
        ("pix2pix", 4, 4),
        ("bicyclegan", 10, 10),
        ("drit", 58, 72),
        ("stargan", 6, 7),
        ("funit", 15, 18),
        ("stargan_joint", 12, 14),
    ],
)
def test_calls_of_networks_an_iteration(name: str, derived: int, original: int):
    model = ZOO[name]()
    for share, count in (("derived", derived), ("none", original)):
        objective = objective_of(model, share=share)
        codes = objective.codes(objective.pattern())
        assert sum(code.calls.total() for code in codes) == count


# One network that makes y, one that judges it


class Factor(nn.Module):
    """x times a number."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(value))

    def forward(self, x: Tensor) -> Tensor:
        return self.w * x


class Chain(TranslationModel):
    """y = m·x, v = y·z, judged by d; m is trained after d."""

    inputs = {"x_a": Image("a"), "x_b": Image("b"), "z": Draw("normal", (1, 1, 1))}
    updates: Any = (
        Update("judge", ("judge",), {"adversarial": [Critic("d_v", "d_b")]}),
        Update("maker", ("maker",), {"adversarial": [Fool("d_v")]}),
    )
    translations = {("a", "b"): Translation("x_a", "y")}

    def __init__(self, domains: tuple[Domain, ...] = (Domain("a", 1), Domain("b", 1))) -> None:
        super().__init__(domains)
        self.maker, self.judge = Factor(2.0), Factor(3.0)

    @tensor
    def y(self, x_a: Tensor) -> Tensor:
        """Made."""
        return self.maker(x_a)

    @tensor
    def v(self, y: Tensor, z: Tensor) -> Tensor:
        """Made, times a number that is drawn."""
        return y * z

    @tensor
    def d_v(self, v: Tensor) -> list[Tensor]:
        """Judged."""
        return [self.judge(v)]

    @tensor
    def d_b(self, x_b: Tensor) -> list[Tensor]:
        """Judged."""
        return [self.judge(x_b)]

    @tensor
    def w(self, y: Tensor) -> Tensor:
        """Made twice, the second time frozen."""
        return self.frozen.maker(y)


def chain(*updates: Update, terms: list[Term] | None = None, **options: Any):
    """A Chain with other updates: its objective, planned for images of one pixel."""
    model = type("Chain", (Chain,), {"updates": updates} if updates else {})()
    own = [Term("adversarial", Logits())] if terms is None else terms
    return model, objective_of(model, own, side=1, **options)


def number(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


INPUTS = {"x_a": number(1.0), "x_b": number(1.0), "z": number(5.0), "z'": number(7.0)}


def operations(objective: Any) -> list[list[str]]:
    """What each update computes."""
    codes = objective.codes(objective.pattern())
    return [[operation.slot for operation in code.operations] for code in codes]


def test_what_nothing_changed_is_computed_once_and_carries_its_gradient():
    _, objective = chain()
    assert operations(objective) == [["y", "v", "d_v", "d_b"], ["d_v'"]]
    first, second = objective.codes(objective.pattern())
    assert second.given == ["y", "v"]
    graphs = {operation.slot: operation.of for operation in first.operations}
    assert graphs == {"y": 1, "v": 1, "d_v": 0, "d_b": 0}
    (_, _, judged), (_, made, gradients) = run_updates(objective, INPUTS, 1.0)
    assert judged == {"judge.w": torch.tensor(2 * 5 - 1.0)}  # ∂(3·2·5 - 3)/∂d
    assert made["adversarial/d_v"] == -(3 - 9) * 2 * 5  # the judge as its step left it
    assert gradients == {"maker.w": torch.tensor(-(3 - 9.0) * 5)}


def test_what_a_step_changed_is_computed_anew():
    makes = Update("maker", ("maker",), {"adversarial": [Fool("d_v")]})
    judges = Update("judge", ("judge",), {"adversarial": [Critic("d_v", "d_b")]})
    _, objective = chain(makes, judges)
    assert operations(objective) == [["y", "v", "d_v"], ["y'", "v'", "d_v'", "d_b"]]
    (_, _, gradients), (_, judged, _) = run_updates(objective, INPUTS, 1.0)
    maker = 2 - gradients["maker.w"]  # the second update sees the step
    assert judged["adversarial/d_v"] == 3 * maker * 5 - 3


def test_a_taken_value_is_as_it_was_before_the_step():
    makes = Update("maker", ("maker",), {"adversarial": [Fool("d_v")]})
    terms = {"adversarial": [Critic("d_v", "d_b")]}
    _, objective = chain(makes, Update("judge", ("judge",), terms, takes=("v",)))
    assert operations(objective) == [["y", "v", "d_v"], ["d_v'", "d_b"]]
    _, (_, judged, gradients) = run_updates(objective, INPUTS, 1.0)
    assert judged["adversarial/d_v"] == 3 * 2 * 5 - 3  # with the maker before its step
    assert gradients == {"judge.w": torch.tensor(2 * 5 - 1.0)}


def test_a_redrawn_input_is_another_number():
    judges, makes = Chain.updates
    redrawn = Update(makes.name, makes.trains, makes.terms, redraw=("z",))
    _, objective = chain(judges, redrawn)
    assert objective.inputs == ("x_a", "x_b", "z", "z'")
    assert operations(objective) == [["y", "v", "d_v", "d_b"], ["v'", "d_v'"]]
    (_, judged, _), (_, made, _) = run_updates(objective, INPUTS)
    assert judged["adversarial/d_v"] == 3 * 2 * 7 - 3  # the first draw of two
    assert made["adversarial/d_v"] == -3 * 2 * 5  # the last has the plain name
    _, forgotten = chain()
    assert forgotten.inputs == ("x_a", "x_b", "z")
    assert run_updates(forgotten, INPUTS)[0][1]["adversarial/d_v"] == 3 * 2 * 5 - 3


def test_sharing_the_fakes_redraws_nothing():
    judges, makes = Chain.updates
    redrawn = Update(makes.name, makes.trains, makes.terms, redraw=("z",))
    _, objective = chain(judges, redrawn, share="fakes")
    assert objective.inputs == ("x_a", "x_b", "z")
    assert operations(objective) == [["y", "v", "d_v", "d_b"], ["d_v'"]]


def test_sharing_nothing_computes_everything_for_each_update():
    _, objective = chain(share="none")
    assert operations(objective) == [["y", "v", "d_v", "d_b"], ["y'", "v'", "d_v'"]]
    assert objective.codes(objective.pattern())[1].given == []


def test_what_a_recipe_has_once_is_shared_whatever_is_asked_for():
    model = type("Chain", (Chain,), {"once": ("y",)})()
    objective = objective_of(model, [Term("adversarial", Logits())], side=1, share="none")
    assert operations(objective) == [["y", "v", "d_v", "d_b"], ["v'", "d_v'"]]


def test_frozen_lets_the_gradient_through_and_none_into_the_network():
    update = Update("maker", ("maker",), {"mean": [("w",)]})
    _, objective = chain(update, terms=[Term("mean", Mean())])
    ((_, parts, gradients),) = run_updates(objective, INPUTS)
    assert parts["mean/w"] == 2 * 2
    assert gradients == {"maker.w": torch.tensor(2.0)}  # without `frozen` it is 4

    class Free(Chain):
        updates = (update,)

        @tensor
        def w(self, y: Tensor) -> Tensor:
            return self.maker(y)

    free = objective_of(Free(), [Term("mean", Mean())], side=1)
    assert run_updates(free, INPUTS)[0][2] == {"maker.w": torch.tensor(4.0)}


def test_networks_that_an_update_does_not_train_take_no_gradient():
    model, objective = chain()
    run_updates(objective, INPUTS, 1.0)  # asserts it of every update
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_that_is_moved_takes_its_frozen_twins_along():
    model, objective = chain()
    run_updates(objective, INPUTS)  # the twins are made
    model.double()
    with torch.no_grad():
        model.judge.w.fill_(7.0)
    _, (_, made, _) = run_updates(objective, INPUTS)
    assert made["adversarial/d_v"] == -7 * 2 * 5


def test_a_penalty_differentiates_by_a_leaf():
    """(∂(judge·x)/∂x)² is judge²; its gradient 2·judge reaches the judge."""
    update = Update("judge", ("judge",), {"slope": [("d_b", "x_b")]})
    _, objective = chain(update, terms=[Term("slope", Slope())])
    ((_, parts, gradients),) = run_updates(objective, INPUTS)
    assert parts["slope/d_b"] == 9
    assert gradients == {"judge.w": torch.tensor(6.0)}


def test_a_penalty_on_what_is_made_does_not_reach_the_maker():
    update = Update("judge", ("judge",), {"slope": [("d_v", "v")]})
    _, objective = chain(update, terms=[Term("slope", Slope())])
    ((_, parts, gradients),) = run_updates(objective, INPUTS)
    assert parts["slope/d_v"] == 9
    assert gradients == {"judge.w": torch.tensor(6.0)}


def test_a_penalty_by_what_nothing_is_computed_from():
    update = Update("judge", ("judge",), {"slope": [("d_b", "x_a")]})
    with pytest.raises(GraphError, match="differentiates 'd_b' by 'x_a', of which it is not"):
        chain(update, terms=[Term("slope", Slope())])


def test_a_network_that_shares_parameters_is_stepped_with_the_other():
    class Tied(Chain):
        def __init__(self) -> None:
            super().__init__()
            self.judge.w = self.maker.w

    objective = objective_of(Tied(), [Term("adversarial", Logits())], side=1)
    assert operations(objective) == [["y", "v", "d_v", "d_b"], ["y'", "v'", "d_v'"]]
    (group,) = build_optimizers(load_config("munit/shapes"), objective.model, objective)
    assert (group.updates, list(group.parameters)) == ((0, 1), ["maker.w"])


def test_only_what_active_terms_read_is_computed():
    terms = [Term("adversarial", Logits(), 0.0), Term("mine", MSE(), pairs=(("y", "x_a"),))]
    _, objective = chain(terms=terms)
    assert operations(objective) == [["y"]]
    assert objective.inputs == ("x_a",)
    assert objective.cost_free() == ("v", "d_v", "d_b", "w")


def test_an_unused_side_of_a_term_costs_nothing():
    terms = [Term("adversarial", Logits(), weight=1.0, critic_weight=0.0)]
    _, objective = chain(terms=terms)
    assert operations(objective) == [["y", "v", "d_v"]]
    assert [
        objective.graph.updates[c.index].name for c in objective.codes(objective.pattern())
    ] == ["maker"]


# Iterations that differ


def test_an_update_in_each_third_iteration():
    judges, makes = Chain.updates
    _, objective = chain(judges, Update(makes.name, makes.trains, makes.terms, every=3))
    assert [objective.pattern(iteration)[0] for iteration in range(4)] == [
        (0,),
        (0,),
        (0, 1),
        (0,),
    ]
    assert len(run_updates(objective, INPUTS, iteration=0)) == 1
    assert len(run_updates(objective, INPUTS, iteration=2)) == 2


def test_a_config_and_a_recipes_attribute_may_say_how_often():
    judges, makes = Chain.updates
    options = {"maker": UpdateOptions(every=2, clip=0.5)}
    _, objective = chain(options=options)
    assert [objective.pattern(iteration)[0] for iteration in range(2)] == [(0,), (0, 1)]
    assert (objective.clip(0), objective.clip(1)) == (None, 0.5)
    named = Update(makes.name, makes.trains, makes.terms, every="critics", clip=2.0)
    model = type("Chain", (Chain,), {"updates": (judges, named), "critics": 2})()
    named = objective_of(model, [Term("adversarial", Logits())], side=1)
    assert [named.pattern(iteration)[0] for iteration in range(2)] == [(0,), (0, 1)]
    assert named.clip(1) == 2.0


def test_a_lazy_term_rests_with_all_that_only_it_reads():
    judges, makes = Chain.updates
    both = {"adversarial": judges.terms["adversarial"], "slope": [("d_b", "x_b")]}
    terms = [Term("adversarial", Logits()), Term("slope", Slope(), every=4)]
    _, objective = chain(Update(judges.name, judges.trains, both), makes, terms=terms)
    resting = ((0, "slope"),)
    assert [objective.pattern(iteration)[1] for iteration in (0, 1, 4)] == [(), resting, ()]
    found = [set(run_updates(objective, INPUTS, iteration=iteration)[0][1]) for iteration in (0, 1)]
    assert found == [{"adversarial/d_v", "slope/d_b"}, {"adversarial/d_v"}]
    assert objective.weights(0, 10)["slope", False] == 4.0


def test_a_lazy_term_counts_the_turns_of_its_update():
    """In an update of each second iteration, a term of each second turn is due in each fourth."""
    judges, makes = Chain.updates
    both = {**makes.terms, "mean": [("w",)]}
    terms = [Term("adversarial", Logits()), Term("mean", Mean(), every=2)]
    _, objective = chain(judges, Update(makes.name, makes.trains, both, every=2), terms=terms)
    found = [run_updates(objective, INPUTS, iteration=i) for i in range(6)]
    acts = [i for i, updates in enumerate(found) if any("mean/w" in u[1] for u in updates)]
    assert acts == [1, 5]


def test_turns_are_counted_where_a_method_says_when():
    """In turn, after a jump ahead as on resuming, and after one back."""
    judges, makes = Chain.updates
    both = {**makes.terms, "mean": [("w",)]}
    terms = [Term("adversarial", Logits()), Term("mean", Mean(), every=2)]
    makes = Update(makes.name, makes.trains, both, every="due")
    model = type("Chain", (Chain,), {"updates": (judges, makes), "due": lambda _, i: i % 3 == 0})
    objective = objective_of(model(), terms, side=1)
    for order in (range(13), (9, 12, 0, 3, 6)):
        found = {i: objective.pattern(i) for i in order if i % 3 == 0}
        assert all((1, "mean") in idle for i, (_, idle) in found.items() if i % 6)
        assert not any(idle for i, (_, idle) in found.items() if not i % 6)


def test_what_is_taken_where_the_update_before_rests():
    """It is made then with the draw of the update that takes it, which is an input, too."""
    _, makes = Chain.updates
    makes = Update(makes.name, makes.trains, makes.terms, every=2)
    terms = {"adversarial": [Critic("d_v", "d_b")]}
    judges = Update("judge", ("judge",), terms, takes=("v",), redraw=("z",))
    _, objective = chain(makes, judges)
    assert objective.inputs == ("x_a", "x_b", "z", "z'")
    for iteration, draw in ((0, 5), (1, 7)):
        judged = run_updates(objective, INPUTS, iteration=iteration)[-1][1]
        assert judged["adversarial/d_v"] == 3 * 2 * draw - 3


def test_an_update_whose_terms_all_rest_does_not_take_place():
    judges, makes = Chain.updates
    lazy = Update("slope", ("judge",), {"slope": [("d_b", "x_b")]})
    terms = [Term("adversarial", Logits()), Term("slope", Slope(), every=2)]
    _, objective = chain(judges, makes, lazy, terms=terms)
    assert [objective.pattern(i) for i in range(2)] == [((0, 1, 2), ()), ((0, 1), ())]
    assert len(run_updates(objective, INPUTS, iteration=1)) == 2


@pytest.mark.parametrize("every", ["critcs", "none", 0, 1.5])
def test_how_often_is_a_number_or_an_attribute_that_is_one(every: Any):
    judges, makes = Chain.updates
    updates = (judges, Update(makes.name, makes.trains, makes.terms, every=every))
    model = type("Chain", (Chain,), {"updates": updates, "none": 0})()
    with pytest.raises(GraphError, match="Chain: the update 'maker' takes place in every .* 1 on"):
        objective_of(model, [Term("adversarial", Logits())], side=1)


# Compiled


@pytest.mark.parametrize("name", ["munit", "pix2pix"])
def test_each_update_compiles_as_one_graph(name: str):
    torch._dynamo.reset()
    torch.manual_seed(0)
    objective = objective_of(ZOO[name]())
    inputs = inputs_of(objective)
    codes = objective.codes(objective.pattern())
    objective.planner.all_twins()
    weights = {key: torch.ones(()) for key in objective.weights(0, 1)}

    def iteration(inputs: dict[str, Tensor]) -> list[Tensor]:
        values, losses = Values(inputs), []
        for code in codes:
            losses.append(objective.steps[code.index](code, values, weights)[0])
            values.forget(code)
        return losses

    plain = iteration(inputs)
    compiled = torch.compile(iteration, fullgraph=True, backend="eager")(inputs)
    for ours, theirs in zip(compiled, plain, strict=True):
        torch.testing.assert_close(ours, theirs)


# BicycleGAN's forms


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        ({"same_discriminator": True}, {"generator": 2, "style_encoder": 2, "discriminator": 6}),
        (
            {"two_steps": True, "conditional": True},
            {"generator": 3, "style_encoder": 2, "discriminator": 3, "discriminator2": 3},
        ),
    ],
)
@pytest.mark.usefixtures("double")
def test_bicyclegans_forms_are_updates_of_their_own(settings: Any, calls: dict[str, int]):
    torch.manual_seed(0)
    model = ZOO["bicyclegan"](**settings)
    other = copy.deepcopy(model)
    planned, plain = objective_of(model), objective_of(other)
    codes = planned.codes(planned.pattern())
    assert sum((code.calls for code in codes), Counter()) == calls
    inputs = inputs_of(plain)
    for ours, theirs in zip(
        run_updates(planned, inputs, STEPS), run_plainly(plain, inputs, STEPS), strict=True
    ):
        assert ours[0] == theirs[0]
        torch.testing.assert_close(ours[1], theirs[1])
