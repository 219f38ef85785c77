"""Layouts and formats compared on a device: memory, what fits, and rates."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sweepengine.costs.device_memory import figure_on
from sweepengine.costs.device_times import times_on
from sweepengine.data.devices import Device
from sweepengine.data.speeds import timing_target
from sweepengine.grid.axes import AXES
from sweepengine.grid.shorthand import layout_text, precision_text
from sweepengine.query.folds import Fold, folded
from sweepengine.query.sources import Source
from sweepengine.show.tables import Table

LAYOUT_COLUMNS = AXES["layout"].columns
PRECISION_COLUMNS = AXES["precision"].columns


def layout_name(row: dict[str, Any]) -> str:
    """Describe a layout with its formats."""
    formats = "weights {weight_format}, GEMMs {activation_format}, KV cache {cache_format}"
    return f"{layout_text(row) or 'one device'}, {formats.format(**row)}"


def layout_label(source: Source, row: Mapping[str, Any]) -> str:
    """Return the layout and precision of a row of inputs, as the axes spell them: "tp4 fp8-kv8"."""
    formats = (str(row[name]) for name in PRECISION_COLUMNS)
    precision = precision_text(source.loaded.architecture, *formats)
    return f"{layout_text(row) or 'tp1'} {precision}"


def layout_table(source: Source, device: Device, keys: Sequence[str]) -> Table:
    """Make a row for each layout and formats of a source.

    A point fits if the pool of the default serving engine holds its KV cache. Rates are those of
    the fastest point that fits, of requests in steady state.

    Parameters
    ----------
    source : Source
    device : Device
    keys : sequence of str
        Its inputs of layouts and formats.
    """
    memory = figure_on(source.loaded, device, source.columns, "needed_bytes")
    fits = figure_on(source.loaded, device, source.columns, "fits")
    times = times_on(source.loaded, timing_target(device), source.columns).struct
    user, rate = times.field("user_tokens_per_s"), times.field("device_tokens_per_s")
    rows = folded(
        source,
        keys,
        [
            Fold("devices", pl.col("devices"), "first"),
            Fold("weights", pl.col("weight_bytes") / 1e9, "first"),
            Fold("least", memory / 1e9, "min"),
            Fold("most", memory / 1e9, "max"),
            Fold("points", pl.col("devices") > 0, "sum"),
            Fold("fitting", fits, "sum"),
            Fold("user", pl.when(fits).then(user), "max"),
            Fold("rate", pl.when(fits).then(rate), "max"),
        ],
    )
    columns = ("layout", "weights", "GEMMs", "KV cache", "devices", "weights, GB",
               "memory, GB", f"fit {device.name}", "tokens/s/user, at most",
               "tokens/s/device, at most")  # fmt: skip
    cells = [
        (
            layout_text(row) or "one device",
            *(str(row[name]) for name in PRECISION_COLUMNS),
            f"{row['devices']:,}",
            f"{row['weights']:,.1f}",
            f"{row['least']:,.1f} to {row['most']:,.1f}",
            f"{row['fitting']:,} of {row['points']:,}",
            "" if row["user"] is None else f"{row['user']:,.1f}",
            "" if row["rate"] is None else f"{row['rate']:,.1f}",
        )
        for row in rows.iter_rows(named=True)
    ]
    title = f"Layouts and formats: memory and rates on {device.name}"
    return Table(f"layouts-{device.name}", title, columns, cells, 6)
