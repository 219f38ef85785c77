"""Tables of operators: what they need, that they need all of it, and what is refused."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from sweepengine.data.errors import InputError
from sweepengine.validation import table_columns
from sweepengine.validation.measured_operators import Tables, shipped_tables
from sweepengine.validation.operator_kinds import FORMAT_OF_TABLE, KINDS
from sweepengine.validation.sparse_tables import MODULES
from sweepengine.validation.table_columns import COLUMNS, OPTIONAL_SIZES, OPTIONAL_WORDS, read_table

ENGINES = ("sglang", "vllm", "trtllm")
EVERY = 5
"""One of how many rows of a public table is taken."""
GEMM = {"gemm_dtype": "bfloat16", "m": "16", "n": "32", "k": "64", "latency": "0.25"}


@pytest.fixture(scope="module")
def public():
    """Rows of each public table of an H200: table to frame."""
    tables, found = Tables(shipped_tables(), "h200_sxm"), {}
    for kind in KINDS:
        for framework in ENGINES:
            if place := tables.find(kind, framework):
                found.setdefault(kind.table_of(framework), place[0])
    found[MODULES] = found["glm5_dsa_attn_module"].with_name(f"{MODULES}_perf.parquet")
    assert found.keys() == COLUMNS.keys()
    return {name: pl.read_parquet(path).gather_every(EVERY) for name, path in found.items()}


def cases():
    """Each kind of each table, and a serving engine that has it: SGLang's are the most."""
    found = {}
    for framework in ENGINES:
        for kind in KINDS:
            found.setdefault((kind.name, kind.table_of(framework)), (kind, framework))
    return [pytest.param(*case, id="-".join(name)) for name, case in found.items()]


def measured(folder, kind, framework):
    return Tables(folder, "").read(kind, framework, 1, 1)


def write(folder, name, table):
    folder.mkdir(exist_ok=True)
    table.write_csv(folder / f"{name}_perf.csv")


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[name].shapes, other[name].shapes)
        and np.array_equal(one[name].microseconds, other[name].microseconds)
        and one[name].kernels == other[name].kernels
        for name in one
    )


@pytest.mark.parametrize(("kind", "framework"), cases())
def test_columns_of_a_table_are_all_that_is_read(kind, framework, public, tmp_path):
    name = kind.table_of(framework)
    table, columns = public[name], {*COLUMNS[name].names(), *OPTIONAL_WORDS, *OPTIONAL_SIZES}
    write(tmp_path / "whole", name, table)
    write(tmp_path / "needed", name, table.select(c for c in table.columns if c in columns))
    whole = measured(tmp_path / "whole", kind, framework)
    assert whole
    assert same(whole, measured(tmp_path / "needed", kind, framework))


def test_every_column_is_read(public, tmp_path, monkeypatch):
    """A declaration without a column fails or changes what is read, in one kind or another."""
    for name in COLUMNS.keys() - {MODULES}:
        kinds = [(k, f) for k, f in (case.values for case in cases()) if k.table_of(f) == name]
        table = public[name]
        write(tmp_path, name, table)
        before = [measured(tmp_path, *case) for case in kinds]
        for dropped in COLUMNS[name].names():
            write(tmp_path, name, table.drop(dropped))
            fewer = (tuple(c for c in part if c != dropped) for part in COLUMNS[name])
            monkeypatch.setitem(COLUMNS, name, table_columns.Columns(*fewer))
            try:
                after = [measured(tmp_path, *case) for case in kinds]
            except pl.exceptions.ColumnNotFoundError:
                continue
            finally:
                monkeypatch.undo()
            assert not all(map(same, before, after)), (name, dropped)
        (tmp_path / f"{name}_perf.csv").unlink()


