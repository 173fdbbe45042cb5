"""Configs, found by name."""
