import json
import shutil
import zlib

import duckdb
import pandas as pd
import polars as pl
import pytest

import sweepengine as se
from sweepengine.grid.files import parse_grid
from sweepengine.query.query import query
from sweepengine.query.sources import open_source
from sweepengine.store.manifest import EARLIER_MANIFEST, MANIFEST
from tests.manifests import facts_of

AXES = {"layout": ["tp1", "tp2"], "precision": ["bf16", "fp8-kv8"], "batch_size": [1, 4],
        "device_memory_gb": [0, 80]}  # fmt: skip
NEW = ("precision", "layout", "tokens_per_second")
"""Columns that datasets of schema version 3 lack."""


@pytest.fixture
def written(tmp_path):
    """The folder of a dataset with times."""
    axes = AXES | {"device": ["h100-sxm"]}
    grid = parse_grid({"name": "small", "model": "llama-3.1-8b", "axes": axes}, "small")
    se.run(grid, tmp_path / "d")
    return tmp_path / "d"


def test_every_reader_takes_the_folder_as_it_is(written):
    assert pl.read_parquet(written).height == pl.read_parquet(f"{written}/").height == 16
    assert pl.scan_parquet(written).select(pl.len()).collect().item() == 16
    assert len(pd.read_parquet(written)) == 16
    (rows,) = duckdb.sql(f"select count(*), sum(fits::int) from '{written}/*.parquet'").fetchall()
    assert rows == (16, 16)


def test_texts_stand_beside_the_inputs_that_they_name(written):
    points = pl.read_parquet(written)
    two = points.filter((pl.col("layout") == "tp2") & (pl.col("precision") == "fp8-kv8"))
    assert two["tensor_parallel"].to_list() == [2] * 4
    assert set(two["cache_format"].cast(pl.String)) == {"fp8"}
    assert two["device_memory_gb"].to_list() == [None, 80.0] * 2
    assert points["chunk_tokens"].null_count() == 16
    found = query(open_source(written), "layout = 'tp2' AND batch_size = 4", group_by="precision")
    assert found.sort("precision").collect().rows() == [("bf16", 2), ("fp8-kv8", 2)]


def test_output_tokens_are_those_of_the_batch_over_its_time(written):
    points = pl.read_parquet(written)
    spent = points["ttft_seconds"] + points["decode_seconds"]
    tokens = points["batch_size"] * points["decode_steps"]
    assert (points["tokens_per_second"] - tokens / spent).abs().max() < 1e-9


def earlier(folder, place):
    """The dataset of a folder as schema version 3 wrote it: `manifest.json`, fewer columns."""
    place.mkdir()
    facts = facts_of(folder) | {"schema_version": 3}
    del facts["device_data"]
    facts["columns"] = [name for name in facts["columns"] if name not in NEW]
    for entry in facts["files"]:
        path = place / entry["name"]
        pl.read_parquet(folder / entry["name"]).drop(NEW).write_parquet(path)
        content = path.read_bytes()
        entry |= {"bytes": len(content), "crc32": zlib.crc32(content)}
    (place / EARLIER_MANIFEST).write_text(json.dumps(facts, indent=2))
    return place


def test_datasets_of_the_version_before_are_read(written, tmp_path, command):
    old = earlier(written, tmp_path / "old")
    source = open_source(old)
    assert not {*NEW} & {*source.columns}
    new = query(open_source(written), sort="ttft_seconds").collect()
    assert query(source, sort="ttft_seconds").collect().equals(new.drop(NEW))
    slo = ["--device", "h100-sxm", "--ttft", "1", "--tpot", "0.1", "--json"]
    answers = [json.loads(command("slo", folder, *slo).stdout)["answers"] for folder in
               (old, written)]  # fmt: skip
    assert answers[0][0]["best"]["device_tokens_per_s"] == pytest.approx(
        answers[1][0]["best"]["device_tokens_per_s"]
    )
    grid = parse_grid({"name": "small", "model": "llama-3.1-8b", "axes": AXES}, "small")
    with pytest.raises(se.InputError, match=r"manifest\.json: schema_version = 3, .*--overwrite"):
        se.run(grid, old)
    se.run(grid, old, overwrite=True)
    assert not (old / EARLIER_MANIFEST).exists()
    assert (old / MANIFEST).exists()


@pytest.mark.parametrize("name", ["h100-sxm", "own"])
def test_a_device_is_what_its_file_states_whatever_its_name(root, tmp_path, command, name):
    shipped = root / "sweepengine" / "data" / "devices" / "l40s.toml"
    file = tmp_path / "device.toml"
    file.write_text(shipped.read_text().replace('name = "l40s"', f'name = "{name}"'))
    grid = tmp_path / "g.toml"
    grid.write_text(f'name = "g"\nmodel = "llama-3.1-8b"\n[axes]\ndevice = ["{file}"]\n'
                    'serving = ["continuous"]\n')  # fmt: skip
    asked = ["--device", name, "--ttft", "100", "--tpot", "1", "--times", "roofline", "--json"]
    command("run", grid, "--out", tmp_path / "d")
    before = json.loads(command("slo", grid, *asked).stdout)["answers"]
    file.unlink()
    after = json.loads(command("slo", tmp_path / "d", *asked).stdout)["answers"]
    assert after == before
    assert before[0]["best"]["tpot_s"] > 0.015  # 16.1 GB at 864 GB/s; an H100 takes 5 ms
    shutil.rmtree(tmp_path / "d")
