"""Named tensors: order, mirroring, and a recipe's mistakes."""

from __future__ import annotations

import pytest
import torch
from _recipes import Logits, Mean, munit, objective_of, starganv2
from torch import nn

from munit_zoo.domains import Domain
from munit_zoo.errors import GraphError
from munit_zoo.losses.reconstruction import L1
from munit_zoo.models import (
    ANY,
    Critic,
    Draw,
    Fool,
    Graph,
    Image,
    Label,
    Term,
    Translation,
    TranslationModel,
    Update,
    tensor,
)
from munit_zoo.models.plan import run, straight
from munit_zoo.models.views import views


class Two(TranslationModel):
    """Everything mirrored, but one node written out."""

    inputs = {"x_a": Image("a"), "x_b": Image("b"), "z_b": Draw("normal", like="c_b")}
    mirror = ("a", "b")
    updates = (
        Update(
            "all",
            trains=("maker",),
            terms={"recon": [("x_ab", "x_a")], "fool": [Fool("x_ab")], "only_a": [("c_a",)]},
            redraw=("z_b",),
        ),
    )
    translations = {("a", "b"): Translation("x_a", "x_ab", style="z_b", given={"z_a": 0.5})}

    def __init__(self) -> None:
        super().__init__((Domain("day"), Domain("night")))
        for letter in self.letters:
            setattr(self, letter, nn.ModuleDict({"maker": nn.Identity()}))

    def offset(self, x):
        """Helpers see the exchanged model, too."""
        return self.b.maker(x) + 1

    @tensor
    def c_a(self, x_a):
        """Doubled."""
        return self.a.maker(2 * x_a)

    @tensor
    def c_b(self, x_b):
        return -x_b

    @tensor
    def x_ab(self, c_a, z_b):
        """Translated."""
        return self.offset(c_a) + z_b


def values(model, want, **given):
    tensors = {name: torch.tensor(value) for name, value in given.items()}
    run(straight(model.graph(), want, (), views(model)), tensors)
    return {name: float(tensors[name]) for name in want}


# Order


def test_only_what_is_wanted_is_computed_in_the_order_of_definitions():
    graph = Graph(Two)
    assert [node.name for node in graph.order(["x_ab"])] == ["c_a", "x_ab"]
    assert [node.name for node in graph.order(["x_ab"], given=("c_a",))] == ["x_ab"]
    assert [node.name for node in graph.order(["x_ba", "c_a"])] == ["c_a", "c_b", "x_ba"]
    assert graph.needs(["x_ab"]) == {"x_ab", "c_a", "x_a", "z_b"}


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(GraphError, match="Two computes no 'c_c'. Did you mean 'c_"):
        Graph(Two).order(["c_c"])


# The mirror


def test_each_node_also_exists_with_the_domains_exchanged():
    graph = Graph(Two)
    assert set(graph.nodes) == {"c_a", "c_b", "x_ab", "x_ba"}
    assert graph.nodes["x_ba"].arguments == ("c_b", "z_a")
    assert (graph.nodes["x_ba"].exchanged, graph.nodes["c_b"].exchanged) == (True, False)
    given = {"x_a": 1.0, "x_b": 10.0, "z_a": 0.25, "z_b": 0.5}
    assert values(Two(), ("x_ab", "x_ba"), **given) == {"x_ab": 3.5, "x_ba": -8.75}


def test_inputs_updates_and_translations_are_mirrored():
    graph = Graph(Two)
    assert graph.inputs["z_a"] == Draw("normal", like="c_a")
    (update,) = graph.updates
    assert update.terms["recon"] == [("x_ab", "x_a"), ("x_ba", "x_b")]
    assert update.terms["fool"] == [Fool("x_ab"), Fool("x_ba")]
    assert (update.terms["only_a"], update.terms["only_b"]) == ([("c_a",)], [("c_b",)])
    assert update.redraw == ("z_b", "z_a")
    back = graph.translations["b", "a"]
    assert (back.source, back.output, back.style, back.given) == (
        "x_b",
        "x_ba",
        "z_a",
        {"z_b": 0.5},
    )


