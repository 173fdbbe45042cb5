"""Components for munit_zoo: norm, loss."""
