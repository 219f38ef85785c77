"""`fit`, `deploy` and `compare` from Python: the answers of the commands, as frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sweepengine.data.devices import Device
from sweepengine.data.models import Model, load_model
from sweepengine.grid.lengths import Lengths, lengths_of
from sweepengine.measured.log_comparison import ComparedLog, compare_file
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
    """Check whether a model fits on devices, how many requests it holds, and how fast.

    Parameters
    ----------
    model : Model, str or Path
        A model, the name of a shipped one, or a file.
    device : Device, str, Path or a sequence of them
        Devices, or their names or files.
    lengths : Path, DataFrame or mapping, optional
        Lengths of requests, in tokens: a CSV or Parquet file, a frame with the same columns
        (`grid.lengths.lengths_of`), or one request, ``{"prompt": 4000, "answer": 500}``.
    options : FitOptions
        Each of its fields by keyword (`search.options`).

    Returns
    -------
    polars.DataFrame
        A row for each device and batch: `device`, `layout`, `fits`, `batch_size`, formats,
        `search.steady_state.STEADY_STATE_COLUMNS`, and `meets`: whether it meets the targets.

    Raises
    ------
    InputError
        When an option is not valid.
    """
    loaded = load_model(model)
    fitted = find_fit(loaded, _devices(device), _lengths("fit", loaded, lengths), options)
    return pl.concat(
        card.served.select(
            pl.lit(card.device.name).alias("device"),
            pl.lit(card.layout).alias("layout"),
            FITS,
            pl.exclude("fits"),
        )
        for card in fitted.cards
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
    """Search the best ways to serve a model on devices, best first.

    Parameters
    ----------
    model, device, lengths : as `fit`
    options : DeployOptions
        Each of its fields by keyword (`search.options`).
    front : bool
        Whether to return the Pareto front instead of the best plan of each precision and mode.

    Returns
    -------
    polars.DataFrame
        Columns `search.plans.PLAN` and `MONEY`.

    Raises
    ------
    InputError
        When an option is not valid.
    NothingServesError
        When no candidate meets the targets; its message names the limiting factor.
    """
    loaded = load_model(model)
    requests = _lengths("deploy", loaded, lengths)
    deployment = find_deployment(loaded, _devices(device), requests, options)
    if deployment.reason is not None:
        raise NothingServesError(deployment.reason)
    return deployment.front if front else deployment.plans


@keywords(CompareOptions)
def compare(
    runs: Path | pl.DataFrame,
    device: Named,
    model: Model | str | Path | None = None,
    *,
    options: CompareOptions,
) -> pl.DataFrame:
    """Compare measured runs, or a start-up log of a serving engine, with predictions.

    Parameters
    ----------
    runs : Path or polars.DataFrame
        A CSV or Parquet file, the JSON of a benchmark, or a frame (`measured.measured_runs`), or a
        log of vLLM or SGLang.
    device, model : as `fit`
        Where the runs ran, and what; the JSON of a benchmark may name a shipped model.
    options : CompareOptions
        Each of its fields by keyword (`search.options`).

    Returns
    -------
    polars.DataFrame
        A row for each run (`measured.compare.Compared.runs`), or for each figure of a log
        (`measured.log_comparison.ComparedLog.figures`).

    Raises
    ------
    InputError
        When an option, or a run, is not valid.
    """
    compared = compare_file(runs, device, model, options)
    return compared.figures if isinstance(compared, ComparedLog) else compared.runs


def _devices(device: Named | Sequence[Named]) -> list[Named]:
    return [device] if isinstance(device, Named) else list(device)


def _lengths(command: str, model: Model, given: Requests) -> Lengths:
    if isinstance(given, Path):
        return read_lengths(given, model)
    if isinstance(given, pl.DataFrame):
        return lengths_of_frame(command, model, given)
    return lengths_of(command, model, {name: [value] for name, value in (given or {}).items()})
