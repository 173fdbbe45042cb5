"""The conformance kit: does a component keep the contract of its kind?

    from munit_zoo.testing import checks_of

    @pytest.mark.parametrize("check", checks_of("my-distribution"), ids=str)
    def test_conformance(check):
        check()

Importing it loads no torch and registers nothing with pytest.
"""

from munit_zoo.testing._kit import (
    Check,
    ConformanceError,
    check_component,
    checks,
    checks_of,
)

__all__ = ["Check", "ConformanceError", "check_component", "checks", "checks_of"]
