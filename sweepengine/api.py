"""The questions of the command line in Python: the same answers as frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sweepengine.data.models import load_model
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.grid.lengths import Lengths, lengths_of
from sweepengine.measured.compare import find_comparison
from sweepengine.search.deploy import Asked, find_deployment
from sweepengine.search.fit import Wanted, find_fit
from sweepengine.search.plans import MODES
from sweepengine.search.reasons import NothingServesError
from sweepengine.search.requests import lengths_of_frame, read_lengths
from sweepengine.search.steady_state import FITS, MEMORY_SHARE, SHARE, Setting
from sweepengine.search.targets import Objectives

Names = str | Path | Sequence[str | Path]
Requests = Path | pl.DataFrame | Mapping[str, Any] | None


def fit(
    model: str | Path,
    device: Names,
    lengths: Requests = None,
    *,
    layout: str | None = None,
    precision: str = "checkpoint",
    framework: str = FRAMEWORKS[0],
    times: str | None = None,
    share: float = SHARE,
    memory_share: float = MEMORY_SHARE,
) -> pl.DataFrame:
    """Whether a model fits devices, how many requests beside it, and how fast.

    Parameters
    ----------
    model : str or Path
        Name of a shipped model, or a file.
    device : str, Path or a sequence of them
        By name or file.
    lengths : Path, DataFrame or mapping, optional
        Requests: a CSV or Parquet file, a frame with its columns (`grid.lengths.lengths_of`), or
        one request such as ``{"prompt": 4000, "answer": 500}``.
    layout : str, optional
        Such as "tp2"; the fewest devices that hold the model without one.
    precision, framework, times : str
        As on the command line.
    share : float
        Part of the requests that TTFT and memory hold for.
    memory_share : float
        Part of a device's memory that an engine takes.

    Returns
    -------
    polars.DataFrame
        A row a device and batch: `device`, `layout`, `fits`, `batch_size`, formats,
        `search.steady_state.MEASURES`.

    Raises
    ------
    InputError
        When something that is asked for is not valid.
    """
    wanted = Wanted(layout, precision, framework, times, Setting(share, memory_share))
    found = find_fit(model, _names(device), _lengths("fit", model, lengths), wanted)
    return pl.concat(
        card.served.select(
            pl.lit(card.device.name).alias("device"),
            pl.lit(card.layout).alias("layout"),
            FITS.alias("fits"),
            pl.all(),
        )
        for card in found.cards
    )


def deploy(
    model: str | Path,
    device: Names,
    lengths: Requests = None,
    *,
    devices: int | None = None,
    rate: float | None = None,
    ttft: float = 2.0,
    tpot: float = 0.05,
    prices: Mapping[str, float] | None = None,
    precisions: Sequence[str] = (),
    layouts: Sequence[str] = (),
    modes: Sequence[str] = MODES,
    frameworks: Sequence[str] = FRAMEWORKS[:1],
    most_batch: int = 1024,
    times: str | None = None,
    share: float = SHARE,
    memory_share: float = MEMORY_SHARE,
    front: bool = False,
) -> pl.DataFrame:
    """The best ways to run a model on devices, best first.

    Parameters
    ----------
    model, device, lengths : as `fit`
    devices : int, optional
        How many there are; a node without.
    rate : float, optional
        Requests a second that must be served.
    ttft, tpot : float
        Seconds at most.
    prices : mapping of str to float, optional
        USD an hour of a device, by name.
    precisions, layouts, modes, frameworks : sequence of str
        What is tried; empty: all.
    most_batch : int
        Largest batch that is tried.
    times, share, memory_share : as `fit`
    front : bool
        Whether to return the Pareto front instead of the best of each format and mode.

    Returns
    -------
    polars.DataFrame
        Columns `search.plans.PLAN` and `MONEY`.

    Raises
    ------
    InputError
        When something that is asked for is not valid.
    NothingServesError
        When no candidate does; it says why.
    """
    asked = Asked(
        Objectives(ttft, tpot), devices, rate, tuple(frameworks), tuple(modes), tuple(precisions),
        tuple(layouts), most_batch, times, Setting(share, memory_share),
    )  # fmt: skip
    requests = _lengths("deploy", model, lengths)
    found = find_deployment(model, _names(device), requests, asked, prices)
    if found.reason is not None:
        raise NothingServesError(found.reason)
    return found.front if front else found.plans


def compare(
    runs: Path | pl.DataFrame,
    device: str | Path,
    model: str | Path | None = None,
    *,
    layout: str | None = None,
    framework: str = FRAMEWORKS[0],
    times: str | None = None,
) -> pl.DataFrame:
    """Measured runs beside the model.

    Parameters
    ----------
    runs : Path or polars.DataFrame
        A CSV, Parquet or benchmark's JSON, or a frame (`measured.measured_runs`).
    device, model : str or Path
        That ran; a benchmark's JSON may name a shipped model.
    layout, framework, times : str, optional
        As on the command line.

    Returns
    -------
    polars.DataFrame
        A row a run, as `measured.compare.Compared.runs`.

    Raises
    ------
    InputError
        When something that is asked for is not valid.
    """
    return find_comparison(runs, device, model, framework, times, layout).runs


def _names(device: Names) -> list[str | Path]:
    return [device] if isinstance(device, str | Path) else list(device)


def _lengths(command: str, model: str | Path, given: Requests) -> Lengths:
    loaded = load_model(model)
    if isinstance(given, Path):
        return read_lengths(given, loaded)
    if isinstance(given, pl.DataFrame):
        return lengths_of_frame(command, loaded, given)
    return lengths_of(command, loaded, {name: [value] for name, value in (given or {}).items()})
