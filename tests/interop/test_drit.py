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
from munit_zoo.config import load_config
from munit_zoo.engine.runs import Run
from munit_zoo.engine.state import find_snapshot
from munit_zoo.interop import drit
from munit_zoo.interop.checkpoints import shapes_of
from munit_zoo.models import TranslationModel, create_model
from munit_zoo.models.plan import run, straight
from munit_zoo.models.views import views

pytestmark = pytest.mark.golden
