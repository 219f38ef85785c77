"""Measure operators and passes on a GPU of your own: `python -m benchmarks.on_gpu OUT_FOLDER`."""
