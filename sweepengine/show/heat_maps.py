"""TPOT of a report's points by batch and length, as a map for each device."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from sweepengine.data.devices import Device
from sweepengine.search.options import LatencyTargets
from sweepengine.show.device_rows import LAID, rows_on
from sweepengine.show.look import WIDTH, Chart, figure, note_of, styled
from sweepengine.show.slices import Slice

LENGTHS = ("decode_steps", "prompt_tokens")
"""Inputs that can be the x axis; the first one that varies is."""


def heat_maps(shown: Slice, devices: Sequence[Device], targets: LatencyTargets) -> list[Chart]:
    """Draw TPOT by batch and length on each device, in the layout and formats that serve it best.

    A cell is one point; blank where it does not fit in memory. None are drawn unless the batch and
    a length vary.
    """
    over = next((name for name in LENGTHS if shown.varies(name)), None)
    if over is None or not shown.varies("batch_size"):
        return []
    charts = []
    for one in rows_on(shown, ("batch_size", over), devices, targets):
        cells = one.best.select(over, "batch_size", tpot_ms=pl.col("tpot_seconds") * 1000)
        cells = cells.filter(pl.col("tpot_ms") > 0)
        if cells.is_empty():
            continue
        low, high = float(cells["tpot_ms"].min()), float(cells["tpot_ms"].max())  # type: ignore[arg-type]
        title = f"TPOT on {one.device.name}, {one.laid}: {figure(low)} to {figure(high)} ms"
        held = shown.text({over, "batch_size", "device", *LAID})
        note = note_of(shown.source) + (f"; at {held}" if held else "")
        note += f"; target {targets.tpot_s * 1000:g} ms; blank: does not fit in memory"
        x = alt.X(f"{over}:O", title=over.replace("_", " "),
                  axis=alt.Axis(format=",d", labelOverlap=True, labelAngle=0))  # fmt: skip
        y = alt.Y("batch_size:O", title="batch size", sort="descending",
                  axis=alt.Axis(labelOverlap=True))  # fmt: skip
        colours = alt.Scale(scheme="viridis", reverse=True, type="log")
        drawn = alt.Chart(cells).mark_rect().encode(
            x=x, y=y,
            color=alt.Color("tpot_ms:Q", title="TPOT, ms", scale=colours,
                            legend=alt.Legend(orient="top", format=",.3~g")),
            tooltip=[alt.Tooltip(over), alt.Tooltip("batch_size"),
                     alt.Tooltip("tpot_ms:Q", format=",.3~g")],
        ).properties(width=WIDTH, height=min(30 * cells["batch_size"].n_unique(), 480))  # fmt: skip
        name = f"tpot_heat_map-{one.device.name}"
        charts.append(Chart(name, title, styled(drawn, title, note), "times"))
    return charts
