"""However a point is asked for, one number: Python, a frame, a grid, a query, explain, slo."""

import json

import polars as pl
import pytest
from hypothesis import example, given

import sweepengine as se
from sweepengine.engine import kernel as _kernel  # noqa: F401 # frames are compiled once it is there
from sweepengine.engine import kernel_times as _kernel_times  # noqa: F401
from sweepengine.grid.columns import DTYPES
from sweepengine.query.sources import open_source
from sweepengine.search.options import EngineOptions, LatencyTargets, SloOptions
from sweepengine.search.slo import find_answers
from tests.fuzz import examples, outcome
from tests.laws.drawn import alike, answer, grid_text, points

INT64 = DTYPES["Int64"]
FLAGS = {
    "framework_version": "--engine-version",
    "max_sequences": "--max-num-seqs",
    "chunk_tokens": "--max-num-batched-tokens",
}
ENGINE = ("framework_version", "max_sequences", "chunk_tokens", "memory_share")
COUNTS = ("tensor_flops", "cuda_flops", "activation_io_bytes", "kv_io_bytes", "weight_io_bytes",
          "link_bytes")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ways")


def scanned(path):
    return se.scan(path).collect().row(0, named=True)


@examples(5)
@given(points())
def test_law_frames_grids_and_queries_say_what_a_point_says(folder, drawn):
    name, point = drawn
    one = answer(se.cost, name, **point)
    frame = answer(se.evaluate, pl.DataFrame([point]), name)
    path = folder / "g.toml"
    path.write_text(grid_text(name, point))
    scan = answer(scanned, path)
    assert (one is None) == (frame is None) == (scan is None)
    status, out, error = outcome(["query", str(path), "--format", "json"])
    assert status == (2 if one is None else 0), error
    if one is None:
        return
    for way in (frame.row(0, named=True), scan, json.loads(out)[0]):
        assert alike(one, {column: way[column] for column in one}) == {}


def flags(point):
    return [
        word
        for name, value in point.items()
        for word in (FLAGS.get(name, f"--{name.replace('_', '-')}"), str(value))
    ]


@examples(5)
@given(points())
@example(("deepseek-v3", {"decode_steps": 1, "batch_size": 403, "prompt_tokens": 98_716,
                          "device": "a10", "framework": "vllm", "serving": "static"}))  # fmt: skip
def test_law_explain_says_what_a_point_says(drawn):
    """Counts of `explain` have no largest value; those of points are Int64."""
    name, point = drawn
    one = answer(se.cost, name, **point)
    status, out, error = outcome(["explain", "--model", name, "--json", *flags(point)])
    assert (status, error.count("\n")) in ([(2, 1), (0, 0)] if one is None else [(0, 0)]), error
    facts = json.loads(out) if status == 0 else None
    if one is None:
        assert facts is None or max(facts["cost"][what] for what in COUNTS) > INT64.largest
        return
    (times,), (held,) = facts["times"], facts["devices"]
    assert times["basis"]
    seconds = {column: one[column] for column in one if column.endswith("_seconds")}
    assert alike(seconds, {column: times[column] for column in seconds}) == {}
    memory = {
        "pool_bytes": one["kv_pool_bytes"],
        "pool_tokens": one["kv_pool_tokens"],
        "fits": one["fits"],
        "largest_batch": one["largest_batch"],
    }
    assert alike(memory, {column: held["memory"][column] for column in memory}) == {}
    assert held["weight_bytes"] == one["weight_bytes"]
    for phase in facts["cost"]["parts"]:
        counted = {what: one[f"{phase['name']}_{what}"] for what in COUNTS}
        assert alike(counted, {what: phase[what] for what in COUNTS}, rel=1e-12) == {}


def sums(line):
    """Check that each part of a line of `explain` adds up, all the way down."""
    for what in COUNTS if line["parts"] else ():
        parts = sum(part[what] for part in line["parts"])
        assert line[what] == pytest.approx(parts, rel=1e-12), (line["name"], what)
    for part in line["parts"]:
        sums(part)


@examples(4)
@given(points())
def test_law_totals_are_the_sums_of_rows(drawn):
    name, point = drawn
    status, out, _ = outcome(["explain", "--model", name, "--json", *flags(point)])
    if status:
        return
    facts = json.loads(out)
    sums(facts["cost"])
    (times,) = facts["times"]
    for figure in ("ttft", "tpot"):
        parts = sum(times["parts"][figure].values())
        assert times[f"{figure}_seconds"] == pytest.approx(parts, rel=1e-9, abs=1e-12)
    (held,) = facts["devices"]
    for phase in held["stages"]:
        bounds = sum(phase[f"{bound}_s"] for bound in ("compute", "memory", "link"))
        assert phase["total_s"] == pytest.approx(bounds, rel=1e-9)


@examples(4)
@given(points(rare={}))
def test_law_slo_says_what_a_point_says(folder, drawn):
    name, point = drawn
    one = answer(se.cost, name, **point)
    if one is None:
        return
    path = folder / "slo.toml"
    chosen = ("device", "framework", "serving")
    path.write_text(grid_text(name, {k: v for k, v in point.items() if k not in chosen}))
    options = SloOptions(framework=point["framework"], serving=point["serving"],
                         engine=EngineOptions())  # fmt: skip
    easy = LatencyTargets(1e9, 1e9)
    (found,) = find_answers(open_source(path), [se.load_device(point["device"])], easy, options)
    assert found.meeting == found.fitting == int(one["fits"])
    if one["fits"]:
        assert found.best["ttft_s"] == pytest.approx(one["ttft_seconds"], rel=1e-9)
        assert found.best["tpot_s"] == pytest.approx(one["tpot_seconds"], rel=1e-9)
        assert found.best["largest_batch"] == one["largest_batch"]


@examples(2)
@given(points())
def test_law_formats_of_a_query_hold_one_table(folder, drawn):
    name, point = drawn
    path = folder / "formats.toml"
    axes = point | {"batch_size": [1, 2, 5], "decode_steps": [1, 30]}
    path.write_text(grid_text(name, {k: axes[k] for k in axes if k not in ("max_sequences",)}))
    texts = {"framework_version": pl.String}  # "0.8" is no number

    def read_csv(file):
        return pl.read_csv(file, schema_overrides=texts)

    read = {"csv": read_csv, "json": pl.read_json, "parquet": pl.read_parquet}
    tables = {}
    for kind, reader in read.items():
        file = folder / f"out.{kind}"
        status, _, _ = outcome(["query", str(path), "--out", str(file)])
        tables[kind] = None if status else reader(file).to_dicts()
    first = tables.pop("parquet")
    for table in tables.values():
        assert (table is None) == (first is None)
        for one, other in zip(first or [], table or [], strict=True):
            assert alike(one, other) == {}
