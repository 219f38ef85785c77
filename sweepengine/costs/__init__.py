"""The cost of one workload, line by line, and measures derived from it."""
