"""Costs of one workload, line by line, and measures of them."""
