import polars as pl
import pytest

import sweepengine as se
from sweepengine.engine.typed import schema_of
from sweepengine.formulas.points import INPUT_NAMES


def test_any_subset_of_columns_takes_the_defaults_for_the_rest():
    found = se.evaluate(pl.DataFrame({"crop_rows": [1], "crop_cols": [2]}))
    row = found.row(0, named=True)
    assert found.schema == schema_of(se.load_model())
    assert row["vision_tensor_flops"] == 1_916_266_708_992
    assert row["decode_tensor_flops"] == 118_158_489_600
    assert [row[name] for name in INPUT_NAMES[4:10]] == [10, 100, 1, 10, 10, "flash"]


def test_key_value_heads_default_to_the_heads_of_their_row():
    found = se.evaluate(pl.DataFrame({"attention_heads": [10, 20, 5]}))
    assert found["key_value_heads"].to_list() == [10, 20, 5]


def test_no_rows_give_no_rows_with_all_columns():
    found = se.evaluate(pl.DataFrame({"batch_size": pl.Series([], dtype=pl.Int32)}))
    assert found.height == 0
    assert found.schema == schema_of(se.load_model())


def test_attention_may_be_text_enum_or_categorical():
    column = pl.Series("attention", ["eager", "flash"])
    kinds = [pl.String, pl.Categorical, pl.Enum(["flash", "eager"])]
    frames = [se.evaluate(pl.DataFrame([column.cast(kind)])) for kind in kinds]
    assert frames[0].equals(frames[1])
    assert frames[0].equals(frames[2])
    assert frames[0]["attention"].to_list() == ["eager", "flash"]


BAD = {
    "unknown column": ({"batchsize": [1]}, "points: batchsize: unknown column"),
    "float": ({"batch_size": [1.0]}, "points: batch_size: expected Int32, .* found Float64"),
    "text": ({"batch_size": ["1"]}, "points: batch_size: expected Int32, .* found String"),
    "bool": ({"batch_size": [True]}, "found Boolean"),
    "null": ({"batch_size": [1, None]}, r"points: batch_size\[1\] is null"),
    "low": ({"batch_size": [4, 0]}, r"points: batch_size\[1\] = 0: expected an integer, 1\.\."),
    "view": ({"view_size": [100]}, "a multiple of 64"),
    "half a crop": ({"crop_rows": [2]}, "both 0"),
    "zero heads": ({"attention_heads": [0]}, "expected an integer, 1"),
    "heads": (
        {"attention_heads": [10, 7]},
        r"attention_heads\[1\] = 7: expected a divisor of 1280",
    ),
    "kv heads": ({"key_value_heads": [3]}, r"key_value_heads\[0\] = 3: expected a divisor of att"),
    "attention": ({"attention": ["sdpa"]}, r'attention\[0\] = sdpa: expected "eager" or "flash"'),
    "attention type": ({"attention": [1]}, "expected Enum"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_points_name_the_column_and_what_is_allowed(case):
    columns, expected = BAD[case]
    with pytest.raises(se.InputError, match=expected):
        se.evaluate(pl.DataFrame(columns))


def test_points_that_overflow_are_named_and_others_are_not_blamed():
    fits = {"batch_size": [65536, 1], "decode_steps": [1, 1_000_000], "text_tokens": [0, 1000]}
    assert se.evaluate(pl.DataFrame(fits)).height == 2
    fits["batch_size"][1] = 65536
    with pytest.raises(se.InputError, match=r"points\[1\]: decode_\w+ reaches"):
        se.evaluate(pl.DataFrame(fits))


def test_something_else_than_a_frame_is_refused():
    with pytest.raises(se.InputError, match="expected a polars DataFrame, found dict"):
        se.evaluate({"batch_size": [1]})


INTEGERS = [pl.Int8, pl.UInt8, pl.Int16, pl.UInt16, pl.Int32, pl.UInt32, pl.Int64, pl.UInt64,
            pl.Int128, pl.UInt128]  # fmt: skip


@pytest.mark.parametrize("kind", INTEGERS)
def test_integers_of_any_width_are_taken(kind):
    values = {"view_size": [64, 64], "crop_rows": [1, 2], "crop_cols": [2, 2],
              "batch_size": [1, 100], "decode_steps": [0, 127]}  # fmt: skip
    given = pl.DataFrame({name: pl.Series(v, dtype=kind) for name, v in values.items()})
    assert se.evaluate(given).equals(se.evaluate(pl.DataFrame(values)))
    limit = pl.select(kind.max()).item()
    if limit > 1_000_000:
        beyond = pl.DataFrame({"decode_steps": pl.Series([limit], dtype=kind)})
        with pytest.raises(se.InputError, match=r"decode_steps\[0\] = .*: expected an integer"):
            se.evaluate(beyond)


def test_many_points_near_the_largest_are_checked_soon():
    """Each fits, the corner of all does not: 24,000 rows of very unlike sizes."""
    import random

    random.seed(2)
    rows = [
        (random.choice([1, 8, 64, 512, 4096, 65536]), random.choice([1, 10, 1000, 100000, 1000000]),
         random.randrange(10, 1_000_000))
        for _ in range(100_000)
    ]  # fmt: skip
    names = ["batch_size", "decode_steps", "text_tokens"]
    given = pl.DataFrame(rows, schema=names, orient="row")
    batch, text = (pl.col(name).cast(pl.Float64) for name in ("batch_size", "text_tokens"))
    steps = pl.col("decode_steps").cast(pl.Float64)
    prefill, decode = text * 4e9 + text**2 * 1e5, steps * (4e9 + (text + steps) * 2e5)
    near = given.filter(batch * prefill < 4e18, batch * decode < 4e18)
    assert se.evaluate(near).height == near.height > 20_000


@pytest.mark.parametrize("model", ["deepseek-ocr-3b", "deepseek-ocr-2"])
def test_images_of_many_sizes_are_one_frame(model):
    """A frame of several image sizes of a model with queries ended in a traceback."""
    sizes = [(1024, 768, 0, 0), (1024, 768, 2, 3), (640, 512, 1, 4), (512, 640, 3, 3)]
    names = ["view_size", "tile_size", "crop_rows", "crop_cols"]
    rows = se.evaluate(pl.DataFrame(sizes, schema=names, orient="row"), model)
    for size, row in zip(sizes, rows.iter_rows(named=True), strict=True):
        one = se.cost(model, **dict(zip(names, size, strict=True)))
        assert {name: row[name] for name in one} == pytest.approx(one, rel=1e-12)
