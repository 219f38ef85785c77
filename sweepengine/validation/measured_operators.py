"""Measured operators from the tables of the extra `silicon`, or from a folder of the user.

Latencies in the tables are in ms.
"""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.errors import InputError
from sweepengine.data.serving_engines import order_of
from sweepengine.validation.operator_kinds import FORMAT_OF_TABLE, Kind
from sweepengine.validation.table_columns import ALL_KERNELS, SUFFIXES, read_table

Floats = NDArray[np.float64]
MICROSECONDS = 1e3
"""Microseconds per millisecond."""
MIN_ROWS = 60
"""Least number of rows of a fit."""
MIN_SHAPES = 30
"""Least number of distinct shapes of a fit."""
LOW_LATENCY = "min_latency"
"""Part of the names of kernels that a serving engine runs wherever they are faster."""


class Measured(NamedTuple):
    """Measurements of one kind in one format."""

    shapes: Floats
    """Shape (rows, numbers of the kind)."""
    microseconds: Floats
    """Shape (rows,), us."""
    training: NDArray[np.bool_]
    """Shape (rows,): rows to fit; the others are held out."""
    version: str
    kernels: tuple[str, ...]
    """Of each row."""


class Tables(NamedTuple):
    """A folder of measured tables."""

    folder: Path
    system: str
    """Name of the device in the package of the tables; empty for a folder of the user."""

    def find(self, kind: Kind, framework: str) -> tuple[Path, str] | None:
        """The newest complete table of a kind, and its version; None where there is none.

        A version with fewer than half the rows of the largest one is skipped as incomplete.

        Raises
        ------
        InputError
            When a folder of the user has several tables of a name.
        """
        if not self.system:
            name = f"{kind.table_of(framework)}_perf"
            paths = sorted(
                path for end in SUFFIXES for path in self.folder.rglob(name + end) if path.is_file()
            )
            if len(paths) > 1:
                raise InputError(f"{paths[0]}, {paths[1]}: expected one table {name}")
            return (paths[0], "own") if paths else None
        of_nccl = "nccl" if kind.name == "nccl" else framework
        home = self.folder / "data" / self.system / kind.operator / of_nccl
        tables = sorted(
            home.glob(f"*/{kind.table_of(framework)}_perf.parquet"),
            key=lambda p: order_of(p.parent.name),
        )
        if not tables and kind.borrowed and framework != kind.borrowed:
            return self.find(kind, kind.borrowed)
        if not tables:
            return None
        sizes = {path: pl.scan_parquet(path).select(pl.len()).collect().item() for path in tables}
        complete = [path for path in tables if 2 * sizes[path] >= max(sizes.values())]
        return complete[-1], complete[-1].parent.name

    def read(
        self, kind: Kind, framework: str, rows: int = MIN_ROWS, shapes: int = MIN_SHAPES
    ) -> dict[str, Measured]:
        """Measurements of a kind by format; formats with fewer rows or shapes are left out.

        Parameters
        ----------
        kind : Kind
        framework : str
            The serving engine.
        rows, shapes : int
            Least number of rows and of distinct shapes; by default those of a fit.

        Raises
        ------
        InputError
            When a table cannot be read, lacks a column, or has a value that it may not have. When
            a folder of the user has several tables of a name, or one without a known format.
        """
        if (table_file := self.find(kind, framework)) is None:
            return {}
        path, version = table_file
        table = read_table(path, kind.table_of(framework))
        if kind.prepared is not None:
            table = kind.prepared(table, path.parent)
        if "distribution" in table.columns and (table["distribution"] == "balanced").any():
            table = table.filter(pl.col("distribution") == "balanced")
        named = table.with_columns(kind.of_format.alias("rates_format"))
        formats = kind.of_format.meta.root_names()
        if not self.system and table.height and (named["rates_format"] == "").all():
            others = ", ".join(table[formats[0]].unique().sort())
            raise InputError(
                f"{path}: {formats[0]} = {others}: expected {', '.join(FORMAT_OF_TABLE)}"
            )
        kept = named.filter(kind.rows & (pl.col("rates_format") != "") & (pl.col("latency") > 0))
        if not kind.key:
            kept = kept.with_columns(pl.lit(ALL_KERNELS).alias("kernel_source"))
        numbers = [n.cast(pl.Float64) for n in kind.shaped(kept)]
        names = [f"number_{i}" for i in range(len(numbers))]
        shaped = kept.select(
            "rates_format",
            "kernel_source",
            "latency",
            *(number.alias(name) for number, name in zip(numbers, names, strict=True)),
        )
        found = {
            str(name): _measured(kind, part, names, version)
            for (name,), part in shaped.sort("rates_format", *names).partition_by(
                "rates_format", as_dict=True
            ).items()
            if part.height >= rows
        }  # fmt: skip
        return {name: one for name, one in found.items() if len(one.shapes) >= shapes}


def _measured(kind: Kind, rows: pl.DataFrame, names: list[str], version: str) -> Measured:
    single = rows.group_by(*names, "kernel_source", maintain_order=True).agg(pl.median("latency"))
    single = _of_run_kernels(kind, _fastest(single, names), names)
    keys = single.select(pl.concat_str(names, separator=" ")).to_series().to_list()
    training = [_is_training(key) for key in keys]
    return Measured(
        np.ascontiguousarray(single.select(names).to_numpy()),
        single["latency"].to_numpy() * MICROSECONDS,
        np.array(training),
        version,
        tuple(single["kernel_source"]),
    )


@cache
def _is_training(shape: str) -> bool:
    """Whether a shape is fitted, not held out: half of them, the same for all devices."""
    return hashlib.sha256(shape.encode()).digest()[0] % 2 == 1


def _fastest(rows: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Shapes that a `LOW_LATENCY` kernel runs too have its name and the shorter of both times."""
    quick = pl.col("kernel_source").str.contains(LOW_LATENCY)
    if not rows.select(quick.any()).item():
        return rows
    both = rows.filter(quick.any().over(names))
    merged = both.group_by(names, maintain_order=True).agg(
        pl.col("kernel_source").filter(quick).first(), pl.min("latency")
    )
    return pl.concat([rows.filter(~quick.any().over(names)), merged]).sort(names)


def _of_run_kernels(kind: Kind, rows: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Rows of the kernel that has most of them for what decides it; other rows are dropped."""
    decide = [pl.col(names[position]) for position in kind.key]
    if kind.split >= 0:
        decide.append(pl.col(names[kind.split]) > 1)
    if not decide:
        return rows
    counted = rows.with_columns(pl.len().over(*decide, "kernel_source").alias("of_kernel"))
    first = pl.col("kernel_source").sort_by(
        pl.col("of_kernel"), pl.col("kernel_source"), descending=[True, False]
    ).first().over(decide)  # fmt: skip
    kept = counted.filter(pl.col("kernel_source") == first)
    large = kept.filter(pl.len().over("kernel_source") >= MIN_ROWS)
    return large if large.height else kept


def silicon_folder(part: str) -> Path:
    """A folder of the extra `silicon`: "systems" or "model_configs".

    Raises
    ------
    InputError
        When the extra is not installed.
    """
    spec = find_spec("aiconfigurator_core")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "aiconfigurator-core is not installed: expected the extra, "
            "pip install 'sweepengine[silicon]'"
        )
    return Path(next(iter(spec.submodule_search_locations))) / part


def shipped_tables() -> Path:
    """Folder of measured tables of the extra `silicon`."""
    return silicon_folder("systems")
