"""Rows of InferenceX: those of one device and one serving engine, as runs."""

from functools import cache
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.errors import InputError
from sweepengine.data.files import shipped_table


class Rows(NamedTuple):
    """Rows of the device and serving engine in question."""

    frame: pl.DataFrame
    """Inputs and measured columns, as tables of runs have them."""
    assumed: tuple[str, ...]


@cache
def _facts() -> dict[str, Any]:
    return shipped_table("inferencex.toml")


def is_inferencex(frame: pl.DataFrame) -> bool:
    """Whether a table has the columns of InferenceX rows."""
    return {*_facts()["has"]} <= {*frame.columns}


def rows_of(frame: pl.DataFrame, source: str, device: str, framework: str) -> Rows:
    """Rows of a device and a serving engine that run as one engine without speculative decoding.

    Parameters
    ----------
    frame : polars.DataFrame
        The whole table.
    source : str
        Its name in messages.
    device, framework : str
        Those of the question.

    Raises
    ------
    InputError
        When the table has no such row; the message says of what it has rows.
    """
    facts = _facts()
    texts = frame.select(
        pl.col("hardware").cast(pl.String).replace_strict(facts["devices"], default=None),
        pl.col("framework").cast(pl.String).replace_strict(facts["frameworks"], default=None),
    )
    chosen = (texts["hardware"] == device) & (texts["framework"] == framework)
    for name, value in facts["only"].items():
        if name in frame.columns:
            chosen &= frame[name].cast(pl.String) == value
    taken = frame.filter(chosen.fill_null(False))
    if not taken.height:
        there = texts.drop_nulls().unique().sort("hardware", "framework").rows()
        listed = ", ".join(f"{name} with {engine}" for name, engine in there)
        raise InputError(
            f"{source}: no row of {device} with {framework} that is aggregated, on one node and "
            f"without speculative decoding: it has rows of {listed}"
        )
    hardware, precision = taken["hardware"].cast(pl.String), taken["precision"].cast(pl.String)
    formats = facts["precision"]
    named = [
        formats.get(f"{name} {text}", formats.get(text, text))
        for name, text in zip(hardware, precision, strict=True)
    ]
    columns = {
        name: pl.col(column) for name, column in facts["columns"].items() if column in taken.columns
    }
    measured = {
        name: pl.coalesce(
            pl.col(column).cast(pl.Float64) for column in among if column in taken.columns
        )
        for name, among in facts["measured"].items()
    }
    rows = taken.select(**columns, **measured, serving=pl.lit("continuous")).with_columns(
        pl.Series("precision", named)
    )
    said = (
        f"{taken.height:,} of {frame.height:,} rows: of {device} with {framework}, aggregated, on "
        "one node, without speculative decoding",
        "times are means where a row has them, else medians",
    )
    return Rows(rows, said)
