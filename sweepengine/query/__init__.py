"""Queries over grids and datasets alike."""
