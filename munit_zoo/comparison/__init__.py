"""Runs against each other: ablations, pages side by side, and what people prefer."""
