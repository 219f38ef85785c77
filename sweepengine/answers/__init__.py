"""Answers: measures, explanations, targets, queries over grids and datasets."""
