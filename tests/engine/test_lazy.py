import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import sweepengine as se
from sweepengine.data.models import load_model
from sweepengine.engine import lazy
from sweepengine.engine.compute import COMPILED, PLAIN
from sweepengine.engine.lazy import grid_frames
from sweepengine.engine.typed import schema_of
from sweepengine.grid.files import load_grids, parse_grid
from sweepengine.query.query import query
from sweepengine.query.sources import open_source

SCHEMA = schema_of(load_model())
BATCHES = [1, 2, 4, 64]
STEPS = [0, 1, 7, 50, 900]


@st.composite
def grids(draw):
    def some(values, most=4):
        return draw(st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True))

    axes = {
        "crops": some(["none", "1x2", "2x3", "3x3"]),
        "attention": some(["eager", "flash"]),
        "heads": [[10, kv] for kv in some([10, 5, 1])],
        "batch_size": some(BATCHES),
        "decode_steps": some(STEPS),
    }
    chosen = draw(st.permutations(list(axes)))[: draw(st.integers(1, 5))]
    model = draw(st.sampled_from(["deepseek-ocr-3b", "deepseek-ocr-3b-modelmeter"]))
    grid = {"name": "any", "model": model, "axes": {name: axes[name] for name in chosen}}
    return parse_grid(grid, "any")


def conditions():
    col = pl.col
    simple = st.one_of(
        st.sampled_from(BATCHES).map(lambda b: col("batch_size") == b),
        st.sampled_from(STEPS).map(lambda k: col("decode_steps") > k),
        st.just(col("attention") == "flash"),
        st.just(col("attention").is_in(["eager"])),
        st.just(col("crop_rows") < col("crop_cols")),
        st.just(col("crop_rows") * col("batch_size") > 3),
        st.integers(9, 14).map(lambda p: col("decode_tensor_flops") > 10**p),
        st.just(col("prefill_weight_io_bytes") < 6e9),
        st.just(col("key_value_heads").is_between(2, 10)),
        st.just(pl.lit(True)),
        st.just(col("batch_size").cast(pl.String).str.contains("4")),
    )
    return st.recursive(
        simple,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda pair: pair[0] & pair[1]),
            st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
            inner.map(lambda one: ~one),
        ),
        max_leaves=5,
    )


COLUMNS = st.lists(st.sampled_from(list(SCHEMA)), min_size=1, max_size=6, unique=True)


@settings(max_examples=150)
@given(grids(), conditions(), COLUMNS, st.sampled_from([5, 64, 1 << 18]), st.integers(0, 30),
       st.sampled_from(["streaming", "in-memory"]), st.integers(0, 2))  # fmt: skip
def test_any_query_equals_the_same_on_the_whole_frame(
    grid, condition, columns, rows, head, engine, order
):
    before, lazy.CHUNK_ROWS = lazy.CHUNK_ROWS, rows
    try:
        points = lazy.scan(grid)
        whole = points.collect()
        assert whole.equals(se.evaluate(whole[:, :10], grid.model))
        apply = [
            lambda frame: frame.filter(condition).select(columns),
            lambda frame: frame.head(head).filter(condition).select(columns),
            lambda frame: frame.filter(condition).head(head).select(columns),
        ][order]
        assert apply(points).collect(engine=engine).equals(apply(whole))
    finally:
        lazy.CHUNK_ROWS = before


def computed(monkeypatch):
    calls = []
    original = lazy.compute_chunk

    def watched(model, chunk, columns, engine):
        calls.append((chunk.stop - chunk.start, columns))
        return original(model, chunk, columns, engine)

    monkeypatch.setattr(lazy, "compute_chunk", watched)
    return calls


def test_columns_that_are_not_asked_for_are_not_computed(monkeypatch):
    calls = computed(monkeypatch)
    se.scan("modes").select("decode_tensor_flops").collect()
    assert {columns for _, columns in calls} == {("decode_tensor_flops",)}


def test_filter_on_axes_skips_sub_products_of_a_billion_points(monkeypatch):
    calls = computed(monkeypatch)
    axes = {"crops": [{"min": 2, "max": 29}], "heads": [[10, 10], [10, 5]],
            "batch_size": {"start": 1, "stop": 1000, "step": 1},
            "decode_steps": {"start": 1, "stop": 10_000, "step": 1}}  # fmt: skip
    grid = parse_grid({"name": "huge", "axes": axes}, "huge")
    assert grid.points == 53 * 2 * 1000 * 10_000
    found = (
        se.scan(grid)
        .filter(
            (pl.col("batch_size") == 8)
            & (pl.col("decode_steps") % 1000 == 0)
            & (pl.col("crop_rows") == 2)
        )
        .select(pl.len(), pl.col("decode_tensor_flops").max())
        .collect()
    )
    assert found["len"].item() == 13 * 2 * 10
    assert sum(rows for rows, _ in calls) == 13 * 2 * 10


