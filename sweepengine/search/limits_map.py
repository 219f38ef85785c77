"""Batch against length on a device: the limiting factor and the throughput of each point.

One sweep a device of every batch and length; each point is in the steady state of a serving engine
(`search.steady_state`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.devices import Device, load_device
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import TimingTarget, basis, timing_target
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.grid import Grid
from sweepengine.grid.lengths import Lengths
from sweepengine.search.declarations import checked
from sweepengine.search.options import MapOptions
from sweepengine.search.placements import read_layouts, read_precisions, search_grid
from sweepengine.search.plans import spelled_layouts
from sweepengine.search.steady_state import FITS, SECONDS_PER_DAY, served_frames
from sweepengine.search.targets import meets_tpot, meets_ttft

SERVES, MEMORY, TTFT, TPOT = range(4)
STOPS = ("serves", "memory", "TTFT", "TPOT")
"""What stops a point, the first of them; positions are codes."""
OVER = {"prompt": ("prompt_tokens", "text_tokens"), "answer": ("decode_steps", "decode_steps")}
"""Lengths that a map may lie over: the column of models without vision, and with it."""
SHORTEST = 16
"""Tokens that a map begins with."""


class LimitsMap(NamedTuple):
    """One panel."""

    device: Device
    lengths: NDArray[np.int64]
    """Tokens, shape (C,)."""
    batches: NDArray[np.int64]
    """Shape (R,)."""
    stops: NDArray[np.int64]
    """Codes of `STOPS`, shape (R, C)."""
    made: NDArray[np.float64]
    """What a device makes, shape (R, C): output tokens/s, of models with vision pages a day."""
    best: dict[str, Any] | None
    """The point that serves and makes most output tokens a device."""
    basis: str

    def as_dict(self) -> dict[str, Any]:
        """What it says, for JSON: for each batch the longest that serves, and the best point."""
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
    """Panels of one model, a device each."""

    model: Model
    options: MapOptions
    over: str
    unit: str
    """Of what is made."""
    panels: list[LimitsMap]


def find_maps(
    model: Model | str | Path,
    devices: Sequence[Device | str | Path],
    lengths: Lengths,
    options: MapOptions = MapOptions(),  # noqa: B008 -- immutable
) -> Maps:
    """Sweep batches and lengths on each device.

    Parameters
    ----------
    model, devices : as `search.fit.find_fit`
    lengths : Lengths
        One: all of a request but what the map lies over.
    options : MapOptions

    Raises
    ------
    InputError
        When an option is not valid.
    """
    loaded = load_model(model)
    checked("map", options)
    over = options.over or ("answer" if loaded.has_vision else "prompt")
    column = OVER[over][loaded.has_vision]
    if lengths.requests != 1 or column in lengths.columns:
        raise InputError(
            f"map: {lengths.source}: expected one length and no {over}, as that varies"
        )
    longest = options.longest or (131_072 if over == "prompt" else 8_192)
    for option, value, name in (("--longest", longest, column),
                                ("--batch", options.most_batch, "batch_size")):  # fmt: skip
        least = 2 if name == column else 1  # a map lies over lengths, not over one
        if not least <= value <= INPUTS[name].maximum:
            raise InputError(f"map: {option} {value}: expected {least}..{INPUTS[name].maximum:,}")
    side = options.cells**0.5
    first = SHORTEST if longest > SHORTEST else 1
    values, batches = _spaced(first, longest, side), _spaced(1, options.most_batch, side)
    axes = {
        "precision": list(read_precisions("map", loaded, [options.precision])),
        "layout": read_layouts("map", loaded, [options.layout]),
        "batch_size": batches,
        column: values,
    }
    panels = []
    for device in map(load_device, devices):
        place = timing_target(device, options.framework, options.times)
        grid = search_grid(loaded, place, axes, lengths, "map")
        panels.append(_panel(grid, place, column, options))
    return Maps(loaded, options, over, "pages a day" if loaded.has_vision else "tokens/s", panels)


def _spaced(first: int, last: int, count: float) -> NDArray[np.int64]:
    """About so many whole numbers, evenly on a logarithmic scale; of few all."""
    if last - first < count:
        return np.arange(first, last + 1)
    tries = int(count)
    for _ in range(8):  # small ones fall together: try more until about as many are left
        found = np.unique(np.geomspace(first, last, tries).round().astype(np.int64))
        tries = int(tries * min(max(count / len(found), 1.0), 2.0))
    return found


def _panel(grid: Grid, place: TimingTarget, column: str, options: MapOptions) -> LimitsMap:
    """The panel of one device; the last axes of its grid are batches, lengths, one request."""
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
    # Of each piece what a panel shows, and its best: all columns of all cells would be a table.
    for frame in served_frames(grid, place, options.serving):
        found = frame.with_columns(made=figure, stop=stop)
        stops.append(found["stop"].to_numpy().astype(np.int8))
        made.append(found["made"].to_numpy())
        serving = found.filter(pl.col("stop") == SERVES)
        tops.append(serving.sort("device_tokens_per_s", descending=True).head(1))
    best = None
    top = pl.concat(tops).sort("device_tokens_per_s", descending=True, maintain_order=True).head(1)
    if top.height:
        shown = ("batch_size", column, "device_tokens_per_s", "made", "ttft_s", "tpot_s",
                 "memory_bytes")  # fmt: skip
        best = top.select(shown).row(0, named=True)
        best["length"] = best.pop(column)
        best["layout"] = spelled_layouts(top)[0]
    shape = (len(batches), len(values))
    return LimitsMap(place.device, values, batches, np.concatenate(stops).reshape(shape),
                     np.concatenate(made).reshape(shape), best,
                     basis(grid.model.architecture, place, True))  # fmt: skip
