"""Optimizers, and schedules of rates and of weights, as components."""

__all__: list[str] = []
