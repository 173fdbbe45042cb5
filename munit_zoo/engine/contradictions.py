"""Keys of ENGINE that do not go together.

Apart from the engine itself, which a check of a config is not to load: Lightning reads the metadata
of all that is installed.
"""

from __future__ import annotations

from munit_zoo.config import Config, engine_settings
from munit_zoo.errors import UsageError

__all__ = ["check_engine"]


def check_engine(config: Config, processes: int = 1) -> None:
    """Raises UsageError where keys of ENGINE contradict each other.

    processes: that share a batch.
    """
    engine = engine_settings(config)
    if engine.batch_size % (processes * engine.accumulate) and not engine.batch_size % processes:
        share = engine.batch_size // processes
        raise UsageError(
            f"a batch of {share} cannot be computed in {engine.accumulate} equal parts: change "
            "ENGINE.BATCH_SIZE or ENGINE.ACCUMULATE"
        )
    if engine.keep_best is not None and engine.log_every > engine.snapshot_every > 0:
        raise UsageError(
            f"ENGINE.KEEP_BEST compares what is logged between snapshots: ENGINE.LOG_EVERY "
            f"({engine.log_every}) must be at most ENGINE.SNAPSHOT_EVERY ({engine.snapshot_every})"
        )
