"""Measurements that ship with the package; torch is not needed to read them."""

import csv
from importlib import resources


def measured_stages() -> list[dict[str, str]]:
    """FLOPs of stages that torch counted at published workloads; empty where it did not.

    Columns crop_rows, crop_cols, image_tokens, vision, vision_prefill, decode (100 steps), as
    `sweepengine.validation.measured_stages` wrote them.
    """
    file = resources.files("sweepengine.data") / "measured" / "stages.csv"
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
