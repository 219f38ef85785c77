"""Measurements that ship with the package; torch is not needed to read them."""

from importlib import resources

import polars as pl


def measured_stages() -> pl.DataFrame:
    """FLOPs of stages that torch counted at published workloads; null where it did not.

    Columns crops, image_tokens, vision, vision_prefill, decode (100 steps), as
    `sweepengine.validation.measured_stages` wrote them.
    """
    file = resources.files("sweepengine.validation") / "measured_stages.csv"
    return pl.read_csv(file.read_bytes()).with_columns(
        pl.format("{}x{}", "crop_rows", "crop_cols").alias("crops"),
        pl.col("image_tokens").cast(pl.Int32),
    )
