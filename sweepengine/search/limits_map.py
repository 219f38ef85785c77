"""Batch size against length on a device: the limiting factor and the throughput of each point.

One sweep per device over batch sizes and lengths; each point is in the steady state of a serving
engine (`search.steady_state`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.basis import basis
from sweepengine.data.devices import Device, load_device
from sweepengine.data.error_classes import Case
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import TimingTarget, timing_target
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.grid import Grid
from sweepengine.grid.lengths import Lengths
from sweepengine.grid.plain import layout_of
from sweepengine.search.declarations import checked
from sweepengine.search.known_errors import error_values
from sweepengine.search.options import MapOptions
from sweepengine.search.placements import read_layouts, read_precisions, search_grid
from sweepengine.search.plans import spelled_layouts
from sweepengine.search.speculation import speculating
from sweepengine.search.steady_state import FITS, SECONDS_PER_DAY, served_frames
from sweepengine.search.targets import meets_tpot, meets_ttft

SERVES, MEMORY, TTFT, TPOT = range(4)
STOPS = ("serves", "memory", "TTFT", "TPOT")
"""Limiting factors, checked in the order memory, TTFT, TPOT; positions are codes."""
OVER = {"prompt": ("prompt_tokens", "text_tokens"), "answer": ("decode_steps", "decode_steps")}
"""Lengths that a map may vary: the column of models without vision, and with vision."""
SHORTEST = 16
"""First length of a map, tokens."""


class LimitsMap(NamedTuple):
    """The map of one device."""

    device: Device
    lengths: NDArray[np.int64]
    """Tokens, shape (C,)."""
    batches: NDArray[np.int64]
    """Sequences, shape (R,)."""
    stops: NDArray[np.int64]
    """Limiting factors, codes of `STOPS`, shape (R, C)."""
    made: NDArray[np.float64]
    """Throughput per device, shape (R, C): output tokens/s, with vision pages a day."""
    best: dict[str, Any] | None
    """The point with the highest throughput within the targets."""
    basis: str

    def as_dict(self) -> dict[str, Any]:
        """Counts, best point, and the longest length within the targets by batch size, for JSON."""
        counts = np.bincount(self.stops.ravel(), minlength=len(STOPS))
        fits = self.stops == SERVES
        longest = np.where(fits, self.lengths[None, :], 0).max(axis=1)
        return {
            "device": self.device.name,
            "basis": self.basis,
            "points": dict(zip(STOPS, counts.tolist(), strict=True)),
            "best": self.best,
            "longest_by_batch": dict(zip(self.batches.tolist(), longest.tolist(), strict=True)),
        }


class Maps(NamedTuple):
    """Maps of one model, one per device."""

    model: Model
    options: MapOptions
    over: str
    unit: str
    """Unit of the throughput."""
    panels: list[LimitsMap]
    notes: tuple[str, ...] = ()
    """What is assumed of speculative decoding."""


def find_maps(
    model: Model | str | Path,
    devices: Sequence[Device | str | Path],
    lengths: Lengths,
    options: MapOptions = MapOptions(),  # noqa: B008 -- immutable
) -> Maps:
    """Sweep batch sizes and lengths on each device.

    Parameters
    ----------
    model : Model, str or Path
        A model, or its name or file.
    devices : sequence of Device, str or Path
        Devices, or their names or files.
    lengths : Lengths
        One request length, without the length that the map varies.
    options : MapOptions

    Raises
    ------
    InputError
        When an option is not valid.
    """
    checked("map", options)
    loaded, speculation = speculating("map", load_model(model), options.speculation)
    over = options.over or ("answer" if loaded.has_vision else "prompt")
    column = OVER[over][loaded.has_vision]
    if lengths.requests != 1 or column in lengths.columns:
        raise InputError(
            f"{lengths.source}: expected one length without {over}, which the map varies"
        )
    longest = options.longest or (131_072 if over == "prompt" else 8_192)
    for option, value, name in (("--longest", longest, column),
                                ("--batch", options.most_batch, "batch_size")):  # fmt: skip
        least = 2 if name == column else 1  # a map needs two lengths
        if not least <= value <= INPUTS[name].maximum:
            raise InputError(f"map: {option} {value}: expected {least}..{INPUTS[name].maximum:,}")
    side = options.cells**0.5
    first = SHORTEST if longest > SHORTEST else 1
    values, batches = _spaced(first, longest, side), _spaced(1, options.most_batch, side)
    axes = {
        **speculation.axes,
        "precision": list(read_precisions("map", loaded, [options.precision])),
        "layout": read_layouts("map", loaded, [options.layout]),
        "batch_size": batches,
        column: values,
    }
    panels = []
    for device in map(load_device, devices):
        timing = timing_target(device, options.framework, options.times)
        grid = search_grid(loaded, timing, axes, lengths, "map", options.engine)
        panels.append(_panel(grid, timing, column, options))
    throughput = "pages a day" if loaded.has_vision else "tokens/s"
    return Maps(loaded, options, over, throughput, panels, speculation.notes)


def _spaced(first: int, last: int, count: float) -> NDArray[np.int64]:
    """About `count` integers, evenly spaced on a logarithmic scale, or all where they are fewer."""
    if last - first < count:
        return np.arange(first, last + 1)
    tries = int(count)
    for _ in range(8):  # small ones round to the same integer: try more until `count` are left
        spaced = np.unique(np.geomspace(first, last, tries).round().astype(np.int64))
        tries = int(tries * min(max(count / len(spaced), 1.0), 2.0))
    return spaced


def _panel(grid: Grid, timing: TimingTarget, column: str, options: MapOptions) -> LimitsMap:
    """The map of one device; the last axes of its grid are batch sizes, lengths and one request."""
    batches, values = (
        next(axis.values[:, 0] for axis in grid.axes if axis.name == name)
        for name in ("batch_size", column)
    )
    figure = pl.col("device_tokens_per_s")
    if grid.model.has_vision:
        figure = pl.col("requests_per_s") * SECONDS_PER_DAY / pl.col("devices")
    stop = (
        pl.when(~FITS)
        .then(MEMORY)
        .when(~meets_ttft(options.targets))
        .then(TTFT)
        .when(~meets_tpot(options.targets))
        .then(TPOT)
        .otherwise(SERVES)
    )
    stops, made, tops = [], [], []
    # Only what a panel shows is kept of each frame: all columns of all cells would need memory.
    for frame in served_frames(grid, timing, options.serving):
        cells = frame.with_columns(made=figure, stop=stop)
        stops.append(cells["stop"].to_numpy().astype(np.int8))
        made.append(cells["made"].to_numpy())
        within = cells.filter(pl.col("stop") == SERVES)
        tops.append(within.sort("device_tokens_per_s", descending=True).head(1))
    best = None
    top = pl.concat(tops).sort("device_tokens_per_s", descending=True, maintain_order=True).head(1)
    if top.height:
        shown = ("batch_size", column, "device_tokens_per_s", "made", "ttft_s", "tpot_s",
                 "memory_bytes")  # fmt: skip
        best = top.select(shown).row(0, named=True)
        best["length"] = best.pop(column)
        best["layout"] = spelled_layouts(top)[0]
        drafted = {"draft_tokens": grid.point.draft_tokens}
        best |= error_values(drafted | top.row(0, named=True), grid.model, timing)
    point = grid.point
    known = Case(point.weight_format, layout_of(point), speculative=point.draft_tokens > 0)
    shape = (len(batches), len(values))
    return LimitsMap(timing.device, values, batches, np.concatenate(stops).reshape(shape),
                     np.concatenate(made).reshape(shape), best,
                     basis(grid.model.architecture, timing, True, known))  # fmt: skip