def test_every_column_that_is_missing_is_named(public, tmp_path):
    for name, columns in COLUMNS.items():
        for missing in columns.names():
            path = tmp_path / f"{name}.csv"
            public[name].drop(missing).write_csv(path)
            with pytest.raises(InputError, match=f"{path}: column {missing} is missing: expected"):
                read_table(path, name)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("m", "", "row 2: m is empty: expected a whole number, 1 or more"),
        ("m", "many", "row 2: m = many: expected a whole number, 1 or more"),
        ("m", "0", "row 2: m = 0: expected a whole number, 1 or more"),
        ("n", "-1", "row 2: n = -1: expected a whole number, 1 or more"),
        ("k", "1.5", "row 2: k = 1.5: expected a whole number, 1 or more"),
        ("k", "inf", "row 2: k = inf: expected a whole number, 1 or more"),
        ("k", "1e300", "row 2: k = 1e300: expected a whole number, 1 or more"),
        ("latency", "", "row 2: latency is empty: expected a finite number, 0 or more"),
        ("latency", "nan", "row 2: latency = nan: expected a finite number, 0 or more"),
        ("latency", "-0.1", "row 2: latency = -0.1: expected a finite number, 0 or more"),
        ("gemm_dtype", "", "row 2: gemm_dtype is empty: expected text"),
        ("step", "-1", "row 2: step = -1: expected a whole number, 0 or more"),
    ],
)
@pytest.mark.parametrize(
    "asked",
    [("calibrate", "h100-sxm", "--data"), ("validate", "--silicon", "--device", "h100-sxm",
                                           "--measured")],
    ids=["calibrate", "measured"],
)  # fmt: skip
def test_values_that_cannot_be_are_one_line(asked, column, value, expected, command, tmp_path):
    row = {"step": "0"} | GEMM
    text = [",".join(row), ",".join(row.values()), ",".join((row | {column: value}).values())]
    (tmp_path / "gemm_perf.csv").write_text("\n".join(text) + "\n")
    done = command(*asked, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"sweepengine: {tmp_path / 'gemm_perf.csv'}: {expected}\n"


def test_files_that_are_no_table_are_one_line(command, tmp_path):
    asked = ("validate", "--silicon", "--device", "h100-sxm", "--measured", tmp_path)
    head = ",".join(GEMM)
    for text, expected in (
        ("", "cannot be read: empty CSV"),
        ("\x00\x01", "column gemm_dtype is missing"),
        (f"{head}\n1,2,3,4,5,6\n", "cannot be read: found more fields"),
        (f"{head}\nbf17,1,1,1,1\n", f"gemm_dtype = bf17: expected {', '.join(FORMAT_OF_TABLE)}"),
        (f"{head}\n", "nothing measured: expected rows of passes.csv, gemm_perf.csv"),
    ):
        (tmp_path / "gemm_perf.csv").write_text(text)
        done = command(*asked)
        assert (done.returncode, done.stdout) == (2, "")
        assert expected in done.stderr
        assert done.stderr.count("\n") == 1
    (tmp_path / "more").mkdir()
    pl.DataFrame([GEMM]).write_parquet(tmp_path / "more" / "gemm_perf.parquet")
    done = command(*asked)
    assert done.returncode == 2
    assert done.stderr.endswith("gemm_perf.parquet: expected one table gemm_perf\n")


def test_columns_of_another_type_are_named(tmp_path):
    path = tmp_path / "gemm_perf.parquet"
    pl.DataFrame([GEMM | {"m": date(2026, 1, 1)}]).write_parquet(path)
    with pytest.raises(InputError, match=f"{path}: m is of type Date: expected numbers"):
        read_table(path, "gemm")
    pl.DataFrame([GEMM | {"gemm_dtype": 7}]).write_parquet(path)
    with pytest.raises(InputError, match="gemm_dtype is of type Int64: expected text"):
        read_table(path, "gemm")


def test_rows_of_formats_without_rates_are_left_out(tmp_path):
    rows = [GEMM, GEMM | {"gemm_dtype": "int8_wo"}]
    write(tmp_path, "gemm", pl.DataFrame(rows))
    assert list(measured(tmp_path, KINDS[0], "vllm")) == ["bf16"]


def test_exchanges_of_unknown_formats_are_left_out(tmp_path, public):
    table = public["moe_a2a"].with_columns(comm_dtype=pl.lit("fp4"))
    write(tmp_path, "moe_a2a", table)
    (kind,) = (kind for kind in KINDS if kind.name == "exchange")
    assert measured(tmp_path, kind, "vllm") == {}
