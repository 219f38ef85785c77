"""Points that meet latency targets on each device, and their highest throughput."""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs.device_memory import memory_on
from sweepengine.costs.device_times import (
    AT_PEAK,
    MEASURES,
    SECONDS,
    Achievable,
    measures_of,
    slowed,
    stored_on,
    times_on,
)
from sweepengine.data.basis import basis
from sweepengine.data.devices import Device, load_devices
from sweepengine.data.error_classes import Case
from sweepengine.data.errors import InputError
from sweepengine.data.speeds import TimingTarget, timing_target
from sweepengine.engine.memory import memory_counts
from sweepengine.formulas.serving import CONTINUOUS, SERVING
from sweepengine.formulas.speeds import FRAMEWORKS, ROOFLINE
from sweepengine.query.folds import Fold, folded
from sweepengine.query.sources import Source, timed_source
from sweepengine.search.declarations import checked
from sweepengine.search.engine_settings import engine_values
from sweepengine.search.known_errors import error_values, with_errors
from sweepengine.search.money import prices_of, usd_per_million
from sweepengine.search.options import LatencyTargets, SloOptions
from sweepengine.search.targets import (
    meets_tpot,
    meets_ttft,
    pareto_front,
    unbeaten_by,
)

FRONT_COLUMNS = ("ttft_s", "tpot_s", "user_tokens_per_s", "device_tokens_per_s", "memory_bytes",
            "largest_batch")  # fmt: skip
TIMES_STRUCT = "times"
"""Column of what requests see (`costs.device_times.times_on`)."""
RATE = "device_tokens_per_s"
ROW, WITHIN = "row", "within"
"""Columns of a piece of points: their positions, and whether they meet both targets."""
_PREFER = [RATE, "user_tokens_per_s"]


