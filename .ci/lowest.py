"""The lowest versions that pyproject.toml allows, as pip's constraints.

python .ci/lowest.py EXTRA …
"""

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib  # what pip itself reads pyproject.toml with


def lowest(extras: list[str]) -> list[str]:
    """`name==version` of each requirement with a lower bound, and those of some extras."""
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())
    project = project["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    found = []
    for requirement in wanted:
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)\s*>=\s*([0-9.]+)", requirement)
        if match:
            found.append(f"{match[1]}=={match[2]}")
    return found


if __name__ == "__main__":
    print("\n".join(lowest(sys.argv[1:])))  # noqa: T201
