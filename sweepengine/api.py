"""The questions of the command line in Python: the same answers as frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sweepengine.data.devices import Device
from sweepengine.data.models import Model, load_model
from sweepengine.grid.lengths import Lengths, lengths_of
from sweepengine.measured.compare import find_comparison
from sweepengine.search.declarations import keywords
from sweepengine.search.deploy import find_deployment
from sweepengine.search.fit import find_fit
from sweepengine.search.options import CompareOptions, DeployOptions, FitOptions
from sweepengine.search.reasons import NothingServesError
from sweepengine.search.requests import lengths_of_frame, read_lengths
from sweepengine.search.steady_state import FITS

Named = Device | str | Path
Requests = Path | pl.DataFrame | Mapping[str, Any] | None


@keywords(FitOptions)
def fit(
    model: Model | str | Path,
    device: Named | Sequence[Named],
    lengths: Requests = None,
    *,
    options: FitOptions,
) -> pl.DataFrame:
    """Whether a model fits on devices, how many requests they hold, and how fast.

    Parameters
    ----------
    model : Model, str or Path
        A model, the name of a shipped one, or a file.
    device : Device, str, Path or a sequence of them
        By value, name or file.
    lengths : Path, DataFrame or mapping, optional
        Requests: a CSV or Parquet file, a frame with its columns (`grid.lengths.lengths_of`), or
        one request such as ``{"prompt": 4000, "answer": 500}``.
    options : FitOptions
        Each of its fields by keyword (`search.options`).

    Returns
    -------
    polars.DataFrame
        A row a device and batch: `device`, `layout`, `fits`, `batch_size`, formats,
        `search.steady_state.STEADY_STATE_COLUMNS`.

    Raises
    ------
    InputError
        When an option is not valid.
    """
    loaded = load_model(model)
    found = find_fit(loaded, _devices(device), _lengths("fit", loaded, lengths), options)
    return pl.concat(
        card.served.select(
            pl.lit(card.device.name).alias("device"),
            pl.lit(card.layout).alias("layout"),
            FITS.alias("fits"),
            pl.all(),
        )
        for card in found.cards
    )


@keywords(DeployOptions)
def deploy(
    model: Model | str | Path,
    device: Named | Sequence[Named],
    lengths: Requests = None,
    *,
    options: DeployOptions,
    front: bool = False,
) -> pl.DataFrame:
    """The best ways to run a model on devices, best first.

    Parameters
    ----------
    model, device, lengths : as `fit`
    options : DeployOptions
        Each of its fields by keyword (`search.options`).
    front : bool
        Whether to return the Pareto front instead of the best of each format and mode.

    Returns
    -------
    polars.DataFrame
        Columns `search.plans.PLAN` and `MONEY`.

    Raises
    ------
    InputError
        When an option is not valid.
    NothingServesError
        When no candidate meets the targets; it says why.
    """
    loaded = load_model(model)
    requests = _lengths("deploy", loaded, lengths)
    found = find_deployment(loaded, _devices(device), requests, options)
    if found.reason is not None:
        raise NothingServesError(found.reason)
    return found.front if front else found.plans


@keywords(CompareOptions)
def compare(
    runs: Path | pl.DataFrame,
    device: Named,
    model: Model | str | Path | None = None,
    *,
    options: CompareOptions,
) -> pl.DataFrame:
    """Measured runs compared with predictions.

    Parameters
    ----------
    runs : Path or polars.DataFrame
        A CSV, Parquet or benchmark's JSON, or a frame (`measured.measured_runs`).
    device, model : as `fit`
        That ran; a benchmark's JSON may name a shipped model.
    options : CompareOptions
        Each of its fields by keyword (`search.options`).

    Returns
    -------
    polars.DataFrame
        A row a run, as `measured.compare.Compared.runs`.

    Raises
    ------
    InputError
        When an option, or a run, is not valid.
    """
    return find_comparison(runs, device, model, options).runs


def _devices(device: Named | Sequence[Named]) -> list[Named]:
    return [device] if isinstance(device, Named) else list(device)


def _lengths(command: str, model: Model, given: Requests) -> Lengths:
    if isinstance(given, Path):
        return read_lengths(given, model)
    if isinstance(given, pl.DataFrame):
        return lengths_of_frame(command, model, given)
    return lengths_of(command, model, {name: [value] for name, value in (given or {}).items()})
