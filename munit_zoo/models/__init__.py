"""Models: recipes as graphs of named tensors, and what training minimises."""

from munit_zoo.models.base import TranslationModel
from munit_zoo.models.build import (
    Rehearsal,
    assemble,
    create_model,
    meta_inputs,
    rehearse,
    smallest_size,
)
from munit_zoo.models.graph import Critic, Graph, Plan, Translation, tensor
from munit_zoo.models.objective import Objective, Term

__all__ = [
    "Critic",
    "Graph",
    "Objective",
    "Plan",
    "Rehearsal",
    "Term",
    "Translation",
    "TranslationModel",
    "assemble",
    "create_model",
    "meta_inputs",
    "rehearse",
    "smallest_size",
    "tensor",
]
