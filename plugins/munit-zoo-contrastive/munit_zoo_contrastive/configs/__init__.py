"""Configs, found by name: cut/shapes, cut/images, fastcut/shapes."""
