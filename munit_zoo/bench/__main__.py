"""`python -m munit_zoo.bench`: the same as `munit-zoo bench`."""

import sys

from munit_zoo.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