class Answer(NamedTuple):
    """Points of a source on one device, against latency targets."""

    device: Device
    points: int = 0
    fitting: int = 0
    """Points that fit in the memory of the device under its serving engine."""
    meeting: int = 0
    """Points that fit and meet both targets."""
    largest_batch: int = 0
    """Largest batch size of a point that fits and meets both targets; 0 where none does."""
    best: dict[str, Any] | None = None
    """Inputs and measures of the point with the highest tokens/s/device within the targets."""
    front: pl.DataFrame = pl.DataFrame()
    """Pareto front in tokens/s/user and tokens/s/device of the points that fit and meet the TTFT,
    highest tokens/s/user first; columns are the inputs, `FRONT_COLUMNS` and `columns.ERRORS`."""
    price_per_hour: float | None = None
    """USD per hour of the device."""
    basis: str = ""
    """Source of the times, and their expected error."""
    assumed: tuple[str, ...] = ()
    """What points assume of tokens that drafts have accepted."""

    @property
    def usd_per_million_tokens(self) -> float | None:
        """USD per million output tokens at the best point; None without a price or tokens."""
        if self.price_per_hour is None or self.best is None or not self.best[RATE]:
            return None
        return float(usd_per_million(self.price_per_hour, self.best[RATE]))

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON; the device by its name."""
        return {
            **self._asdict(),
            "device": self.device.name,
            "usd_per_million_tokens": self.usd_per_million_tokens,
            "front": self.front.to_dicts(),
        }


def find_answers(
    source: Source,
    devices: Sequence[Device],
    targets: LatencyTargets,
    options: SloOptions = SloOptions(),  # noqa: B008 -- immutable
) -> list[Answer]:
    """Evaluate each device in one pass over the points, in bounded memory.

    Parameters
    ----------
    source : Source
        Grid or dataset.
    devices : sequence of Device
    targets : LatencyTargets
        Of a request in steady state; where serving is static, of a batch that is filled at once.
    options : SloOptions

    Raises
    ------
    InputError
        For a price of a device that is not given, or without points.
    """
    names = [device.name for device in devices]
    checked("slo", options)
    prices = prices_of("slo", options.prices, options.price_list, names)
    achievable = Achievable(options.compute_fraction, options.bandwidth_fraction)
    load_devices([*source.loaded.devices, *devices], "slo")
    for device in devices:
        timed = source.loaded.device_names
        if timed and device.name not in timed:
            raise InputError(
                f"slo: {device.name}: expected one of {', '.join(timed)}, as in {source.place}"
            )
    timings = [timing_target(device, options.framework, options.times) for device in devices]
    measured = next((timing for timing in timings if timing.times != ROOFLINE), None)
    if achievable != AT_PEAK and measured:
        raise InputError(
            f"slo: fractions of peaks do not apply to measured kernels of {measured.device.name}: "
            "expected --times roofline"
        )
    arch, serves = source.loaded.architecture, options.serving == SERVING[CONTINUOUS]
    answers = [
        Answer(
            timing.device,
            price_per_hour=prices.get(timing.device.name),
            basis=basis(arch, timing, serves, Case(speculative=bool(source.assumed))),
            assumed=source.assumed,
        )
        for timing in timings
    ]
    settings = {
        "framework": FRAMEWORKS.index(options.framework),
        **engine_values("slo", options.engine, options.framework),
    }
    timings = [timing._replace(device=slowed(timing.device, achievable)) for timing in timings]
    stated = {} if "device" in source.inputs else settings
    memory = [_memory(source, timing, stated) for timing in timings]
    for i, points in _pieces(source, timings, options.serving, stated):
        chosen = _chosen(points, targets, answers[i].front)
        answers[i] = _add(answers[i], chosen, [*source.inputs, *memory[i]])
    answers = [
        _with_errors(answer, source, timing, options.serving)
        for answer, timing in zip(answers, timings, strict=True)
    ]
    if not answers[0].points:
        raise InputError(f"{source.place}: no points match: expected at least one")
    return answers


def _with_errors(answer: Answer, source: Source, timing: TimingTarget, serving: str) -> Answer:
    """An answer whose best point and front say how far times were off on runs like them."""
    model, given = source.loaded, {"serving": serving}
    best = answer.best and answer.best | error_values(given | answer.best, model, timing)
    return answer._replace(
        best=best, front=with_errors(answer.front, model, lambda _: timing, given)
    )


def _memory(source: Source, timing: TimingTarget, stated: Mapping[str, int]) -> list[pl.Expr]:
    """Return `FRONT_COLUMNS` of points with `MEASURES` and `memory_counts`."""
    memory = memory_on(source.loaded, timing.device, source.columns, stated).struct
    needed = memory.field("needed_bytes").alias("memory_bytes")
    return [*map(pl.col, MEASURES), needed, memory.field("largest_batch")]


def _pieces(
    source: Source, timings: Sequence[TimingTarget], serving: str, stated: Mapping[str, int]
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield points with inputs, `memory_counts`, `MEASURES` and `fits`, and whose they are.

    A grid is timed on one device after the other, other sources are read once for all.
    """
    model = source.loaded
    shown = [*source.inputs, *sorted({"devices", *memory_counts(model)} - set(source.inputs))]
    timed = [model._replace(devices=(timing.device,), times=timing.times) for timing in timings]
    stored = [stored_on(one, at, stated, serving) for one, at in zip(timed, timings, strict=True)]
    by_axes = [
        timed_source(source, one, {n: v for n, v in values.items() if n not in source.inputs})
        for one, values in zip(timed, stored, strict=True)
    ]
    measures = measures_of(pl.col("batch_size"), pl.col("decode_steps"))
    for i, of_grid in enumerate(by_axes):
        if of_grid is None:
            continue
        if (device := timings[i].device).links is None:
            most = folded(source, [], [Fold("devices", pl.col("devices"), "max")])
            _refuse_unjoined(device, most)
        for points in of_grid.frames([*shown, *SECONDS, "fits"]):
            yield i, points.select(*shown, *measures, "fits")
    if None not in by_axes:
        return
    for batch in source.frames(shown):
        for i, timing in enumerate(timings):
            yield i, _timed(source, batch, timing, serving, stated)


