"""Points of a slice on devices: memory, times and their ranges, for charts of a report."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.devices import Device
from sweepengine.data.errors import InputError
from sweepengine.data.speeds import TimingTarget, on_devices, timing_target
from sweepengine.engine.frames import evaluate
from sweepengine.formulas.serving import CONTINUOUS, SERVING
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.search.options import LatencyTargets
from sweepengine.show.layouts import LAYOUT_COLUMNS, PRECISION_COLUMNS, layout_label
from sweepengine.show.look import evenly_spaced
from sweepengine.show.slices import Slice

MOST_VALUES = 64
"""Most values of an input that charts of times draw; of more, an even selection."""
LAID = (*LAYOUT_COLUMNS, *PRECISION_COLUMNS)
RATE = "device_tokens_per_s"
TIMES = ("ttft_seconds", "tpot_seconds", "decode_seconds", "ttft_low_seconds",
         "ttft_high_seconds", "tpot_low_seconds", "tpot_high_seconds")  # fmt: skip


class OnDevice(NamedTuple):
    """Points of a slice that fit on a device, in the layout and formats that serve it best."""

    device: Device
    timing: TimingTarget
    rows: pl.DataFrame
    """Points of all layouts and formats that fit: inputs, tokens of images, `TIMES`, `RATE` and
    `laid`, the text of layout and formats."""
    laid: str
    """Text of the layout and formats of the highest throughput within the targets; of the least
    TPOT where none meets them."""

    @property
    def best(self) -> pl.DataFrame:
        """Rows in that layout and those formats."""
        return self.rows.filter(pl.col("laid") == self.laid)


def rows_on(
    shown: Slice, drawn: Collection[str], devices: Sequence[Device], targets: LatencyTargets
) -> list[OnDevice]:
    """Return the points of a slice on each device on which some fit.

    Parameters
    ----------
    shown : Slice
    drawn : collection of str
        Inputs that vary in the result, in addition to layouts and formats.
    devices : sequence of Device
    targets : LatencyTargets
        Of a request.
    """
    result = []
    for device in devices:
        try:
            rows = _evaluated(shown, {*drawn, *LAID, "device"}, device)
        except InputError:  # a layout needs links that the device lacks
            continue
        rows = rows.filter("fits").drop("fits")
        if rows.is_empty():
            continue
        result.append(_chosen(shown, device, rows, targets))
    return result


def _evaluated(shown: Slice, drawn: Collection[str], device: Device) -> pl.DataFrame:
    source = shown.source
    points = shown.points(drawn)
    for name in shown.varying:
        if name in drawn and name not in (*LAID, "device"):
            values = points.select(pl.col(name).unique().sort()).pipe(source.collected).to_series()
            if len(values) > MOST_VALUES:
                points = points.filter(
                    pl.col(name).is_in(evenly_spaced(values, MOST_VALUES).implode())
                )
    figures = (*TIMES, "fits", "devices")
    seen = [name for name in ("image_tokens",) if name in source.columns]
    if "device" in source.inputs:
        points = points.filter(pl.col("device").cast(pl.String) == device.name)
        rows = points.select(*source.inputs, *seen, *figures).pipe(source.collected)
    else:
        known = points.select(*source.inputs, *seen).pipe(source.collected)
        inputs = known.select(source.inputs)
        timing = timing_target(device)
        placed = inputs.with_columns(
            device=pl.lit(device.name), serving=pl.lit(SERVING[CONTINUOUS])
        )
        model = on_devices(source.loaded, [device], timing.times)
        rows = known.hstack(evaluate(placed, model).select(figures))
    whole = pl.col("ttft_seconds") + pl.col("decode_seconds")
    rate = pl.col("batch_size") * pl.col("decode_steps") / whole / pl.col("devices")
    return rows.with_columns(rate.alias(RATE)).drop("devices")


def _chosen(shown: Slice, device: Device, rows: pl.DataFrame, targets: LatencyTargets) -> OnDevice:
    distinct = rows.select(LAID).unique(maintain_order=True)
    labels = [layout_label(shown.source, row) for row in distinct.iter_rows(named=True)]
    rows = rows.join(distinct.with_columns(laid=pl.Series(labels)), on=LAID, how="left",
                     maintain_order="left", nulls_equal=True)  # fmt: skip
    meets = (pl.col("ttft_seconds") <= targets.ttft_s) & (pl.col("tpot_seconds") <= targets.tpot_s)
    best = rows.filter(meets).sort(RATE, descending=True, maintain_order=True)
    if best.is_empty():
        best = rows.sort("tpot_seconds", maintain_order=True)
    framework = str(shown.point.get("framework", FRAMEWORKS[0]))
    timing = timing_target(device, framework)
    return OnDevice(device, timing, rows, str(best["laid"][0]))


def points_of(rows: pl.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return inputs of rows without their device, as `grid.points.checked_point` takes them."""
    return rows.select(name for name in names if name != "device").to_dicts()
