"""The version of the package, which datasets and commands name."""

__version__ = "0.2.0"
