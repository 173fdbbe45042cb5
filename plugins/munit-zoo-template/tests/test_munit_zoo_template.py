"""The components keep their contracts, and the configs fit together."""

import pytest

from munit_zoo.cli import main
from munit_zoo.testing import checks_of


@pytest.mark.parametrize("check", checks_of("munit-zoo-template"), ids=str)
def test_conformance(check):
    check()


@pytest.mark.parametrize("config", ["template/pixel", "template/charbonnier"])
def test_config(config):
    assert main(["config", "check", config]) == 0