def test_head_stops_early(monkeypatch):
    calls = computed(monkeypatch)
    assert se.scan("capacity").head(10).collect().height == 10
    assert sum(rows for rows, _ in calls) <= 10


def test_grid_that_would_overflow_is_refused_before_it_is_collected(grid_file):
    largest = "batch_size = [65536]\ndecode_steps = [1000000]\ntext_tokens = [1000000]\n"
    text = f'name = "t"\n[axes]\n{largest}'
    with pytest.raises(se.InputError, match="expected at most"):
        se.scan(grid_file(text))


def test_sql_sums_do_not_wrap():
    found = query(open_source("capacity"), select="sum(decode_tensor_flops) AS total").collect()
    total = found["total"].item()
    sums = se.scan("capacity").select(pl.col("decode_tensor_flops").cast(pl.Float64).sum())
    assert total > 2**63
    assert total == pytest.approx(sums.collect().item(), rel=1e-9)


def test_grouped_query_sorts_and_limits():
    found = query(
        open_source("modes"), "attention = 'flash'", "view_size, count(*) AS n",
        "view_size", "view_size asc", 3,
    )  # fmt: skip
    assert found.collect().rows() == [(512, 1), (640, 1), (1024, 13)]
    counted = query(open_source("modes"), group_by="attention, view_size", sort="points")
    assert counted.collect().columns == ["attention", "view_size", "points"]


def test_rows_are_there_when_no_column_is_asked_for():
    points = se.scan("modes")
    assert points.with_row_index().select("index").collect().height == 56
    assert points.select(pl.int_range(pl.len())).collect().height == 56
    few = points.filter(pl.col("batch_size") == 1)
    expected = few.collect().height
    assert few.with_row_index().select("index").collect().height == expected > 0
    crossed = few.join(pl.LazyFrame({"x": [1, 2]}), how="cross").select("x").collect()
    assert crossed.height == 2 * expected


WRAPPING = {
    "a product of inputs": ("context_tokens * decode_steps * 1000000 > 3000000000", 24),
    "a product of costs": ("decode_tensor_flops * decode_tensor_flops > 9300000000000000000", 24),
    "a sum": ("decode_steps + 2147483647 > 2147483647", 24),
    "none": ("context_tokens * decode_steps < 0", 0),
}


@pytest.mark.parametrize("case", WRAPPING)
def test_arithmetic_of_conditions_does_not_wrap(tmp_path, case):
    text, expected = WRAPPING[case]
    grid = parse_grid({"name": "g", "axes": {"crops": ["2x3", "3x3"], "batch_size": [1, 8, 64],
                       "decode_steps": [1000, 8000, 50000, 100000]}}, "g")  # fmt: skip
    path = tmp_path / "g.toml"
    path.write_text('name = "g"\n[axes]\ncrops = ["2x3", "3x3"]\nbatch_size = [1, 8, 64]\n'
                    "decode_steps = [1000, 8000, 50000, 100000]\n")  # fmt: skip
    se.run(grid, tmp_path / "d")
    for place in (path, tmp_path / "d"):
        source = open_source(place)
        found = query(source, where=text)
        assert found.collect().height == expected
        assert found.collect_schema() == source.points.collect_schema()
        assert found.collect().equals(query(source, where=None).head(expected).collect())


def test_sums_of_inputs_are_exact():
    found = query(open_source("capacity"), select="sum(decode_steps) AS s, count(*) AS n")
    row = found.collect(engine="streaming").row(0, named=True)
    assert row["s"] > 2**31
    grid = parse_grid({"name": "g", "axes": {"decode_steps": {"start": 1, "stop": 1_000_000,
                       "step": 1}, "batch_size": [1, 2, 4, 8]}}, "g")  # fmt: skip
    whole = se.scan(grid).select(pl.col("decode_steps").cast(pl.Int64).sum()).collect().item()
    assert whole == 4 * 1_000_000 * 1_000_001 // 2


def test_what_fits_is_known_at_all_batch_sizes_from_one(grid_file):
    """The plain backend works out each point by itself."""
    text = 'name = "g"\nmodel = "llama-3.1-8b"\n[axes]\ndevice = ["h100-sxm", "l4"]\n'
    text += 'layout = ["tp1", "tp2-dp2"]\nbatch_size = [1, 7, 64, 900]\n'
    path = grid_file(text + "decode_steps = { start = 1, stop = 40_000, step = 200 }\n")
    names = ["fits", "largest_batch"]
    (grid,) = load_grids(path)
    of_axes, of_points = (
        pl.concat(grid_frames(grid, (*names, "decode_steps"), backend=backend))
        for backend in (COMPILED, PLAIN)
    )
    assert_frame_equal(of_axes, of_points)
    assert of_axes["fits"].n_unique() == 2
    first = next(grid_frames(grid, tuple(names), n_rows=77, backend=COMPILED))
    assert_frame_equal(first, of_points.select(names).head(77))
