"""Batch against length on a device: what stops each point, what it makes, and the best that serves.

One sweep a device of every batch and length; each point is as a running engine serves it
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
from sweepengine.data.speeds import basis, place_of
from sweepengine.formulas.formats import OWN
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.lengths import Lengths
from sweepengine.search.placements import search_grid
from sweepengine.search.plans import spelled_layouts
from sweepengine.search.steady_state import DEFAULT, FITS, SECONDS_PER_DAY, Setting, served_frames
from sweepengine.search.targets import Objectives

SERVES, MEMORY, TTFT, TPOT = range(4)
STOPS = ("serves", "memory", "TTFT", "TPOT")
"""What stops a point, the first of them; positions are codes."""
OVER = {"prompt": ("prompt_tokens", "text_tokens"), "answer": ("decode_steps", "decode_steps")}
"""Lengths that a map may lie over: the column of models without vision, and with it."""
SHORTEST = 16
"""Tokens that a map begins with."""
CELLS = 40_000
"""Points of a map where nobody says."""


class Asked(NamedTuple):
    """What a map is of."""

    targets: Objectives
    over: str = ""
    """"prompt" or "answer"; empty: prompts, of models that read pages answers."""
    longest: int = 0
    """Tokens; 0: 131,072 of a prompt, 8,192 of an answer."""
    most_batch: int = 1024
    cells: int = CELLS
    layout: str = "tp1"
    precision: str = OWN
    framework: str = "vllm"
    times: str | None = None
    setting: Setting = DEFAULT


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
    asked: Asked
    over: str
    unit: str
    """Of what is made."""
    panels: list[LimitsMap]


def find_maps(
    model: str | Path, devices: Sequence[str | Path], lengths: Lengths, asked: Asked
) -> Maps:
    """Sweep batches and lengths on each device.

    Parameters
    ----------
    model : str or Path
        Name of a shipped model, or a file.
    devices : sequence of str or Path
    lengths : Lengths
        One: all of a request but what the map lies over.
    asked : Asked

    Raises
    ------
    InputError
        When something that is asked for is not valid.
    """
    loaded = load_model(model)
    over = asked.over or ("answer" if loaded.has_vision else "prompt")
    if over not in OVER:
        raise InputError(f"map: --over {over}: expected {' or '.join(OVER)}")
    if not 100 <= asked.cells <= 100_000_000:
        raise InputError(f"map: --cells {asked.cells}: expected 100..100,000,000")
    column = OVER[over][loaded.has_vision]
    if lengths.requests != 1 or column in lengths.columns:
        raise InputError(
            f"map: {lengths.source}: expected one length and no {over}, as that varies"
        )
    asked.setting.checked("map")
    longest = asked.longest or (131_072 if over == "prompt" else 8_192)
    for option, value, name in (("--longest", longest, column),
                                ("--batch", asked.most_batch, "batch_size")):  # fmt: skip
        least = 2 if name == column else 1  # a map lies over lengths, not over one
        if INPUTS[name].held(value) is None or value < least:
            raise InputError(f"map: {option} {value}: expected {least}..{INPUTS[name].maximum:,}")
    side = asked.cells**0.5
    first = SHORTEST if longest > SHORTEST else 1
    values, batches = _spaced(first, longest, side), _spaced(1, asked.most_batch, side)
    unit = "pages a day" if loaded.has_vision else "tokens/s"
    panels = [
        _panel(str(model), str(name), column, values, batches, lengths, asked, unit)
        for name in devices
    ]
    return Maps(loaded, asked, over, unit, panels)


def _spaced(first: int, last: int, count: float) -> NDArray[np.int64]:
    """About so many whole numbers, evenly on a logarithmic scale; of few all."""
    if last - first < count:
        return np.arange(first, last + 1)
    tries = int(count)
    for _ in range(8):  # small ones fall together: try more until about as many are left
        found = np.unique(np.geomspace(first, last, tries).round().astype(np.int64))
        tries = int(tries * min(max(count / len(found), 1.0), 2.0))
    return found


def _panel(
    model: str,
    name: str,
    column: str,
    values: NDArray[np.int64],
    batches: NDArray[np.int64],
    lengths: Lengths,
    asked: Asked,
    unit: str,
) -> LimitsMap:
    device = load_device(name)
    place = place_of(device, asked.framework, asked.times)
    grid = search_grid(model, name, asked.framework, [asked.precision], [asked.layout],
                       batches.tolist(), lengths, asked.times, "map",
                       {column: values.tolist()})  # fmt: skip
    shape = (len(batches), len(values))
    figure = pl.col("device_tokens_per_s")
    if unit == "pages a day":
        figure = pl.col("requests_per_s") * SECONDS_PER_DAY / pl.col("devices")
    stop = (
        pl.when(~FITS)
        .then(MEMORY)
        .when(~asked.targets.prompt)
        .then(TTFT)
        .when(~asked.targets.smooth)
        .then(TPOT)
        .otherwise(SERVES)
    )
    stops, made, tops = [], [], []
    # Of each piece what a panel shows, and its best: all columns of all cells would be a table.
    for frame in served_frames(grid, lengths, place, asked.setting):
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
    said = basis(grid.model.architecture, place, True)
    return LimitsMap(device, values, batches, np.concatenate(stops).reshape(shape),
                     np.concatenate(made).reshape(shape), best, said)  # fmt: skip