def _timed(
    source: Source,
    batch: pl.DataFrame,
    timing: TimingTarget,
    serving: str,
    stated: Mapping[str, int],
) -> pl.DataFrame:
    """Return points that are on a timing target with `MEASURES` and `fits`."""
    if "device" in source.inputs:  # each device gets the points that name it
        batch = batch.filter(pl.col("device").cast(pl.String) == timing.device.name)
    _refuse_unjoined(timing.device, batch)
    memory = memory_on(source.loaded, timing.device, source.columns, stated, ("fits",))
    times = times_on(source.loaded, timing, source.columns, stated, serving).alias(TIMES_STRUCT)
    measured = batch.with_columns(memory.struct.field("fits"), times)
    seen = [pl.col(TIMES_STRUCT).struct.field(name) for name in MEASURES]
    return measured.select(*batch.columns, *seen, "fits")


def _refuse_unjoined(device: Device, points: pl.DataFrame) -> None:
    """Refuse points of several devices without links."""
    if device.links is None and (points["devices"].max() or 1) != 1:
        raise InputError(
            f"slo: {device.name}: its file has no link: expected one, as points use several devices"
        )


class _Chosen(NamedTuple):
    """Points of a piece that an answer may show, and how many there are."""

    points: pl.DataFrame
    """Pareto front of those that fit and meet the TTFT, and the best; whether within both targets
    is the column `WITHIN`."""
    height: int
    fitting: int
    meeting: int
    largest_batch: int


def _chosen(points: pl.DataFrame, targets: LatencyTargets, front: pl.DataFrame) -> _Chosen:
    """Return what an answer may show of points with `MEASURES` and `fits`.

    Parameters
    ----------
    points : polars.DataFrame
    targets : LatencyTargets
    front : polars.DataFrame
        The answer's front so far; points that do not beat it are not shown.
    """
    in_ttft = pl.col("fits") & meets_ttft(targets)
    within = in_ttft & meets_tpot(targets)
    counts = points.select(
        fitting=pl.col("fits").sum(),
        meeting=within.sum(),
        largest=pl.col("batch_size").filter(within).max(),
        rate=pl.col(RATE).filter(within).max(),
    ).row(0, named=True)
    highest = within & (pl.col(RATE) == pl.lit(counts["rate"], pl.Float64))
    shown = in_ttft & unbeaten_by(front, points)
    kept = points.filter(shown | highest).with_row_index(ROW)
    kept = kept.with_columns(within.alias(WITHIN))
    best = kept.filter(highest).sort(_PREFER, descending=True, maintain_order=True).head(1)
    rows = pl.concat([pareto_front(kept), best]).unique(ROW, maintain_order=True)
    return _Chosen(
        points=rows.drop(ROW),
        height=points.height,
        fitting=counts["fitting"],
        meeting=counts["meeting"],
        largest_batch=int(counts["largest"] or 0),
    )


def _add(answer: Answer, chosen: _Chosen, columns: Sequence[str | pl.Expr]) -> Answer:
    """Add a piece; `columns` are inputs and `FRONT_COLUMNS` of its points."""
    points = chosen.points.select(*columns, WITHIN)
    meeting = points.filter(WITHIN).drop(WITHIN)
    candidates = [answer.best] if answer.best else []
    highest = meeting.sort(_PREFER, descending=True, nulls_last=True, maintain_order=True)
    candidates += highest.head(1).to_dicts()
    best = reduce(_better, candidates) if candidates else None
    fronts = [front for front in (answer.front, points.drop(WITHIN)) if front.width]
    return answer._replace(
        points=answer.points + chosen.height,
        fitting=answer.fitting + chosen.fitting,
        meeting=answer.meeting + chosen.meeting,
        largest_batch=max(answer.largest_batch, chosen.largest_batch),
        best=best,
        front=pareto_front(pl.concat(fronts)),
    )


def _better(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The point of more tokens/s/device; where they are equal, of more tokens/s/user."""
    rates, challenger = ([point[name] or 0.0 for name in _PREFER] for point in (first, second))
    return second if challenger > rates else first
