"""Models: recipes as graphs of named tensors, and what training minimises."""

from munit_zoo.inputs import Draw, Image, Label
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.build import (
    Rehearsal,
    assemble,
    create_model,
    create_terms,
    rehearse,
    smallest_size,
)
from munit_zoo.models.graph import Graph
from munit_zoo.models.objective import Objective, Term, UpdateOptions, Values
from munit_zoo.models.plan import Code
from munit_zoo.models.recipe import ANY, Critic, Fool, Translation, Update, tensor
from munit_zoo.models.rehearsal import meta_inputs, simulate, translating_networks

__all__ = [
    "ANY",
    "Code",
    "Critic",
    "Draw",
    "Fool",
    "Graph",
    "Image",
    "Label",
    "Objective",
    "Rehearsal",
    "Term",
    "Translation",
    "TranslationModel",
    "Update",
    "UpdateOptions",
    "Values",
    "assemble",
    "create_model",
    "create_terms",
    "meta_inputs",
    "rehearse",
    "simulate",
    "smallest_size",
    "tensor",
    "translating_networks",
]
