import fcntl
import hashlib
import os

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

import sweepengine as se
from sweepengine.engine.typed import schema_of
from sweepengine.grid.files import parse_grid
from sweepengine.store import runs
from sweepengine.store.dataset import scan_dataset
from tests.manifests import change

AXES = {"crops": ["none", "2x3"], "heads": [[10, 10], [10, 5]], "attention": ["eager", "flash"],
        "decode_steps": {"start": 1, "stop": 60, "step": 1}}  # fmt: skip


@pytest.fixture
def grid(monkeypatch):
    monkeypatch.setattr(runs, "ROWS_PER_FILE", 50)
    return parse_grid({"name": "small", "axes": AXES}, "small")


def hashes(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != ".lock"
    }


def test_dataset_holds_the_grid_in_order(grid, tmp_path):
    summary = se.run(grid, tmp_path / "d")
    assert (summary.points, summary.written, summary.files) == (480, 480, 16)
    assert summary.bytes == sum(p.stat().st_size for p in (tmp_path / "d").glob("points-*.parquet"))
    found = scan_dataset(tmp_path / "d").collect().cast(schema_of(se.load_model()))
    assert found.equals(se.evaluate(found[:, :10]))
    assert found["decode_steps"][:61].to_list() == [*range(1, 61), 1]


def test_polars_duckdb_and_pandas_read_the_same(grid, tmp_path):
    se.run(grid, tmp_path / "d")
    files = str(tmp_path / "d" / "points-*.parquet")
    by_polars = pl.read_parquet(files)["decode_tensor_flops"].sum()
    query = f"select sum(decode_tensor_flops), count(*) from '{files}'"
    (by_duckdb,) = duckdb.sql(query).fetchall()
    parts = sorted((tmp_path / "d").glob("points-*.parquet"))
    by_pandas = pd.concat([pd.read_parquet(path) for path in parts])
    assert by_duckdb == (by_polars, 480)
    assert by_pandas["decode_tensor_flops"].sum() == by_polars
    assert set(by_pandas["attention"].unique()) == {"eager", "flash"}


def test_files_say_units_meaning_and_where_they_come_from(grid, tmp_path):
    se.run(grid, tmp_path / "d")
    schema = pq.read_schema(next((tmp_path / "d").glob("points-*.parquet")))
    for field in schema:
        assert set(field.metadata) == {b"unit", b"meaning"}
    assert schema.field("prefill_kv_cache_bytes").metadata[b"unit"] == b"byte"
    assert schema.metadata[b"model"] == b"deepseek-ocr-3b"
    assert schema.metadata[b"grid_hash"] == grid.hash.encode()
    assert schema.metadata[b"engine_version"] == se.__version__.encode()
    assert schema.metadata[b"schema_version"] == b"4"


def test_run_goes_on_where_it_stopped_and_ends_in_the_same_bytes(grid, tmp_path):
    se.run(grid, tmp_path / "whole")
    se.run(grid, tmp_path / "broken")
    for path in sorted((tmp_path / "broken").glob("points-*.parquet"))[3:9]:
        path.unlink()
    change(tmp_path / "broken", complete=False)
    (tmp_path / "broken" / "points-000000000000000-000000000000001.parquet.unfinished").write_bytes(
        b"half a fi"
    )
    with pytest.raises(se.InputError, match="is not complete"):
        scan_dataset(tmp_path / "broken")
    summary = se.run(grid, tmp_path / "broken")
    assert 0 < summary.written < summary.points == 480
    assert hashes(tmp_path / "broken") == hashes(tmp_path / "whole")


def test_workers_do_not_change_the_bytes(grid, tmp_path):
    se.run(grid, tmp_path / "one", workers=1)
    se.run(grid, tmp_path / "four", workers=4)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "four")


def test_limit_takes_the_first_points(grid, tmp_path):
    assert se.run(grid, tmp_path / "d", limit=77).points == 77
    found = scan_dataset(tmp_path / "d").collect()
    se.run(grid, tmp_path / "all")
    assert found.equals(scan_dataset(tmp_path / "all").head(77).collect())
    with pytest.raises(se.InputError, match="limit = 0: expected an integer of at least 1"):
        se.run(grid, tmp_path / "none", limit=0)


def test_progress_counts_every_point_once(grid, tmp_path):
    seen = []
    se.run(grid, tmp_path / "d", progress=seen.append)
    assert sum(seen) == 480
    se.run(grid, tmp_path / "d", progress=seen.append)
    assert sum(seen) == 960


def test_another_grid_is_refused_unless_told_to_overwrite(grid, tmp_path):
    se.run(grid, tmp_path / "d")
    before = hashes(tmp_path / "d")
    other = parse_grid({"name": "small", "axes": {"batch_size": [1, 2]}}, "small")
    with pytest.raises(se.InputError, match=r"_manifest\.parquet: grid_hash = .*--overwrite"):
        se.run(other, tmp_path / "d")
    assert hashes(tmp_path / "d") == before
    se.run(other, tmp_path / "d", overwrite=True)
    assert scan_dataset(tmp_path / "d").collect().height == 2


