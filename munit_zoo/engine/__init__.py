"""The engine: training, checkpoints, translation of files, evaluation."""
