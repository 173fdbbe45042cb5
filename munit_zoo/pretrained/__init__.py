"""Trained networks that both losses and metrics look through."""

__all__: list[str] = []
