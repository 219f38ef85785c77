"""Counts the FLOPs of phases with torch at the published workloads, for charts.

    python -m sweepengine.validation.measured_stages FILE

Vision is counted for all 53 published crop grids on the meta device; prefill and 100 decode steps
on the CPU for the crop grids in `DECODED`. The result is shipped as ``data/measured/stages.csv``.
"""

import csv
import sys
from pathlib import Path

from transformers import DynamicCache

from sweepengine.data.models import load_model
from sweepengine.formulas.published import own_heads
from sweepengine.grid.files import load_grid
from sweepengine.grid.products import expand
from sweepengine.validation.references import DecoderReference, VisionReference

DECODED = ((1, 2), (2, 2), (2, 3), (3, 3), (3, 4), (4, 4))
TEXT_TOKENS = 10
DECODE_STEPS = 100
STAGE_COLUMNS = ("crop_rows", "crop_cols", "image_tokens", "vision", "vision_prefill", "decode")


def measure(view: int, tile: int, rows: int, cols: int) -> dict[str, int | None]:
    """FLOPs of one image by phase; prefill and decode only for tiles in `DECODED`.

    Parameters
    ----------
    view, tile : int
        Sizes of the global view and of a tile, px.
    rows, cols : int
        Grid of tiles.

    Returns
    -------
    dict
        Values of `STAGE_COLUMNS`.
    """
    model = load_model()
    vision, tokens = VisionReference(model.architecture).measure_image(view, tile, rows, cols)
    flops: dict[str, int | None] = dict.fromkeys(STAGE_COLUMNS)
    flops |= {"crop_rows": rows, "crop_cols": cols, "image_tokens": tokens, "vision": vision}
    if (rows, cols) in DECODED:
        decoder = DecoderReference(model.architecture, own_heads(model.architecture))
        cache = DynamicCache(config=decoder.config)
        flops["vision_prefill"] = vision + decoder.flops(1, tokens + TEXT_TOKENS, cache)
        flops["decode"] = sum(decoder.flops(1, 1, cache) for _ in range(DECODE_STEPS))
    return flops


def main() -> None:
    """Measure all published crop grids and write the file."""
    images = expand(load_grid("published-vision").axes)
    names = ("view_size", "tile_size", "crop_rows", "crop_cols")
    distinct = dict.fromkeys(zip(*(images[name].tolist() for name in names), strict=True))
    with Path(sys.argv[1]).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, STAGE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        for sizes in distinct:
            writer.writerow(measure(*sizes))
            file.flush()


if __name__ == "__main__":
    main()
