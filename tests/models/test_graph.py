"""Named tensors: order, sharing, mirroring, and a recipe's mistakes."""

from __future__ import annotations

import pytest
import torch

from munit_zoo.errors import GraphError
from munit_zoo.models.graph import Critic, Graph, Translation, tensor


class Chain:
    """y = x + 1, w = y · z, with z drawn."""

    inputs = ("x_a", "z_a")
    redrawn = ("z_a",)
    calls: list[str] = []

    @tensor
    def y_a(self, x_a):
        self.calls.append("y_a")
        return x_a + 1

    @tensor
    def w_a(self, y_a, z_a):
        self.calls.append("w_a")
        return y_a * z_a

    @tensor
    def unread(self, w_a):
        raise AssertionError("nobody asked for this")


@pytest.fixture
def chain():
    Chain.calls = []
    return Graph(Chain), Chain()


def env(**values: float) -> dict[str, torch.Tensor]:
    return {name.replace("_prime", "'"): torch.tensor(value) for name, value in values.items()}


def test_only_what_is_wanted_is_computed(chain):
    graph, model = chain
    names, _ = graph.plan(["y_a"])((model, model), env(x_a=1.0))
    assert names == {"y_a": torch.tensor(2.0)}
    assert model.calls == ["y_a"]


def test_content_is_shared_and_noise_redrawn(chain):
    graph, model = chain
    plan = graph.plan(["w_a"], ["w_a"], share="content")
    assert plan.inputs == ("x_a", "z_a", "z_a'")
    names, fakes = plan((model, model), env(x_a=1.0, z_a=3.0, z_a_prime=5.0))
    assert (names["w_a"], fakes["w_a"]) == (6.0, 10.0)
    assert model.calls == ["y_a", "w_a", "w_a"]


def test_sharing_the_fakes_draws_nothing(chain):
    graph, model = chain
    plan = graph.plan(["w_a"], ["w_a"], share="fakes")
    assert plan.inputs == ("x_a", "z_a")
    names, fakes = plan((model, model), env(x_a=1.0, z_a=3.0))
    assert names["w_a"] == fakes["w_a"] == 6.0
    assert model.calls == ["y_a", "w_a"]


def test_sharing_nothing_computes_all_again(chain):
    graph, model = chain
    plan = graph.plan(["w_a"], ["w_a"], share="none")
    _, fakes = plan((model, model), env(x_a=1.0, z_a=3.0, z_a_prime=5.0))
    assert fakes["w_a"] == 10.0
    assert model.calls == ["y_a", "w_a", "y_a", "w_a"]


def test_fakes_carry_no_gradient(chain):
    graph, model = chain
    values = env(x_a=1.0, z_a=3.0, z_a_prime=5.0)
    values["x_a"].requires_grad_()
    for share in ("none", "content", "fakes"):
        names, fakes = graph.plan(["w_a"], ["w_a"], share=share)((model, model), values)
        assert names["w_a"].requires_grad
        assert not fakes["w_a"].requires_grad


def test_what_only_the_discriminators_read_is_computed_too(chain):
    graph, model = chain
    plan = graph.plan(["y_a"], ["w_a"], share="content")
    names, fakes = plan((model, model), env(x_a=1.0, z_a_prime=5.0))
    assert (list(names), float(fakes["w_a"])) == (["y_a"], 10.0)
    assert plan.inputs == ("x_a", "z_a'")


def test_inputs_may_be_wanted(chain):
    graph, model = chain
    plan = graph.plan(["x_a"], ["x_a"])
    names, fakes = plan((model, model), env(x_a=1.0))
    assert names["x_a"] == fakes["x_a"] == 1.0


def test_an_unknown_name(chain):
    with pytest.raises(GraphError, match="Chain computes no 'w_b'. Did you mean"):
        chain[0].plan(["w_b"])


class Two:
    """Everything mirrored, but one node written out."""

    inputs = ("x_a", "x_b")
    mirror = ("a", "b")
    terms = {"recon": [("x_ab", "x_a")]}
    critics = {"b": Critic(fake="x_ab", real="x_b")}
    translations = {("a", "b"): Translation(source="x_a", output="x_ab")}

    def __init__(self, a: float, b: float) -> None:
        self.a, self.b = a, b

    @tensor
    def c_a(self, x_a):
        return self.a * x_a

    @tensor
    def c_b(self, x_b):
        return -self.b * x_b

    @tensor
    def x_ab(self, c_a):
        return self.b + c_a


def test_each_node_also_exists_with_the_domains_exchanged():
    graph = Graph(Two)
    assert set(graph.nodes) == {"c_a", "c_b", "x_ab", "x_ba"}
    assert graph.nodes["x_ba"].arguments == ("c_b",)
    values, _ = graph.plan(["x_ab", "x_ba"])((Two(2, 3), Two(3, 2)), env(x_a=1.0, x_b=10.0))
    assert values == {"x_ab": 5.0, "x_ba": -28.0}


def test_terms_critics_and_translations_are_mirrored():
    graph = Graph(Two)
    assert graph.terms["recon"] == (("x_ab", "x_a"), ("x_ba", "x_b"))
    assert graph.critics == {"a": Critic("x_ba", "x_a"), "b": Critic("x_ab", "x_b")}
    assert graph.translations["b", "a"].output == "x_ba"
    assert [graph.exchange(n) for n in ("x_aba", "image", "s_mean")] == ["x_bab", "image", "s_mean"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": ("x",), "y": lambda self, q: q}, "y reads 'q', which nothing computes"),
        ({"inputs": ("x",), "x": lambda self: 1}, "'x' is an input and cannot also be computed"),
        (
            {"inputs": (), "u": lambda self, v: v, "v": lambda self, u: u},
            "form a cycle: u -> v -> u",
        ),
        ({"inputs": ("x",), "terms": {"t": [("y", "x")]}}, "term 't': Odd computes no 'y'"),
        ({"inputs": ("x",), "redrawn": ("z",)}, "'z' is redrawn but is no input"),
    ],
)
def test_a_recipes_mistakes_are_named(body, message):
    body = {k: tensor(v) if callable(v) else v for k, v in body.items()}
    with pytest.raises(GraphError, match=message):
        Graph(type("Odd", (), body))


def test_it_is_described_for_people():
    graph = Graph(Two)
    assert "x_ba <- c_b" in graph.text()
    assert "c_a --> x_ab" in graph.mermaid()


def test_a_plan_is_split_at_the_style():
    before, after = Graph(Chain).plan(["w_a"]).split("z_a")
    assert [n.name for n in before] == ["y_a"]
    assert [n.name for n in after] == ["w_a"]
