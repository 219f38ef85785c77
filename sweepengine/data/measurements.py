"""Shipped measurements; torch is not needed to read them."""

import csv
from importlib import resources


def measured_stages() -> list[dict[str, str]]:
    """FLOPs of phases, counted by torch at published workloads; empty text where not counted.

    Columns crop_rows, crop_cols, image_tokens, vision, vision_prefill, decode (100 steps), written
    by `sweepengine.validation.measured_stages`.
    """
    file = resources.files("sweepengine.data") / "measured" / "stages.csv"
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
