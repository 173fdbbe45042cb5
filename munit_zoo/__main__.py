"""`python -m munit_zoo`."""

import sys

from munit_zoo.cli import main

sys.exit(main())
