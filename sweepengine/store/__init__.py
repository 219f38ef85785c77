"""Datasets: storage, files, and the runs that write them."""