def test_another_engine_version_is_refused(grid, tmp_path):
    se.run(grid, tmp_path / "d")
    change(tmp_path / "d", engine_version="0.0.1")
    with pytest.raises(se.InputError, match=r"engine_version = '0\.0\.1', this run has"):
        se.run(grid, tmp_path / "d")


def test_folder_with_other_files_is_refused_and_left_alone(grid, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(
            se.InputError, match=r"is not empty and not a dataset \(it holds thesis"
        ):
            se.run(grid, tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_overwrite_never_removes_files_of_others(grid, tmp_path):
    se.run(grid, tmp_path / "d")
    (tmp_path / "d" / "notes.txt").write_text("mine")
    se.run(grid, tmp_path / "d", overwrite=True)
    assert (tmp_path / "d" / "notes.txt").read_text() == "mine"


def test_file_in_place_of_the_directory_is_refused(grid, tmp_path):
    (tmp_path / "f").write_text("mine")
    for out in (tmp_path / "f", tmp_path / "f" / "below"):
        with pytest.raises(se.InputError, match="is a file: expected a directory"):
            se.run(grid, out)
    assert (tmp_path / "f").read_text() == "mine"


def test_second_run_is_refused_while_the_first_lives(grid, tmp_path):
    (tmp_path / "d").mkdir()
    with (tmp_path / "d" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(se.InputError, match="another run is writing here"):
            se.run(grid, tmp_path / "d")
    assert se.run(grid, tmp_path / "d").written == 480


@pytest.mark.parametrize("kind", ["pipe", "dangling link", "link", "directory"])
def test_lock_that_is_no_file_of_ours_is_refused(kind, grid, tmp_path):
    lock = tmp_path / "d" / ".lock"
    lock.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(lock)
    elif kind == "directory":
        lock.mkdir()
    else:
        lock.symlink_to(tmp_path / ("nowhere" if kind == "dangling link" else "file"))
        (tmp_path / "file").touch()
    with pytest.raises(se.InputError, match=r"\.lock: "):
        se.run(grid, tmp_path / "d")
    assert not (tmp_path / "nowhere").exists()


def test_grid_that_overflows_writes_nothing(tmp_path):
    axes = {"batch_size": [65536], "decode_steps": [1_000_000], "text_tokens": [1_000_000]}
    with pytest.raises(se.InputError, match="reaches"):
        se.run(parse_grid({"name": "big", "axes": axes}, "big"), tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_files_of_other_formulas_are_not_gone_on_with(grid, tmp_path, monkeypatch):
    se.run(grid, tmp_path / "d")
    monkeypatch.setattr(runs, "formulas_hash", lambda: "f" * 64)
    with pytest.raises(se.InputError, match=r"formulas_hash = .*, this run has 'ffff"):
        se.run(grid, tmp_path / "d")
    # A file alone, as of an interrupted run whose manifest was written anew, is noticed too.
    change(tmp_path / "d", formulas_hash="f" * 64, complete=False, files=[])
    assert se.run(grid, tmp_path / "d").written == 480


def test_damaged_file_alone_is_written_again(grid, tmp_path):
    se.run(grid, tmp_path / "d")
    whole = hashes(tmp_path / "d")
    paths = sorted((tmp_path / "d").glob("points-*"))
    rows = len(pl.read_parquet(paths[1]))
    content = bytearray(paths[1].read_bytes())
    content[100] ^= 1
    paths[1].write_bytes(content)
    for incomplete in (False, True):
        with pytest.raises(se.InputError, match="its checksum differs"):
            scan_dataset(tmp_path / "d")
        if incomplete:
            change(tmp_path / "d", complete=False, files=[])
        assert se.run(grid, tmp_path / "d").written == rows
        assert hashes(tmp_path / "d") == whole
        paths[1].write_bytes(content)
    se.run(grid, tmp_path / "d")
    assert scan_dataset(tmp_path / "d").collect().height == 480


def test_more_points_than_the_disk_can_hold_are_refused_before_anything_is_written(tmp_path):
    axes = {"prompt_tokens": {"start": 1, "stop": 10_000, "step": 1},
            "cached_tokens": {"start": 0, "stop": 9_999, "step": 1},
            "decode_steps": {"start": 1, "stop": 10_000, "step": 1}}  # fmt: skip
    grid = parse_grid({"name": "huge", "model": "llama-3.1-8b", "axes": axes}, "huge")
    with pytest.raises(se.InputError, match=r"1,000,000,000,000 points need at least .* are free"):
        se.run(grid, tmp_path / "d")
    assert [path for path in (tmp_path / "d").iterdir() if path.name != ".lock"] == []
    assert se.run(grid, tmp_path / "d", limit=10).points == 10
