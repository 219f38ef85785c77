import polars as pl
import pytest

import sweepengine as se
from sweepengine.report import write_report
from sweepengine.tables import compare, stage_tables

PUBLISHED = ["published-vision", "published-prefill", "published-decode"]


@pytest.fixture
def reference(root):
    return root / "tests/data/reference"


def test_every_printed_digit_of_the_published_tables_comes_out(reference, tmp_path):
    compared = write_report(PUBLISHED, tmp_path, reference)
    assert {c.name: (c.equal, c.different) for c in compared} == {
        "vision": (159, 0),
        "vision_prefill": (159, 0),
        "ttft": (53, 0),
        "decode": (159, 0),
        "tpot": (53, 0),
    }
    for comparison in compared:
        published = (reference / f"{comparison.name}.csv").read_text()
        assert (tmp_path / f"{comparison.name}.csv").read_text() == published


def test_report_of_datasets_is_that_of_their_grids(reference, tmp_path):
    se.run("published-decode", tmp_path / "data")
    write_report([str(tmp_path / "data")], tmp_path / "a")
    write_report(["published-decode"], tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_text() == (tmp_path / "b" / path.name).read_text()


def test_other_accounting_differs_from_the_published_tables(reference):
    points = se.evaluate(pl.DataFrame({"crop_rows": [1, 3], "crop_cols": [2, 5]}))
    (table,) = stage_tables(points, "vision", None, None)
    comparison = compare(table, reference)
    assert (comparison.equal, comparison.different) == (0, 159)
    assert comparison.differences[0].endswith("1.916267e+00, published 1.913039e+00")


def test_published_table_that_is_missing_is_named(tmp_path):
    with pytest.raises(se.InputError, match=r"vision\.csv: expected the published table"):
        write_report(["published-vision"], tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_grid_too_large_to_print_is_refused_before_it_is_computed(tmp_path):
    with pytest.raises(se.InputError, match=r"10,108,800 points: expected at most 10,000"):
        write_report(["capacity"], tmp_path)


def test_rows_name_every_input_that_varies(tmp_path):
    write_report(["modes"], tmp_path)
    header = (tmp_path / "vision.csv").read_text().splitlines()[0]
    assert header.startswith("view_size,tile_size,crops,")


def test_grid_without_steps_has_no_time_per_token():
    points = se.evaluate(pl.DataFrame({"decode_steps": [0]}))
    assert [table.name for table in stage_tables(points, "decode", 1.0, 0.05)] == ["decode"]
