import json

from sweepengine.data.models import load_model
from sweepengine.grid.columns import COLUMNS
from sweepengine.grid.points import column_names
from sweepengine.show.cells import cell


def test_schema_lists_every_column_with_type_and_meaning(command):
    columns = json.loads(command("schema", "--json").stdout)
    assert [column["name"] for column in columns] == [column.name for column in COLUMNS]
    assert all(column["dtype"] and column["meaning"] for column in columns)
    fits = next(column for column in columns if column["name"] == "fits")
    assert (fits["kind"], fits["dtype"]) == ("output", "Boolean")


def test_schema_of_a_grid_lists_the_columns_of_its_points(command):
    columns = json.loads(command("schema", "modes", "--json").stdout)
    assert [column["name"] for column in columns] == [*column_names(load_model())]
    text = command("schema", "modes").stdout
    assert "gundam:2x3" in text
    assert "the device's own" in text


def test_numbers_of_a_table_are_of_one_style():
    assert cell(262_144_000) == "262,144,000"
    assert cell(63978712345.6) == "63,978,700,000"
    assert [cell(x) for x in (0.5, 1.25, 1234.5678, 0.0, 3e-7)] == [
        "0.5", "1.25", "1,234.57", "0", "3e-07"]  # fmt: skip
    assert (cell(None), cell(True), cell("x")) == ("", "True", "x")
