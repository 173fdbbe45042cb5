"""What the documentation quotes is there: excerpts of code, names of tensors, updates, configs."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import munit_zoo as mz
from munit_zoo.config import load_config
from munit_zoo.models import create_model

ROOT = Path(__file__).parent.parent
ZOO = sorted((ROOT / "docs/zoo").glob("*.md"))
pytestmark = pytest.mark.skipif(not ZOO, reason="no folder docs/zoo beside the tests")


@pytest.mark.parametrize("page", ZOO, ids=lambda page: page.stem)
def test_excerpts_stand_in_their_files(page: Path):
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", page.read_text(), flags=re.S)
    assert blocks
    for file, excerpt in blocks:
        assert excerpt in (ROOT / file).read_text(), file


@pytest.mark.parametrize("page", ZOO, ids=lambda page: page.stem)
def test_names_are_the_recipes(page: Path):
    if page.stem == "cut" and find_spec("munit_zoo_contrastive") is None:
        pytest.skip("munit-zoo-contrastive is not installed")
    text = page.read_text()
    graph = create_model(load_config(f"{page.stem}/shapes")).graph()
    equations = text.split("## Equations")[1].split("## Update")[0]
    named = {name for name in re.findall(r"`(\w+)`", equations) if "_" in name}
    assert named <= set(graph.names), named - set(graph.names)
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", text.split("## Update")[1], flags=re.M)
    assert [name for name, _ in rows] == [update.name for update in graph.updates]
    for name, terms in rows:
        known = {term for term, updates in graph.terms.items() if name in updates}
        assert set(terms.lower().split(", ")) == known


def test_configs_and_links_are_there():
    shipped = {name.split("/")[0]: name for name in mz.list_configs()}
    for page in [*ZOO, ROOT / "docs/README.md", ROOT / "docs/photos.md"]:
        text = page.read_text()
        for name in re.findall(r"`((?:\w+)/(?:images|shapes|afhq|celeba_hq|photos_\d+))`", text):
            if name.split("/")[0] in shipped:
                assert name in mz.list_configs(), f"{page.name}: {name}"
        for link in re.findall(r"\]\(([\w./]+\.md)\)", text):
            assert (page.parent / link).is_file(), f"{page.name}: {link}"
