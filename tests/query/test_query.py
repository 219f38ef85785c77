import io
import json

import polars as pl
import pytest

import sweepengine as se


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_formats_hold_the_same_rows(command, tmp_path, kind):
    out = tmp_path / f"found.{kind}"
    arguments = ["query", "modes", "--where", "batch_size = 1 AND view_size = 1280"]
    arguments += ["--select", "crop_rows, crop_cols, attention, decode_tensor_flops"]
    assert command(*arguments, "--format", kind, "--out", out).returncode == 0
    read = {"csv": pl.read_csv, "parquet": pl.read_parquet,
            "json": lambda path: pl.DataFrame(json.loads(path.read_text()))}[kind]  # fmt: skip
    expected = (
        se.scan("modes")
        .filter(pl.col("view_size") == 1280)
        .select("crop_rows", "crop_cols", "attention", "decode_tensor_flops")
        .collect()
    )
    assert [tuple(row) for row in read(out).rows()] == expected.rows()
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_csv_to_a_pipe_is_all_of_it(command):
    text = command("query", "modes", "--format", "csv").stdout
    assert pl.read_csv(io.StringIO(text)).height == se.scan("modes").collect().height


def test_dataset_answers_as_its_grid_does(command, tmp_path):
    se.run("modes", tmp_path / "d")
    question = ["--group-by", "attention", "--select", "attention, sum(vision_cuda_flops) AS n"]
    question += ["--sort", "n", "--format", "json"]
    assert (
        command("query", "modes", *question).stdout
        == command("query", tmp_path / "d", *question).stdout
    )


def test_table_of_all_columns_is_turned_on_its_side(command):
    lines = command("query", "modes", "--top", "2").stdout.splitlines()
    assert lines[1].split() == ["column", "row", "1", "row", "2"]
    assert len(lines) == 2 + 66


BAD = {
    "unknown column": (["--where", "foo = 1"], 'unable to find column "foo"'),
    "SQL": (["--where", "batch_size = = 1"], "unable to parse"),
    "select": (["--select", "max("], "query: "),
    "group": (["--group-by", "crop"], '--group-by "crop": expected some of view_size'),
    "sort": (["--sort", "a; drop"], '--sort "a; drop": expected a column'),
    "top": (["--top", "0"], "--top"),
    "too wide": (
        [
            "--select",
            "sum(decode_tensor_flops) AS total",
            "--format",
            "parquet",
            "--out",
            "x.parquet",
        ],
        "total does not fit Int64",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_query_is_one_line_and_leaves_no_file(command, tmp_path, case):
    arguments, expected = BAD[case]
    done = command("query", "capacity", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