def test_letters_and_words_are_exchanged_as_parts_of_names():
    graph = Graph(Two)
    names = ("x_aba", "image", "s_mean", "a", "x_ab_a", "x_abc")
    assert [graph.exchange(n) for n in names] == [
        "x_bab",
        "image",
        "s_mean",
        "a",
        "x_ba_b",
        "x_abc",
    ]

    class Words(TranslationModel):
        inputs = {"x_photo": Image("photo"), "x_art": Image("art"), "z_art": Draw()}
        mirror = ("photo", "art")
        updates = (Update("all", ("maker",), {"recon": [("x_photo_art", "x_photo")]}),)
        translations = {("photo", "art"): Translation("x_photo", "x_photo_art")}

        @tensor
        def x_photo_art(self, x_photo, z_art):
            return self.art.maker(x_photo) + z_art

    words = Graph(Words)
    assert set(words.nodes) == {"x_photo_art", "x_art_photo"}
    assert words.exchange("x_photo_art_part") == "x_art_photo_part"
    assert words.letters == ("photo", "art")
    assert words.translations["art", "photo"].output == "x_art_photo"


def test_an_update_may_be_meant_one_way():
    one_way = Update("all", ("maker",), {"recon": [("x_ab", "x_a")]}, mirrored=False)
    graph = Graph(type("OneWay", (Two,), {"updates": (one_way,)}))
    assert graph.updates[0].terms == {"recon": [("x_ab", "x_a")]}


def test_the_graph_belongs_to_an_instance():
    """A setting may decide what a recipe is fed and how it is updated."""

    class Chosen(Two):
        def __init__(self, both: bool) -> None:
            if not both:
                self.updates = (Update("all", ("maker",), {"recon": [("c_a", "x_a")]}),)
            super().__init__()

    assert "fool" in Chosen(True).graph().terms
    assert list(Chosen(False).graph().terms) == ["recon"]

    class Late(Two):
        """Chooses after it looked at what there is."""

        def __init__(self) -> None:
            super().__init__()
            assert "fool" in self.graph().terms
            self.updates = (Update("all", ("maker",), {"recon": [("c_a", "x_a")]}),)

    assert list(Late().graph().terms) == ["recon"]


def test_it_is_described_for_people():
    graph = Graph(Two)
    assert "x_ba <- c_b, z_a  Translated. (a and b exchanged)" in graph.text()
    assert "c_a --> x_ab" in graph.mermaid()


# Mistakes, found as soon as the recipe is looked at


def node(*arguments: str):
    """A tensor method of these arguments."""
    names: dict = {}
    exec(f"def method(self, {', '.join(arguments)}): return 0", names)
    return tensor(names["method"])


UPDATE = Update("step", ("maker",), {"t": [("y", "x")]})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"y": node("q")}, "Odd: y reads 'q', which nothing computes. It has: x, y"),
        ({"y": node("xx")}, "y reads 'xx', which nothing computes. Did you mean 'x'"),
        ({"x": node()}, "'x' is an input and cannot also be computed"),
        ({"u": node("v"), "v": node("u")}, "the tensors form a cycle: u -> v -> u"),
        (
            {"mirror": ("photo", "art"), "y": node("x")},
            "mirror exchanges 'photo' and 'art', but no name has either .* as in x_photo",
        ),
        (
            {"updates": [UPDATE]},
            "the update 'step', term 't': Odd computes no 'y'. It has: x",
        ),
        ({"y": node("x"), "updates": [UPDATE, UPDATE]}, "two updates are called 'step'"),
        (
            {"y": node("x"), "updates": [Update("step", (), {"t": [("y",)]})]},
            "the update 'step' trains no network",
        ),
        (
            {"updates": [Update("step", ("maker",), {"t": [("x",)]}, redraw=("x",))]},
            "the update 'step' redraws 'x', which is no random input",
        ),
        (
            {
                "y": node("x"),
                "updates": [Update("step", ("maker",), {"t": [("x",)]}, takes=("y",))],
            },
            "'step' takes 'y', which no term of an update before it computes",
        ),
        (
            {"updates": [Update("step", ("maker",), {"t": [("x",)]}, takes=("q",))]},
            "the update 'step' takes: Odd computes no 'q'",
        ),
        (
            {"translations": {("a", "b"): Translation("x", "x_ab")}},
            "the translation a to b: Odd computes no 'x_ab'",
        ),
        (
            {
                "inputs": {"x_a": Image("a"), "x_b": Image("b")},
                "y": node("x_a", "x_b"),
                "translations": {("a", "b"): Translation("x_a", "y")},
            },
            "the translation a to b: y is computed from the input 'x_b', which a translation is n",
        ),
        (
            {
                "inputs": {"x_a": Image("a"), "x_b": Image("b")},
                "translations": {("a", "c"): Translation("x_a", "x_a")},
            },
            "the translation a to c: the domains of its inputs are a, b",
        ),
        (
            {"y": node("x"), "translations": {("a", ANY): Translation("x", "y")}},
            r"the translation a to \*: .* any of K, which is written \(ANY, ANY\)",
        ),
        ({"once": ("q",)}, "once: Odd computes no 'q'"),
        (
            {"inputs": {"x": Image(), "l": Label(of="q")}},
            "the input 'l' refers to 'q', which is no image of the inputs",
        ),
        ({"inputs": {"x": Image(like="z"), "z": Draw()}}, "'x' refers to 'z', which is no image"),
        ({"inputs": {"x": Image(), "z": Draw(like="q")}}, "'z' is drawn like: Odd computes no 'q'"),
    ],
)
def test_a_recipes_mistakes_are_named(body, message):
    body = {"inputs": {"x": Image()}, **body}
    with pytest.raises(GraphError, match=message):
        Graph(type("Odd", (TranslationModel,), body))


