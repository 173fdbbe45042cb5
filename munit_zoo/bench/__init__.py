"""Throughput benchmarks of recipes and components."""
