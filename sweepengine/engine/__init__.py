"""The compiled sweep: kernels, threads, frames in and out, a lazy source."""
