"""Folds of a grid are those of its points, whatever they leave out of the reading."""

import polars as pl
from polars.testing import assert_frame_equal

import sweepengine as se
from sweepengine.query.folds import Fold, folded
from sweepengine.query.sources import open_source

GRID = """name = "g"
[axes]
prompt_tokens = [100, 4000]
attention = ["eager", "flash"]
batch_size = [1, 8]
decode_steps = [0, 10, 500]
"""
MEASURES = {
    "flops": pl.col("prefill_tensor_flops"),
    "reads": pl.col("prefill_weight_io_bytes") / pl.col("batch_size"),
    "weights": pl.col("weight_bytes"),
    "steps": pl.col("decode_steps"),
    "decode": pl.col("decode_tensor_flops") + pl.col("prefill_tensor_flops"),
}
FOLDS = [Fold(f"{name}:{how}", of, how) for name, of in MEASURES.items() for how in ("min", "max")]
FOLDS += [
    Fold("large:sum", (pl.col("prefill_tensor_flops") > 10**13).cast(pl.Int64), "sum"),
    Fold("long:sum", pl.col("decode_steps") > 5, "sum"),
    Fold("flops:mean", pl.col("prefill_tensor_flops"), "mean"),
    Fold("flops:any", pl.col("prefill_tensor_flops") > 10**13, "any"),
]


def expected(points):
    return points.select(getattr(fold.of, fold.how)().alias(fold.name) for fold in FOLDS)


def test_folds_are_those_of_all_points(grid_file):
    grid = grid_file(GRID.replace("[axes]", 'model = "llama-3.1-8b"\n[axes]'))
    points = se.scan(grid).collect()
    source = open_source(grid)
    assert_frame_equal(folded(source, [], FOLDS), expected(points), check_dtypes=False)
    flash = pl.col("attention") == "flash"
    of_flash = expected(points.filter(flash))
    assert_frame_equal(folded(source, [], FOLDS, flash), of_flash, check_dtypes=False)


def test_only_what_depends_on_steps_reads_them_all(grid_file):
    grid = grid_file(GRID.replace("[axes]", 'model = "llama-3.1-8b"\n[axes]'))
    source, read = open_source(grid), []
    at_one, steps = source.at_one_step()
    assert steps == 3
    assert sum(frame.height for frame in at_one.frames(["batch_size"])) == 8
    pieces = source.pieces

    def noted(columns, condition, wide):
        read.append(columns)
        return pieces(columns, condition, wide=wide)

    folded(source._replace(pieces=noted), [], [fold for fold in FOLDS if "mean" not in fold.name])
    assert [{*columns} for columns in read] == [
        {"decode_steps", "decode_tensor_flops", "prefill_tensor_flops"}
    ]