def test_an_update_that_trains_what_is_no_network():
    class Odd(Two):
        updates = (Update("all", ("makers",), {"recon": [("x_ab", "x_a")]}),)

    with pytest.raises(GraphError, match="trains 'makers', which is no network. There is a.maker"):
        objective_of(Odd(), [Term("recon", L1())], side=1)


# Domains


def test_domains_are_the_users_by_order():
    model = munit()
    assert {letter: domain.name for letter, domain in model.letters.items()} == {
        "a": "day",
        "b": "night",
    }
    assert model.ways == (("day", "night"), ("night", "day"))
    assert list(model.networks())[:2] == ["a.content_encoder", "a.style_encoder"]


def test_a_recipe_for_two_is_asked_for_three_and_one_for_any_for_one():
    with pytest.raises(GraphError, match="Munit translates between 2 domains; .* has 3: DAY, NIG"):
        munit((Domain("day"), Domain("night"), Domain("dusk")))
    with pytest.raises(GraphError, match="StarGanV2 translates between 2 or more .* it has DAY"):
        starganv2((Domain("day"),))
    assert len(starganv2((Domain("day"), Domain("night"))).ways) == 2
    assert len(starganv2().ways) == 6


# Terms of a config on a recipe


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (Term("mine", L1()), "MINE: PAIRS is required, as in .* knows only the terms RECON, FOOL"),
        (Term("mine", L1(), pairs=()), "PAIRS names nothing: leave the term out"),
        (Term("mine", L1(), pairs=(("x_ab",),)), r"the loss L1 reads 2 tensors .* got \[x_ab\]"),
        (Term("mine", L1(), pairs=(("x_ac", "x_a"),)), "PAIRS Two computes no 'x_ac'. Did you mea"),
        (Term("recon", L1(), updates=("other",)), "UPDATES Two has no update 'other'; it has all"),
        (Term("recon", Mean()), "NAME the loss Mean reads 1 tensor at a time, got"),
        (Term("recon", Logits()), "NAME the term RECON compares tensors; the loss Logits is adv"),
        (Term("fool", L1()), "NAME the term FOOL is adversarial; the loss L1 compares tensors"),
        (Term("fool", Logits(), pairs=(("x_ab", "x_a"),)), "PAIRS are for losses that compare"),
    ],
)
def test_a_term_that_does_not_fit_is_told_what_would(term, message):
    with pytest.raises(GraphError, match=message):
        objective_of(Two(), [term], side=1)


def test_a_term_that_acts_nowhere():
    class Later(Two):
        updates = (*Two.updates, Update("later", ("maker",), {"late": [("c_a",)]}))

    with pytest.raises(GraphError, match="UPDATES the term RECON acts in all, in none of these"):
        objective_of(Later(), [Term("recon", L1(), updates=("later",))], side=1)
    pairs = (("x_ab", "x_a"),)
    with pytest.raises(
        GraphError, match="UPDATES is required for a term of one's own: .* all or l"
    ):
        objective_of(Later(), [Term("mine", L1(), pairs=pairs)], side=1)
    placed = objective_of(Later(), [Term("mine", L1(), pairs=pairs, updates=("later",))], side=1)
    assert placed.terms_of(1) == ("mine",)


def test_a_critics_entry_names_fake_and_real():
    graph = Graph(
        type(
            "Judged",
            (Two,),
            {
                "updates": (
                    Update("judge", ("maker",), {"adversarial": [Critic(fake="x_ab", real="x_b")]}),
                )
            },
        )
    )
    assert graph.updates[0].terms["adversarial"][1] == Critic("x_ba", "x_a")
