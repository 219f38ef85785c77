"""Rows of the measurements that the package ships as CSV."""

from importlib import resources
from typing import Any

import polars as pl


def shipped_rows(name: str) -> list[dict[str, Any]]:
    """Rows of a file of `data/measured`, empty cells as None."""
    file = resources.files("sweepengine.data") / "measured" / name
    with resources.as_file(file) as path:
        return pl.read_csv(path, comment_prefix="#", infer_schema_length=None).to_dicts()
