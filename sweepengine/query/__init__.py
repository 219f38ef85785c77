"""Queries over grids and datasets."""
