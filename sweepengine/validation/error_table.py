"""The table of classes of errors, data/measured/error_classes.toml, made of held-out runs.

`python -m sweepengine.validation.silicon` writes it. Runs that are predicted without what is known
of their family or generation need constants of serving engines fitted anew (`served_constants`).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sweepengine.data.devices import load_device
from sweepengine.data.error_classes import (
    DATA_SHEET,
    GENERATION,
    LEAST_RUNS,
    SPREAD,
    TIMES,
    ClassKey,
    Figures,
    Recorded,
    layout_kind,
    mode_of,
    relaxed,
)
from sweepengine.grid.shorthand import read_layout
from sweepengine.validation.judged import JudgedRun

HEADER = """\
# Errors of predicted serving times on held-out runs, by class (docs/times.md, "Classes of errors").
# `runs`: of the class. `tpot`, `ttft`: median and 90th percentile of |predicted/measured - 1| in %,
# then the 5th and 95th percentile of measured/predicted. A class lacks keys that do not matter.
# `collections`: by collection of runs, as predicted by default. Made by `make silicon`.
"""
COLLECTION_KEYS = ("collection", "mode", "kind", "engine", "generation")
COARSE = (GENERATION, DATA_SHEET)
"""Bases whose classes tell neither loads nor kinds of layouts apart."""


def key_of(run: JudgedRun) -> ClassKey:
    """The class of a run, before anything is left out."""
    key = ClassKey(
        run.basis,
        mode_of(run.disaggregated, run.speculative),
        run.kind,
        run.engine,
        load_device(run.device).generation,
        run.load,
        layout_kind(read_layout(run.layout)),
    )
    if run.basis in COARSE:
        key = key._replace(load="", layout="")
    return key._replace(generation="") if run.basis == GENERATION else key


def classes_of(runs: Sequence[JudgedRun]) -> dict[ClassKey, Recorded]:
    """Classes of at least `LEAST_RUNS` held-out runs, with every key left out in turn."""
    members: dict[ClassKey, list[JudgedRun]] = defaultdict(list)
    for run in runs:
        if run.judging and run.tpot_predicted is not None:
            for key in relaxed(key_of(run)):
                members[key].append(run)
    found = {key: recorded_of(members[key]) for key in sorted(members)}
    return {key: recorded for key, recorded in found.items() if recorded.runs >= LEAST_RUNS}


def collections_of(runs: Sequence[JudgedRun]) -> dict[tuple[str, ...], Recorded]:
    """Held-out runs by collection, mode, kind of model, engine and generation, however few."""
    members: dict[tuple[str, ...], list[JudgedRun]] = defaultdict(list)
    for run in runs:
        if run.judging and run.tpot_predicted is not None:
            key = key_of(run)
            members[(run.collection, key.mode, key.kind, key.engine, key.generation)].append(run)
    return {key: recorded_of(members[key]) for key in sorted(members)}


def recorded_of(runs: Sequence[JudgedRun]) -> Recorded:
    """Errors of some runs; a time that fewer than `LEAST_RUNS` of them have has none."""
    figures = {}
    for what in TIMES:
        pairs = [(getattr(run, f"{what}_measured"), getattr(run, f"{what}_predicted"))
                 for run in runs]  # fmt: skip
        known = np.array([pair for pair in pairs if None not in pair], np.float64)
        figures[what] = figures_of(*known.T) if len(known) >= min(LEAST_RUNS, len(runs)) else None
    return Recorded(len(runs), **figures)


def figures_of(measured: Any, predicted: Any) -> Figures:
    """Errors of predicted times, arrays of shape (N,)."""
    off = 100 * np.abs(predicted / measured - 1)
    low, high = np.quantile(measured / predicted, SPREAD)
    return Figures(float(np.median(off)), float(np.quantile(off, 0.9)), float(low), float(high))


def written(
    classes: dict[ClassKey, Recorded],
    collections: dict[tuple[str, ...], Recorded],
    disaggregated: Recorded,
    step_median: float,
) -> Iterator[str]:
    """Lines of data/measured/error_classes.toml.

    Parameters
    ----------
    classes : dict of ClassKey to Recorded
    collections : dict of tuple of str to Recorded
        As `collections_of` returns them.
    disaggregated : Recorded
        Errors of all held-out runs of disaggregated serving.
    step_median : float
        Median error of passes against sums of measured operators, %.
    """
    yield HEADER
    yield f"[steps]\nmedian = {step_median:.2f}"
    yield "\n[disaggregated]"
    yield from _lines({}, disaggregated)
    for key, recorded in classes.items():
        yield "\n[[classes]]"
        yield from _lines(key._asdict(), recorded)
    for names, recorded in collections.items():
        yield "\n[[collections]]"
        yield from _lines(dict(zip(COLLECTION_KEYS, names, strict=True)), recorded)


def _lines(key: dict[str, str], recorded: Recorded) -> Iterator[str]:
    yield from (f'{name} = "{value}"' for name, value in key.items() if value)
    yield f"runs = {recorded.runs}"
    for what in TIMES:
        if (figures := getattr(recorded, what)) is not None:
            median, p90, low, high = figures
            yield f"{what} = [{median:.2f}, {p90:.2f}, {low:.3f}, {high:.3f}]"
