"""Datasets: where they live, their files, and the runs that write them."""
